// SPDX-License-Identifier: Apache-2.0
// Goal: more than memory holds goes to disk and is read back from there; nothing is lost, nothing is left.
// Method: a raylet with a small store and a spill folder, clients in this process and forked ones that are killed.
#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include "raylet_support.h"
#include "store/protocols.h"

namespace polyray {
namespace {

using namespace testing;

constexpr uint64_t kMiB = 1 << 20;

class Spilling : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/polyray-spill-test-XXXXXX";
    root_ = ::mkdtemp(path);
  }
  void TearDown() override {
    raylet_.reset();
    for (const std::string& folder : folders_) EXPECT_TRUE(names_in(folder).empty()) << folder;
    for (const std::string& folder : folders_) ::rmdir(folder.c_str());
    ::rmdir(root_.c_str());
  }
  void start(uint64_t store_bytes, size_t folder_count = 1) {
    RayletOptions options;
    options.session_name = "spill-" + std::to_string(getpid()) + root_.substr(root_.size() - 6);
    options.session_token = kToken;
    options.object_store_bytes = store_bytes;
    options.package_version = "1.2.3";
    options.resources = {{"CPU", 2 * kResourceUnit}};
    for (size_t i = 0; i < folder_count; ++i) {
      folders_.push_back(root_ + "/" + std::to_string(i));
      ::mkdir(folders_.back().c_str(), 0700);
    }
    options.spill_folders = folders_;
    raylet_ = std::move(Raylet::start(options).value());
  }
  std::unique_ptr<Client> client() {
    return std::move(Client::attach(options_for(*raylet_)).value());
  }
  static std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    DIR* open = ::opendir(folder.c_str());
    if (open == nullptr) return names;
    while (const dirent* entry = ::readdir(open))
      if (entry->d_name[0] != '.') names.push_back(entry->d_name);
    ::closedir(open);
    return names;
  }
  // Files of this session in a folder.
  size_t files_in(size_t folder) {
    const auto names = names_in(folders_[folder]);
    return names.empty() ? 0 : names_in(folders_[folder] + "/" + names[0]).size();
  }
  bool freed(Client& client) {
    return soon([&] {
      client.service_request({});  // a bell, so that releases are read
      client.flush();
      const RayletStats stats = raylet_->stats();
      size_t files = 0;
      for (size_t i = 0; i < folders_.size(); ++i) files += files_in(i);
      return stats.spilled_bytes == 0 && stats.spilled_objects == 0 && files == 0;
    });
  }
  std::string root_;
  std::vector<std::string> folders_;
  std::unique_ptr<Raylet> raylet_;
};

std::string text_number(int number, size_t bytes) {
  std::string text = "value " + std::to_string(number) + " ";
  while (text.size() < bytes) text += static_cast<char>('a' + (text.size() * 7 + number) % 26);
  return text;
}

TEST_F(Spilling, ThreeTimesTheStoreGoesInAndComesBackAndNothingIsLeft) {
  start(32 * kMiB, 2);
  auto writer = client();
  auto reader = client();
  std::vector<ObjectId> ids;
  for (int i = 0; i < 24; ++i) {
    Result<ObjectId> id = writer->put(value_of(text_number(i, 4 * kMiB)), {});
    ASSERT_TRUE(id.is_ok()) << i << ": " << id.status().message;
    ids.push_back(id.value());
  }
  const RayletStats stats = raylet_->stats();
  EXPECT_GE(stats.spilled_bytes, 60 * kMiB);
  EXPECT_LE(stats.store_used_bytes, 32 * kMiB);
  EXPECT_GT(files_in(0), 3u);
  EXPECT_GT(files_in(1), 3u) << "folders are used in turn";
  EXPECT_TRUE(writer->info(ids[0]).spilled) << "the oldest goes first";
  EXPECT_FALSE(writer->info(ids[23]).spilled);
  for (int i = 0; i < 24; ++i) {
    ASSERT_TRUE(reader->add_ref(ids[i]));
    EXPECT_EQ(reader->status(ids[i]), ObjectStatus::kSealed);
    EXPECT_EQ(reader->object_size(ids[i]), value_of(text_number(i, 4 * kMiB)).size());
    ASSERT_EQ(read_text(*reader, ids[i]), text_number(i, 4 * kMiB));
    reader->release_ref(ids[i]);
  }
  for (const ObjectId& id : ids) writer->release_ref(id);
  EXPECT_TRUE(freed(*writer));
  EXPECT_TRUE(soon([&] { return raylet_->stats().store_used_bytes < kMiB; }));
}

