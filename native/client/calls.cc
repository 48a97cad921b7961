// SPDX-License-Identifier: Apache-2.0
// Submitting calls: records, waiting for arguments, sending, taking back, cancelling, replies.
#include <algorithm>
#include <cstring>

#include "client/core.h"

namespace polyray {

namespace {
constexpr uint32_t kMaxReturns = 1000;
Status invalid(const char* what) {
  return Status::error(StatusCode::kInvalidArgument, what);
}
}  // namespace

std::span<const ObjectId> record_returns(const CallRecord& record) {
  return {reinterpret_cast<const ObjectId*>(&record + 1), record.return_count};
}
std::span<const ObjectId> record_refs(const CallRecord& record) {
  return {reinterpret_cast<const ObjectId*>(&record + 1) + record.return_count, record.ref_count};
}

std::span<const ObjectId> ClientCore::returns_of(const PendingCall& call) {
  return record_returns(record_of(call));
}

CallSlot ClientCore::take_call_slot() {
  if (!free_calls_.empty()) {
    const CallSlot slot = free_calls_.back();
    free_calls_.pop_back();
    return slot;
  }
  calls_.emplace_back();
  return static_cast<CallSlot>(calls_.size() - 1);
}

// --- submitting --------------------------------------------------------------------------------------------------

uint32_t ClientCore::register_spec(SpecInfo info) {
  const uint32_t class_number = tasks_.class_of(info.lease.class_hash);
  const auto number = static_cast<uint32_t>(specs_.size());
  if (class_number >= class_requests_.size())
    class_requests_.resize(class_number + 1, ClassRequest{number, 0});
  specs_.push_back(std::move(info));
  spec_class_.push_back(class_number);
  return number;
}

Status ClientCore::submit_task(uint32_t spec_number, const CallArguments& arguments,
                               ObjectId* returns) {
  if (spec_number >= specs_.size()) return invalid("no such spec");
  const SpecInfo& spec = specs_[spec_number];
  const int32_t retries = arguments.max_retries == -2 ? spec.max_retries : arguments.max_retries;
  if (spec.lease.priority == 0)
    return submit(CallKind::kTask, spec.spec, spec_class_[spec_number], {}, retries, 0, 0,
                  arguments, returns);
  CallArguments ranked = arguments;
  ranked.priority = spec.lease.priority;
  return submit(CallKind::kTask, spec.spec, spec_class_[spec_number], {}, retries, 0, 0, ranked,
                returns);
}

Status ClientCore::submit_actor_call(const ObjectId& actor, const CallArguments& arguments,
                                     ObjectId* returns) {
  if (detached_) return Status::error(StatusCode::kDisconnected, "this endpoint is detached");
  uint32_t number = 0;
  actor_queue(actor, &number);
  return submit(CallKind::kActorCall, {}, number, actor, arguments.max_retries, 0, 0, arguments,
                returns);
}

Status ClientCore::submit_actor_create(uint64_t peer, const ObjectId& actor, uint32_t incarnation,
                                       uint32_t spec_number, const CallArguments& arguments,
                                       ObjectId* returns) {
  if (spec_number >= specs_.size()) return invalid("no such spec");
  return submit(CallKind::kActorCreate, specs_[spec_number].spec, kNoNumber, actor, 0, peer,
                incarnation, arguments, returns);
}

// The top-level refs of args that were put. Copied: nothing keeps those bytes in memory when the pin is over.
Status ClientCore::read_stored_args(const ObjectId& stored, std::vector<ObjectId>& top) {
  Result<ObjectView> view = pin(stored);
  if (!view.is_ok()) return view.status();
  uint32_t count = 0;
  const auto refs =
      envelope_refs({view.value().data, static_cast<size_t>(view.value().size)}, &count);
  top.assign(refs.begin(), refs.begin() + count);
  if (view.value().pinned) unpin(stored);
  return Status::ok();
}

Status ClientCore::submit(CallKind kind, const ObjectId& spec, uint32_t number,
                          const ObjectId& actor, int32_t retries, uint64_t peer,
                          uint32_t incarnation, const CallArguments& arguments, ObjectId* returns) {
  if (detached_) return Status::error(StatusCode::kDisconnected, "this endpoint is detached");
  if (arguments.stored.unique != 0 && arguments.refs.empty()) {
    std::vector<ObjectId> top;
    const Status read = read_stored_args(arguments.stored, top);
    if (!read.is_ok()) return read;
    if (!top.empty()) {
      CallArguments found = arguments;
      found.refs = top;
      found.top_refs = static_cast<uint32_t>(top.size());
      return submit(kind, spec, number, actor, retries, peer, incarnation, found, returns);
    }
  }
  if (arguments.return_count == 0 || arguments.return_count > kMaxReturns)
    return invalid("a call has 1 to 1000 returns");
  if (arguments.top_refs > arguments.refs.size()) return invalid("more top-level refs than refs");
  uint32_t made = 0;
  Status failed;
  for (; made < arguments.return_count; ++made) {
    Result<NewEntry> entry = new_entry(0);
    if (!entry.is_ok()) {
      failed = entry.status();
      break;
    }
    returns[made] = entry.value().id;
  }
  Result<uint64_t> record = failed.is_ok()
                                ? write_record(kind, spec, actor, arguments, {returns, made})
                                : Result<uint64_t>(failed);
  if (!record.is_ok()) {
    for (uint32_t i = 0; i < made; ++i) give_up_entry(returns[i]);
    return record.status();
  }
  const CallSlot slot = take_call_slot();
  PendingCall& call = calls_[slot];
  const uint32_t generation = call.generation;
  call = PendingCall{};
  call.generation = generation;
  call.task = returns[0];
  call.record = record.value();
  call.seq = ++next_seq_;
  call.peer = peer;
  call.number = number;
  call.retries_left = retries;
  call.kind = kind;
  call.streaming = (arguments.flags & kCallStreaming) != 0;
  call.state = PendingCall::State::kWaiting;
  links_[slot].priority = arguments.priority;
  CallRecord& written = record_of(call);
  written.seq = call.seq;
  written.caller_slot = slot;
  if (kind == CallKind::kTask && retries != 0) written.flags |= kCallRetriable;
  written.incarnation = incarnation;
  for (uint32_t i = 0; i < made; ++i) {
    row_.acquire(returns[i]);  // the call's own, besides the one of our caller
    segment_->entry(returns[i].index).supervisor_note = uint64_t{slot} + 1;
  }
  count(kind == CallKind::kTask ? Count::kTasksSubmitted : Count::kActorCallsSubmitted);
  if (arguments.deadline_ms != 0) set_alarm(slot, arguments.deadline_ms);
  if (kind == CallKind::kActorCall) {
    calls_[slot].holds_actor = row_.acquire(actor);
    if (arguments.top_refs > 0) start_waiting(slot, arguments.refs.first(arguments.top_refs));
    if (calls_[slot].generation == generation) {  // not failed already
      calls_[slot].state = PendingCall::State::kQueued;
      actors_[number].queue->submit(slot, (arguments.flags & kCallUnordered) == 0);
    }
  } else {
    if (arguments.top_refs > 0) start_waiting(slot, arguments.refs.first(arguments.top_refs));
    if (calls_[slot].generation == generation && calls_[slot].waiting == 0) arguments_ready(slot);
  }
  if (!ready_.empty()) run_ready();
  return Status::ok();
}

// Fills a record slot and takes this endpoint's references to the ids inside, which it holds until the call is settled.
Result<uint64_t> ClientCore::write_record(CallKind kind, const ObjectId& spec,
                                          const ObjectId& actor, const CallArguments& arguments,
                                          std::span<const ObjectId> returns) {
  std::span<const uint8_t> envelope = arguments.envelope;
  std::span<const ObjectId> refs = arguments.refs;
  uint16_t flags = arguments.flags & kCallCallerBits;
  const uint64_t fixed = sizeof(CallRecord) + returns.size_bytes() +
                         padded_method(static_cast<uint32_t>(arguments.method.size()));
  ObjectId args = arguments.stored;
  if (args.unique != 0 || envelope.size() > kMaxRecordArgs ||
      fixed + refs.size_bytes() + envelope.size() > kChunkBytes) {
    // The container counts the refs, and its envelope lists them: the record carries its id alone.
    if (args.unique == 0) {
      Result<ObjectId> stored = put(envelope, refs, 0, kPutWaitMs);
      if (!stored.is_ok()) return stored.status();
      args = stored.value();
    } else if (!row_.acquire(args)) {
      return Status::error(StatusCode::kObjectFreed,
                           "the stored arguments were released before the call");
    }
    refs = {&args, 1};
    envelope = {reinterpret_cast<const uint8_t*>(&args), sizeof(args)};
    flags |= kCallArgsInStore;
  } else {
    for (size_t i = 0; i < refs.size(); ++i) {
      if (row_.acquire(refs[i])) continue;
      for (size_t j = 0; j < i; ++j) drop_ref(refs[j]);
      return Status::error(StatusCode::kObjectFreed,
                           "a ref given as an argument was released before the call");
    }
  }
  Result<uint64_t> slot = fixed + refs.size_bytes() + envelope.size() <= kChunkBytes
                              ? records_.allocate(fixed + refs.size_bytes() + envelope.size())
                              : Result<uint64_t>(invalid("the method name is too long"));
  if (!slot.is_ok()) {
    for (const ObjectId& ref : refs) drop_ref(ref);
    return slot.status();
  }
  CallRecord& record = segment_->record(slot.value());
  record.kind = static_cast<uint16_t>(kind);
  record.flags = flags;
  record.caller = endpoint_;
  record.caller_serial = serial_;
  record.spec = spec;
  record.actor = actor;
  record.method_bytes = static_cast<uint32_t>(arguments.method.size());
  record.return_count = static_cast<uint32_t>(returns.size());
  record.ref_count = static_cast<uint32_t>(refs.size());
  record.top_ref_count = arguments.top_refs;
  record.payload_bytes =
      static_cast<uint32_t>(padded_method(record.method_bytes) + envelope.size());
  record.deadline_ms = arguments.deadline_ms;
  auto* tail = reinterpret_cast<uint8_t*>(&record + 1);
  std::memcpy(tail, returns.data(), returns.size_bytes());
  tail += returns.size_bytes();
  if (!refs.empty()) std::memcpy(tail, refs.data(), refs.size_bytes());
  tail += refs.size_bytes();
  if (!arguments.method.empty())
    std::memcpy(tail, arguments.method.data(), arguments.method.size());
  tail += padded_method(record.method_bytes);
  if (!envelope.empty()) std::memcpy(tail, envelope.data(), envelope.size());
  return slot.value();
}

// --- arguments ---------------------------------------------------------------------------------------------------

void ClientCore::start_waiting(CallSlot slot, std::span<const ObjectId> top_refs) {
  for (const ObjectId& ref : top_refs) {
    switch (watch(ref, false, slot)) {
      case ObjectStatus::kPending:
        ++calls_[slot].waiting;
        break;
      case ObjectStatus::kError:
        return fail_dependents(slot, ref);
      case ObjectStatus::kGone:
        return settle_with(
            slot, StatusCode::kObjectLost,
            "[object lost] an argument of the call is gone. Run the task that made it again.");
      default:
        break;
    }
  }
}

void ClientCore::arguments_ready(CallSlot slot) {
  PendingCall& call = calls_[slot];
  if (call.kind == CallKind::kTask) {
    call.state = PendingCall::State::kQueued;
    tasks_.enqueue(slot, call.number);
  } else if (call.kind == CallKind::kActorCall) {
    actors_[call.number].queue->arguments_ready(slot);
  } else if (!push_call(slot, call.peer, 0)) {
    settle_with(slot, StatusCode::kWorkerCrashed,
                "[worker crashed] the actor's process ended before its constructor ran.");
  }
}

// An argument is an error: the call is settled with that error and never sent.
void ClientCore::fail_dependents(CallSlot slot, const ObjectId& argument) {
  take_out(slot);
  Result<ObjectView> view = pin(argument);
  if (!view.is_ok()) return settle_with(slot, view.status().code, view.status().message);
  settle(slot, {view.value().data, static_cast<size_t>(view.value().size)});
  if (view.value().pinned) unpin(argument);
}

PendingCall* ClientCore::pending_of(const ObjectId& id, CallSlot* slot) {
  ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr || entry->supervisor.load(std::memory_order_relaxed) != endpoint_)
    return nullptr;
  const uint64_t note = entry->supervisor_note;
  if (note == 0 || note > calls_.size()) return nullptr;
  PendingCall& call = calls_[note - 1];
  if (call.state == PendingCall::State::kFree) return nullptr;
  if (call.task != id) {
    const auto returns = returns_of(call);
    if (std::find(returns.begin(), returns.end(), id) == returns.end()) return nullptr;
  }
  if (slot != nullptr) *slot = static_cast<CallSlot>(note - 1);
  return &call;
}

