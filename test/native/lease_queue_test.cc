// SPDX-License-Identifier: Apache-2.0
// Goal: everybody who can be served is served, in a fair order, and nothing is held twice or lost.
// Method: examples of each rule, then a seeded simulation of clients, workers and deaths with validate() after each step
// and a check at the end that everything came back.
#include "raylet/lease_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>

namespace polyray::raylet {
namespace {

using Kind = LeaseEffect::Kind;

// The queue with a node around it: starts come up at once, grants are recorded.
struct Node {
  explicit Node(uint64_t cpus = 2, LeaseLimits limits = {}, uint64_t gpus = 0)
      : words(std::make_unique<std::array<Lease, kMaxLeases>>()),
        queue(resources(cpus * 10000, gpus * 10000), workers, words->data(), limits) {}

  static ResourceSet resources(uint64_t amount, uint64_t gpus = 0) {
    ResourceSet set;
    set.set("CPU", amount);
    if (gpus > 0) set.set("GPU", gpus);
    return set;
  }
  static LeaseClass spec(uint64_t hash, uint64_t cpu = 10000, uint32_t job = 1,
                         bool dedicated = false) {
    LeaseClass out;
    out.hash = hash;
    out.pool = PoolKey{job, 1, "{}"};
    out.need = resources(cpu);
    out.dedicated = dedicated;
    return out;
  }
  // Steps; with `up`, every asked worker attaches and is ready, until nothing more happens.
  std::vector<LeaseEffect> run(bool up = true) {
    std::vector<LeaseEffect> all;
    for (;;) {
      bool started = false;
      for (LeaseEffect& effect : queue.step(++now)) {
        if (effect.kind == Kind::kStart) {
          ++starts;
          if (up) {
            const uint32_t endpoint = next_endpoint++;
            EXPECT_TRUE(workers.attach(effect.token, endpoint, 1));
            queue.worker_ready(endpoint, now);
            started = true;
          }
        }
        all.push_back(std::move(effect));
      }
      EXPECT_EQ(queue.validate(), "");
      if (!started) return all;
    }
  }
  std::vector<LeaseEffect> grants(bool up = true) {
    std::vector<LeaseEffect> out = run(up);
    std::erase_if(out, [](const LeaseEffect& effect) { return effect.kind != Kind::kGrant; });
    return out;
  }
  void set_word(uint32_t lease, LeaseState state) {
    (*words)[lease].word.store(static_cast<uint32_t>(state));
  }
  LeaseState word(uint32_t lease) {
    return static_cast<LeaseState>((*words)[lease].word.load() & kLeaseStateMask);
  }
  bool urgent(uint32_t lease) { return ((*words)[lease].word.load() & kLeaseUrgent) != 0; }
  bool yields(uint32_t lease) { return ((*words)[lease].word.load() & kLeaseYield) != 0; }

  std::unique_ptr<std::array<Lease, kMaxLeases>> words;
  WorkerTable workers;
  LeaseQueue queue;
  uint64_t now = 0;
  uint32_t next_endpoint = 100;
  int starts = 0;
};

TEST(LeaseQueue, AsManyWorkersAreStartedAndLeasedAsTheResourcesAllow) {
  Node node(2);
  node.queue.request(1, 1, Node::spec(7), 10);
  const auto grants = node.grants();
  ASSERT_EQ(grants.size(), 2u);
  EXPECT_EQ(node.starts, 2);
  EXPECT_NE(grants[0].worker, grants[1].worker);
  EXPECT_EQ(node.word(grants[0].lease), LeaseState::kActive);
  EXPECT_EQ(node.queue.waiting(), 8u);
}

TEST(LeaseQueue, StartsAreLimited) {
  Node node(64, LeaseLimits{3, 64});
  node.queue.request(1, 1, Node::spec(7), 10);
  node.run(false);
  EXPECT_EQ(node.starts, 3);
  node.run(false);
  EXPECT_EQ(node.starts, 3) << "the three are still starting";
}

TEST(LeaseQueue, AReturnedLeaseGoesToTheNextAndTheWorkerIsReused) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7), 1);
  const auto first = node.grants();
  ASSERT_EQ(first.size(), 1u);
  node.queue.request(2, 1, Node::spec(7), 1);
  EXPECT_TRUE(node.grants().empty());
  EXPECT_TRUE(node.yields(first[0].lease)) << "another client waits and has none";
  node.queue.give_back(1, first[0].lease, 5);
  const auto second = node.grants();
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].client, 2u);
  EXPECT_EQ(second[0].worker, first[0].worker);
  EXPECT_EQ(node.starts, 1);
}

