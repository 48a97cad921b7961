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
//   runs (5):      tasks that a worker has claimed: ObjectId, u64 caller, u64 worker (endpoint | serial << 32 each), u32 pid
//                  of the worker, u32 retriable
#include <algorithm>
#include <chrono>
#include <cstring>

#include "client/core.h"
#include "store/protocols.h"

namespace polyray {

namespace {

constexpr size_t kRowBytes = 160;
constexpr size_t kMaxRows = 200'000;
constexpr size_t kEventsProbed =
    8;  // old ones whose calls still run, passed over for one new event
constexpr uint32_t kUnusedInARow = 32;  // endpoints; low numbers are used first

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

void copy_method(TaskEvent& event, const CallRecord& record) {
  const size_t length = std::min<size_t>(record.method_bytes, sizeof event.method - 1);
  if (length != 0) std::memcpy(event.method, record_payload(record), length);
  event.method[length] = 0;
}

// Calls visit(number, endpoint). Looking at all numbers would make pages of those that were never used.
template <class Visit>
void for_each_attached(const Segment& segment, Visit&& visit) {
  uint32_t unused = 0;
  for (uint32_t number = 0; number < kMaxEndpoints && unused < kUnusedInARow; ++number) {
    const Endpoint& endpoint = segment.endpoint(number);
    const uint32_t state = endpoint.state.load(std::memory_order_acquire);
    unused = state == 0 ? unused + 1 : 0;
    if (state == static_cast<uint32_t>(EndpointState::kAttached)) visit(number, endpoint);
  }
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

// The oldest that was read, else a new one while there may be more, else the oldest. Not one whose call runs.
TaskEvent* ClientCore::event_slot() {
  TaskEvent* event = nullptr;
  for (size_t i = 0; i < std::min(event_slots_.size(), kEventsProbed) && event == nullptr; ++i) {
    TaskEvent* oldest = event_slots_.front();
    const EventOutcome outcome = event_outcome(oldest->word.load(std::memory_order_acquire));
    const bool running = outcome == EventOutcome::kRunning;
    if (!running && outcome != EventOutcome::kRead && event_slots_.size() < kEventsKept) break;
    event_slots_.pop_front();
    if (running)
      event_slots_.push_back(oldest);
    else
      event = oldest;
  }
  if (event == nullptr) {
    Result<uint64_t> slot = events_.allocate(sizeof(TaskEvent));
    if (!slot.is_ok()) return nullptr;
    event = reinterpret_cast<TaskEvent*>(segment_->at(slot.value()));
  }
  event_begin(event->word);
  event_slots_.push_back(event);
  return event;
}

TaskEvent* ClientCore::new_event(const CallRecord& record, const ObjectId& task,
                                 uint64_t start_ns) {
  TaskEvent* event = event_slot();
  if (event == nullptr) return nullptr;
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
  copy_method(*event, record);
  event_tell(event->word, EventOutcome::kRunning);
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
  event_tell(event->word, outcome);
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
  if (what == 5) observe_runs(rows);
  return rows;
}

void ClientCore::observe_tasks(std::vector<uint8_t>& rows) {
  const uint64_t now_ns = os::now_ns();
  const uint64_t now_us = wall_us();
  const auto to_wall = [&](uint64_t ns) -> uint64_t {
    return ns == 0 ? 0 : now_us - std::min(now_us, (now_ns - std::min(now_ns, ns)) / 1'000);
  };
  for_each_chunk(*segment_, [&](uint32_t number, const ChunkHeader& chunk, uint32_t owner) {
    if (is_kind(chunk, ChunkKind::kEvents))
      for_each_slot_in(*segment_, number, [&](uint64_t offset) {
        if (rows.size() < kMaxRows * kRowBytes) observe_event(owner, offset, rows, to_wall);
      });
    else if (is_kind(chunk, ChunkKind::kRecords) && owner != kOwnerOrphan)
      for_each_slot_in(*segment_, number, [&](uint64_t offset) {
        if (rows.size() < kMaxRows * kRowBytes) observe_waiting(owner - 1, offset, rows);
      });
  });
}

// It can be looked at without waiting for a file, and without being kept from going to one.
static bool is_in_memory(const Segment& segment, const ObjectId& id) {
  const ObjectEntry* entry = segment.find(id);
  if (entry == nullptr) return false;
  const uint32_t state = entry->state.load(std::memory_order_acquire);
  return entry_state(state) == EntryState::kSealed &&
         (state & (kEntrySpilled | kEntryFreed)) == 0 &&
         (entry->pins.load(std::memory_order_acquire) & kPinsClosed) == 0;
}

// A waiting call needs a result that is not sealed yet. Stored arguments list their refs themselves.
bool ClientCore::waits_for_arguments(const CallRecord& record) {
  const std::span<const ObjectId> own = record_refs(record);
  std::vector<ObjectId> refs(own.begin(), own.end());
  if ((record.flags & kCallArgsInStore) != 0 && (own.empty() || !is_in_memory(*segment_, own[0]) ||
                                                 !read_stored_args(ObjectId(own[0]), refs).is_ok()))
    return false;
  for (uint32_t i = 0; i < record.top_ref_count && i < refs.size(); ++i) {
    const ObjectEntry* entry = segment_->find(refs[i]);
    if (entry != nullptr &&
        entry_state(entry->state.load(std::memory_order_acquire)) == EntryState::kPending)
      return true;
  }
  return false;
}

// A call that waits or is on its way. One that runs, or ran, is told by its event.
void ClientCore::observe_waiting(uint32_t owner, uint64_t offset, std::vector<uint8_t>& rows) {
  if (!is_call(*segment_, offset, owner)) return;
  const CallRecord& record = segment_->record(offset);
  const auto claim = static_cast<Claim>(record.claim.load(std::memory_order_acquire));
  if (claim == Claim::kRunning || claim == Claim::kDone) return;
  TaskEvent shown{};
  shown.kind = record.kind;
  shown.attempt = static_cast<uint16_t>(record.attempt);
  shown.pid = segment_->endpoint(owner).pid;
  shown.job = segment_->endpoint(owner).job;
  shown.task = record_returns(record)[0];
  shown.spec = record.spec;
  shown.actor = record.actor;
  copy_method(shown, record);
  uint8_t* row = add_row(rows);
  std::memcpy(row, static_cast<const void*>(&shown), sizeof shown);
  put_u32(row, 128, 2);
  put_u32(row, 132, owner);
  put_u32(row, 136, claim == Claim::kQueued ? 3 : waits_for_arguments(record) ? 1 : 2);
  put_u32(row, 140, 1);
}

void ClientCore::observe_event(uint32_t owner, uint64_t offset, std::vector<uint8_t>& rows,
                               const std::function<uint64_t(uint64_t)>& to_wall) {
  const bool alive = owner != kOwnerOrphan;
  auto* event = reinterpret_cast<TaskEvent*>(segment_->at(offset));
  TaskEvent shown;
  const auto copy = [&] {
    std::memcpy(static_cast<void*>(&shown), static_cast<const void*>(event), sizeof shown);
  };
  const EventOutcome outcome = event_read(event->word, copy, event_take<std::atomic<uint32_t>>);
  if (!alive) slot_free(*segment_, offset);
  const bool running = outcome == EventOutcome::kRunning;
  if (outcome == EventOutcome::kRead || (running && shown.start_ns == 0)) return;
  shown.start_ns = to_wall(shown.start_ns);
  shown.end_ns = running ? 0 : to_wall(shown.end_ns);  // its end may be half told
  uint8_t* row = add_row(rows);
  put_bytes(row, 0, static_cast<const void*>(&shown), sizeof shown);
  put_u32(row, 0, static_cast<uint32_t>(outcome));
  put_u32(row, 128, 1);
  put_u32(row, 132, alive ? owner - 1 : 0);
  put_u32(row, 140, alive ? 1 : 0);
}

void ClientCore::observe_runs(std::vector<uint8_t>& rows) {
  for_each_chunk(*segment_, [&](uint32_t number, const ChunkHeader& chunk, uint32_t owner) {
    if (owner == kOwnerOrphan || !is_kind(chunk, ChunkKind::kRecords)) return;
    for_each_slot_in(*segment_, number, [&](uint64_t offset) {
      if (rows.size() < kMaxRows * kRowBytes) observe_run(owner - 1, offset, rows);
    });
  });
}

void ClientCore::observe_run(uint32_t owner, uint64_t offset, std::vector<uint8_t>& rows) {
  if (!is_call(*segment_, offset, owner)) return;
  const CallRecord& record = segment_->record(offset);
  const auto claim = static_cast<Claim>(record.claim.load(std::memory_order_acquire));
  if (claim != Claim::kRunning || record.kind != static_cast<uint16_t>(CallKind::kTask)) return;
  const uint64_t caller = record.caller | uint64_t{record.caller_serial} << 32;
  const uint64_t worker = record.target;
  if (static_cast<uint32_t>(worker) >= kMaxEndpoints) return;
  uint8_t* row = add_row(rows);
  put_bytes(row, 0, &record_returns(record)[0], sizeof(ObjectId));
  put_bytes(row, 16, &caller, sizeof caller);
  put_bytes(row, 24, &worker, sizeof worker);
  put_u32(row, 32, segment_->endpoint(static_cast<uint32_t>(worker)).pid);
  put_u32(row, 36, (record.flags & kCallRetriable) != 0 ? 1 : 0);
}

void ClientCore::observe_objects(std::vector<uint8_t>& rows) {
  for_each_entry(*segment_, [&](const ObjectId& id, const ObjectEntry& entry) {
    if (rows.size() >= kMaxRows * kRowBytes) return;
    const uint64_t size = entry.size;
    const uint32_t creator = entry.creator;
    uint8_t* row = add_row(rows);
    put_bytes(row, 0, &id, sizeof id);
    put_bytes(row, 16, &size, sizeof size);
    put_u32(row, 24, entry.state.load(std::memory_order_acquire));
    put_u32(row, 28, entry.refs.load(std::memory_order_relaxed) & ~kRefsClosed);
    put_u32(row, 32, entry.pins.load(std::memory_order_relaxed) & ~kPinsClosed);
    put_u32(row, 36, creator);
    put_u32(row, 40, creator < kMaxEndpoints ? segment_->endpoint(creator).pid : 0);
    put_u32(row, 44, entry.supervisor.load(std::memory_order_relaxed) + 1);
  });
}

void ClientCore::observe_endpoints(std::vector<uint8_t>& rows) {
  for_each_attached(*segment_, [&](uint32_t number, const Endpoint& endpoint) {
    uint8_t* row = add_row(rows);
    put_u32(row, 0, number);
    put_u32(row, 4, endpoint.kind);
    put_u32(row, 8, endpoint.pid);
    put_u32(row, 12, endpoint.serial);
    put_u32(row, 16, endpoint.job);
    put_u32(row, 20, endpoint.language);
    put_u32(row, 24, static_cast<uint32_t>(EndpointState::kAttached));
    uint32_t rings = 0;
    const uint32_t inbound = endpoint.inbound_high.load(std::memory_order_acquire);
    for (uint32_t i = 0; i < inbound && i < kMaxInboundRings; ++i)
      rings += endpoint.inbound[i].load(std::memory_order_relaxed) != 0 ? 1 : 0;
    put_u32(row, 28, rings);
  });
}

void ClientCore::observe_holders(std::vector<uint8_t>& rows) {
  for_each_attached(*segment_, [&](uint32_t number, const Endpoint& endpoint) {
    for_each_held(*segment_, number, [&](const ObjectId& id, RowState what) {
      if (rows.size() >= kMaxRows * kRowBytes) return;
      uint8_t* row = add_row(rows);
      put_bytes(row, 0, &id, sizeof id);
      put_u32(row, 16, number);
      put_u32(row, 20, endpoint.pid);
      put_u32(row, 24, what == RowState::kRef ? 1 : 2);
    });
  });
}

}  // namespace polyray