// --- sending and taking back -------------------------------------------------------------------------------------

bool ClientCore::push_call(CallSlot slot, uint64_t key, uint32_t lease) {
  Peer* peer = peer_for_calls(key);
  if (peer == nullptr) return false;
  PendingCall& call = calls_[slot];
  CallRecord& record = record_of(call);
  record.target = key;
  record.lease = lease;
  record.attempt = call.attempt;
  record.retries_left = call.retries_left;
  record.claim.store(static_cast<uint32_t>(Claim::kQueued), std::memory_order_release);
  call.state = PendingCall::State::kSent;
  call.peer = key;
  peer->calls->push({static_cast<uint32_t>(Rec::kCall), 0, call.record, call.seq, serial_});
  mark_dirty(*peer, false);
  return true;
}

bool ClientCore::task_send(CallSlot call, uint64_t peer, uint32_t lease) {
  count(Count::kTasksSent);
  return push_call(call, peer, lease);
}

bool ClientCore::actor_send(CallSlot slot, uint64_t peer, uint32_t incarnation) {
  PendingCall& call = calls_[slot];
  if (call.retries_left == -2) call.retries_left = actors_[call.number].queue->max_task_retries();
  record_of(call).incarnation = incarnation;
  return push_call(slot, peer, 0);
}