TEST(LeaseQueue, TheCallerWithTheHighestPriorityIsServedFirst) {
  Node node(1);
  const auto ranked = [](uint64_t hash, int32_t priority) {
    LeaseClass spec = Node::spec(hash);
    spec.priority = priority;
    return spec;
  };
  node.queue.request(1, 1, ranked(7, 0), 2);
  const auto first = node.grants();
  ASSERT_EQ(first.size(), 1u);
  node.queue.request(2, 1, ranked(8, -3), 1);
  node.grants();
  EXPECT_FALSE(node.yields(first[0].lease)) << "a lower priority waits for its turn";
  node.queue.request(3, 1, ranked(8, 1), 1);
  node.grants();
  EXPECT_TRUE(node.urgent(first[0].lease)) << "a higher one comes before the holder's next call";
  node.queue.set_backlog(2, 1, 1, 5);  // a call of a higher priority came behind it
  node.queue.give_back(1, first[0].lease, 5);
  node.queue.set_backlog(1, 1, 2, 0);
  std::vector<uint32_t> order;
  for (auto granted = node.grants(); !granted.empty(); granted = node.grants()) {
    ASSERT_EQ(granted.size(), 1u);
    order.push_back(granted[0].client);
    node.queue.set_backlog(granted[0].client, 1, granted[0].client == 1 ? 1 : 0);
    if (order.size() == 3) break;
    node.queue.give_back(granted[0].client, granted[0].lease, 6);
  }
  EXPECT_EQ(order, (std::vector<uint32_t>{2, 3, 1}));
}

TEST(LeaseQueue, AHigherPriorityThatLacksSomethingElseDisturbsNobody) {
  Node node(2, {}, 1);
  LeaseClass high = Node::spec(8);
  high.need.set("GPU", 10000);
  high.priority = 1;
  node.queue.request(1, 1, high, 1);
  const auto runs = node.grants();
  ASSERT_EQ(runs.size(), 1u);
  node.queue.set_backlog(1, 1, 0, 1);
  node.queue.request(2, 1, high, 1);  // waits for the GPU
  node.queue.request(3, 1, Node::spec(7), 5);
  const auto low = node.grants();
  ASSERT_EQ(low.size(), 1u);
  EXPECT_EQ(low[0].client, 3u);
  EXPECT_FALSE(node.urgent(low[0].lease)) << "its CPU is not what the other lacks";
  EXPECT_FALSE(node.yields(low[0].lease));
}

TEST(LeaseQueue, LeasesThatHoldPiecesOfDevicesYieldToARequestThatFitsInSumOnly) {
  Node node(4, {}, 2);
  const auto part = [](uint64_t hash, uint64_t amount) {
    LeaseClass spec = Node::spec(hash, 0);
    spec.need.set("GPU", amount);
    return spec;
  };
  node.queue.request(1, 1, part(7, 7500), 2);
  const auto big = node.grants();
  ASSERT_EQ(big.size(), 2u);
  node.queue.request(1, 2, part(8, 5000), 1);
  EXPECT_TRUE(node.grants().empty()) << "a quarter is free on each";
  EXPECT_TRUE(node.yields(big[0].lease)) << "or nobody would hear that it became idle";
  node.queue.give_back(1, big[0].lease, 5);
  EXPECT_EQ(node.grants().size(), 1u);
}

TEST(LeaseQueue, AWholeNodeForAHigherPriorityComesFreeThoughLowerOnesAskAgain) {
  Node node(4);
  node.queue.request(1, 1, Node::spec(7), 100);
  auto low = node.grants();
  ASSERT_EQ(low.size(), 4u);
  LeaseClass high = Node::spec(8, 40000);
  high.priority = 1;
  node.queue.request(2, 1, high, 1);
  node.grants();
  // Three leases come back at once, again and again; the fourth one has a long call.
  bool held_back = false;
  for (int round = 0; round < 200 && !held_back; ++round) {
    for (size_t i = 1; i < low.size(); ++i) node.queue.give_back(1, low[i].lease, 5);
    low.resize(1);
    for (const LeaseEffect& effect : node.grants()) low.push_back(effect);
    held_back = low.size() == 1;
  }
  EXPECT_TRUE(held_back) << "lower ones are granted for ever";
  node.queue.give_back(1, low[0].lease, 5);
  const auto granted = node.grants();
  ASSERT_EQ(granted.size(), 1u);
  EXPECT_EQ(granted[0].client, 2u);
}

