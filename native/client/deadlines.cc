// SPDX-License-Identifier: Apache-2.0
// Time limits of calls: the submitter settles what is late, wherever it is.
//
// The raylet is the clock (kAlarm): a client may sleep in any event loop. At its deadline a call that has not begun is
// taken back and settled; one that runs is told (kCancel with kCancelTimeout) and gets a moment to end by itself. Then a
// task loses its process, a method of an actor is given up: its caller goes on, the actor is left alone.
#include "client/core.h"

namespace polyray {

namespace {
constexpr uint64_t kTimeoutGraceMs = 500;
constexpr uint32_t kHow = kCancelTimeout | kCancelNotRecursive;  // children have deadlines too
constexpr uint64_t kLookAgainMs = 20;  // somebody is writing the result right now
}  // namespace

void ClientCore::set_alarm(CallSlot slot, uint64_t at_ms) {
  calls_[slot].alarm_ms = at_ms;
  alarms_.emplace(at_ms, slot);
  ask_alarm();
}

void ClientCore::clear_alarm(CallSlot slot) {
  PendingCall& call = calls_[slot];
  if (call.alarm_ms != 0) alarms_.erase({call.alarm_ms, slot});
  call.alarm_ms = 0;
}

// Asks the raylet to ring at the first alarm, unless it will ring before.
void ClientCore::ask_alarm() {
  if (alarms_.empty()) return;
  const uint64_t first = alarms_.begin()->first;
  if (alarm_asked_ms_ != 0 && alarm_asked_ms_ <= first) return;
  alarm_asked_ms_ = first;
  to_raylet({static_cast<uint32_t>(Rec::kAlarmRequest), 0, first, 0, 0}, true);
}

void ClientCore::on_alarm() {
  alarm_asked_ms_ = 0;
  const uint64_t now = os::now_ms();
  while (!alarms_.empty() && alarms_.begin()->first <= now) {
    const CallSlot slot = alarms_.begin()->second;
    clear_alarm(slot);
    time_up(slot);
  }
  ask_alarm();
}

void ClientCore::time_up(CallSlot slot) {
  PendingCall& call = calls_[slot];
  bool ours = call.state != PendingCall::State::kSent;
  if (!ours && claim_retract(record_of(call).claim)) {
    zombies_[call.record] = call.peer;
    ours = true;
  }
  if (ours) return give_up(slot);
  if (!call.timed_out) {
    call.timed_out = true;
    set_alarm(slot, os::now_ms() + kTimeoutGraceMs);
    tell_cancelled(calls_[slot], kHow, ControlOp::kInterrupt);
    return;
  }
  if (all_sealed(call)) return;  // its reply is on the way
  if (call.kind == CallKind::kTask) return tell_cancelled(call, kHow, ControlOp::kKill);
  for (const ObjectId& id : returns_of(call)) {
    const ObjectEntry* entry = segment_->find(id);
    if (entry != nullptr && entry->sealer.load(std::memory_order_acquire) != 0)
      return set_alarm(slot, os::now_ms() + kLookAgainMs);
  }
  zombies_[call.record] = call.peer;
  give_up(slot);
}

// Settles a call that nobody runs, or that runs on without us.
void ClientCore::give_up(CallSlot slot) {
  take_out(slot);
  calls_[slot].peer = 0;
  settle_timed_out(slot);
}

void ClientCore::settle_timed_out(CallSlot slot) {
  settle_with(slot, StatusCode::kTaskTimeout,
              "[task timeout] the call did not end within its time limit. Raise timeoutMs or make "
              "the call shorter.");
}

// A worker busy with a task does not look at its rings: its control thread does.
void ClientCore::tell_cancelled(const PendingCall& call, uint32_t how, ControlOp op, ObjectId why) {
  if (Peer* peer = find_peer(call.peer); peer != nullptr && peer->calls != nullptr) {
    peer->calls->push(
        {static_cast<uint32_t>(Rec::kCancel), how, id_word(why), why.unique, call.task.unique});
    mark_dirty(*peer, false);
  }
  if (call.kind == CallKind::kTask)
    to_raylet(
        {static_cast<uint32_t>(Rec::kControlPeer), static_cast<uint32_t>(op), 0, 0, call.peer},
        true);
}

}  // namespace polyray
