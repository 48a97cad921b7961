// SPDX-License-Identifier: Apache-2.0
// What runs and lies on this node, for the state API: events of calls, calls that wait, objects, endpoints.
//
// Writing an event costs one slot of 128 bytes and no message. Reading scans the segment; only the node service reads, when
// somebody asks. Rows are little-endian, 160 bytes each:
//   tasks (1):     TaskEvent (128), u32 source (1 event, 2 call record), u32 endpoint, u32 state, u32 alive, 16 spare.
//                  Clock values are turned into CLOCK_REALTIME microseconds. state of a call record: 1 waits for
//                  arguments, 2 waits for a worker, 3 at a worker. alive 0: the process is gone.
//   objects (2):   ObjectId, u64 size, u32 state, u32 refs, u32 pins, u32 creator, u32 creator pid, u32 supervisor + 1
//   endpoints (3): u32 endpoint, kind, pid, serial, job, language, state, inbound rings in use
//   holders (4):   ObjectId, u32 endpoint, u32 pid, u32 what (1 a reference, 2 bytes in place): one row for each
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>

#include "client/core.h"

namespace polyray {

namespace {

constexpr size_t kRowBytes = 160;
constexpr size_t kMaxRows = 200'000;

uint8_t* add_row(std::vector<uint8_t>& rows) {
  rows.resize(rows.size() + kRowBytes);
  return rows.data() + rows.size() - kRowBytes;
}

void put_bytes(uint8_t* row, size_t at, const void* from, size_t bytes) {
  std::memcpy(row + at, from, bytes);
}

void put_u32(uint8_t* row, size_t at, uint32_t value) {
  put_bytes(row, at, &value, sizeof value);
}

uint64_t wall_us() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(since).count());
}

// A waiting call needs a result that is not sealed yet.
bool waits_for_arguments(const Segment& segment, const CallRecord& record) {
  const auto refs = record_refs(record);
  for (uint32_t i = 0; i < record.top_ref_count && i < refs.size(); ++i) {
    const ObjectEntry* entry = segment.find(refs[i]);
    if (entry != nullptr &&
        entry_state(entry->state.load(std::memory_order_acquire)) == EntryState::kPending)
      return true;
  }
  return false;
}

// Payloads lie in record slots too: a call record names its owner, and its first return is the owner's to settle.
bool is_call(const Segment& segment, uint64_t offset, uint32_t owner) {
  if (!segment.valid_record(offset)) return false;
  const CallRecord& record = segment.record(offset);
  if (record.caller != owner || record.kind < 1 || record.kind > 3 || record.return_count == 0)
    return false;
  const ObjectEntry* entry = segment.find(record_returns(record)[0]);
  return entry != nullptr && entry->supervisor.load(std::memory_order_relaxed) == owner &&
         entry->supervisor_note == uint64_t{record.caller_slot} + 1;
}

}  // namespace

TaskEvent* ClientCore::new_event(const CallRecord& record, const ObjectId& task,
                                 uint64_t start_ns) {
  uint64_t offset = 0;
  if (event_slots_.size() == kEventsKept) {
    uint64_t& oldest = event_slots_[next_event_++ % kEventsKept];
    if (!slot_is_used(*segment_, oldest)) {
      Result<uint64_t> slot = events_.allocate(sizeof(TaskEvent));
      if (!slot.is_ok()) return nullptr;
      oldest = slot.value();
    }
    offset = oldest;
  } else {
    Result<uint64_t> slot = events_.allocate(sizeof(TaskEvent));
    if (!slot.is_ok()) return nullptr;
    offset = slot.value();
    event_slots_.push_back(offset);
  }
  auto* event = reinterpret_cast<TaskEvent*>(segment_->at(offset));
  event->outcome.store(0, std::memory_order_relaxed);
  event->kind = record.kind;
  event->attempt = static_cast<uint16_t>(record.attempt);
  event->pid = segment_->endpoint(endpoint_).pid;
  event->job = job_;
  event->task = task;
  event->spec = record.spec;
  event->actor = record.actor;
  event->start_ns = start_ns;
  event->end_ns = 0;
  event->serial = serial_;
  const size_t length = std::min<size_t>(record.method_bytes, sizeof event->method - 1);
  if (length != 0) std::memcpy(event->method, record_payload(record), length);
  event->method[length] = 0;
  return event;
}