bool ClientCore::task_retract(CallSlot call) {
  return detach_record(call);
}

bool ClientCore::detach_record(CallSlot slot) {
  PendingCall& call = calls_[slot];
  CallRecord& old = record_of(call);
  const uint64_t bytes = sizeof(CallRecord) +
                         (uint64_t{old.return_count} + old.ref_count) * sizeof(ObjectId) +
                         old.payload_bytes;
  Result<uint64_t> copy = records_.allocate(bytes);
  if (!copy.is_ok()) return false;
  if (!claim_retract(old.claim)) {
    slot_free(*segment_, copy.value());
    return false;
  }
  CallRecord& record = segment_->record(copy.value());
  constexpr size_t kAfterClaim = sizeof(std::atomic<uint32_t>);
  std::memcpy(reinterpret_cast<uint8_t*>(&record) + kAfterClaim,
              reinterpret_cast<const uint8_t*>(&old) + kAfterClaim, bytes - kAfterClaim);
  zombies_[call.record] = call.peer;
  call.record = copy.value();
  call.peer = 0;
  call.state = PendingCall::State::kQueued;
  count(Count::kRetracted);
  return true;
}

void ClientCore::take_out(CallSlot slot) {
  PendingCall& call = calls_[slot];
  if (call.state != PendingCall::State::kQueued && call.state != PendingCall::State::kSent) return;
  if (call.kind == CallKind::kTask)
    tasks_.remove(slot);
  else if (call.kind == CallKind::kActorCall)
    actors_[call.number].queue->remove(slot);
}