TEST(LeaseQueue, ALowerPriorityLooksAgainWhenTheHigherOneEndsWithoutABell) {
  Node node(1);
  LeaseClass high = Node::spec(7);
  high.priority = 5;
  node.queue.request(1, 1, high, 2);
  const auto first = node.grants();
  ASSERT_EQ(first.size(), 1u);
  node.queue.request(2, 1, Node::spec(8), 1);
  node.grants();
  EXPECT_FALSE(node.yields(first[0].lease));
  EXPECT_TRUE(node.queue.wants_poll());
}

TEST(LeaseQueue, AnIdleLeaseIsTakenForSomebodyElseButNotABusyOne) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7), 1);
  const uint32_t lease = node.grants().at(0).lease;
  node.queue.request(2, 1, Node::spec(7), 1);
  EXPECT_TRUE(node.grants().empty());
  node.set_word(lease, LeaseState::kIdle);
  EXPECT_EQ(node.queue.available().get("CPU"), 10000u);
  const auto grants = node.grants();
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(node.word(lease), LeaseState::kRevoked);
  EXPECT_NE(grants[0].lease, lease) << "the number is the holder's until it gave it back";
  node.queue.give_back(1, lease, 9);
  EXPECT_EQ(node.word(lease), LeaseState::kFree);
  EXPECT_EQ(node.queue.validate(), "");
}

TEST(LeaseQueue, ALeaseThatBecomesIdleDuringADecisionIsLookedAtAgain) {
  for (int round = 0; round < 100; ++round) {
    Node node(1);
    node.queue.request(1, 1, Node::spec(7), 1);
    const uint32_t lease = node.grants().at(0).lease;
    for (uint32_t client = 2; client < 200; ++client)  // a decision that takes a while
      node.queue.request(client, 1, Node::spec(7), 1);
    std::atomic<bool> go{false};
    // The holder as in the client: without the yield flag it may linger, and says nothing.
    std::thread holder([&] {
      while (!go) {
      }
      for (int i = 0; i < round * 500; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
      uint32_t active = static_cast<uint32_t>(LeaseState::kActive);
      (*node.words)[lease].word.compare_exchange_strong(active,
                                                        static_cast<uint32_t>(LeaseState::kIdle));
    });
    go = true;
    node.run();
    holder.join();
    if (node.word(lease) == LeaseState::kIdle) {
      EXPECT_TRUE(node.queue.wants_poll()) << "nobody would look again";
    }
    if (node.word(lease) == LeaseState::kActive) {
      EXPECT_TRUE(node.yields(lease));
    }
  }
}

TEST(LeaseQueue, AnotherEnvironmentGetsTheResourcesOfIdleLeasesAndAWorkerOfItsOwn) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7), 1);
  const auto first = node.grants();
  node.set_word(first[0].lease, LeaseState::kIdle);
  LeaseClass other = Node::spec(8);
  other.pool.key = "{\"env\":\"x\"}";
  node.queue.request(2, 1, other, 1);
  const auto grants = node.grants();
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_NE(grants[0].worker, first[0].worker);
  EXPECT_EQ(node.starts, 2);
}

TEST(LeaseQueue, JobsShareEvenlyWhateverTheirBacklog) {
  Node node(4);
  node.queue.request(1, 1, Node::spec(7, 10000, 1), 1000);
  node.queue.request(2, 1, Node::spec(8, 10000, 2), 2);
  int of_first = 0, of_second = 0;
  for (const auto& grant : node.grants()) (grant.client == 1 ? of_first : of_second)++;
  EXPECT_EQ(of_first, 2);
  EXPECT_EQ(of_second, 2);
}

