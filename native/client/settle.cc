// SPDX-License-Identifier: Apache-2.0
// The end of calls: sealing returns with errors, completing, losing workers, telling those who wait.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "client/core.h"
#include "store/protocols.h"

namespace polyray {

bool ClientCore::all_sealed(const PendingCall& call) {
  for (const ObjectId& id : returns_of(call)) {
    const ObjectEntry* entry = segment_->find(id);
    if (entry != nullptr &&
        entry_state(entry->state.load(std::memory_order_acquire)) == EntryState::kPending)
      return false;
  }
  return true;
}

// REQUIRES: the call is in no queue.
void ClientCore::settle(CallSlot slot, std::span<const uint8_t> envelope) {
  const PendingCall& call = calls_[slot];
  const uint32_t dead = call.peer != 0 ? static_cast<uint32_t>(call.peer) : kNoNumber;
  for (const ObjectId& id : returns_of(call)) seal_foreign(id, envelope, kEntryError, dead);
  count(Count::kGivenUp);
  if (TaskEvent* event = new_event(record_of(call), call.task, 0)) {
    event->attempt = static_cast<uint16_t>(call.attempt);
    event->end_ns = os::now_ns();
    const auto outcome = call.cancelled ? EventOutcome::kCancelled : EventOutcome::kNeverRan;
    event_tell(event->word, outcome);
  }
  complete(slot);
}

void ClientCore::settle_with(CallSlot slot, StatusCode code, const std::string& message) {
  const PendingCall& call = calls_[slot];
  const ObjectId task = call.task;
  const ObjectId actor = record_of(call).actor;
  ErrorFields fields;
  fields.code = code;
  fields.message = message;
  fields.task = &task;
  if (actor.unique != 0) fields.actor = &actor;
  fields.node_tag = node_tag_;
  settle(slot, error_envelope(fields));
}

// Every return is sealed: tells who waits, gives back what the call held.
void ClientCore::complete(CallSlot slot) {
  PendingCall& call = calls_[slot];
  CallRecord& record = record_of(call);
  for (const ObjectId& id : record_returns(record)) {
    object_ready(id, false);
    segment_->entry(id.index).supervisor_note = 0;
  }
  clear_alarm(slot);
  if (call.streaming) emit(EventKind::kStreamEnd).id = call.task;
  if (call.cancelled) {
    cancel_errors_.erase(call.task.unique);
    if (const auto reason = cancel_reasons_.find(call.task.unique);
        reason != cancel_reasons_.end()) {
      if (reason->second.unique != 0) drop_ref(reason->second);
      cancel_reasons_.erase(reason);
    }
  }
  for (const ObjectId& id : record_returns(record)) drop_ref(id);
  for (const ObjectId& id : record_refs(record)) drop_ref(id);
  if (call.holds_actor) drop_ref(actors_[call.number].id);
  if (zombies_.empty() || zombies_.find(call.record) == nullptr) slot_free(*segment_, call.record);
  call.state = PendingCall::State::kFree;
  ++call.generation;
  free_calls_.push_back(slot);
}

// --- deaths ------------------------------------------------------------------------------------------------------

// A task in flight at a worker that died; it is out of its queue. Sealed means done; unclaimed goes back uncounted.
// Ended for lack of memory means again, uncounted, if it has retries and others of its owner give way too.
void ClientCore::task_lost(CallSlot slot, uint32_t dead_endpoint, const std::string& how,
                           const MemoryEnd& memory) {
  PendingCall& call = calls_[slot];
  if (all_sealed(call)) return complete(slot);
  CallRecord& record = record_of(call);
  const bool unclaimed = claim_retract(record.claim);
  if (call.cancelled) {
    const auto error = cancel_errors_[call.task.unique];
    return settle(slot, error);
  }
  if (call.timed_out) return settle_timed_out(slot);
  const bool no_memory = !unclaimed && !memory.text.empty();
  if (no_memory && !(memory.again && (record.flags & kCallRetriable) != 0))
    return settle_with(slot, StatusCode::kOutOfMemory, memory.text);
  if (!unclaimed && !no_memory && call.retries_left == 0) {
    return settle_with(slot, StatusCode::kWorkerCrashed,
                       "[worker crashed] the worker process " + how +
                           " while it ran the task. See the last log lines; raise maxRetries if "
                           "the task may run twice.");
  }
  if (!unclaimed) {
    if (call.retries_left > 0 && !no_memory) --call.retries_left;
    ++call.attempt;
    count(Count::kRetries);
    for (const ObjectId& id : returns_of(call)) {
      uint32_t dead = dead_endpoint + 1;
      if (ObjectEntry* entry = segment_->find(id))
        entry->sealer.compare_exchange_strong(dead, 0, std::memory_order_acq_rel);
    }
  }
  record.claim.store(static_cast<uint32_t>(Claim::kNone), std::memory_order_relaxed);
  call.state = PendingCall::State::kQueued;
  call.peer = 0;
  tasks_.requeue_front(slot, call.number);
}

ActorPort::Fate ClientCore::actor_fate(CallSlot slot) {
  PendingCall& call = calls_[slot];
  if (all_sealed(call)) return Fate::kDone;
  if (!claim_retract(record_of(call).claim)) return Fate::kClaimed;
  call.state = PendingCall::State::kQueued;
  call.peer = 0;
  return Fate::kUnclaimed;
}

bool ClientCore::actor_take_retry(CallSlot slot, int32_t default_retries) {
  PendingCall& call = calls_[slot];
  if (call.cancelled || call.timed_out) return false;
  if (call.retries_left == -2) call.retries_left = default_retries;
  if (call.retries_left == 0) return false;
  if (call.retries_left > 0) --call.retries_left;
  ++call.attempt;
  count(Count::kRetries);
  for (const ObjectId& id : returns_of(call)) {
    uint32_t dead = static_cast<uint32_t>(call.peer) + 1;
    if (ObjectEntry* entry = segment_->find(id))
      entry->sealer.compare_exchange_strong(dead, 0, std::memory_order_acq_rel);
  }
  call.state = PendingCall::State::kQueued;
  call.peer = 0;
  return true;
}

void ClientCore::actor_fail(CallSlot slot, ActorFailure failure) {
  PendingCall& call = calls_[slot];
  if (call.cancelled) {
    const auto error = cancel_errors_[call.task.unique];
    return settle(slot, error);
  }
  if (call.timed_out) return settle_timed_out(slot);
  const Actor& actor = actors_[call.number];
  if (failure == ActorFailure::kDied) {
    if (!actor.error.empty()) return settle(slot, std::vector<uint8_t>(actor.error));
    return settle_with(slot, StatusCode::kActorDied,
                       "[actor died] the actor is dead and will not come back. Create it again, or "
                       "set maxRestarts.");
  }
  settle_with(slot, StatusCode::kActorUnavailable,
              "[actor unavailable] the actor's process ended while it ran the call; it is "
              "restarting. Try again, or set maxTaskRetries.");
}

// --- leases that cannot be had -----------------------------------------------------------------------------------

namespace {

// The value of "name" in a flat JSON object: a string (unescaped as far as messages need it) or the digits of a number.
std::string json_field(std::string_view json, std::string_view name) {
  const std::string quoted = "\"" + std::string(name) + "\"";
  size_t at = json.find(quoted);
  if (at == std::string_view::npos) return {};
  at = json.find(':', at + quoted.size());
  if (at == std::string_view::npos) return {};
  at = json.find_first_not_of(" \t\n\r", at + 1);
  if (at == std::string_view::npos) return {};
  std::string text;
  if (json[at] != '"') {
    while (at < json.size() && json[at] >= '0' && json[at] <= '9') text += json[at++];
    return text;
  }
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    if (json[at] != '\\' || at + 1 >= json.size()) {
      text += json[at];
      continue;
    }
    const char next = json[++at];
    text += next == 'n' ? '\n' : next == 't' ? '\t' : next == 'r' ? '\r' : next;
  }
  return text;
}

StatusCode code_of(const std::string& text) {
  uint32_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!text.empty() && parsed.ptr == text.data() + text.size() && number != 0)
    return static_cast<StatusCode>(number);
  for (uint32_t code = 1; code < 200; ++code)
    if (text == status_code_name(static_cast<StatusCode>(code)))
      return static_cast<StatusCode>(code);
  return StatusCode::kTaskUnschedulable;
}

}  // namespace

