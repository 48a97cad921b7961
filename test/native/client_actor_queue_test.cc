// SPDX-License-Identifier: Apache-2.0
// Goal: the queue of calls to one actor keeps their order over deaths, refusals and unready arguments, and looks at each
// call a fixed number of times.
// Method: a port that records every effect, hand-made cases, and random runs against a model that walks everything.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "client/actor_queue.h"

namespace polyray {
namespace {

struct FakeActorPort : ActorPort {
  std::set<CallSlot> unready;
  std::set<uint64_t> dead;  // peers that take nothing
  size_t looks = 0;
  std::vector<std::pair<CallSlot, uint64_t>> sent;
  std::map<CallSlot, Fate> fates;
  std::map<CallSlot, int> retries;
  std::vector<CallSlot> finished;
  std::vector<std::pair<CallSlot, ActorFailure>> failed;

  bool actor_ready(CallSlot call) override {
    ++looks;
    return !unready.contains(call);
  }
  bool actor_send(CallSlot call, uint64_t peer, uint32_t) override {
    if (dead.contains(peer)) return false;
    sent.emplace_back(call, peer);
    return true;
  }
  Fate actor_fate(CallSlot call) override {
    return fates.contains(call) ? fates[call] : Fate::kUnclaimed;
  }
  bool actor_take_retry(CallSlot call, int32_t) override { return retries[call]-- > 0; }
  void actor_finish(CallSlot call) override { finished.push_back(call); }
  void actor_fail(CallSlot call, ActorFailure failure) override {
    failed.emplace_back(call, failure);
  }
  uint64_t actor_seq(CallSlot call) override {
    ++looks;
    return call + 1;
  }
  std::vector<CallSlot> sent_to(uint64_t peer) const {
    std::vector<CallSlot> calls;
    for (const auto& [call, to] : sent)
      if (to == peer) calls.push_back(call);
    return calls;
  }
};

struct ActorQueueTest : ::testing::Test {
  CallLinks links;
  FakeActorPort port;
  ActorQueue queue{links, port};
};

TEST_F(ActorQueueTest, CallsWaitUntilTheActorLivesAndThenGoInOrder) {
  for (CallSlot call = 0; call < 3; ++call) queue.submit(call);
  EXPECT_TRUE(port.sent.empty());
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{0, 1, 2}));
}

TEST_F(ActorQueueTest, ACallWithUnreadyArgumentsHoldsTheLaterOnesBack) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  port.unready.insert(1);
  for (CallSlot call = 0; call < 3; ++call) queue.submit(call);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{0}));
  port.unready.clear();
  queue.arguments_ready(1);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{0, 1, 2}));
}

TEST_F(ActorQueueTest, UnorderedCallsOvertakeThoseThatWaitForArguments) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  port.unready = {0, 2};
  for (CallSlot call = 0; call < 4; ++call) queue.submit(call, false);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{1, 3}));
  port.unready = {0};
  queue.arguments_ready(2);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{1, 3, 2}));
  port.unready.clear();
  queue.arguments_ready(0);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{1, 3, 2, 0}));
}

TEST_F(ActorQueueTest, AfterARestartUnclaimedCallsGoAgainInOrderAndClaimedOnesFail) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  for (CallSlot call = 0; call < 5; ++call) queue.submit(call);
  port.fates = {{0, ActorPort::Fate::kDone}, {1, ActorPort::Fate::kClaimed}};
  queue.peer_gone(5);
  EXPECT_EQ(port.finished, (std::vector<CallSlot>{0}));
  EXPECT_TRUE(port.failed.empty()) << "whether it died or restarts is not known yet";
  queue.set_state(ActorPhase::kRestarting, 0, 1, 0);
  ASSERT_EQ(port.failed.size(), 1u);
  EXPECT_EQ(port.failed[0], std::make_pair(CallSlot{1}, ActorFailure::kUnavailable));
  queue.submit(5);
  queue.set_state(ActorPhase::kAlive, 6, 2, 0);
  EXPECT_EQ(port.sent_to(6), (std::vector<CallSlot>{2, 3, 4, 5}));
}