TEST(LeaseQueue, ABlockedWorkerLendsItsResourcesSoNestedCallsGoOn) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7), 1);
  const auto outer = node.grants();
  node.queue.request(outer[0].worker, 1, Node::spec(7), 1);  // the worker's own task
  EXPECT_TRUE(node.grants().empty());
  node.queue.worker_blocked(outer[0].worker, true);
  const auto inner = node.grants();
  ASSERT_EQ(inner.size(), 1u);
  node.queue.worker_blocked(outer[0].worker, false);
  EXPECT_EQ(node.queue.resources().in_use().get("CPU"), 20000u) << "oversubscribed for a while";
  node.queue.give_back(outer[0].worker, inner[0].lease, 9);
  node.queue.give_back(1, outer[0].lease, 9);
  EXPECT_EQ(node.queue.validate(), "");
  EXPECT_TRUE(node.queue.resources().in_use().empty());
}

TEST(LeaseQueue, ADedicatedWorkerLeavesThePoolAndEndsWithItsLease) {
  Node node(2);
  node.queue.request(1, 1, Node::spec(7, 0, 1, true), 1);
  const auto grants = node.grants();
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(node.workers.count(WorkerState::kDedicated), 1u);
  node.queue.give_back(1, grants[0].lease, 9);
  const auto effects = node.run();
  ASSERT_EQ(effects.size(), 1u);
  EXPECT_EQ(effects[0].kind, Kind::kEndWorker);
  EXPECT_EQ(node.workers.count(WorkerState::kLeaving), 1u);
}

TEST(LeaseQueue, WhatTheNodeCanNeverDoFailsWithTheMissingResource) {
  Node node(2);
  node.queue.request(1, 4, Node::spec(7, 30000), 5);
  const auto effects = node.run();
  ASSERT_EQ(effects.size(), 2u);
  EXPECT_EQ(effects[0].kind, Kind::kInfeasible);
  EXPECT_EQ(effects[1].kind, Kind::kFail);
  EXPECT_EQ(effects[1].code, StatusCode::kTaskUnschedulable);
  EXPECT_NE(effects[1].message.find("CPU"), std::string::npos);
  EXPECT_EQ(node.queue.waiting(), 0u);
  node.queue.request(1, 5, Node::spec(7, 30000), 1);
  EXPECT_EQ(node.run().size(), 1u) << "told once, failed every time";
}

TEST(LeaseQueue, AFailedStartFailsEveryoneWhoWaitsForThatPool) {
  Node node(2);
  node.queue.request(1, 1, Node::spec(7), 1);
  node.queue.request(2, 9, Node::spec(8), 1);
  const auto effects = node.run(false);
  ASSERT_FALSE(effects.empty());
  node.queue.start_failed(effects[0].token, "{\"code\":25}");
  const auto failed = node.queue.step(9);
  ASSERT_EQ(failed.size(), 2u);
  EXPECT_EQ(failed[0].message, "{\"code\":25}");
  EXPECT_EQ(node.queue.validate(), "");
}

TEST(LeaseQueue, WorkersThatKeepDyingAtStartAreNotStartedForEver) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7), 1);
  int starts = 0;
  bool failed = false;
  for (int i = 0; i < 20 && !failed; ++i) {
    for (const LeaseEffect& effect : node.queue.step(++node.now)) {
      failed = failed || effect.kind == Kind::kFail;
      if (effect.kind != Kind::kStart) continue;
      ++starts;
      node.workers.attach(effect.token, 50 + static_cast<uint32_t>(i), 1);
      node.queue.worker_gone(effect.token, "died");
    }
  }
  EXPECT_TRUE(failed);
  EXPECT_EQ(starts, static_cast<int>(LeaseQueue::kFailedStartLimit));
}

TEST(LeaseQueue, ABigRequestIsNotPassedOverForEver) {
  Node node(2);
  node.queue.request(1, 1, Node::spec(7), 1);
  std::vector<uint32_t> held{node.grants().at(0).lease};
  node.queue.request(2, 1, Node::spec(8, 20000), 1);  // needs the whole node
  bool served = false;
  // Small requests keep one CPU busy: a new one always comes before the old one returns.
  for (uint32_t i = 0; i < 500 && !served; ++i) {
    node.queue.request(1, 10 + i, Node::spec(7), 1);
    for (const auto& grant : node.grants()) {
      if (grant.client == 2)
        served = true;
      else
        held.push_back(grant.lease);
    }
    if (held.empty()) continue;
    node.queue.give_back(1, held.front(), node.now);
    held.erase(held.begin());
    for (const auto& grant : node.grants()) {
      if (grant.client == 2)
        served = true;
      else
        held.push_back(grant.lease);
    }
  }
  EXPECT_TRUE(served);
}

