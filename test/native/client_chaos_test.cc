// SPDX-License-Identifier: Apache-2.0
// Goal: whatever process is killed at whatever moment, every call of the living settles and nothing leaks.
// Method: floods of calls with SIGKILLs at random moments (the seed is printed); afterwards the raylet's counts must be
// what they were before.
#include "client_support.h"

#include <random>

namespace polyray {
namespace {

using testing::get;
using testing::read_text;
using testing::run_until;
using testing::Submitter;
using testing::TestRuntime;
using testing::value_of;
using testing::wait_all;

uint32_t seed_of_run() {
  const char* given = std::getenv("POLYRAY_TEST_SEED");
  const uint32_t seed = given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10))
                                         : static_cast<uint32_t>(os::now_ns());
  printf("POLYRAY_TEST_SEED=%u\n", seed);
  return seed;
}

// Waits until the raylet has as few objects as `objects` and no lease is out.
bool settles_to(TestRuntime& runtime, Client& client, uint64_t objects) {
  RayletStats stats;
  for (int i = 0; i < 1000; ++i) {
    std::vector<Event> events;
    client.poll(events, 64);
    client.gc_done();
    stats = runtime.raylet->stats();
    if (stats.objects <= objects) return true;
    os::sleep_ms(10);
  }
  printf("objects %lu, expected %lu\n", static_cast<unsigned long>(stats.objects),
         static_cast<unsigned long>(objects));
  return false;
}

TEST(ClientChaos, KilledWorkersLoseNoTask) {
  std::mt19937 random(seed_of_run());
  TestRuntime runtime(4);
  auto client = runtime.attach();
  Submitter submitter{*client, client->register_spec(testing::make_spec(*client))};
  get(*client, submitter.task("echo:warm"));
  const uint64_t before = runtime.raylet->stats().objects;
  for (int round = 0; round < 10; ++round) {
    std::vector<ObjectId> ids;
    std::vector<std::string> expected;
    for (int i = 0; i < 4000; ++i) {
      const std::string text(1 + random() % 200, static_cast<char>('a' + i % 26));
      expected.push_back(text);
      ids.push_back(submitter.task("echo:" + text, {}, 0, -1));
    }
    std::atomic<bool> over{false};
    const uint32_t kill_seed = random();
    std::thread killer([&] {
      std::mt19937 own(kill_seed);
      for (int i = 0; i < 20 && !over; ++i) {
        os::sleep_ms(own() % 8);
        runtime.kill_worker(own());
      }
    });
    const bool all = wait_all(*client, ids, {}, 60'000);
    over = true;
    killer.join();
    ASSERT_TRUE(all) << "round " << round;
    for (size_t i = 0; i < ids.size(); ++i) {
      ASSERT_EQ(read_text(*client, ids[i]), expected[i]);
      client->release_ref(ids[i]);
    }
  }
  EXPECT_TRUE(settles_to(runtime, *client, before + 1));
}

TEST(ClientChaos, KilledSubmittersLeaveNothingBehind) {
  std::mt19937 random(seed_of_run());
  TestRuntime runtime(4);
  auto client = runtime.attach();
  Submitter submitter{*client, client->register_spec(testing::make_spec(*client))};
  get(*client, submitter.task("echo:warm"));
  const uint64_t before = runtime.raylet->stats().objects;
  for (int round = 0; round < 15; ++round) {
    const uint32_t lives_ms = random() % 40;
    const pid_t child = fork();
    if (child == 0) {
      AttachOptions options;
      options.socket_name = runtime.raylet->socket_name();
      options.token = testing::kToken;
      options.job = client->job();
      std::unique_ptr<Client> own = std::move(Client::attach(options).value());
      Submitter doomed{*own, own->register_spec(testing::make_spec(*own))};
      for (;;) {
        std::vector<ObjectId> ids;
        const ObjectId one = own->put(value_of("1"), {}).value();
        for (int i = 0; i < 200; ++i) {
          ids.push_back(doomed.task(i % 5 == 0 ? "big:5000" : "sum:1", {&one, 1}, 1));
          if (i % 7 == 0)
            ids.push_back(
                own->put(value_of("holds a ref", {&ids.back(), 1}), {&ids.back(), 1}).value());
        }
        own->release_ref(one);
        wait_all(*own, ids);
        for (const ObjectId& id : ids) own->release_ref(id);
      }
    }
    os::sleep_ms(5 + lives_ms);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  EXPECT_EQ(get(*client, submitter.task("echo:on")), "on");
  // A spec is kept until its job ends: one per child. A kill between two steps may leak one count (layout.h).
  EXPECT_TRUE(settles_to(runtime, *client, before + 1 + 15 + 15));
}

TEST(ClientChaos, ActorsKilledInAFloodSettleEveryCall) {
  std::mt19937 random(seed_of_run());
  TestRuntime runtime(4);
  auto client = runtime.attach();
  auto actor = runtime.make_actor(*client);
  client->set_actor_state(actor.id, ActorPhase::kAlive, actor.peer, actor.incarnation, 0, {});
  uint32_t done = 0, unavailable = 0;
  for (int round = 0; round < 6; ++round) {
    std::vector<ObjectId> ids;
    for (int i = 0; i < 2000; ++i) {
      CallArguments arguments;
      arguments.method = "append";
      const auto bytes = value_of("echo:" + std::to_string(i));
      arguments.envelope = bytes;
      ObjectId id;
      ASSERT_TRUE(client->submit_actor_call(actor.id, arguments, &id).is_ok());
      ids.push_back(id);
    }
    client->flush();
    std::vector<Event> events;
    const uint64_t until = os::now_ns() + random() % 2'000'000;
    while (os::now_ns() < until) client->poll(events, 1000);
    ASSERT_TRUE(runtime.kill_worker(0));
    bool gone = false;
    ASSERT_TRUE(run_until(
        *client, [&] { return gone; },
        [&](Event& e) { gone |= e.kind == EventKind::kPeerGone && e.peer == actor.peer; }));
    client->set_actor_state(actor.id, ActorPhase::kRestarting, 0, actor.incarnation, 0, {});
    actor = runtime.make_actor(*client, actor.incarnation + 1, actor.id);
    client->set_actor_state(actor.id, ActorPhase::kAlive, actor.peer, actor.incarnation, 0, {});
    ASSERT_TRUE(wait_all(*client, ids)) << "round " << round;
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::string text = read_text(*client, ids[i]);
      if (client->status(ids[i]) == ObjectStatus::kError) {
        EXPECT_NE(text.find("[actor unavailable]"), std::string::npos);
        ++unavailable;
      } else {
        EXPECT_EQ(text, std::to_string(i));
        ++done;
      }
      client->release_ref(ids[i]);
    }
  }
  EXPECT_EQ(done + unavailable, 12'000u);
  printf("done %u, unavailable %u\n", done, unavailable);
}

}  // namespace
}  // namespace polyray

int main(int argc, char** argv) {
  return polyray::testing::tests_or_worker(argc, argv);
}