bool ClientCore::cancel(const ObjectId& task, bool force, bool recursive,
                        std::span<const uint8_t> error) {
  if (detached_) return false;
  CallSlot slot = kNoCall;
  PendingCall* call = pending_of(task, &slot);
  if (call == nullptr) return false;
  std::vector<uint8_t> cancelled;
  if (error.empty()) {
    cancelled =
        error_envelope({.code = StatusCode::kTaskCancelled,
                        .message = "[task cancelled] the task was cancelled before it finished.",
                        .task = &task});
    error = cancelled;
  }
  bool queued = call->state != PendingCall::State::kSent;
  if (!queued && claim_retract(record_of(*call).claim)) {
    zombies_[call->record] = call->peer;
    queued = true;
  }
  if (queued) {
    take_out(slot);
    calls_[slot].peer = 0;
    settle(slot, error);
    run_ready();
    return true;
  }
  call->cancelled = true;
  cancel_errors_[call->task.unique].assign(error.begin(), error.end());
  const uint32_t how = (force ? kCancelForce : 0) | (recursive ? 0 : kCancelNotRecursive);
  const ObjectId why = cancel_reason(call->task, error);
  tell_cancelled(*call, how, force ? ControlOp::kKill : ControlOp::kInterrupt, why);
  flush();
  return false;
}