TEST_F(Spilling, WhatIsPinnedStaysAndWhatWasUsedLastGoesLast) {
  start(16 * kMiB);
  auto one = client();
  const ObjectId pinned = one->put(value_of(text_number(1, 4 * kMiB)), {}).value();
  const ObjectId used = one->put(value_of(text_number(2, 4 * kMiB)), {}).value();
  const ObjectId idle = one->put(value_of(text_number(3, 4 * kMiB)), {}).value();
  const ObjectView view = one->pin(pinned).value();
  os::sleep_ms(5);
  read_text(*one, used);
  const ObjectId more = one->put(value_of(text_number(4, 6 * kMiB)), {}).value();
  EXPECT_TRUE(one->info(idle).spilled);
  EXPECT_FALSE(one->info(used).spilled);
  EXPECT_FALSE(one->info(pinned).spilled);
  EXPECT_EQ(text_of({view.data, view.size}), text_number(1, 4 * kMiB));
  // Everything that may go, goes; then the asker waits, and is told who holds what.
  const ObjectId again = one->put(value_of(text_number(5, 9 * kMiB)), {}).value();
  EXPECT_FALSE(one->info(pinned).spilled);
  const Status full = one->put_begin(14 * kMiB, 50).status();
  EXPECT_EQ(full.code, StatusCode::kObjectStoreFull);
  EXPECT_NE(full.message.find("pid " + std::to_string(getpid())), std::string::npos)
      << full.message;
  one->unpin(pinned);
  EXPECT_TRUE(one->put_begin(14 * kMiB, 20'000).is_ok()) << "an unpin is noticed by who waits";
  for (const ObjectId& id : {pinned, used, idle, more, again}) EXPECT_TRUE(one->info(id).spilled);
}

TEST_F(Spilling, AMapOfASpilledValueOutlivesItsReference) {
  start(16 * kMiB);
  auto one = client();
  const ObjectId id = one->put(value_of(text_number(1, 6 * kMiB)), {}).value();
  const ObjectId more = one->put(value_of(text_number(2, 12 * kMiB)), {}).value();
  ASSERT_TRUE(one->info(id).spilled);
  const ObjectView view = one->pin(id).value();
  const ObjectView second = one->pin(id).value();
  EXPECT_EQ(view.data, second.data) << "one map per process";
  one->release_ref(id);
  EXPECT_TRUE(freed(*one));
  one->unpin(id);
  EXPECT_EQ(text_of({view.data, view.size}), text_number(1, 6 * kMiB));
  one->unpin(id);
  one->release_ref(more);
}

TEST_F(Spilling, NestedReferencesOfASpilledContainerEndWithIt) {
  start(16 * kMiB);
  auto one = client();
  const uint64_t before = raylet_->stats().objects;
  const ObjectId inner = one->put(value_of(text_number(1, 100)), {}).value();
  const ObjectId outer =
      one->put(value_of(text_number(2, 6 * kMiB), {&inner, 1}), {&inner, 1}).value();
  one->release_ref(inner);
  const ObjectId more = one->put(value_of(text_number(3, 12 * kMiB)), {}).value();
  ASSERT_TRUE(one->info(outer).spilled);
  ASSERT_TRUE(one->add_ref(inner)) << "the spilled container holds it";
  EXPECT_EQ(read_text(*one, inner), text_number(1, 100));
  one->release_ref(inner);
  one->release_ref(outer);
  one->release_ref(more);
  EXPECT_TRUE(freed(*one));
  EXPECT_TRUE(soon([&] { return raylet_->stats().objects == before; }));
}

TEST_F(Spilling, SmallValuesGoByTheGranule) {
  start(16 * kMiB);
  auto one = client();
  auto other = client();
  std::vector<ObjectId> ids;
  for (int i = 0; i < 1000; ++i) {
    Result<ObjectId> id = one->put(value_of(text_number(i, 40'000)), {});
    ASSERT_TRUE(id.is_ok()) << i << ": " << id.status().message;
    ids.push_back(id.value());
  }
  EXPECT_GT(raylet_->stats().spilled_objects, 500u);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(read_text(*one, ids[i]), text_number(i, 40'000)) << i;
  // Another client's wish is met from the first one's granules.
  std::atomic<bool> done{false};
  std::thread polling([&] {
    run_until(
        *one, [&] { return done.load(); },
        [&](Event& event) {
          if (event.kind == EventKind::kGcRequest) one->gc_done();
        });
  });
  Result<ObjectId> big = other->put(value_of(text_number(1, 12 * kMiB)), {});
  done = true;
  polling.join();
  EXPECT_TRUE(big.is_ok()) << big.status().message;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(read_text(*one, ids[i]), text_number(i, 40'000)) << i;
  for (const ObjectId& id : ids) one->release_ref(id);
  if (big.is_ok()) other->release_ref(big.value());
  EXPECT_TRUE(freed(*one));
}

TEST_F(Spilling, AKilledClientLeavesNoFile) {
  start(32 * kMiB);
  auto other = client();
  const pid_t pid = fork_client(*raylet_, [](Client& child) {
    for (int i = 0; i < 20; ++i) child.put(value_of(text_number(i, 4 * kMiB)), {}).is_ok();
    for (;;) os::sleep_ms(1000);
  });
  EXPECT_TRUE(soon([&] { return raylet_->stats().spilled_bytes >= 48 * kMiB; }));
  end_child(pid);
  EXPECT_TRUE(freed(*other));
  EXPECT_TRUE(soon([&] { return raylet_->stats().store_used_bytes < kMiB; }));
}

TEST_F(Spilling, ClientsThatAreKilledInTheMiddleOfItDisturbNobody) {
  start(32 * kMiB);
  auto keeper = client();
  const ObjectId kept = keeper->put(value_of(text_number(77, 6 * kMiB)), {}).value();
  for (int round = 0; round < 6; ++round) {
    const pid_t pid = fork_client(*raylet_, [](Client& child) {
      for (int i = 0;; ++i) child.put(value_of(text_number(i, 3 * kMiB)), {}).is_ok();
    });
    os::sleep_ms(static_cast<uint32_t>(20 + round * 17));
    end_child(pid);
  }
  EXPECT_EQ(read_text(*keeper, kept), text_number(77, 6 * kMiB));
  keeper->release_ref(kept);
  EXPECT_TRUE(freed(*keeper));
}

TEST_F(Spilling, AFreedObjectIsGoneForEverybodyAndItsBytesWithIt) {
  start(16 * kMiB);
  auto one = client();
  auto other = client();
  const ObjectId in_memory = one->put(value_of(text_number(1, 4 * kMiB)), {}).value();
  ASSERT_TRUE(other->add_ref(in_memory));
  const uint64_t used = raylet_->stats().store_used_bytes;
  ASSERT_TRUE(one->free_object(in_memory));
  one->flush();
  EXPECT_EQ(other->pin(in_memory).status().code, StatusCode::kObjectFreed);
  EXPECT_EQ(other->status(in_memory), ObjectStatus::kGone);
  EXPECT_TRUE(soon([&] { return raylet_->stats().store_used_bytes <= used - 4 * kMiB; }));
  // Pinned bytes stay until the end of their pins.
  const ObjectId pinned = one->put(value_of(text_number(2, 2 * kMiB)), {}).value();
  const ObjectView view = other->add_ref(pinned) ? other->pin(pinned).value() : ObjectView{};
  ASSERT_TRUE(one->free_object(pinned));
  one->flush();
  raylet_->stats();
  EXPECT_EQ(text_of({view.data, view.size}), text_number(2, 2 * kMiB));
  EXPECT_EQ(one->pin(pinned).status().code, StatusCode::kObjectFreed);
  other->unpin(pinned);
  // A spilled one: its file goes at once.
  const ObjectId spilled = one->put(value_of(text_number(3, 6 * kMiB)), {}).value();
  const ObjectId more = one->put(value_of(text_number(4, 12 * kMiB)), {}).value();
  ASSERT_TRUE(one->info(spilled).spilled);
  ASSERT_TRUE(one->free_object(spilled));
  one->flush();
  EXPECT_TRUE(soon([&] { return files_in(0) == raylet_->stats().spilled_objects; }));
  EXPECT_EQ(one->pin(spilled).status().code, StatusCode::kObjectFreed);
  // Freed while a reader waits to hear why its pin was refused.
  const ObjectId closed = one->put(value_of(text_number(5, kMiB)), {}).value();
  ObjectEntry& entry = *one->segment().find(closed);
  ASSERT_TRUE(evict_close(entry.pins));
  std::atomic<bool> reading = false;
  std::thread frees([&] {
    reading.wait(false);
    os::sleep_ms(20);  // the reader is most likely there: had it not begun, it would see the same
    entry.state.fetch_or(kEntryFreed, std::memory_order_acq_rel);
  });
  reading = true;
  reading.notify_one();
  EXPECT_EQ(one->pin(closed).status().code, StatusCode::kObjectFreed);
  frees.join();
  evict_reopen(entry.pins);
  for (const ObjectId& id : {in_memory, pinned, spilled, more, closed}) one->release_ref(id);
  for (const ObjectId& id : {in_memory, pinned}) other->release_ref(id);
  other->service_request({});
  other->flush();
  EXPECT_TRUE(freed(*one));
  EXPECT_TRUE(soon([&] { return raylet_->stats().store_used_bytes < kMiB; }));
}

// The thread of this process that writes spill files.
pid_t spill_thread() {
  pid_t found = 0;
  DIR* open = ::opendir("/proc/self/task");
  while (const dirent* entry = ::readdir(open)) {
    std::ifstream name("/proc/self/task/" + std::string(entry->d_name) + "/comm");
    std::string text;
    std::getline(name, text);
    if (text == "polyray-spill") found = static_cast<pid_t>(std::atoi(entry->d_name));
  }
  ::closedir(open);
  return found;
}

TEST_F(Spilling, ASlowDiskIsWaitedForBeyondTheTimeOfAPut) {
  start(16 * kMiB);
  auto one = client();
  std::vector<ObjectId> ids;
  for (int i = 0; i < 6; ++i)
    ids.push_back(one->put(value_of(text_number(i, 4 * kMiB)), {}).value());
  // The thread that writes sleeps for two seconds in a signal's handler, as it would in a write.
  struct sigaction slow{}, before{};
  slow.sa_handler = [](int) { ::sleep(2); };
  ::sigaction(SIGUSR2, &slow, &before);
  const pid_t writer = spill_thread();
  ASSERT_NE(writer, 0);
  ASSERT_EQ(::syscall(SYS_tgkill, ::getpid(), writer, SIGUSR2), 0);
  for (int i = 6; i < 10; ++i) {
    const auto value = value_of(text_number(i, 4 * kMiB));
    Result<PutBuffer> room = one->put_begin(value.size(), 100);
    ASSERT_TRUE(room.is_ok()) << room.status().message;
    std::memcpy(room.value().data, value.data(), value.size());
    ids.push_back(room.value().id);
    ASSERT_TRUE(one->put_seal(room.value(), {}).is_ok());
  }
  ::sigaction(SIGUSR2, &before, nullptr);
  for (size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(read_text(*one, ids[i]), text_number(static_cast<int>(i), 4 * kMiB));
  for (const ObjectId& id : ids) one->release_ref(id);
  EXPECT_TRUE(freed(*one));
}

TEST_F(Spilling, AFullDiskIsSaidAndAnotherFolderIsTried) {
  start(16 * kMiB, 2);
  if (::mount("tmpfs", folders_[0].c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "mounting is not allowed here";
  auto one = client();
  std::vector<ObjectId> ids;
  for (int i = 0; i < 8; ++i) {
    Result<ObjectId> id = one->put(value_of(text_number(i, 4 * kMiB)), {});
    if (id.is_ok()) ids.push_back(id.value());
  }
  EXPECT_EQ(ids.size(), 8u) << "the second folder takes what the first one cannot";
  const std::string inside = folders_[1] + "/" + names_in(folders_[1])[0];
  EXPECT_EQ(::mount("tmpfs", inside.c_str(), "tmpfs", 0, "size=1m"), 0);
  const Status full = one->put(value_of(text_number(1, 10 * kMiB)), {}).status();
  EXPECT_EQ(full.code, StatusCode::kOutOfDisk) << full.message;
  EXPECT_NE(full.message.find("objectSpillingDirectory"), std::string::npos) << full.message;
  ::umount(inside.c_str());
  for (size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(read_text(*one, ids[i]), text_number(static_cast<int>(i), 4 * kMiB));
  for (const ObjectId& id : ids) one->release_ref(id);
  EXPECT_TRUE(freed(*one));
  raylet_.reset();
  ::umount(folders_[0].c_str());
}

}  // namespace
}  // namespace polyray