TEST_F(ActorQueueTest, ClaimedCallsWithRetriesAreSentAgainFirst) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 1);
  for (CallSlot call = 0; call < 4; ++call) queue.submit(call);
  // Threads: 1 was not claimed while 2 was.
  port.fates = {{0, ActorPort::Fate::kClaimed}, {2, ActorPort::Fate::kClaimed}};
  port.retries = {{0, 1}, {2, 1}};
  queue.peer_gone(5);
  queue.set_state(ActorPhase::kAlive, 6, 2, 1);
  EXPECT_EQ(port.sent_to(6), (std::vector<CallSlot>{0, 2, 1, 3}));
}

TEST_F(ActorQueueTest, TheDeathOfTheActorFailsEverything) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  for (CallSlot call = 0; call < 3; ++call) queue.submit(call);
  port.fates = {{0, ActorPort::Fate::kClaimed}};
  queue.peer_gone(5);
  queue.set_state(ActorPhase::kDead, 0, 1, 0);
  queue.submit(3);
  ASSERT_EQ(port.failed.size(), 4u);
  for (const auto& [call, failure] : port.failed) EXPECT_EQ(failure, ActorFailure::kDied);
  EXPECT_EQ(queue.pending(), 0u);
}

TEST_F(ActorQueueTest, NewsOfTheDeathMayComeBeforeTheDeathItself) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  queue.submit(0);
  port.fates = {{0, ActorPort::Fate::kClaimed}};
  queue.set_state(ActorPhase::kDead, 0, 1, 0);
  EXPECT_TRUE(port.failed.empty()) << "its result may still be in the ring";
  queue.peer_gone(5);
  ASSERT_EQ(port.failed.size(), 1u);
  EXPECT_EQ(port.failed[0].second, ActorFailure::kDied);
}

TEST_F(ActorQueueTest, OldNewsThatTheGonePeerLivesIsIgnored) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  queue.peer_gone(5);
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  queue.submit(0);
  EXPECT_TRUE(port.sent.empty());
  queue.set_state(ActorPhase::kAlive, 6, 2, 0);
  EXPECT_EQ(port.sent_to(6), (std::vector<CallSlot>{0}));
}

TEST_F(ActorQueueTest, AnAnswerOvertakenByTheNewsThatTheActorLivesIsIgnored) {
  queue.set_state(ActorPhase::kAlive, 5, 0, 0);
  queue.set_state(ActorPhase::kPending, 0, 0, 0);
  queue.submit(0);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{0}));
}

TEST_F(ActorQueueTest, CallsThatALeavingActorRefusesWaitInOrderForTheNextOne) {
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  for (CallSlot call = 0; call < 3; ++call) queue.submit(call);
  queue.replied(0, ReplyStatus::kOk);
  queue.replied(1, ReplyStatus::kReturned);
  queue.replied(2, ReplyStatus::kReturned);
  queue.submit(3);
  EXPECT_EQ(port.sent.size(), 3u);
  queue.peer_gone(5);
  queue.set_state(ActorPhase::kAlive, 6, 2, 0);
  EXPECT_EQ(port.sent_to(6), (std::vector<CallSlot>{1, 2, 3}));
}

TEST_F(ActorQueueTest, EachCallIsLookedAtOnceHoweverManyWaitForTheirArguments) {
  constexpr CallSlot kCalls = 3000;
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  std::vector<CallSlot> order;
  for (CallSlot call = 0; call < kCalls; ++call) {
    port.unready.insert(call);
    queue.submit(call, false);
    order.push_back(call);
  }
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  for (const CallSlot call : order) {
    port.unready.erase(call);
    queue.arguments_ready(call);
  }
  EXPECT_EQ(port.sent_to(5), order);
  EXPECT_LE(port.looks, 2 * kCalls);
}

TEST_F(ActorQueueTest, ThousandsOfRefusedCallsFindTheirPlacesWithoutASearch) {
  constexpr CallSlot kCalls = 3000;
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  for (CallSlot call = 0; call < kCalls; ++call) queue.submit(call);
  port.looks = 0;
  for (CallSlot call = 0; call < kCalls; ++call) queue.replied(call, ReplyStatus::kReturned);
  EXPECT_LE(port.looks, 4 * kCalls);
  queue.peer_gone(5);
  queue.set_state(ActorPhase::kAlive, 6, 2, 0);
  const std::vector<CallSlot> again = port.sent_to(6);
  ASSERT_EQ(again.size(), kCalls);
  EXPECT_TRUE(std::is_sorted(again.begin(), again.end()));
}