void ClientCore::class_request_failed(uint32_t class_number, std::span<const uint8_t> bytes) {
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string message = json_field(json, "message");
  if (message.empty()) message = "[task unschedulable] no worker could be had for the task.";
  std::vector<CallSlot> failed;
  class_requests_[class_number].request = 0;
  tasks_.class_failed(class_number, failed);
  for (const CallSlot slot : failed) settle_with(slot, code_of(json_field(json, "code")), message);
}

// --- those who wait ----------------------------------------------------------------------------------------------

void ClientCore::run_ready() {
  if (running_ready_) return;
  running_ready_ = true;
  std::vector<Waiter> oldest_first;
  for (size_t i = 0; i < ready_.size(); ++i) {
    const ReadyObject item = ready_[i];
    const Watch* found = watches_.find(item.id.unique);
    if (found == nullptr) continue;
    const Watch known = *found;
    watches_.erase(item.id.unique);
    const ObjectStatus now = status(item.id);
    const bool gone = item.gone || now == ObjectStatus::kGone;
    if (known.user) {
      Event& event = emit(gone ? EventKind::kObjectGone : EventKind::kObjectReady);
      event.id = item.id;
      event.status = gone ? ObjectStatus::kGone : now;
    }
    oldest_first.clear();
    for (uint32_t number = known.waiters; number != kNoNumber; number = waiters_[number].next) {
      oldest_first.push_back(waiters_[number]);
      free_waiters_.push_back(number);
    }
    std::reverse(oldest_first.begin(), oldest_first.end());
    for (const Waiter& waiter : oldest_first) {
      PendingCall& call = calls_[waiter.call];
      if (call.generation != waiter.generation || call.state == PendingCall::State::kFree) continue;
      if (gone) {
        take_out(waiter.call);
        settle_with(
            waiter.call, StatusCode::kObjectLost,
            "[object lost] an argument of the call is gone. Run the task that made it again.");
      } else if (now == ObjectStatus::kError) {
        fail_dependents(waiter.call, item.id);
      } else if (--call.waiting == 0) {
        arguments_ready(waiter.call);
      }
    }
  }
  ready_.clear();
  running_ready_ = false;
}

}  // namespace polyray