// The error that a cancel gives travels as an object: held here until the call is over, read by the worker.
ObjectId ClientCore::cancel_reason(const ObjectId& task, std::span<const uint8_t> error) {
  ObjectId& reason = cancel_reasons_[task.unique];
  if (reason.unique == 0) {
    const Result<ObjectId> stored = put(error, envelope_refs(error, nullptr), 0, kPutWaitMs);
    if (stored.is_ok()) reason = stored.value();
  }
  return reason;
}

bool ClientCore::is_actor_call(const ObjectId& task) {
  if (detached_) return false;
  const PendingCall* call = pending_of(task, nullptr);
  return call != nullptr && call->kind == CallKind::kActorCall;
}

uint64_t ClientCore::call_peer(const ObjectId& task) {
  if (detached_) return 0;
  const PendingCall* call = pending_of(task, nullptr);
  return call != nullptr && call->state == PendingCall::State::kSent ? call->peer : 0;
}

// --- replies -----------------------------------------------------------------------------------------------------

void ClientCore::on_reply(const RingSlot& reply, uint64_t peer) {
  if (uint64_t* owner = zombies_.empty() ? nullptr : zombies_.find(reply.b); owner != nullptr) {
    if (*owner != peer) return;
    zombies_.erase(reply.b);
    slot_free(*segment_, reply.b);
    return;
  }
  if (!segment_->valid_slot(reply.b, ChunkKind::kRecords, sizeof(CallRecord))) return;
  CallRecord& record = segment_->record(reply.b);
  const CallSlot slot = record.caller_slot;
  if (slot >= calls_.size()) return;
  PendingCall& call = calls_[slot];
  if (call.record != reply.b || call.state != PendingCall::State::kSent || call.peer != peer ||
      call.seq != reply.c)
    return;

  auto status = static_cast<ReplyStatus>(reply.a);
  const bool again =
      status == ReplyStatus::kReturned || (status == ReplyStatus::kRetry && call.retries_left != 0);
  const bool resend =
      again && !call.cancelled && !call.timed_out && call.kind != CallKind::kActorCreate;
  if (resend) {
    record.claim.store(static_cast<uint32_t>(Claim::kNone), std::memory_order_relaxed);
    call.state = PendingCall::State::kQueued;
    call.peer = 0;
    if (status == ReplyStatus::kRetry) {
      if (call.retries_left > 0) --call.retries_left;
      ++call.attempt;
      count(Count::kRetries);
    }
  } else if (again || status == ReplyStatus::kRetry) {
    status = status == ReplyStatus::kReturned ? ReplyStatus::kReturned : ReplyStatus::kError;
  }
  const uint64_t service_ns = record.service_ns;
  const uint32_t number = call.number;
  const CallKind kind = call.kind;
  if (!resend) {
    // Out of its queue first: what completes may submit more.
    if (kind == CallKind::kTask)
      tasks_.replied(slot, ReplyStatus::kOk, service_ns);
    else if (kind == CallKind::kActorCall)
      actors_[number].queue->replied(slot, ReplyStatus::kOk);
    if (all_sealed(calls_[slot])) return complete(slot);
    if (calls_[slot].cancelled) {
      const auto error = cancel_errors_[calls_[slot].task.unique];
      return settle(slot, error);
    }
    if (calls_[slot].timed_out) return settle_timed_out(slot);
    if (again)
      return settle_with(slot, StatusCode::kWorkerCrashed,
                         "[worker crashed] the process left before the call began.");
    return settle_with(slot, StatusCode::kSystem,
                       "[system] the worker ended the call without a result.");
  }
  if (kind == CallKind::kTask)
    tasks_.replied(slot, status, service_ns);
  else
    actors_[number].queue->replied(slot, status);
}

}  // namespace polyray
