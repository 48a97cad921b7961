// SPDX-License-Identifier: Apache-2.0
// Goal: memory that is short, shared or chained goes to the right one and comes back.
// Method: a raylet with a small store and two clients in this process.
#include "raylet_support.h"

namespace polyray {
namespace {

using namespace testing;

TEST(Memory, AFullStoreNamesTheHolders) {
  auto raylet = bare_raylet(16 << 20);
  auto holder = std::move(Client::attach(options_for(*raylet)).value());
  auto asker = std::move(Client::attach(options_for(*raylet)).value());
  auto held = holder->put_begin(12 << 20, 0);
  ASSERT_TRUE(held.is_ok());
  const Status status = asker->put_begin(8 << 20, 30).status();
  EXPECT_EQ(status.code, StatusCode::kObjectStoreFull);
  EXPECT_NE(status.message.find("pid " + std::to_string(getpid())), std::string::npos)
      << status.message;
  EXPECT_NE(status.message.find("endpoint " + std::to_string(holder->endpoint())),
            std::string::npos)
      << status.message;
  EXPECT_EQ(asker->put_begin(64 << 20, 100000).status().code, StatusCode::kObjectStoreFull)
      << "can never fit";
}

TEST(Memory, AWaitingPutGoesOnWhenSomebodyFreesAndEveryoneWasAskedToCollect) {
  auto raylet = bare_raylet(16 << 20);
  auto holder = std::move(Client::attach(options_for(*raylet)).value());
  auto asker = std::move(Client::attach(options_for(*raylet)).value());
  PutBuffer buffer = holder->put_begin(12 << 20, 0).value();
  ASSERT_TRUE(holder->put_seal(buffer, {}).is_ok());
  std::atomic<bool> done{false};
  StatusCode code = StatusCode::kSystem;
  std::thread putting([&] {
    code = asker->put_begin(12 << 20, 20'000).status().code;
    done = true;
  });
  bool asked = false;
  ASSERT_TRUE(run_until(
      *holder, [&] { return asked; },
      [&](Event& event) {
        if (event.kind != EventKind::kGcRequest) return;
        asked = true;
        EXPECT_FALSE(done);
        holder->release_ref(buffer.id);
        holder->gc_done();
      }));
  putting.join();
  EXPECT_EQ(code, StatusCode::kOk);
}

TEST(Memory, ReleasesThatSentNoBellAreFoundBeforeAPutIsRefused) {
  auto raylet = bare_raylet(16 << 20);
  auto holder = std::move(Client::attach(options_for(*raylet)).value());
  auto asker = std::move(Client::attach(options_for(*raylet)).value());
  PutBuffer buffer = holder->put_begin(12 << 20, 0).value();
  ASSERT_TRUE(holder->put_seal(buffer, {}).is_ok());
  holder->release_ref(buffer.id);  // nothing rings, and this client does nothing more
  const Status status = asker->put_begin(12 << 20, 0).status();
  EXPECT_TRUE(status.is_ok()) << status.message;
}

TEST(Memory, FreeingALongChainDoesNotRecurse) {
  auto raylet = bare_raylet(64 << 20);
  auto client = std::move(Client::attach(options_for(*raylet)).value());
  const RayletStats before = raylet->stats();
  ObjectId last = client->put(value_of("end"), {}).value();
  for (int i = 0; i < 100'000; ++i) {
    const auto envelope = value_of("", {&last, 1});
    const ObjectId next = client->put(envelope, {&last, 1}).value();
    client->release_ref(last);
    last = next;
  }
  EXPECT_GT(raylet->stats().objects, before.objects + 99'000);
  client->release_ref(last);
  EXPECT_TRUE(soon([&] {
    client->service_request({});  // a bell, so that the release is read
    client->flush();
    return raylet->stats().objects == before.objects;
  }));
}

TEST(Memory, APinKeepsTheBytesAfterTheLastReference) {
  auto raylet = bare_raylet();
  auto client = std::move(Client::attach(options_for(*raylet)).value());
  auto other = std::move(Client::attach(options_for(*raylet)).value());
  const std::string text(100'000, 'k');
  const ObjectId id = client->put(value_of(text), {}).value();
  ASSERT_TRUE(other->add_ref(id));
  const ObjectView view = other->pin(id).value();
  other->release_ref(id);
  client->release_ref(id);
  for (int i = 0; i < 20; ++i) {  // try to get the bytes overwritten
    const ObjectId more = client->put(value_of(std::string(100'000, 'o')), {}).value();
    client->release_ref(more);
    client->service_request({});
    client->flush();
    os::sleep_ms(1);
  }
  EXPECT_EQ(text_of({view.data, view.size}), text);
  const uint64_t pinned = raylet->stats().objects;
  other->unpin(id);
  other->service_request({});
  other->flush();
  EXPECT_TRUE(soon([&] { return raylet->stats().objects == pinned - 1; }));
}

}  // namespace
}  // namespace polyray
