// SPDX-License-Identifier: Apache-2.0
// Goal: the counters of processes say what happened, are read from outside, and outlive the processes.
// Method: a TestRuntime (client_support.h); workers are this program started with --worker.
#include "client_support.h"

namespace polyray {
namespace {

using testing::get;
using testing::Submitter;
using testing::TestRuntime;
using testing::value_of;
using testing::wait_all;

uint64_t of(const ProcessStats& process, Count which) {
  return process.counts[static_cast<uint32_t>(which)];
}

// The sum over processes of a kind, those that ended included.
uint64_t sum(const RayletStats& stats, EndpointKind kind, Count which) {
  uint64_t total = 0;
  for (const ProcessStats& process : stats.processes)
    if (process.kind == static_cast<uint32_t>(kind)) total += of(process, which);
  return total;
}

const ProcessStats* find(const RayletStats& stats, uint32_t endpoint) {
  for (const ProcessStats& process : stats.processes)
    if (process.endpoint == endpoint && process.pid != 0) return &process;
  return nullptr;
}

bool eventually(const std::function<bool()>& check) {
  for (int i = 0; i < 3000; ++i) {
    if (check()) return true;
    os::sleep_ms(10);
  }
  return false;
}

TEST(Counters, TasksAreCountedWhereTheyAreSubmittedAndWhereTheyRun) {
  TestRuntime runtime;
  auto client = runtime.attach();
  Submitter submit{*client, client->register_spec(testing::make_spec(*client))};
  std::vector<ObjectId> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(submit.task("echo:x"));
  ids.push_back(submit.task("fail:no"));
  ids.push_back(submit.task("retry:1", {}, 0, 3));
  ASSERT_TRUE(wait_all(*client, ids));
  const RayletStats stats = runtime.raylet->stats();
  const ProcessStats* driver = find(stats, client->endpoint());
  ASSERT_NE(driver, nullptr);
  EXPECT_EQ(driver->pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(of(*driver, Count::kTasksSubmitted), 52u);
  EXPECT_EQ(of(*driver, Count::kRetries), 1u);
  EXPECT_GE(of(*driver, Count::kTasksSent), 53u);
  EXPECT_EQ(of(*driver, Count::kCallsExecuted), 0u);
  EXPECT_EQ(sum(stats, EndpointKind::kWorker, Count::kCallsExecuted), 53u);
  EXPECT_EQ(sum(stats, EndpointKind::kWorker, Count::kCallsFinished), 51u);
  EXPECT_EQ(sum(stats, EndpointKind::kWorker, Count::kCallsFailed), 1u);
  EXPECT_EQ(sum(stats, EndpointKind::kWorker, Count::kCallsRetried), 1u);
  EXPECT_EQ(sum(stats, EndpointKind::kDriver, Count::kTasksSubmitted), 52u);
  EXPECT_GE(of(*driver, Count::kLeasesGranted), 1u);
  EXPECT_GE(stats.leases_granted, of(*driver, Count::kLeasesGranted));
  EXPECT_GE(stats.workers_started, 1u);
  EXPECT_GT(of(*driver, Count::kRecordsSent), of(*driver, Count::kBellsRung));
  EXPECT_GT(of(*driver, Count::kBellsRung), 0u);
  EXPECT_EQ(client->counters().bells_rung,
            of(*find(runtime.raylet->stats(), client->endpoint()), Count::kBellsRung));
}

TEST(Counters, WhatAProcessCountedStaysWhenItIsKilled) {
  TestRuntime runtime;
  auto client = runtime.attach();
  Submitter submit{*client, client->register_spec(testing::make_spec(*client))};
  EXPECT_EQ(get(*client, submit.task("echo:1")), "1");
  const ObjectId dead = submit.task("die");
  ASSERT_TRUE(wait_all(*client, {&dead, 1}));
  RayletStats stats;
  ASSERT_TRUE(eventually([&] {
    stats = runtime.raylet->stats();
    for (const ProcessStats& one : stats.processes)
      if (one.pid == 0 && one.kind == static_cast<uint32_t>(EndpointKind::kWorker)) return true;
    return false;
  }));
  EXPECT_EQ(sum(stats, EndpointKind::kWorker, Count::kCallsExecuted), 2u);
  EXPECT_EQ(sum(stats, EndpointKind::kWorker, Count::kCallsFinished), 1u);
  EXPECT_EQ(sum(stats, EndpointKind::kDriver, Count::kGivenUp), 1u);
  const uint64_t submitted = sum(stats, EndpointKind::kDriver, Count::kTasksSubmitted);
  client.reset();
  ASSERT_TRUE(eventually([&] {
    stats = runtime.raylet->stats();
    for (const ProcessStats& one : stats.processes)
      if (one.pid == 0 && one.kind == static_cast<uint32_t>(EndpointKind::kDriver)) return true;
    return false;
  }));
  EXPECT_EQ(sum(stats, EndpointKind::kDriver, Count::kTasksSubmitted), submitted);
  // The next client gets the number of the one that went: it begins at zero.
  auto next = runtime.attach();
  const RayletStats now = runtime.raylet->stats();
  ASSERT_NE(find(now, next->endpoint()), nullptr);
  EXPECT_EQ(of(*find(now, next->endpoint()), Count::kTasksSubmitted), 0u);
  EXPECT_EQ(sum(now, EndpointKind::kDriver, Count::kTasksSubmitted), submitted);
}

TEST(Counters, MemoryIsCountedAsNewOrUsedAgain) {
  TestRuntime runtime(1, 32 << 20);
  auto client = runtime.attach();
  const auto put_big = [&] {
    Result<PutBuffer> buffer = client->put_begin(4 << 20, 5000);
    ASSERT_TRUE(buffer.is_ok());
    const ObjectId id = buffer.value().id;
    ASSERT_TRUE(client->put_seal(buffer.value(), {}).is_ok());
    client->release_ref(id);
    client->gc_done();  // rings the raylet
  };
  put_big();
  const RayletStats first = runtime.raylet->stats();
  EXPECT_GE(first.pages_fresh_bytes, uint64_t{4} << 20);
  for (int i = 0; i < 5; ++i) {
    put_big();
    runtime.raylet->stats();  // takes the release
  }
  const RayletStats stats = runtime.raylet->stats();
  EXPECT_GE(stats.pages_reused_bytes, first.pages_reused_bytes + (uint64_t{4} << 20));
  EXPECT_GE(stats.extents_granted, 6u);
  const ProcessStats* driver = find(stats, client->endpoint());
  ASSERT_NE(driver, nullptr);
  EXPECT_EQ(of(*driver, Count::kPuts), 6u);
  EXPECT_EQ(of(*driver, Count::kPutBytes), 6u * (4 << 20));
  EXPECT_GE(of(*driver, Count::kExtentRequests), 6u);
  EXPECT_GT(of(*driver, Count::kPagesReusedBytes), 0u);
  // Small values share granules: one exchange for many.
  std::vector<ObjectId> small;
  for (int i = 0; i < 100; ++i) {
    Result<PutBuffer> buffer = client->put_begin(1000, 5000);
    ASSERT_TRUE(buffer.is_ok());
    ASSERT_TRUE(client->put_seal(buffer.value(), {}).is_ok());
    small.push_back(buffer.value().id);
  }
  const RayletStats after = runtime.raylet->stats();
  EXPECT_GE(after.slabs, 1u);
  EXPECT_GE(after.slab_slots_used, 100u);
  EXPECT_GE(after.slab_slots, after.slab_slots_used);
  EXPECT_EQ(of(*find(after, client->endpoint()), Count::kSlabGranules), 1u);
  EXPECT_EQ(of(*find(after, client->endpoint()), Count::kExtentRequests),
            of(*driver, Count::kExtentRequests) + 1);
}

TEST(Counters, RecordsThatWaitInARingAreSeenFromOutside) {
  TestRuntime runtime;
  auto client = runtime.attach();
  auto idle = runtime.attach();  // polls nothing: what is sent to it stays
  std::vector<PutBuffer> open;
  for (int i = 0; i < 10; ++i) {
    open.push_back(client->put_begin(100, 5000).value());
    ASSERT_TRUE(idle->add_ref(open.back().id));
    EXPECT_EQ(idle->subscribe(open.back().id), ObjectStatus::kPending);
  }
  idle->flush();
  runtime.raylet->stats();  // takes the subscriptions
  for (PutBuffer& buffer : open) ASSERT_TRUE(client->put_seal(buffer, {}).is_ok());
  client->flush();
  EXPECT_TRUE(eventually([&] {
    const RayletStats stats = runtime.raylet->stats();
    const ProcessStats* one = find(stats, idle->endpoint());
    return one != nullptr && one->ring_depth == 10 && one->deepest_ring == 10 && one->rings >= 1;
  }));
}

TEST(Counters, HoldersOfAnObjectAreSeenFromOutside) {
  TestRuntime runtime;
  auto client = runtime.attach();
  auto other = runtime.attach();
  const ObjectId id = client->put(value_of(std::string(100'000, 'x')), {}).value();
  ASSERT_TRUE(other->add_ref(id));
  ASSERT_TRUE(other->pin(id).is_ok());
  std::map<uint32_t, uint32_t> what;  // by endpoint
  const std::vector<uint8_t> rows = other->observe(4);
  for (size_t at = 0; at + 160 <= rows.size(); at += 160) {
    ObjectId found;
    uint32_t words[3];
    std::memcpy(&found, &rows[at], sizeof found);
    std::memcpy(words, &rows[at + 16], sizeof words);
    if (found == id) what[words[0]] |= words[2];
    EXPECT_EQ(words[1], static_cast<uint32_t>(getpid()));
  }
  EXPECT_EQ(what, (std::map<uint32_t, uint32_t>{{client->endpoint(), 1}, {other->endpoint(), 3}}));
  other->unpin(id);
}

}  // namespace
}  // namespace polyray

int main(int argc, char** argv) {
  return polyray::testing::tests_or_worker(argc, argv);
}
