// SPDX-License-Identifier: Apache-2.0
// Goal: the queue of tasks keeps its promises (who gets which call, in which order, what happens at a death) under
// hand-made cases and under long random runs with validate() after every step.
// Method: a port that records every effect and plays the leases' and workers' part.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "client/flat_map.h"
#include "client/task_queue.h"

namespace polyray {
namespace {

struct FakeTaskPort : TaskPort {
  std::map<uint64_t, std::deque<CallSlot>> sent;  // by peer
  std::set<CallSlot> running;
  std::set<uint32_t> idle, revoked, yielding, urgent, returned;
  std::map<uint32_t, uint32_t> backlog;
  std::map<uint32_t, int32_t> backlog_priority;
  std::set<uint64_t> dead;
  uint64_t clock_ns = 1;
  uint64_t tick_ns = 0;  // how much later it is each time one looks
  size_t moves = 0;      // calls sent and taken back

  bool task_send(CallSlot call, uint64_t peer, uint32_t) override {
    if (dead.contains(peer)) return false;
    ++moves;
    sent[peer].push_back(call);
    return true;
  }
  bool task_retract(CallSlot call) override {
    if (running.contains(call)) return false;
    ++moves;
    for (auto& [peer, calls] : sent) std::erase(calls, call);
    return true;
  }
  bool lease_activate(uint32_t lease) override {
    return idle.erase(lease) != 0 && !revoked.contains(lease);
  }
  bool lease_idle(uint32_t lease) override {
    if (yielding.contains(lease)) return false;
    idle.insert(lease);
    return true;
  }
  LeaseYield lease_yields(uint32_t lease) override {
    if (urgent.contains(lease)) return LeaseYield::kNow;
    return yielding.contains(lease) ? LeaseYield::kSoon : LeaseYield::kNo;
  }
  void lease_return(uint32_t lease) override {
    EXPECT_TRUE(returned.insert(lease).second) << "a lease was given back twice";
  }
  void lease_backlog(uint32_t class_number, uint32_t wanted, int32_t priority) override {
    backlog[class_number] = wanted;
    backlog_priority[class_number] = priority;
  }
  uint64_t now_ns() override { return clock_ns += tick_ns; }
};

// A queue that a random run has to itself.
struct SeededRun {
  explicit SeededRun(uint32_t seed) : random(seed) {}
  CallLinks links;
  FakeTaskPort world;
  TaskQueue tasks{links, world};
  std::mt19937 random;
};

struct TaskQueueTest : ::testing::Test {
  CallLinks links;
  FakeTaskPort port;
  TaskQueue queue{links, port};
};

TEST_F(TaskQueueTest, CallsWaitForAWorkerAndAskForOne) {
  const uint32_t cls = queue.class_of(7);
  EXPECT_EQ(queue.class_of(7), cls);
  queue.enqueue(0, cls);
  EXPECT_EQ(port.backlog[cls], 1u);
  queue.granted(cls, 100, 1);
  ASSERT_EQ(port.sent[100].size(), 1u);
  EXPECT_TRUE(queue.validate());
  queue.replied(0, ReplyStatus::kOk, 1000);
  EXPECT_TRUE(port.idle.contains(1)) << "a lease lingers when there is nothing to do";
}

TEST_F(TaskQueueTest, OneCallAtATimeUntilTheClassIsKnownToBeShort) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 200; ++call) queue.enqueue(call, cls);
  EXPECT_EQ(port.sent[100].size(), 1u);
  queue.replied(0, ReplyStatus::kOk, 10'000);  // 10 us
  EXPECT_EQ(port.sent[100].size(), 1 + TaskQueue::kMaxDepth);
  EXPECT_TRUE(queue.validate());
}

TEST_F(TaskQueueTest, HigherPrioritiesGoFirstAndEqualOnesInOrder) {
  const uint32_t cls = queue.class_of(1);
  const std::vector<int32_t> priorities = {0, -1, 5, 0, 5, -1, 7};
  for (CallSlot call = 0; call < priorities.size(); ++call) {
    links[call].priority = priorities[call];
    queue.enqueue(call, cls);
    EXPECT_TRUE(queue.validate());
  }
  EXPECT_EQ(port.backlog_priority[cls], 7) << "the raylet is told of the first one's";
  queue.granted(cls, 100, 1);
  for (size_t i = 0; i < priorities.size(); ++i) {
    ASSERT_EQ(port.sent[100].size(), i + 1);
    queue.replied(port.sent[100].back(), ReplyStatus::kOk, 50'000'000);
  }
  EXPECT_EQ(port.sent[100], (std::deque<CallSlot>{6, 2, 4, 0, 3, 1, 5}));
  EXPECT_TRUE(queue.validate());
}

TEST_F(TaskQueueTest, AHigherPriorityOvertakesWhatWasSentButNotBegun) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 10; ++call) queue.enqueue(call, cls);
  queue.replied(0, ReplyStatus::kOk, 1000);  // short: the others are all in the worker's ring
  ASSERT_EQ(port.sent[100].size(), 10u);
  port.running.insert(1);
  links[20].priority = 3;
  queue.enqueue(20, cls);
  EXPECT_TRUE(queue.validate());
  EXPECT_EQ(port.sent[100], (std::deque<CallSlot>{0, 1, 20})) << "the others wait for replies";
  std::vector<CallSlot> order;
  while (!port.sent[100].empty()) {
    const CallSlot call = port.sent[100].front();
    port.sent[100].pop_front();
    if (call != 0) {
      order.push_back(call);
      queue.replied(call, ReplyStatus::kOk, 1000);
    }
    EXPECT_TRUE(queue.validate());
  }
  EXPECT_EQ(order, (std::vector<CallSlot>{1, 20, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(TaskQueueTest, AHigherPriorityOvertakesWhatWasSentToASlowClassThatItCannotJoin) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 10; ++call) queue.enqueue(call, cls);
  queue.replied(0, ReplyStatus::kOk, 1000);
  port.running.insert(1);
  for (CallSlot call = 1; call < 3; ++call) {  // the class is slow after all: one call at a time
    port.sent[100].pop_front();
    port.running.insert(call + 1);
    queue.replied(call, ReplyStatus::kOk, 1'000'000'000);
  }
  ASSERT_EQ(queue.depth(cls), 1u);
  links[20].priority = 3;
  queue.enqueue(20, cls);
  EXPECT_EQ(queue.queued(cls), 7u) << "what has not begun waits behind it";
  queue.replied(3, ReplyStatus::kOk, 1'000'000'000);
  EXPECT_EQ(port.sent[100].back(), 20u);
  EXPECT_TRUE(queue.validate());
}

// A burst of calls of a higher priority beside full pipelines: each costs about one move, not one of every lower call.
TEST_F(TaskQueueTest, ABurstOfAHigherPriorityMovesFewOfTheLowerCalls) {
  constexpr uint32_t kWorkers = 4, kLow = 2000, kHigh = 1000;
  const uint32_t cls = queue.class_of(1);
  for (uint32_t worker = 0; worker < kWorkers; ++worker)
    queue.granted(cls, 100 + worker, worker + 1);
  CallSlot next = 0;
  for (; next < kLow; ++next) queue.enqueue(next, cls);
  const auto begin_and_end = [&](uint64_t peer) {
    auto& calls = port.sent[peer];
    if (calls.empty()) return false;
    const CallSlot call = calls.front();
    calls.pop_front();
    if (!calls.empty()) port.running.insert(calls.front());
    queue.replied(call, ReplyStatus::kOk, 1000);
    return true;
  };
  for (uint32_t worker = 0; worker < kWorkers; ++worker) begin_and_end(100 + worker);
  for (uint32_t i = 0; i < kHigh; ++i, ++next) {
    links[next].priority = 1 + static_cast<int32_t>(i % 3);
    queue.enqueue(next, cls);
    if (i % 4 == 0) begin_and_end(100 + i / 4 % kWorkers);
  }
  EXPECT_TRUE(queue.validate());
  for (bool any = true; any;) {
    any = false;
    for (uint32_t worker = 0; worker < kWorkers; ++worker) any |= begin_and_end(100 + worker);
  }
  EXPECT_EQ(queue.queued(cls), 0u);
  EXPECT_LT(port.moves, 2 * (kLow + kHigh)) << "each call is sent once; few are sent again";
}

// The order against a model that knows all: a worker begins the highest priority first, equal ones in order.
TEST_F(TaskQueueTest, OneWorkerBeginsCallsInTheOrderOfAModel) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRun run(seed);
    auto& [own_links, world, tasks, random] = run;
    const uint32_t cls = tasks.class_of(1);
    std::set<std::pair<int32_t, CallSlot>> model;  // what has not begun, by priority downwards
    CallSlot next = 0;
    tasks.granted(cls, 100, 1);
    const auto begin = [&] {
      auto& calls = world.sent[100];
      if (calls.empty() || !world.running.empty()) return;
      const CallSlot call = calls.front();
      const int32_t priority = own_links[call].priority;
      ASSERT_EQ(std::make_pair(-priority, call), *model.begin());
      world.running.insert(call);
      model.erase(model.begin());
    };
    for (int step = 0; step < 4000; ++step) {
      if (random() % 100 < 45) {
        own_links[next].priority = random() % 3 == 0 ? static_cast<int32_t>(random() % 7) - 3 : 0;
        model.emplace(-own_links[next].priority, next);
        tasks.enqueue(next++, cls);
      } else if (auto& calls = world.sent[100]; !world.running.empty()) {
        const CallSlot call = calls.front();
        calls.pop_front();
        world.running.clear();
        // Now a short class, now a slow one.
        tasks.replied(call, ReplyStatus::kOk, step / 500 % 2 == 0 ? 20'000 : 3'000'000);
      }
      ASSERT_TRUE(tasks.validate());
      begin();
      if (HasFatalFailure()) return;
    }
  }
}

// Several workers: what stands unbegun at one is sorted, and nothing that is queued comes before it.
TEST_F(TaskQueueTest, NothingUnbegunIsBeforeAQueuedCallOfAHigherPriority) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRun run(seed);
    auto& [own_links, world, tasks, random] = run;
    const uint32_t cls = tasks.class_of(1);
    std::set<CallSlot> open;
    CallSlot next = 0;
    const uint32_t workers = 1 + seed % 5;
    for (uint32_t worker = 0; worker < workers; ++worker) tasks.granted(cls, 100 + worker, worker);
    for (int step = 0; step < 3000; ++step) {
      auto& calls = world.sent[100 + random() % workers];
      const uint32_t dice = random() % 100;
      if (dice < 25) {
        own_links[next].priority = static_cast<int32_t>(random() % 5);
        open.insert(next);
        tasks.enqueue(next++, cls);
      } else if (dice < 60) {
        if (!calls.empty()) world.running.insert(calls.front());
      } else if (!calls.empty() && world.running.contains(calls.front())) {
        const CallSlot call = calls.front();
        calls.pop_front();
        world.running.erase(call);
        open.erase(call);
        tasks.replied(call, ReplyStatus::kOk, random() % 400'000);
      }
      ASSERT_TRUE(tasks.validate());
      std::set<CallSlot> queued = open;
      int32_t lowest = 1000;
      for (const auto& [peer, at] : world.sent) {
        int32_t before = 1000;
        for (const CallSlot call : at) {
          queued.erase(call);
          // The first one may be on its way into the worker's hands: nobody waits for it.
          if (world.running.contains(call) || call == at.front()) continue;
          EXPECT_LE(own_links[call].priority, before);
          before = own_links[call].priority;
          lowest = std::min(lowest, before);
        }
      }
      for (const CallSlot call : queued) ASSERT_LE(own_links[call].priority, lowest);
    }
  }
}

TEST_F(TaskQueueTest, ALeaseThatAHigherPriorityWaitsForGoesBackBeforeTheNextCall) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 3; ++call) queue.enqueue(call, cls);
  port.urgent.insert(1);
  queue.replied(0, ReplyStatus::kOk, 50'000'000);
  EXPECT_TRUE(port.returned.contains(1));
  EXPECT_EQ(port.sent[100].size(), 1u);
  EXPECT_EQ(port.backlog[cls], 2u) << "it asks for another worker";
}