TEST(LeaseQueue, ADeadHoldersLeasesComeBackExceptOnWorkersThatStillRunItsCalls) {
  Node node(2);
  node.queue.request(1, 1, Node::spec(7), 2);
  const auto grants = node.grants();
  ASSERT_EQ(grants.size(), 2u);
  node.queue.client_gone(1, {grants[0].worker}, 5);
  EXPECT_EQ(node.queue.validate(), "");
  EXPECT_EQ(node.workers.count(WorkerState::kIdle), 1u);
  node.queue.finish_adopted(grants[0].worker, 6);
  EXPECT_EQ(node.workers.count(WorkerState::kIdle), 2u);
  EXPECT_TRUE(node.queue.resources().in_use().empty());
  EXPECT_EQ(node.queue.validate(), "");
}

TEST(LeaseQueue, ALeaseOnADeadWorkerIsForgottenWhenTheHolderKnows) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7), 1);
  const auto grant = node.grants().at(0);
  node.queue.worker_gone(node.workers.by_endpoint(grant.worker)->token, "");
  EXPECT_EQ(node.word(grant.lease), LeaseState::kRevoked);
  EXPECT_EQ(node.queue.holders_of(grant.worker), std::vector<uint32_t>{1});
  node.queue.forget_gone(1, grant.worker, grant.serial);
  EXPECT_EQ(node.word(grant.lease), LeaseState::kFree);
  EXPECT_EQ(node.queue.validate(), "");
}

TEST(LeaseQueue, ALeaseReturnOfAStrangerChangesNothing) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7), 1);
  const auto grant = node.grants().at(0);
  node.queue.give_back(2, grant.lease, 5);
  node.queue.give_back(1, grant.lease + 1, 5);
  EXPECT_EQ(node.word(grant.lease), LeaseState::kActive);
  EXPECT_EQ(node.queue.validate(), "");
}

TEST(LeaseQueue, AnEndedJobWaitsForNothing) {
  Node node(1);
  node.queue.request(1, 1, Node::spec(7, 10000, 1), 3);
  ASSERT_EQ(node.grants().size(), 1u);
  node.queue.request(2, 1, Node::spec(8, 10000, 2), 1);
  node.queue.end_job(1);
  const auto effects = node.run();
  ASSERT_EQ(effects.size(), 1u);
  EXPECT_EQ(effects[0].kind, Kind::kFail);
  EXPECT_EQ(effects[0].client, 1u);
  EXPECT_FALSE(node.queue.set_backlog(1, 1, 5));
  EXPECT_EQ(node.queue.waiting(), 1u) << "the other job still waits";
}

// --- simulation ----------------------------------------------------------------------------------------------------

class LeaseSimulation : public ::testing::TestWithParam<uint32_t> {};

