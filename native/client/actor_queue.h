// SPDX-License-Identifier: Apache-2.0
// The calls of this client to one actor, in submission order. Pure: every effect goes through ActorPort.
//
// phases: kUnknown/kPending/kRestarting hold calls, kAlive sends them, kDead fails them.
// At the death of the peer: unclaimed calls are sent again in order to the next incarnation; claimed ones first of all
// when they have task retries left, else they fail with what the control service says next (unavailable or died).
// Invariants:
//  1. Calls reach one incarnation in submission order; a call whose arguments are not sealed holds all later ones back,
//     unless it is unordered: then others overtake it.
//  2. A call is queued, overtaken, in flight, or doomed (claimed by a dead incarnation, waiting for the verdict).
//  3. While calls go out, everything before `next_` is overtaken: unordered, and waiting for its arguments. So a call is
//     looked at once when it is submitted and once when its arguments are there, however many wait beside it.
// Thread rules: one thread at a time.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "client/call_list.h"
#include "client/client.h"

namespace polyray {

// CallArguments::flags, for this side only: later calls may overtake the call while it waits for its arguments.
inline constexpr uint16_t kCallUnordered = 8;

enum class ActorFailure { kUnavailable, kDied };

class ActorPort {
 public:
  virtual ~ActorPort() = default;
  virtual bool actor_ready(CallSlot call) = 0;  // arguments sealed
  // False: the peer is gone (peer_gone will follow).
  virtual bool actor_send(CallSlot call, uint64_t peer, uint32_t incarnation) = 0;
  // What became of a call sent to a peer that died.
  enum class Fate { kDone, kUnclaimed, kClaimed };
  virtual Fate actor_fate(CallSlot call) = 0;
  // Takes one task retry; false when none is left. default_retries: the actor's maxTaskRetries.
  virtual bool actor_take_retry(CallSlot call, int32_t default_retries) = 0;
  virtual void actor_finish(CallSlot call) = 0;                      // every return is sealed
  virtual void actor_fail(CallSlot call, ActorFailure failure) = 0;  // settle with an error
  virtual uint64_t actor_seq(CallSlot call) = 0;
};

class ActorQueue {
 public:
  ActorQueue(CallLinks& links, ActorPort& port) : links_(links), port_(port) {}

  void submit(CallSlot call, bool ordered = true);
  // The arguments of a submitted call are sealed now.
  void arguments_ready(CallSlot call);
  void set_state(ActorPhase phase, uint64_t peer, uint32_t incarnation, int32_t max_task_retries);
  void peer_gone(uint64_t peer);
  // kReturned: the actor refused it (leaving or another incarnation); it waits for news. kRetry: sent again at once.
  void replied(CallSlot call, ReplyStatus status);
  // Takes a call out: queued, or in flight and retracted by the caller.
  void remove(CallSlot call);
  ActorPhase phase() const { return phase_; }
  uint64_t peer() const { return peer_; }
  uint32_t incarnation() const { return incarnation_; }
  int32_t max_task_retries() const { return max_task_retries_; }
  size_t pending() const { return queue_.size() + in_flight_.size() + doomed_.size(); }

 private:
  static constexpr uint32_t kOrdered = 0, kUnordered = 1;  // CallLinks::Link::group
  static constexpr uint32_t kQueued = 1, kOvertaken = 2, kInFlight = 3, kDoomed = 4;
  bool sends() const { return phase_ == ActorPhase::kAlive && !held_; }
  void pump();
  void begin_again();
  void take_queued(CallSlot call);
  void send_queued(CallSlot call);
  bool send(CallSlot call);  // false: the peer is gone
  void settle_doomed(ActorFailure failure);
  void queue_in_order(CallSlot call);
  void fail_all_queued();

  CallLinks& links_;
  ActorPort& port_;
  CallList queue_;             // in submission order
  CallSlot next_ = kNoCall;    // in queue_: the next to look at, while calls go out
  CallSlot placed_ = kNoCall;  // in queue_: where the last returned call was put back
  CallList in_flight_;
  CallList doomed_;
  ActorPhase phase_ = ActorPhase::kUnknown;
  uint64_t peer_ = 0;
  uint64_t gone_peer_ = 0;  // news that it lives are old news
  uint32_t incarnation_ = 0;
  int32_t max_task_retries_ = 0;
  bool held_ = false;  // the peer refused calls or is gone: wait for the next state
};

}  // namespace polyray