TEST_F(TaskQueueTest, LongCallsAreNeverQueuedBehindEachOther) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 5; ++call) queue.enqueue(call, cls);
  for (CallSlot call = 0; call < 4; ++call) {
    queue.replied(call, ReplyStatus::kOk, 50'000'000);
    EXPECT_EQ(port.sent[100].size(), call + 2u);
  }
}

TEST_F(TaskQueueTest, ADryWorkerTakesUnclaimedCallsFromABusyOne) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 20; ++call) queue.enqueue(call, cls);
  queue.replied(0, ReplyStatus::kOk, 1000);
  port.running.insert(1);  // and now this one runs for long
  queue.granted(cls, 200, 2);
  EXPECT_GE(port.sent[200].size(), 8u);
  EXPECT_TRUE(queue.validate());
  while (!port.sent[200].empty()) {
    const CallSlot call = port.sent[200].front();
    port.sent[200].pop_front();
    queue.replied(call, ReplyStatus::kOk, 1000);
    EXPECT_TRUE(queue.validate());
  }
  EXPECT_EQ(port.sent[100].back(), 1u)
      << "everything behind the long call went to the other worker";
}

TEST_F(TaskQueueTest, AWorkerThatGivesCallsBackGetsNoneUntilItsCallEnds) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 4; ++call) queue.enqueue(call, cls);
  queue.replied(0, ReplyStatus::kOk, 1000);  // 1, 2, 3 are in flight; 1 blocks
  queue.replied(2, ReplyStatus::kReturned, 0);
  queue.replied(3, ReplyStatus::kReturned, 0);
  EXPECT_EQ(queue.queued(cls), 2u);
  EXPECT_GE(port.backlog[cls], 1u);
  queue.replied(1, ReplyStatus::kOk, 1000);
  EXPECT_EQ(queue.queued(cls), 0u);
  EXPECT_TRUE(queue.validate());
}

