// SPDX-License-Identifier: Apache-2.0
#include "client/actor_queue.h"

namespace polyray {

void ActorQueue::submit(CallSlot call, bool ordered) {
  links_[call].owner = kQueued;
  links_[call].group = ordered ? kOrdered : kUnordered;
  queue_.push_back(links_, call);
  if (next_ == kNoCall) next_ = call;
  if (phase_ == ActorPhase::kDead) fail_all_queued();
  if (next_ == call) pump();
}

void ActorQueue::arguments_ready(CallSlot call) {
  if (sends() && links_[call].owner == kOvertaken) {
    send_queued(call);
  } else if (next_ == call) {
    pump();
  }
}

void ActorQueue::pump() {
  while (sends() && next_ != kNoCall) {
    const CallSlot call = next_;
    if (port_.actor_ready(call)) {
      send_queued(call);
    } else if (links_[call].group == kUnordered) {
      links_[call].owner = kOvertaken;
      next_ = links_[call].next;
    } else {
      break;
    }
  }
}

// Calls go out again: all that wait are looked at, in order.
void ActorQueue::begin_again() {
  held_ = false;
  next_ = queue_.head();
  for (CallSlot call = next_; call != kNoCall; call = links_[call].next)
    links_[call].owner = kQueued;
}

void ActorQueue::take_queued(CallSlot call) {
  if (next_ == call) next_ = links_[call].next;
  if (placed_ == call) placed_ = kNoCall;
  queue_.remove(links_, call);
}

void ActorQueue::send_queued(CallSlot call) {
  const CallSlot after = links_[call].next;
  take_queued(call);
  if (!send(call)) queue_.insert_before(links_, call, after);
}

bool ActorQueue::send(CallSlot call) {
  held_ = !port_.actor_send(call, peer_, incarnation_);
  if (held_) return false;
  links_[call].owner = kInFlight;
  in_flight_.push_back(links_, call);
  return true;
}

void ActorQueue::set_state(ActorPhase phase, uint64_t peer, uint32_t incarnation,
                           int32_t max_task_retries) {
  if (phase_ == ActorPhase::kDead) return;  // for good
  // Pending comes before everything else: an answer that was written before the news that overtook it.
  if (phase == ActorPhase::kPending && phase_ != ActorPhase::kUnknown) return;
  if (phase == ActorPhase::kAlive && phase_ == ActorPhase::kAlive && incarnation == incarnation_ &&
      peer == peer_) {
    max_task_retries_ = max_task_retries;
    return;  // the same news again: a held queue waits for other news
  }
  if (phase == ActorPhase::kAlive && (incarnation < incarnation_ || peer == gone_peer_))
    return;  // old news
  // Another incarnation lives: what was in flight at the old one is decided now.
  if (phase == ActorPhase::kAlive && peer_ != 0 && peer_ != peer) peer_gone(peer_);
  phase_ = phase;
  max_task_retries_ = max_task_retries;
  if (phase == ActorPhase::kAlive) {
    peer_ = peer;
    incarnation_ = incarnation;
    begin_again();
  }
  if (phase == ActorPhase::kDead) {
    settle_doomed(ActorFailure::kDied);
    fail_all_queued();
  } else if (phase == ActorPhase::kRestarting || phase == ActorPhase::kAlive) {
    settle_doomed(ActorFailure::kUnavailable);
  }
  pump();
}

void ActorQueue::peer_gone(uint64_t peer) {
  if (peer == 0 || peer != peer_) return;
  held_ = true;
  peer_ = 0;
  gone_peer_ = peer;
  const CallSlot before = queue_.head();  // resent calls go in front of it, in order
  CallSlot first_unclaimed = kNoCall;
  while (!in_flight_.empty()) {
    const CallSlot call = in_flight_.head();
    in_flight_.remove(links_, call);
    const auto fate = port_.actor_fate(call);
    if (fate == ActorPort::Fate::kDone) {
      port_.actor_finish(call);
      continue;
    }
    const bool claimed = fate == ActorPort::Fate::kClaimed;
    if (phase_ == ActorPhase::kDead && claimed) {
      port_.actor_fail(call, ActorFailure::kDied);
      continue;
    }
    if (claimed && !port_.actor_take_retry(call, max_task_retries_)) {
      links_[call].owner = kDoomed;
      doomed_.push_back(links_, call);
      continue;
    }
    links_[call].owner = kQueued;
    if (claimed && first_unclaimed != kNoCall) {
      queue_.insert_before(links_, call, first_unclaimed);
    } else {
      queue_.insert_before(links_, call, before);
      if (!claimed && first_unclaimed == kNoCall) first_unclaimed = call;
    }
  }
  if (phase_ == ActorPhase::kDead) {
    settle_doomed(ActorFailure::kDied);
    fail_all_queued();
  } else if (phase_ == ActorPhase::kRestarting) {
    settle_doomed(ActorFailure::kUnavailable);
  } else if (phase_ == ActorPhase::kAlive) {
    phase_ = ActorPhase::
        kRestarting;  // until the control service says more; the doomed wait for its verdict
  }
}

void ActorQueue::replied(CallSlot call, ReplyStatus status) {
  in_flight_.remove(links_, call);
  if (status != ReplyStatus::kReturned && status != ReplyStatus::kRetry) return;
  if (status == ReplyStatus::kReturned) held_ = true;
  // Nothing that is queued may go before a call that went out already.
  if (sends() && send(call)) return;
  queue_in_order(call);
  if (phase_ == ActorPhase::kDead) fail_all_queued();
}

void ActorQueue::remove(CallSlot call) {
  switch (links_[call].owner) {
    case kInFlight:
      return in_flight_.remove(links_, call);
    case kDoomed:
      return doomed_.remove(links_, call);
    default:
      take_queued(call);
      pump();
  }
}

void ActorQueue::settle_doomed(ActorFailure failure) {
  while (!doomed_.empty()) {
    const CallSlot call = doomed_.head();
    doomed_.remove(links_, call);
    port_.actor_fail(call, failure);
  }
}

void ActorQueue::fail_all_queued() {
  while (!queue_.empty()) {
    const CallSlot call = queue_.head();
    take_queued(call);
    port_.actor_fail(call, ActorFailure::kDied);
  }
}

// By submission. Those that come back after each other stand beside each other: the search begins at the last one.
void ActorQueue::queue_in_order(CallSlot call) {
  links_[call].owner = kQueued;
  const uint64_t seq = port_.actor_seq(call);
  CallSlot before = placed_ != kNoCall ? placed_ : queue_.head();
  while (before != kNoCall && port_.actor_seq(before) < seq) before = links_[before].next;
  for (;;) {
    const CallSlot earlier = before == kNoCall ? queue_.tail() : links_[before].prev;
    if (earlier == kNoCall || port_.actor_seq(earlier) < seq) break;
    before = earlier;
  }
  queue_.insert_before(links_, call, before);
  placed_ = call;
}

}  // namespace polyray