void ClientCore::end_event(TaskEvent*& event, uint64_t now_ns, ReplyStatus status) {
  if (status == ReplyStatus::kOk) count(Count::kCallsFinished);
  if (status == ReplyStatus::kError) count(Count::kCallsFailed);
  if (status == ReplyStatus::kRetry) count(Count::kCallsRetried);
  if (status == ReplyStatus::kCancelled) count(Count::kCallsCancelled);
  if (event == nullptr) return;
  event->end_ns = now_ns;
  EventOutcome outcome = EventOutcome::kFinished;
  if (status == ReplyStatus::kError) outcome = EventOutcome::kFailed;
  if (status == ReplyStatus::kRetry) outcome = EventOutcome::kRetried;
  if (status == ReplyStatus::kReturned) outcome = EventOutcome::kReturned;
  if (status == ReplyStatus::kCancelled) outcome = EventOutcome::kCancelled;
  event->outcome.store(static_cast<uint32_t>(outcome), std::memory_order_release);
  event = nullptr;
}

Client::Counters ClientCore::counters() const {
  const EndpointCounters& counts = *counts_;
  Counters now;
  now.calls_submitted =
      counts.get(Count::kTasksSubmitted) + counts.get(Count::kActorCallsSubmitted);
  now.calls_executed = counts.get(Count::kCallsExecuted);
  now.bells_rung = counts.get(Count::kBellsRung);
  const uint64_t records = counts.get(Count::kRecordsSent);
  now.bells_saved = records > now.bells_rung ? records - now.bells_rung : 0;
  now.puts = counts.get(Count::kPuts);
  now.put_bytes = counts.get(Count::kPutBytes);
  now.zero_copy_bytes = counts.get(Count::kZeroCopyBytes);
  now.retries = counts.get(Count::kRetries);
  now.retracted = counts.get(Count::kRetracted);
  return now;
}

std::vector<uint8_t> ClientCore::observe(uint32_t what) {
  std::vector<uint8_t> rows;
  if (detached_) return rows;
  if (what == 1) observe_tasks(rows);
  if (what == 2) observe_objects(rows);
  if (what == 3) observe_endpoints(rows);
  if (what == 4) observe_holders(rows);
  return rows;
}