TEST_F(TaskQueueTest, AnEmptyWorkerWhoseLeaseIsAskedBackIsNotKeptWhileCallsWait) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  queue.enqueue(0, cls);
  queue.enqueue(1, cls);
  port.yielding.insert(1);
  port.tick_ns = TaskQueue::kYieldSliceNs;  // its time is over between two looks
  queue.remove(0);
  EXPECT_TRUE(port.returned.contains(1));
  EXPECT_EQ(queue.queued(cls), 1u);
  EXPECT_EQ(port.backlog[cls], 1u) << "the call that waits asks for another worker";
  EXPECT_TRUE(queue.validate());
}

TEST_F(TaskQueueTest, AWorkerThatRefusesEverythingIsGivenBack) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  queue.enqueue(0, cls);
  queue.replied(0, ReplyStatus::kReturned, 0);
  EXPECT_TRUE(port.returned.contains(1));
  EXPECT_EQ(queue.worker_count(cls), 0u);
  EXPECT_EQ(port.backlog[cls], 1u);
  queue.granted(cls, 200, 2);
  EXPECT_EQ(port.sent[200].size(), 1u);
}

TEST_F(TaskQueueTest, ARevokedIdleLeaseIsReturnedAndAnotherIsAskedFor) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  EXPECT_TRUE(port.idle.contains(1));
  port.revoked.insert(1);
  queue.enqueue(0, cls);
  EXPECT_TRUE(port.returned.contains(1));
  EXPECT_EQ(port.backlog[cls], 1u);
  EXPECT_TRUE(queue.validate());
}

