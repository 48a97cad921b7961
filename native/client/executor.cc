// SPDX-License-Identifier: Apache-2.0
// Calls that run in this process: claiming them when they are handed out, results, replies, giving back, streams.
//
// A worker has at most one task handed out; the next is claimed only after its reply, so that unclaimed ones can be taken
// back. Actor calls are handed out at once, in the order of each caller.
#include <algorithm>
#include <cstring>

#include "client/core.h"

namespace polyray {

namespace {
constexpr uint32_t kScratchBytes = 64;
Status closed() {
  return Status::error(StatusCode::kClosed, "this call is over");
}
}  // namespace

void ClientCore::set_actor_identity(const ObjectId& actor, uint32_t incarnation) {
  actor_ = actor;
  incarnation_ = incarnation;
}

void ClientCore::worker_ready() {
  if (detached_) return;
  to_raylet({static_cast<uint32_t>(Rec::kWorkerReady), 0, 0, 0, 0}, true);
  flush();
}

void ClientCore::worker_exit() {
  if (detached_) return;
  leaving_ = true;
  hand_back_all();
  to_raylet({static_cast<uint32_t>(Rec::kWorkerExit), 0, 0, 0, 0}, true);
  flush();
}

// --- arriving ----------------------------------------------------------------------------------------------------

bool ClientCore::valid_record(uint64_t offset, uint32_t caller) const {
  if (!segment_->valid_record(offset)) return false;
  const CallRecord& record = segment_->record(offset);
  return record.caller == caller && record.return_count != 0 &&
         padded_method(record.method_bytes) <= record.payload_bytes;
}

void ClientCore::incoming_call(uint64_t peer, const RingSlot& slot) {
  if (!valid_record(slot.b, static_cast<uint32_t>(peer))) return;
  const CallRecord& record = segment_->record(slot.b);
  const Incoming incoming{slot.b, peer, record.seq};
  const auto kind = static_cast<CallKind>(record.kind);
  const bool wrong_actor = kind == CallKind::kActorCall &&
                           (record.actor != actor_ || record.incarnation != incarnation_);
  const bool refused = leaving_ || wrong_actor || (kind == CallKind::kTask && blocked_);
  if (refused) return hand_back(incoming);
  incoming_.push_back(incoming);
}

// Also for a record that its caller has retracted: every record gets one reply, after which its slot is free again.
void ClientCore::hand_back(const Incoming& incoming) {
  CallRecord& record = segment_->record(incoming.record);
  claim_retract(record.claim);
  send_reply(incoming.peer, incoming.record, incoming.seq, ReplyStatus::kReturned);
}

void ClientCore::hand_back_all() {
  std::deque<Incoming> all;
  all.swap(incoming_);
  for (const Incoming& incoming : all) {
    const bool task =
        static_cast<CallKind>(segment_->record(incoming.record).kind) == CallKind::kTask;
    if (task || leaving_)
      hand_back(incoming);
    else
      incoming_.push_back(incoming);
  }
}

void ClientCore::set_blocked(bool blocked) {
  if (detached_ || blocked == blocked_) return;
  blocked_ = blocked;
  if (blocked) hand_back_all();
  to_raylet({static_cast<uint32_t>(Rec::kBlocked), blocked ? 1u : 0u, 0, 0, 0}, true);
  flush();
}

// --- handing out -------------------------------------------------------------------------------------------------

bool ClientCore::can_deliver() const {
  if (incoming_.empty()) return false;
  if (running_tasks_ == 0) return true;
  return static_cast<CallKind>(segment_->record(incoming_.front().record).kind) != CallKind::kTask;
}

void ClientCore::deliver_calls(size_t limit) {
  while (limit > 0 && can_deliver()) {
    const Incoming incoming = incoming_.front();
    incoming_.pop_front();
    if (deliver(incoming)) --limit;
  }
}

bool ClientCore::deliver(const Incoming& incoming) {
  CallRecord& record = segment_->record(incoming.record);
  if (!valid_record(incoming.record, static_cast<uint32_t>(incoming.peer)) ||
      !claim_running(record.claim)) {
    send_reply(incoming.peer, incoming.record, incoming.seq,
               ReplyStatus::kReturned);  // retracted meanwhile
    return false;
  }
  uint32_t number;
  if (free_running_.empty()) {
    number = static_cast<uint32_t>(running_.size());
    running_.push_back(std::make_unique<Running>());
  } else {
    number = free_running_.back();
    free_running_.pop_back();
  }
  Running& run = *running_[number];
  run.used = true;
  ++run.generation;
  run.record = incoming.record;
  run.peer = incoming.peer;
  run.args_pinned = false;
  run.args = {};
  const auto returns = record_returns(record);
  const auto refs = record_refs(record);
  run.returns.assign(returns.begin(), returns.end());
  run.refs.assign(refs.begin(), refs.end());
  bool alive = true;
  size_t held_returns = 0, held_refs = 0;
  for (; held_returns < run.returns.size() && alive; held_returns += alive)
    alive = row_.acquire(run.returns[held_returns]);
  for (; held_refs < run.refs.size() && alive; held_refs += alive)
    alive = row_.acquire(run.refs[held_refs]);

  IncomingCall& call = run.call;
  call = IncomingCall{};
  call.handle = uint64_t{run.generation} << 32 | number;
  call.kind = static_cast<CallKind>(record.kind);
  call.flags = record.flags;
  call.caller = record.caller;
  call.spec = record.spec;
  call.task = run.returns[0];
  call.actor = record.actor;
  call.incarnation = record.incarnation;
  call.attempt = record.attempt;
  call.retries_left = record.retries_left;
  call.seq = record.seq;
  call.deadline_ms = record.deadline_ms;
  const uint8_t* payload = record_payload(record);
  call.method = {reinterpret_cast<const char*>(payload), record.method_bytes};
  const uint64_t skipped = padded_method(record.method_bytes);
  call.envelope = {payload + skipped, record.payload_bytes - static_cast<size_t>(skipped)};
  call.returns = run.returns;
  call.refs = run.refs;
  call.top_refs = std::min<uint32_t>(record.top_ref_count, static_cast<uint32_t>(run.refs.size()));
  if (alive && (record.flags & kCallArgsInStore)) {
    run.args = run.refs.empty() ? ObjectId{} : run.refs[0];
    call.args = run.args;
    Result<ObjectView> view = pin(run.args);
    alive = view.is_ok();
    if (alive) {
      run.args_pinned = view.value().pinned;
      call.envelope = {view.value().data, static_cast<size_t>(view.value().size)};
      call.refs = envelope_refs(call.envelope);  // counted by the args object, which we hold
      call.top_refs =
          std::min<uint32_t>(record.top_ref_count, static_cast<uint32_t>(call.refs.size()));
    }
  }
  if (!alive) {
    // Something that the caller should hold is gone, so the caller is: nobody waits for the result.
    run.returns.resize(held_returns);
    run.refs.resize(held_refs);
    if (call.kind == CallKind::kTask) ++running_tasks_;
    reply(call.handle, ReplyStatus::kError);
    return false;
  }
  if (call.kind == CallKind::kTask) ++running_tasks_;
  running_by_task_[call.task.unique] = call.handle;
  run.started_ns = os::now_ns();
  run.event = new_event(record, call.task, run.started_ns);
  count(Count::kCallsExecuted);
  Event& event = emit(EventKind::kCall);
  event.call = call;
  event.id = call.task;
  return true;
}

ClientCore::Running* ClientCore::running(uint64_t handle) {
  const auto number = static_cast<uint32_t>(handle);
  if (detached_ || number >= running_.size()) return nullptr;
  Running& run = *running_[number];
  return run.used && run.generation == handle >> 32 ? &run : nullptr;
}

// --- results -----------------------------------------------------------------------------------------------------

Result<PutBuffer> ClientCore::return_begin(uint64_t handle, uint32_t index, uint64_t size,
                                           uint32_t wait_ms) {
  Running* run = running(handle);
  if (run == nullptr) return closed();
  if (index >= run->returns.size())
    return Status::error(StatusCode::kInvalidArgument, "no such return");
  const ObjectId id = run->returns[index];
  if (status(id) != ObjectStatus::kPending)
    return Status::error(StatusCode::kAlreadyExists, "the result was sealed before");
  if (size > kInlineBytes) {
    Result<Memory> memory = allocate_bytes(size, wait_ms);
    if (!memory.is_ok()) return memory.status();
    return PutBuffer{id, memory.value().data, size, memory.value().offset};
  }
  if (free_scratch_.empty()) {
    scratch_.push_back(std::make_unique<uint8_t[]>(kScratchBytes));
    free_scratch_.push_back(scratch_.back().get());
  }
  uint8_t* data = free_scratch_.back();
  free_scratch_.pop_back();
  return PutBuffer{id, data, size, 0};
}

Status ClientCore::return_seal(uint64_t handle, uint32_t index, PutBuffer& buffer,
                               std::span<const ObjectId> refs, bool is_error) {
  Running* run = running(handle);
  if (run == nullptr) return closed();
  if (index >= run->returns.size() || buffer.data == nullptr || buffer.id != run->returns[index])
    return Status::error(StatusCode::kInvalidArgument, "this buffer is not of that return");
  ObjectEntry* entry = segment_->find(buffer.id);
  if (entry == nullptr || !seal_begin(entry->sealer, endpoint_ + 1)) {
    put_abort(buffer);
    return Status::error(StatusCode::kAlreadyExists, "the result was sealed before");
  }
  uint64_t capacity = 0;
  if (buffer.offset == 0) {
    std::memcpy(entry->inline_data, buffer.data, buffer.size);
    free_scratch_.push_back(buffer.data);
  } else {
    capacity = capacity_of(buffer.offset, buffer.size);
  }
  Status sealed = seal_entry(*entry, buffer.id, buffer.offset, capacity, buffer.size, refs,
                             is_error ? kEntryError : 0);
  if (!sealed.is_ok()) {
    if (buffer.offset != 0) free_bytes(buffer.offset, capacity);
    uint32_t me = endpoint_ + 1;
    entry->sealer.compare_exchange_strong(me, 0, std::memory_order_acq_rel);
  }
  buffer.data = nullptr;
  return sealed;
}

Status ClientCore::return_small(uint64_t handle, uint32_t index, std::span<const uint8_t> envelope,
                                std::span<const ObjectId> refs, bool is_error, uint32_t wait_ms) {
  Result<PutBuffer> buffer = return_begin(handle, index, envelope.size(), wait_ms);
  if (!buffer.is_ok()) return buffer.status();
  if (!envelope.empty()) std::memcpy(buffer.value().data, envelope.data(), envelope.size());
  return return_seal(handle, index, buffer.value(), refs, is_error);
}

void ClientCore::reply(uint64_t handle, ReplyStatus status) {
  Running* run = running(handle);
  if (run == nullptr) return;
  CallRecord& record = segment_->record(run->record);
  if (run->started_ns != 0) {
    const uint64_t now_ns = os::now_ns();
    record.service_ns =
        static_cast<uint32_t>(std::min<uint64_t>(now_ns - run->started_ns, 0xffffffff));
    end_event(run->event, now_ns, status);
  }
  const uint64_t offset = run->record;
  const uint64_t peer = run->peer;
  const uint64_t seq = run->call.seq;
  if (run->call.kind == CallKind::kTask) --running_tasks_;
  release_running(*run);
  record.claim.store(static_cast<uint32_t>(Claim::kDone),
                     std::memory_order_release);  // the last touch of the record
  send_reply(peer, offset, seq, status);
}

void ClientCore::release_running(Running& run) {
  if (run.args_pinned) unpin(run.args);
  if (!run.returns.empty()) running_by_task_.erase(run.returns[0].unique);
  for (const ObjectId& id : run.returns) drop_ref(id);
  for (const ObjectId& id : run.refs) drop_ref(id);
  run.used = false;
  run.started_ns = 0;
  free_running_.push_back(static_cast<uint32_t>(run.call.handle));
}

void ClientCore::send_reply(uint64_t key, uint64_t record, uint64_t seq, ReplyStatus status) {
  Peer* peer = find_peer(key);
  if (peer == nullptr || peer->gone || peer->replies == nullptr) return;
  peer->replies->push({static_cast<uint32_t>(Rec::kReply), static_cast<uint32_t>(status), record,
                       seq, peer->serial()});
  mark_dirty(*peer, true);
}

void ClientCore::on_cancel(const RingSlot& slot) {
  const uint64_t* handle = running_by_task_.find(slot.d);
  const Running* run = handle == nullptr ? nullptr : running(*handle);
  if (run == nullptr) return;  // it is over, or its record was retracted
  std::vector<uint8_t> error;
  if (slot.c != 0) {
    const ObjectId reason = id_from(slot.b, slot.c);
    if (Result<ObjectView> view = pin(reason); view.is_ok()) {
      error.assign(view.value().data, view.value().data + view.value().size);
      if (view.value().pinned) unpin(reason);
    }
  }
  Event& event = emit(EventKind::kCancel);
  event.id = run->call.task;
  event.a = slot.a;
  event.b = *handle;
  event.payload = std::move(error);
}

// --- streams -----------------------------------------------------------------------------------------------------
// The producer holds every item until the caller says that it holds it too, then it is the caller's.

Status ClientCore::stream_item(uint64_t handle, uint32_t number, const ObjectId& item) {
  Running* run = running(handle);
  if (run == nullptr) return closed();
  Peer* peer = find_peer(run->peer);
  if (peer == nullptr || peer->gone || peer->replies == nullptr)
    return Status::error(StatusCode::kDisconnected, "the caller of the stream is gone");
  if (!row_.acquire(item))
    return Status::error(StatusCode::kObjectFreed, "the item was released before it was sent");
  Stream& stream = streams_[run->call.task.unique];
  if (stream.items.empty()) stream.first = number;
  stream.peer = run->peer;
  stream.items.push_back(item);
  peer->replies->push(
      {static_cast<uint32_t>(Rec::kStreamItem), number, run->record, item.unique, id_word(item)});
  mark_dirty(*peer, true);
  return Status::ok();
}

// Items numbered below `received` are held by the caller.
void ClientCore::release_items(Stream& stream, uint32_t received) {
  size_t count = 0;
  while (count < stream.items.size() && stream.first + count < received)
    drop_ref(stream.items[count++]);
  stream.items.erase(stream.items.begin(), stream.items.begin() + static_cast<ptrdiff_t>(count));
  stream.first += static_cast<uint32_t>(count);
}

void ClientCore::on_stream_credit(const RingSlot& slot) {
  if (auto stream = streams_.find(slot.c); stream != streams_.end()) {
    release_items(stream->second, static_cast<uint32_t>(slot.d));
    if (stream->second.items.empty()) streams_.erase(stream);
  }
  const uint64_t* handle = running_by_task_.find(slot.c);
  if (handle == nullptr || slot.a == 0) return;
  Event& event = emit(EventKind::kStreamCredit);
  event.id = id_from(slot.b, slot.c);
  event.a = slot.a;
  event.b = *handle;
}

// Caller: an item of a call that was given up while it ran. The producer neither keeps it nor waits for room.
void ClientCore::let_item_go(uint64_t peer, const RingSlot& slot) {
  const uint64_t* owner = zombies_.find(slot.b);
  Peer* producer = owner != nullptr && *owner == peer ? find_peer(peer) : nullptr;
  if (producer != nullptr)
    send_stream_credit(*producer, record_returns(segment_->record(slot.b))[0], 1, slot.a + 1);
}

void ClientCore::send_stream_credit(Peer& producer, const ObjectId& task, uint32_t consumed,
                                    uint32_t received) {
  if (producer.calls == nullptr) return;
  producer.calls->push(
      {static_cast<uint32_t>(Rec::kStreamCredit), consumed, id_word(task), task.unique, received});
  mark_dirty(producer, false);
}

// Caller: takes the reference, passes each number on once, tells the producer what it holds.
void ClientCore::on_stream_item(uint64_t peer, const RingSlot& slot) {
  if (!segment_->valid_slot(slot.b, ChunkKind::kRecords, sizeof(CallRecord))) return;
  const CallSlot number = segment_->record(slot.b).caller_slot;
  if (number >= calls_.size()) return;
  PendingCall& call = calls_[number];
  if (call.record != slot.b || call.state != PendingCall::State::kSent || call.peer != peer)
    return let_item_go(peer, slot);
  const ObjectId item = id_from(slot.d, slot.c);
  const bool fresh = slot.a >= call.items_received && row_.acquire(item);
  if (fresh) {
    call.items_received = slot.a + 1;
    Event& event = emit(EventKind::kStreamItem);
    event.id = call.task;
    event.a = slot.a;
    event.id2 = item;
  }
  if (Peer* producer = find_peer(peer)) send_stream_credit(*producer, call.task, 0, slot.a + 1);
}

void ClientCore::stream_consumed(const ObjectId& task, uint32_t items) {
  if (detached_) return;
  const PendingCall* call = pending_of(task, nullptr);
  if (call == nullptr || call->state != PendingCall::State::kSent) return;
  if (Peer* producer = find_peer(call->peer))
    send_stream_credit(*producer, task, items, call->items_received);
}

}  // namespace polyray