// What goes out, and in which order, against a model that walks all that waits at each step.
TEST_F(ActorQueueTest, RandomRunsSendWhatAModelSends) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CallLinks own_links;
    FakeActorPort world;
    ActorQueue calls(own_links, world);
    std::mt19937 random(seed);
    std::map<CallSlot, bool> waiting;  // the model: what is queued -> ordered
    std::vector<CallSlot> expected;
    std::vector<CallSlot> in_flight;  // in the order of sending
    uint64_t peer = 0;
    uint32_t incarnation = 0;
    bool sends = false;
    CallSlot next = 0;
    const auto walk = [&] {
      for (auto it = waiting.begin(); sends && it != waiting.end();) {
        const bool ready = !world.unready.contains(it->first);
        if (!ready && it->second) return;
        if (!ready) {
          ++it;
          continue;
        }
        expected.push_back(it->first);
        in_flight.push_back(it->first);
        it = waiting.erase(it);
      }
    };
    for (int step = 0; step < 1500; ++step) {
      const uint32_t dice = random() % 100;
      if (dice < 40) {
        const bool ordered = random() % 4 == 0;
        if (random() % 2 == 0) world.unready.insert(next);
        waiting[next] = ordered;
        calls.submit(next++, ordered);
      } else if (dice < 65 && !world.unready.empty()) {
        auto it = world.unready.begin();
        std::advance(it, random() % world.unready.size());
        const CallSlot call = *it;
        world.unready.erase(it);
        if (waiting.contains(call)) calls.arguments_ready(call);
      } else if (dice < 85 && !in_flight.empty()) {
        auto it = in_flight.begin();
        std::advance(it, random() % in_flight.size());
        const CallSlot call = *it;
        in_flight.erase(it);
        const uint32_t kind = random() % 12;
        const auto status = kind == 0   ? ReplyStatus::kReturned
                            : kind == 1 ? ReplyStatus::kRetry
                                        : ReplyStatus::kOk;
        if (status != ReplyStatus::kOk) waiting[call] = true;
        if (status == ReplyStatus::kReturned) sends = false;
        calls.replied(call, status);
      } else if (dice < 93 && !waiting.empty()) {
        auto it = waiting.begin();
        std::advance(it, random() % waiting.size());
        const CallSlot call = it->first;
        waiting.erase(it);
        calls.remove(call);
      } else if (dice < 95 || !sends) {
        expected.insert(expected.end(), in_flight.begin(), in_flight.end());
        calls.peer_gone(peer);
        calls.set_state(ActorPhase::kAlive, ++peer, ++incarnation, 0);
        sends = true;
      }
      walk();
      std::vector<CallSlot> sent;
      for (const auto& [call, to] : world.sent) sent.push_back(call);
      ASSERT_EQ(sent, expected) << "step " << step;
      ASSERT_EQ(calls.pending(), waiting.size() + in_flight.size());
    }
  }
}

TEST_F(ActorQueueTest, CallsThatFoundTheirPeerGoneGoToTheNextOneInOrder) {
  port.unready = {0, 2};
  queue.set_state(ActorPhase::kAlive, 5, 1, 0);
  for (CallSlot call = 0; call < 3; ++call) queue.submit(call, false);
  port.dead.insert(5);
  port.unready = {0};
  queue.arguments_ready(2);
  queue.submit(3, false);
  port.unready.clear();
  queue.arguments_ready(0);
  EXPECT_EQ(port.sent_to(5), (std::vector<CallSlot>{1}));
  queue.replied(1, ReplyStatus::kOk);
  queue.peer_gone(5);
  queue.set_state(ActorPhase::kAlive, 6, 2, 0);
  EXPECT_EQ(port.sent_to(6), (std::vector<CallSlot>{0, 2, 3}));
}

}  // namespace
}  // namespace polyray