TEST_F(TaskQueueTest, ALeaseThatOthersWaitForGoesBack) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 3; ++call) queue.enqueue(call, cls);
  port.yielding.insert(1);
  queue.replied(0, ReplyStatus::kOk, 5'000'000);
  port.clock_ns += TaskQueue::kYieldSliceNs;
  queue.replied(1, ReplyStatus::kOk, 5'000'000);
  EXPECT_TRUE(port.returned.contains(1));
  EXPECT_EQ(queue.queued(cls), 1u);
  EXPECT_TRUE(queue.validate());
}

TEST_F(TaskQueueTest, ADeadWorkerHandsOutItsCallsOldestFirst) {
  const uint32_t cls = queue.class_of(1);
  queue.granted(cls, 100, 1);
  for (CallSlot call = 0; call < 5; ++call) queue.enqueue(call, cls);
  queue.replied(0, ReplyStatus::kOk, 1000);
  std::vector<CallSlot> lost;
  queue.worker_gone(100, lost);
  EXPECT_EQ(lost, (std::vector<CallSlot>{1, 2, 3, 4}));
  for (auto call = lost.rbegin(); call != lost.rend(); ++call) queue.requeue_front(*call, cls);
  queue.pump_class(cls);
  queue.granted(cls, 200, 2);
  EXPECT_EQ(port.sent[200].front(), 1u);
  EXPECT_TRUE(queue.validate());
}