void ClientCore::observe_tasks(std::vector<uint8_t>& rows) {
  const uint64_t now_ns = os::now_ns();
  const uint64_t now_us = wall_us();
  const auto to_wall = [&](uint64_t ns) -> uint64_t {
    return ns == 0 ? 0 : now_us - std::min(now_us, (now_ns - std::min(now_ns, ns)) / 1'000);
  };
  const uint64_t high = segment_->header().chunk_high.load(std::memory_order_acquire);
  const auto visit = [&](uint32_t owner, uint64_t offset, bool event) {
    if (rows.size() >= kMaxRows * kRowBytes) return;
    const bool alive = owner != kOwnerOrphan && owner != 0;
    if (!event) {
      if (!alive || !is_call(*segment_, offset, owner - 1)) return;
      const CallRecord& record = segment_->record(offset);
      const auto claim = static_cast<Claim>(record.claim.load(std::memory_order_acquire));
      if (claim == Claim::kRunning || claim == Claim::kDone) return;  // its event tells
      TaskEvent shown{};
      shown.kind = record.kind;
      shown.attempt = static_cast<uint16_t>(record.attempt);
      shown.pid = segment_->endpoint(record.caller).pid;
      shown.job = segment_->endpoint(record.caller).job;
      shown.task = record_returns(record)[0];
      shown.spec = record.spec;
      shown.actor = record.actor;
      const size_t length = std::min<size_t>(record.method_bytes, sizeof shown.method - 1);
      if (length != 0) std::memcpy(shown.method, record_payload(record), length);
      uint8_t* row = add_row(rows);
      std::memcpy(row, static_cast<const void*>(&shown), sizeof shown);
      put_u32(row, 128, 2);
      put_u32(row, 132, record.caller);
      put_u32(row, 136,
              claim == Claim::kQueued                  ? 3
              : waits_for_arguments(*segment_, record) ? 1
                                                       : 2);
      put_u32(row, 140, 1);
      return;
    }
    auto* from = reinterpret_cast<TaskEvent*>(segment_->at(offset));
    const uint32_t outcome = from->outcome.load(std::memory_order_acquire);
    if (outcome == 0 && from->start_ns == 0) return;  // being written
    uint8_t* row = add_row(rows);
    std::memcpy(row, static_cast<const void*>(from), sizeof *from);
    put_u32(row, 0, outcome);
    const uint64_t start = to_wall(from->start_ns), end = to_wall(from->end_ns);
    put_bytes(row, offsetof(TaskEvent, start_ns), &start, sizeof start);
    put_bytes(row, offsetof(TaskEvent, end_ns), &end, sizeof end);
    put_u32(row, 128, 1);
    put_u32(row, 132, alive ? owner - 1 : 0);
    put_u32(row, 140, alive ? 1 : 0);
    if (outcome != 0 || !alive) slot_free(*segment_, offset);
  };
  for (uint32_t number = 0; number < high; ++number) {
    const ChunkHeader& chunk = segment_->chunk(number);
    const uint32_t owner = chunk.owner.load(std::memory_order_acquire);
    const auto kind = static_cast<ChunkKind>(chunk.kind.load(std::memory_order_acquire));
    const bool event = kind == ChunkKind::kEvents;
    if (owner == 0 || (!event && kind != ChunkKind::kRecords)) continue;
    const uint64_t start = segment_->chunk_offset(number);
    for (uint64_t word = 0; word < 64; ++word)
      for (uint64_t bits = chunk.used[word].load(std::memory_order_acquire); bits != 0;
           bits &= bits - 1) {
        const uint64_t inside =
            (word * 64 + static_cast<uint64_t>(std::countr_zero(bits))) * chunk.slot_bytes;
        if (inside < kChunkBytes) visit(owner, start + inside, event);
      }
  }
}

void ClientCore::observe_objects(std::vector<uint8_t>& rows) {
  const uint64_t high = segment_->header().chunk_high.load(std::memory_order_acquire);
  for (uint32_t number = 0; number < high; ++number) {
    const ChunkHeader& chunk = segment_->chunk(number);
    if (chunk.owner.load(std::memory_order_acquire) == 0 ||
        chunk.kind.load(std::memory_order_acquire) != static_cast<uint32_t>(ChunkKind::kEntries))
      continue;
    const auto first = static_cast<uint32_t>(segment_->chunk_offset(number) / kEntryBytes);
    for (uint32_t i = 0; i < kEntriesPerChunk && rows.size() < kMaxRows * kRowBytes; ++i) {
      if ((chunk.used[i / 64].load(std::memory_order_acquire) >> (i % 64) & 1) == 0) continue;
      const ObjectEntry& entry = segment_->entry(first + i);
      const ObjectId id{node_tag_, first + i, entry.unique.load(std::memory_order_acquire)};
      if (id.unique == 0) continue;
      const uint64_t size = entry.size;
      uint8_t* row = add_row(rows);
      put_bytes(row, 0, &id, sizeof id);
      put_bytes(row, 16, &size, sizeof size);
      put_u32(row, 24, entry.state.load(std::memory_order_acquire));
      put_u32(row, 28, entry.refs.load(std::memory_order_relaxed) & ~kRefsClosed);
      put_u32(row, 32, entry.pins.load(std::memory_order_relaxed) & ~kPinsClosed);
      put_u32(row, 36, entry.creator);
      const bool known = entry.creator < kMaxEndpoints;
      put_u32(row, 40, known ? segment_->endpoint(entry.creator).pid : 0);
      put_u32(row, 44, entry.supervisor.load(std::memory_order_relaxed) + 1);
    }
  }
}

void ClientCore::observe_endpoints(std::vector<uint8_t>& rows) {
  // Low numbers are used first; looking at all would make pages of the unused ones.
  uint32_t unused = 0;
  for (uint32_t number = 0; number < kMaxEndpoints && unused < 32; ++number) {
    const Endpoint& endpoint = segment_->endpoint(number);
    const uint32_t state = endpoint.state.load(std::memory_order_acquire);
    unused = state == 0 ? unused + 1 : 0;
    if (state != static_cast<uint32_t>(EndpointState::kAttached)) continue;
    uint8_t* row = add_row(rows);
    put_u32(row, 0, number);
    put_u32(row, 4, endpoint.kind);
    put_u32(row, 8, endpoint.pid);
    put_u32(row, 12, endpoint.serial);
    put_u32(row, 16, endpoint.job);
    put_u32(row, 20, endpoint.language);
    put_u32(row, 24, state);
    uint32_t rings = 0;
    const uint32_t inbound = endpoint.inbound_high.load(std::memory_order_acquire);
    for (uint32_t i = 0; i < inbound && i < kMaxInboundRings; ++i)
      rings += endpoint.inbound[i].load(std::memory_order_relaxed) != 0 ? 1 : 0;
    put_u32(row, 28, rings);
  }
}

void ClientCore::observe_holders(std::vector<uint8_t>& rows) {
  uint32_t unused = 0;
  for (uint32_t number = 0; number < kMaxEndpoints && unused < 32; ++number) {
    const Endpoint& endpoint = segment_->endpoint(number);
    const uint32_t state = endpoint.state.load(std::memory_order_acquire);
    unused = state == 0 ? unused + 1 : 0;
    if (state != static_cast<uint32_t>(EndpointState::kAttached)) continue;
    for_each_held(*segment_, number, [&](const ObjectId& id, RowState what) {
      if (rows.size() >= kMaxRows * kRowBytes) return;
      uint8_t* row = add_row(rows);
      put_bytes(row, 0, &id, sizeof id);
      put_u32(row, 16, number);
      put_u32(row, 20, endpoint.pid);
      put_u32(row, 24, what == RowState::kRef ? 1 : 2);
    });
  }
}

}  // namespace polyray