TEST_P(LeaseSimulation, EveryStepIsValidAndEverythingComesBack) {
  std::mt19937 random(GetParam());
  Node node(1 + random() % 6, LeaseLimits{1 + static_cast<uint32_t>(random() % 4), 16});
  struct Grant {
    uint32_t client, lease, worker;
  };
  std::vector<Grant> grants;
  std::vector<uint64_t> starting;
  std::vector<uint32_t> alive;  // worker endpoints
  uint32_t next_client = 1, next_request = 1;
  size_t served = 0;
  const auto forget = [&](uint32_t lease) {
    std::erase_if(grants, [&](const Grant& g) { return g.lease == lease; });
  };
  const auto step = [&] {
    for (const LeaseEffect& effect : node.queue.step(++node.now)) {
      if (effect.kind == Kind::kStart) starting.push_back(effect.token);
      if (effect.kind == Kind::kGrant) {
        grants.push_back({effect.client, effect.lease, effect.worker});
        ++served;
      }
      if (effect.kind == Kind::kEndWorker) {
        const uint32_t endpoint = node.workers.by_token(effect.token)->endpoint;
        node.queue.worker_gone(effect.token, "");
        std::erase(alive, endpoint);
      }
    }
    ASSERT_EQ(node.queue.validate(), "") << "seed " << GetParam();
  };
  for (int i = 0; i < 1500; ++i) {
    switch (random() % 11) {
      case 0:
      case 1:
        if (next_client < 12) ++next_client;
        node.queue.request(
            1 + random() % next_client, next_request++,
            Node::spec(random() % 5, random() % 4 * 5000, 1 + random() % 3, random() % 16 == 0),
            random() % 8);
        break;
      case 2:
      case 3:
        if (!starting.empty()) {
          const uint64_t token = starting.back();
          starting.pop_back();
          if (node.workers.by_token(token) == nullptr) break;
          const uint32_t endpoint = node.next_endpoint++;
          node.workers.attach(token, endpoint, 1);
          node.queue.worker_ready(endpoint, node.now);
          alive.push_back(endpoint);
        }
        break;
      case 4:
      case 5:
        if (!grants.empty()) {
          const Grant grant = grants[random() % grants.size()];
          node.queue.give_back(grant.client, grant.lease, node.now);
          forget(grant.lease);
        }
        break;
      case 6:
        if (!grants.empty()) {  // the holder's own flips
          const uint32_t lease = grants[random() % grants.size()].lease;
          uint32_t word = (*node.words)[lease].word.load();
          const auto state = static_cast<LeaseState>(word & kLeaseStateMask);
          if (state == LeaseState::kActive) node.set_word(lease, LeaseState::kIdle);
          if (state == LeaseState::kIdle) node.set_word(lease, LeaseState::kActive);
        }
        break;
      case 7:
        if (!alive.empty())
          node.queue.worker_blocked(alive[random() % alive.size()], random() % 2 == 0);
        break;
      case 8:
        if (!alive.empty() && random() % 4 == 0) {
          const uint32_t endpoint = alive[random() % alive.size()];
          node.queue.worker_gone(node.workers.by_endpoint(endpoint)->token, "");
          std::erase(alive, endpoint);
          for (uint32_t client = 1; client <= next_client; ++client)
            node.queue.forget_gone(client, endpoint, 1);
          std::erase_if(grants, [&](const Grant& g) { return g.worker == endpoint; });
        }
        break;
      case 9:
        if (random() % 8 == 0) {
          const uint32_t client = 1 + random() % next_client;
          std::set<uint32_t> busy;
          for (const Grant& grant : grants)
            if (grant.client == client && random() % 2 == 0) busy.insert(grant.worker);
          node.queue.client_gone(client, busy, node.now);
          std::erase_if(grants, [&](const Grant& g) { return g.client == client; });
          ASSERT_EQ(node.queue.validate(), "");
          for (const uint32_t worker : busy) node.queue.finish_adopted(worker, node.now);
        }
        break;
      default:
        node.queue.set_backlog(1 + random() % next_client, random() % next_request, random() % 5);
    }
    ASSERT_EQ(node.queue.validate(), "") << "seed " << GetParam() << " step " << i;
    step();
  }
  EXPECT_GT(served, 50u);
  for (uint32_t client = 1; client <= next_client; ++client)
    node.queue.client_gone(client, {}, node.now);
  EXPECT_EQ(node.queue.validate(), "");
  EXPECT_TRUE(node.queue.resources().in_use().empty()) << "seed " << GetParam();
  EXPECT_EQ(node.queue.waiting(), 0u);
  EXPECT_EQ(node.queue.active_leases(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LeaseSimulation, ::testing::Range(1u, 31u));

// Liveness: clients that hold a lease for some turns and give it back are all served in the end.
TEST(LeaseQueue, EveryTaskOfEveryClientIsServedInTheEnd) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    Node node(2 + seed % 3);
    std::map<std::pair<uint32_t, uint32_t>, uint32_t> left;
    for (uint32_t client = 1; client <= 4; ++client) {
      for (uint32_t request = 1; request <= 3; ++request) {
        const uint32_t tasks = 1 + random() % 30;
        left[{client, request}] = tasks;
        node.queue.request(client, request, Node::spec(request, (1 + random() % 4) * 5000, client),
                           tasks);
      }
    }
    std::vector<std::pair<uint32_t, uint32_t>> held;
    uint32_t turns = 0;
    while (
        std::any_of(left.begin(), left.end(), [](const auto& item) { return item.second > 0; })) {
      ASSERT_LT(++turns, 10000u) << "seed " << seed << ": somebody starves";
      for (const auto& grant : node.grants()) {
        left[{grant.client, grant.request}] -= 1;
        held.emplace_back(grant.client, grant.lease);
      }
      if (held.empty()) continue;
      const size_t which = random() % held.size();
      node.queue.give_back(held[which].first, held[which].second, node.now);
      held.erase(held.begin() + static_cast<ptrdiff_t>(which));
    }
  }
}

}  // namespace
}  // namespace polyray::raylet