TEST_F(TaskQueueTest, RandomRunsKeepTheInvariantsAndLoseNothing) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRun run(seed);
    auto& [own_links, world, tasks, random] = run;
    const uint32_t classes[2] = {tasks.class_of(1), tasks.class_of(2)};
    std::map<CallSlot, uint32_t> open;
    std::map<uint64_t, uint32_t> worker_class;
    CallSlot next = 0;
    uint32_t next_worker = 1;
    const auto in_flight_at = [&](uint64_t peer) -> std::deque<CallSlot>& {
      return world.sent[peer];
    };
    for (int step = 0; step < 3000; ++step) {
      world.clock_ns += random() % 1'000'000;
      const uint32_t dice = random() % 100;
      if (dice < 35 && next < 100'000) {
        const uint32_t cls = classes[random() % 2];
        open[next] = cls;
        tasks.enqueue(next++, cls);
      } else if (dice < 45 && worker_class.size() < 6) {
        const uint32_t cls = classes[random() % 2];
        const uint64_t peer = 1000 + next_worker;
        worker_class[peer] = cls;
        tasks.granted(cls, peer, next_worker++);
      } else if (!worker_class.empty()) {
        auto it = worker_class.begin();
        std::advance(it, random() % worker_class.size());
        const uint64_t peer = it->first;
        auto& calls = in_flight_at(peer);
        const auto lease = static_cast<uint32_t>(peer - 1000);
        if (world.returned.contains(lease)) {
          EXPECT_TRUE(calls.empty());
          worker_class.erase(it);
        } else if (dice < 85) {
          if (calls.empty()) continue;
          const CallSlot call = calls.front();
          calls.pop_front();
          world.running.erase(call);
          const uint32_t kind = random() % 20;
          const auto status = kind == 0   ? ReplyStatus::kReturned
                              : kind == 1 ? ReplyStatus::kRetry
                                          : ReplyStatus::kOk;
          if (status == ReplyStatus::kOk) open.erase(call);
          tasks.replied(call, status, random() % 3'000'000);
        } else if (dice < 90) {
          if (!calls.empty()) world.running.insert(calls.front());
        } else if (dice < 93) {
          world.yielding.insert(lease);
        } else if (dice < 95) {
          if (world.idle.contains(lease)) world.revoked.insert(lease);
        } else if (dice < 98) {
          world.dead.insert(peer);
          std::vector<CallSlot> lost;
          tasks.worker_gone(peer, lost);
          EXPECT_EQ(lost.size(), calls.size());
          for (auto call = lost.rbegin(); call != lost.rend(); ++call) {
            world.running.erase(*call);
            tasks.requeue_front(*call, open[*call]);
          }
          calls.clear();
          const uint32_t cls = it->second;
          worker_class.erase(it);
          tasks.pump_class(cls);
        } else if (!open.empty()) {  // cancel
          auto victim = open.begin();
          std::advance(victim, random() % open.size());
          const CallSlot call = victim->first;
          if (world.running.contains(call)) continue;
          if (!tasks.is_queued(call)) {
            EXPECT_TRUE(world.task_retract(call));
          }
          tasks.remove(call);
          open.erase(call);
        }
      }
      ASSERT_TRUE(tasks.validate()) << "step " << step;
    }
    // In the end everything gets done.
    world.yielding.clear();
    for (int rounds = 0; !open.empty() && rounds < 1'000'000; ++rounds) {
      bool any = false;
      for (auto& [peer, calls] : world.sent) {
        if (calls.empty()) continue;
        any = true;
        const CallSlot call = calls.front();
        calls.pop_front();
        open.erase(call);
        tasks.replied(call, ReplyStatus::kOk, 1000);
      }
      if (!any) {
        for (const uint32_t cls : classes)
          tasks.granted(cls, 1000 + next_worker, next_worker), ++next_worker;
      }
    }
    EXPECT_TRUE(open.empty());
  }
}

TEST(FlatMap, BehavesLikeAMapUnderRandomInsertsAndErases) {
  std::mt19937_64 random(42);
  FlatMap<uint32_t> map;
  std::map<uint64_t, uint32_t> model;
  for (int step = 0; step < 200'000; ++step) {
    const uint64_t key = 1 + random() % 500;
    switch (random() % 3) {
      case 0:
        map[key] = static_cast<uint32_t>(step);
        model[key] = static_cast<uint32_t>(step);
        break;
      case 1:
        EXPECT_EQ(map.erase(key), model.erase(key) != 0);
        break;
      default: {
        const uint32_t* found = map.find(key);
        const auto expected = model.find(key);
        ASSERT_EQ(found != nullptr, expected != model.end());
        if (found != nullptr) {
          ASSERT_EQ(*found, expected->second);
        }
      }
    }
    ASSERT_EQ(map.size(), model.size());
  }
}

}  // namespace
}  // namespace polyray
