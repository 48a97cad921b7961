// SPDX-License-Identifier: Apache-2.0
// From the client's events to one JS callback per batch, and the blocking wait.
//
// Records go into the event buffer in the layout of ts/native/binding.ts (Rec, CallRec); small
// sealed values ride along, so that JS
// decodes without crossing again. The callback is a real one (napi_make_callback): microtasks run
// after it.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "node_api/convert.h"
#include "node_api/environment.h"
#include "os/env.h"

namespace polyray::node_api {

namespace {

// Words of a record: keep equal to Rec and CallRec in ts/native/binding.ts.
enum Word : size_t {
  kBytes,
  kKind,
  kHandle,
  kStatus,
  kA,
  kB0,
  kB1,
  kPeerEndpoint,
  kPeerSerial,
  kHandle2,
  kHasValue,
  kPayloadBytes,
  kExtra,
  kReserved,
  kId,
  kPayload = 18,
  kCallKind = 18,
  kCallFlags,
  kCallSpec,
  kCallIncarnation,
  kCallAttempt,
  kCallRetriesLeft,
  kCallReturns,
  kCallRefs,
  kCallTopRefs,
  kCallMethodBytes,
  kCallSeq0,
  kCallSeq1,
  kCallCaller,
  kCallActor,
  kCallLeftMs = 35,
  kCallEnd = 36,
};
static_assert(kId == 14 && kCallActor == 31);

constexpr size_t kBatchEvents = 512;
// After so many batches in one go the loop gets a turn for its other sources.
constexpr int kMaxRounds = 16;

size_t padded(size_t bytes) {
  return (bytes + 7) & ~size_t{7};
}

}  // namespace

uint32_t* Environment::begin_record(const Event& event, size_t bytes) {
  const size_t total = padded(bytes);
  if (buffer_used_ + total > kEventBufferBytes) return nullptr;
  auto* record = reinterpret_cast<uint32_t*>(buffer_ + buffer_used_);
  std::memset(record, 0, kPayload * 4);
  record[kBytes] = static_cast<uint32_t>(total);
  record[kKind] = static_cast<uint32_t>(event.kind);
  record[kStatus] = static_cast<uint32_t>(event.status);
  record[kA] = event.a;
  record[kB0] = static_cast<uint32_t>(event.b);
  record[kB1] = static_cast<uint32_t>(event.b >> 32);
  record[kPeerEndpoint] = static_cast<uint32_t>(event.peer);
  record[kPeerSerial] = static_cast<uint32_t>(event.peer >> 32);
  std::memcpy(record + kId, &event.id, sizeof(ObjectId));
  buffer_used_ += total;
  ++event_records;
  return record;
}

// `object`: what the payload is the envelope of (nil: of nothing). Big ones are viewed in place,
// with a pin of their own.
void Environment::add_extra(uint32_t* record, std::span<const uint8_t> payload,
                            const ObjectId& object, napi_value& extras, uint32_t& extra_count) {
  if (extras == nullptr) napi_create_array(env_, &extras);
  napi_value bytes = nullptr;
  if (object.unique != 0 && payload.size() >= kZeroCopyBytes) {
    auto pinned = client_->pin(object);
    if (pinned.is_ok()) {
      bytes = map_view(object, pinned.value());
      if (bytes == nullptr && pinned.value().pinned) client_->unpin(object);
    }
  }
  if (bytes == nullptr) bytes = copy_bytes(env_, payload.data(), payload.size());
  napi_set_element(env_, extras, extra_count, bytes);
  record[kExtra] = ++extra_count;
}

// The envelope of a sealed object into the record's tail, when it is small. The record was begun
// with no tail.
bool Environment::encode_value(uint32_t* record, const ObjectId& id) {
  if (client_->object_size(id) > kSmallValueBytes) return false;
  auto pinned = client_->pin(id);
  if (!pinned.is_ok()) return false;
  const ObjectView& object = pinned.value();
  const size_t tail = padded(object.size);
  const bool fits = object.size <= kSmallValueBytes && buffer_used_ + tail <= kEventBufferBytes;
  if (fits) {
    if (object.size > 0) std::memcpy(record + kPayload, object.data, object.size);
    record[kPayloadBytes] = static_cast<uint32_t>(object.size);
    record[kHasValue] = 1;
    record[kBytes] += static_cast<uint32_t>(tail);
    buffer_used_ += tail;
    if (object.is_error) record[kStatus] = static_cast<uint32_t>(ObjectStatus::kError);
  }
  if (object.pinned) client_->unpin(id);
  return fits;
}

// What is left of a time limit; 0: there is none.
static uint32_t left_ms(uint64_t deadline_ms) {
  if (deadline_ms == 0) return 0;
  const uint64_t now = os::now_ms();
  return deadline_ms <= now ? 1 : static_cast<uint32_t>(std::min<uint64_t>(deadline_ms - now, ~0u));
}

bool Environment::encode_call(Event& event, napi_value& extras, uint32_t& extra_count) {
  const IncomingCall& call = event.call;
  const bool inline_payload = call.envelope.size() <= kInlinePayloadBytes;
  const size_t method = padded(call.method.size());
  event.id = call.task;
  uint32_t* record =
      begin_record(event, kCallEnd * 4 + method + (inline_payload ? call.envelope.size() : 0));
  if (record == nullptr) return false;
  const uint32_t number =
      calls.add(OpenCall{call.handle, call.task, static_cast<uint32_t>(call.returns.size()),
                         call.kind == CallKind::kTask});
  record[kA] = number;
  record[kCallKind] = static_cast<uint32_t>(call.kind);
  record[kCallFlags] = call.flags;
  record[kCallSpec] = call.spec.unique == 0 ? 0 : intern(call.spec);
  record[kCallIncarnation] = call.incarnation;
  record[kCallAttempt] = call.attempt;
  record[kCallRetriesLeft] = static_cast<uint32_t>(call.retries_left);
  record[kCallReturns] = static_cast<uint32_t>(call.returns.size());
  record[kCallRefs] = static_cast<uint32_t>(call.refs.size());
  record[kCallTopRefs] = call.top_refs;
  record[kCallMethodBytes] = static_cast<uint32_t>(call.method.size());
  record[kCallSeq0] = static_cast<uint32_t>(call.seq);
  record[kCallSeq1] = static_cast<uint32_t>(call.seq >> 32);
  record[kCallCaller] = call.caller;
  std::memcpy(record + kCallActor, &call.actor, sizeof(ObjectId));
  record[kCallLeftMs] = left_ms(call.deadline_ms);
  uint8_t* tail = reinterpret_cast<uint8_t*>(record + kCallEnd);
  if (!call.method.empty()) std::memcpy(tail, call.method.data(), call.method.size());
  record[kPayloadBytes] = static_cast<uint32_t>(call.envelope.size());
  if (!inline_payload) {
    add_extra(record, call.envelope, call.args, extras, extra_count);
  } else if (!call.envelope.empty()) {
    std::memcpy(tail + method, call.envelope.data(), call.envelope.size());
  }
  return true;
}

// False: the buffer is full; deliver first, then again.
bool Environment::encode(Event& event, napi_value& extras, uint32_t& extra_count) {
  if (event.kind == EventKind::kCall) return encode_call(event, extras, extra_count);
  if (event.kind == EventKind::kObjectReady || event.kind == EventKind::kObjectGone) {
    const uint32_t handle = handles.lookup(event.id);
    HandleSlot* slot = handles.find(handle);
    // Ready events that nobody asked for stay here; the state is in the store.
    if (slot == nullptr || !slot->wanted) return true;
    // Room for the record and the biggest value, or first deliver.
    if (buffer_used_ + kPayload * 4 + kSmallValueBytes > kEventBufferBytes) return false;
    uint32_t* record = begin_record(event, kPayload * 4);
    slot->wanted = false;
    record[kHandle] = handle;
    if (event.kind == EventKind::kObjectReady && slot->with_value) encode_value(record, event.id);
    return true;
  }
  const bool inline_payload = event.payload.size() <= kInlinePayloadBytes;
  uint32_t* record =
      begin_record(event, kPayload * 4 + (inline_payload ? event.payload.size() : 0));
  if (record == nullptr) return false;
  record[kHandle] = event.id.unique == 0 ? 0 : handles.lookup(event.id);
  record[kPayloadBytes] = static_cast<uint32_t>(event.payload.size());
  if (event.kind == EventKind::kStreamItem) record[kHandle2] = adopt(event.id2);
  if (event.kind == EventKind::kCancel || event.kind == EventKind::kStreamCredit) {
    record[kB0] = record[kB1] = 0;
    calls.each([&](uint32_t number, OpenCall& call) {
      if (call.task == event.id) record[kB0] = number;
    });
  }
  if (!inline_payload) {
    add_extra(record, event.payload, ObjectId{}, extras, extra_count);
  } else if (!event.payload.empty()) {
    std::memcpy(record + kPayload, event.payload.data(), event.payload.size());
  }
  return true;
}

void Environment::deliver(napi_value extras) {
  napi_value sink = nullptr;
  napi_value receiver = nullptr;
  napi_get_reference_value(env_, sink_, &sink);
  napi_get_undefined(env_, &receiver);
  napi_get_global(env_, &receiver);
  napi_value arguments[2] = {make_u32(env_, static_cast<uint32_t>(buffer_used_)),
                             extras != nullptr ? extras : make_null(env_)};
  buffer_used_ = 0;
  ++event_batches;
  const napi_status status =
      napi_make_callback(env_, async_context_, receiver, sink, 2, arguments, nullptr);
  if (status == napi_pending_exception) {
    napi_value error = nullptr;
    napi_get_and_clear_last_exception(env_, &error);
    napi_fatal_exception(env_, error);
  }
}

size_t Environment::drain() {
  if (draining_ || client_ == nullptr) return 0;
  draining_ = true;
  const std::shared_ptr<Client> client = client_;
  const uint64_t epoch = epoch_;
  size_t delivered = 0;
  for (int round = 0; epoch == epoch_ && client_ != nullptr; ++round) {
    if (round == kMaxRounds) {
      wake_later();
      break;
    }
    events_.clear();
    if (!deferred_.empty()) {
      for (Event& event : deferred_) events_.push_back(std::move(event));
      deferred_.clear();
    } else {
      client->poll(events_, kBatchEvents);
    }
    if (events_.empty()) {
      client->flush();
      if (!client->watch() && client->arm(kArmedEventFd)) break;
      continue;
    }
    for (size_t next = 0; next < events_.size() && epoch == epoch_ && client_ != nullptr;) {
      napi_handle_scope scope = nullptr;
      napi_open_handle_scope(env_, &scope);
      napi_value extras = nullptr;
      uint32_t extra_count = 0;
      const size_t records = event_records;
      while (next < events_.size() && encode(events_[next], extras, extra_count)) ++next;
      delivered += event_records - records;
      if (buffer_used_ > 0) deliver(extras);
      napi_close_handle_scope(env_, scope);
    }
    if (client_ != nullptr) client->flush();
  }
  events_.clear();
  draining_ = false;
  return delivered;
}

uint32_t Environment::wait_sync(std::span<const uint32_t> numbers, uint32_t needed,
                                double timeout_ms, bool& failed) {
  const std::shared_ptr<Client> client = client_;
  uint32_t settled = 0;
  uint32_t pending = 0;
  for (uint32_t number : numbers) {
    HandleSlot* slot = handle_or_throw(number);
    if (slot == nullptr) {
      failed = true;
      break;
    }
    if (slot->sync_wait) continue;  // named twice, counted once
    if (client->subscribe(slot->id) == ObjectStatus::kPending) {
      slot->sync_wait = true;
      ++pending;
    } else {
      ++settled;
    }
  }
  needed = std::min(needed, settled + pending);
  client->flush();
  const auto start = std::chrono::steady_clock::now();
  std::vector<Event> events;
  while (!failed && settled < needed) {
    events.clear();
    client->poll(events, kBatchEvents);
    for (Event& event : events) {
      if (event.kind == EventKind::kObjectReady || event.kind == EventKind::kObjectGone) {
        HandleSlot* slot = handles.find(handles.lookup(event.id));
        if (slot == nullptr) continue;
        if (slot->sync_wait) {
          slot->sync_wait = false;
          ++settled;
        }
        if (!slot->wanted) continue;
      }
      deferred_.push_back(std::move(event));
    }
    if (settled >= needed || client->is_detached()) break;
    if (!events.empty()) continue;
    double left_ms = 60000;
    if (timeout_ms >= 0) {
      const std::chrono::duration<double, std::milli> passed =
          std::chrono::steady_clock::now() - start;
      left_ms = timeout_ms - passed.count();
      if (left_ms <= 0) break;
    }
    client->flush();
    if (!client->watch() && client->arm(kArmedFutex))
      client->wait_doorbell(static_cast<int>(std::min(left_ms + 0.999, 60000.0)));
  }
  for (uint32_t number : numbers) {
    if (HandleSlot* slot = handles.find(number); slot != nullptr) slot->sync_wait = false;
  }
  // Back to the event loop's bell (invariant 3).
  if (!deferred_.empty() || !client->arm(kArmedEventFd)) wake_later();
  return settled;
}

bool Environment::service_call(std::span<const uint8_t> payload, double timeout_ms,
                               std::vector<uint8_t>& answer) {
  const std::shared_ptr<Client> client = client_;
  const uint32_t request = client->service_request(payload);
  client->flush();
  const auto start = std::chrono::steady_clock::now();
  bool found = false;
  std::vector<Event> events;
  while (!found) {
    events.clear();
    client->poll(events, kBatchEvents);
    for (Event& event : events) {
      if (!found && event.kind == EventKind::kServiceAnswer && event.a == request) {
        answer = std::move(event.payload);
        found = true;
      } else {
        deferred_.push_back(std::move(event));
      }
    }
    if (found || client->is_detached()) break;
    if (!events.empty()) continue;
    const std::chrono::duration<double, std::milli> passed =
        std::chrono::steady_clock::now() - start;
    const double left_ms = timeout_ms - passed.count();
    if (left_ms <= 0) break;
    if (client->arm(kArmedFutex))
      client->wait_doorbell(static_cast<int>(std::min(left_ms + 0.999, 60000.0)));
  }
  // Back to the event loop's bell (invariant 3).
  if (!deferred_.empty() || !client->arm(kArmedEventFd)) wake_later();
  return found;
}

void Environment::on_doorbell(uv_poll_t* poll, int, int) {
  auto* self = static_cast<Environment*>(poll->data);
  if (self->client_ == nullptr) return;
  uint64_t count = 0;
  // The eventfd is non-blocking; an empty one is fine.
  if (::read(self->client_->doorbell_fd(), &count, sizeof count) < 0) count = 0;
  const std::shared_ptr<Environment> keep = self->shared_from_this();
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(self->env_, &scope);
  self->drain();
  napi_close_handle_scope(self->env_, scope);
}

void Environment::on_socket(uv_poll_t* poll, int, int) {
  auto* self = static_cast<Environment*>(poll->data);
  uv_poll_stop(poll);
  if (self->client_ != nullptr) self->client_->socket_readable();
  on_async(self->async_);
}

void Environment::on_async(uv_async_t* async) {
  auto* self = static_cast<Environment*>(async->data);
  if (self->client_ == nullptr) return;
  const std::shared_ptr<Environment> keep = self->shared_from_this();
  if (self->control_ != nullptr) {
    std::lock_guard lock(self->control_->mutex);
    for (uint32_t operation : self->control_->operations) {
      Event event;
      event.kind = static_cast<EventKind>(kControlEventKind);
      event.a = operation;
      self->deferred_.push_back(std::move(event));
    }
    self->control_->operations.clear();
  }
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(self->env_, &scope);
  self->drain();
  napi_close_handle_scope(self->env_, scope);
}

}  // namespace polyray::node_api
