// SPDX-License-Identifier: Apache-2.0
// Objects: making, sealing, pinning, counting and waiting for them.
#include <cstring>

#include "client/core.h"

namespace polyray {

namespace {
constexpr uint32_t kSettleWaitMs = 1'000;
constexpr uint64_t kBigReleaseBytes = 64 * 1024;
Status detached_error() {
  return Status::error(StatusCode::kDisconnected, "this endpoint is detached");
}
}  // namespace

// --- making ------------------------------------------------------------------------------------------------------

Result<ClientCore::NewEntry> ClientCore::new_entry(uint32_t flags) {
  Result<uint64_t> slot = entries_.allocate(kEntryBytes);
  if (!slot.is_ok()) return slot.status();
  const ObjectId id{node_tag_, static_cast<uint32_t>(slot.value() / kEntryBytes),
                    uint64_t{serial_} << 40 | ++next_unique_};
  ObjectEntry& entry = segment_->entry(id.index);
  entry.creator = endpoint_;
  entry.supervisor.store(endpoint_, std::memory_order_relaxed);
  entry.state.store(static_cast<uint32_t>(EntryState::kPending) | flags, std::memory_order_relaxed);
  entry.unique.store(id.unique, std::memory_order_release);
  if (!row_.adopt_new(id)) {
    entry.unique.store(0, std::memory_order_release);
    slot_free(*segment_, slot.value());
    return Status::error(StatusCode::kTableFull,
                         "the reference row of this endpoint is full: release some refs");
  }
  return NewEntry{id, &entry};
}

// An own entry that was never sealed: the raylet frees it like any other at zero references.
void ClientCore::give_up_entry(const ObjectId& id) {
  drop_ref(id);
}

Status ClientCore::seal_entry(ObjectEntry& entry, const ObjectId& id, uint64_t offset,
                              uint64_t capacity, uint64_t size, std::span<const ObjectId> refs,
                              uint32_t flags) {
  entry.offset = offset;
  entry.capacity = capacity;
  entry.size = size;
  if (offset == 0) flags |= kEntryInline;
  if (size > kMaxSlabObject) entry.touched_ms.store(os::now_ms(), std::memory_order_relaxed);
  Endpoint& self = segment_->endpoint(endpoint_);
  size_t counted = 0;
  if (!refs.empty()) {
    flags |= kEntryHasRefs;
    self.seal_progress.store(0, std::memory_order_relaxed);
    self.sealing.store(id.index, std::memory_order_release);
    for (const ObjectId& ref : refs) {
      ObjectEntry* inner = segment_->find(ref);
      if (inner == nullptr || !ref_acquire(inner->refs)) break;
      self.seal_progress.store(static_cast<uint32_t>(++counted), std::memory_order_release);
    }
  }
  SealResult result{false, false};
  if (counted == refs.size()) result = seal_publish(entry.state, flags);
  if (!refs.empty()) self.sealing.store(0, std::memory_order_release);
  if (result.waiters)
    to_raylet({static_cast<uint32_t>(Rec::kSealed), 0, id_word(id), id.unique, 0}, true);
  if (result.sealed) return Status::ok();
  const bool ref_gone = counted < refs.size();
  for (size_t i = 0; i < counted; ++i) {
    ObjectEntry* inner = segment_->find(refs[i]);
    if (inner != nullptr && ref_release(inner->refs)) send_release(refs[i]);
  }
  entry.offset = entry.capacity = entry.size = 0;
  if (ref_gone)
    return Status::error(StatusCode::kObjectFreed,
                         "a ref inside the value was released before the value was stored");
  return Status::error(StatusCode::kAlreadyExists, "the object was sealed before");
}

Result<ObjectId> ClientCore::put(std::span<const uint8_t> envelope, std::span<const ObjectId> refs,
                                 uint32_t entry_flags, uint32_t wait_ms) {
  Result<PutBuffer> buffer = put_begin(envelope.size(), wait_ms);
  if (!buffer.is_ok()) return buffer.status();
  os::copy_bytes(buffer.value().data, envelope.data(), envelope.size());
  const ObjectId id = buffer.value().id;
  Status sealed = put_seal(buffer.value(), refs, entry_flags);
  if (!sealed.is_ok()) return sealed;
  return id;
}

Result<PutBuffer> ClientCore::put_begin(uint64_t size, uint32_t wait_ms) {
  if (detached_) return detached_error();
  Memory memory;
  if (size > kInlineBytes) {
    Result<Memory> bytes = allocate_bytes(size, wait_ms);
    if (!bytes.is_ok()) return bytes.status();
    memory = bytes.value();
  }
  Result<NewEntry> made = new_entry(0);
  if (!made.is_ok()) {
    free_bytes(memory.offset, memory.capacity);
    return made.status();
  }
  ObjectEntry& entry = *made.value().entry;
  entry.sealer.store(endpoint_ + 1, std::memory_order_relaxed);
  uint8_t* data = memory.offset == 0 ? entry.inline_data : memory.data;
  return PutBuffer{made.value().id, data, size, memory.offset};
}

Status ClientCore::put_seal(PutBuffer& buffer, std::span<const ObjectId> refs,
                            uint32_t entry_flags) {
  if (detached_) return detached_error();
  if (buffer.data == nullptr) return Status::error(StatusCode::kClosed, "this put is over");
  const uint64_t capacity = buffer.offset == 0 ? 0 : capacity_of(buffer.offset, buffer.size);
  Status sealed = seal_entry(segment_->entry(buffer.id.index), buffer.id, buffer.offset, capacity,
                             buffer.size, refs, entry_flags);
  if (!sealed.is_ok()) {
    put_abort(buffer);
    return sealed;
  }
  buffer.data = nullptr;
  count(Count::kPuts);
  count(Count::kPutBytes, buffer.size);
  return sealed;
}

void ClientCore::put_abort(PutBuffer& buffer) {
  if (detached_ || buffer.data == nullptr) return;
  if (buffer.offset != 0) free_bytes(buffer.offset, capacity_of(buffer.offset, buffer.size));
  ObjectEntry* entry = segment_->find(buffer.id);
  // A put of our own, or the return of a call (then the entry is somebody's, and only the bytes or the scratch were ours).
  if (entry != nullptr && entry->creator == endpoint_ &&
      entry->sealer.load(std::memory_order_relaxed) == endpoint_ + 1) {
    give_up_entry(buffer.id);
  } else if (buffer.offset == 0) {
    free_scratch_.push_back(buffer.data);
  }
  buffer.data = nullptr;
}

Result<ObjectId> ClientCore::create_actor_object() {
  if (detached_) return detached_error();
  Result<NewEntry> made = new_entry(kEntryActor);
  if (!made.is_ok()) return made.status();
  return made.value().id;
}

// --- seeing ------------------------------------------------------------------------------------------------------

ObjectStatus ClientCore::status(const ObjectId& id) {
  if (detached_) return ObjectStatus::kGone;
  ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr) return ObjectStatus::kGone;
  const uint32_t state = entry->state.load(std::memory_order_acquire);
  switch (entry_state(state)) {
    case EntryState::kPending:
      return ObjectStatus::kPending;
    case EntryState::kSealed:
      if (state & kEntryFreed) return ObjectStatus::kGone;
      return state & kEntryError ? ObjectStatus::kError : ObjectStatus::kSealed;
    default:
      return ObjectStatus::kGone;
  }
}

Result<ObjectView> ClientCore::pin(const ObjectId& id) {
  if (detached_) return detached_error();
  ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr) return Status::error(StatusCode::kObjectFreed, "the object is gone");
  const uint32_t state = entry->state.load(std::memory_order_acquire);
  if (entry_state(state) == EntryState::kPending)
    return Status::error(StatusCode::kWouldBlock, "the object is not ready");
  if (entry_state(state) != EntryState::kSealed)
    return Status::error(StatusCode::kObjectLost, "the object is lost");
  ObjectView view;
  view.is_error = (state & kEntryError) != 0;
  view.size = entry->size;
  if (state & kEntryFreed) return freed_error();
  if (state & kEntryInline) {
    if (view.size > kInlineBytes)
      return Status::error(StatusCode::kBadRecord, "an inline object is too large");
    view.data = entry->inline_data;
    return view;
  }
  if (state & kEntrySpilled) return pin_spilled(*entry, id);
  if (!row_.pin(id)) return pin_closed(*entry, id);
  view.offset = entry->offset;
  if (!segment_->valid_data(view.offset, view.size)) {
    row_.unpin(id);
    return Status::error(StatusCode::kBadRecord, "the object lies outside of the store");
  }
  if (view.size > kMaxSlabObject) entry->touched_ms.store(os::now_ms(), std::memory_order_relaxed);
  view.data = segment_->read(view.offset);
  view.pinned = true;
  ++pins_;
  count(Count::kZeroCopyBytes, view.size);
  return view;
}

void ClientCore::unpin(const ObjectId& id) {
  if (pins_ > 0) --pins_;
  if (!file_maps_.empty() && unpin_spilled(id)) return;
  if (detached_) return;
  if (row_.unpin(id)) return send_release(id);
  const ObjectEntry* entry = segment_->find(id);
  if (entry != nullptr && (entry->state.load(std::memory_order_acquire) & kEntryFreed) != 0)
    to_raylet({static_cast<uint32_t>(Rec::kFreeObject), 0, id_word(id), id.unique, 0}, true);
}

uint64_t ClientCore::object_size(const ObjectId& id) {
  if (detached_) return 0;
  ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr ||
      entry_state(entry->state.load(std::memory_order_acquire)) != EntryState::kSealed)
    return 0;
  return entry->size;
}

// --- counting ----------------------------------------------------------------------------------------------------

bool ClientCore::add_ref(const ObjectId& id) {
  return !detached_ && row_.acquire(id);
}

void ClientCore::release_ref(const ObjectId& id) {
  if (!detached_) drop_ref(id);
}

void ClientCore::drop_ref(const ObjectId& id) {
  if (row_.release(id)) send_release(id);
}

void ClientCore::send_release(const ObjectId& id) {
  // Its memory, or that of what it holds, or the actor's process, is wanted back soon, and a program that drops its last
  // value may do nothing with us for long.
  const ObjectEntry& entry = segment_->entry(id.index);
  const bool big = entry.size >= kBigReleaseBytes || (entry.state.load(std::memory_order_relaxed) &
                                                      (kEntryHasRefs | kEntryActor)) != 0;
  to_raylet({static_cast<uint32_t>(Rec::kRelease), 0, id_word(id), id.unique, 0}, big);
  if (big) bell_raylet();
}

// --- sealing for a call ------------------------------------------------------------------------------------------

bool ClientCore::seal_foreign(const ObjectId& id, std::span<const uint8_t> envelope, uint32_t flags,
                              uint32_t dead_sealer) {
  ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr ||
      entry_state(entry->state.load(std::memory_order_acquire)) != EntryState::kPending)
    return false;
  uint32_t dead = dead_sealer + 1;
  const uint32_t me = endpoint_ + 1;
  if (!seal_begin(entry->sealer, me) &&
      !(dead_sealer != kNoNumber &&
        entry->sealer.compare_exchange_strong(dead, me, std::memory_order_acq_rel)))
    return false;
  std::vector<uint8_t> bare;
  Memory memory;
  if (envelope.size() > kInlineBytes) {
    Result<Memory> bytes = allocate_bytes(envelope.size(), kSettleWaitMs);
    if (bytes.is_ok()) {
      memory = bytes.value();
    } else {
      // No memory even for an error: its code alone fits into the entry.
      bare = error_envelope({.code = StatusCode::kObjectStoreFull, .message = ""});
      envelope = bare;
      flags |= kEntryError;
    }
  }
  std::memcpy(memory.offset == 0 ? entry->inline_data : memory.data, envelope.data(),
              envelope.size());
  if (seal_entry(*entry, id, memory.offset, memory.capacity, envelope.size(), {}, flags).is_ok())
    return true;
  free_bytes(memory.offset, memory.capacity);
  return false;
}

// --- waiting -----------------------------------------------------------------------------------------------------

ObjectStatus ClientCore::subscribe(const ObjectId& id) {
  if (detached_) return ObjectStatus::kGone;
  return watch(id, true, kNoCall);
}

// Who waits: the binding (user) or a call. kPending: it will be told.
ObjectStatus ClientCore::watch(const ObjectId& id, bool user, CallSlot waiter) {
  const ObjectStatus now = status(id);
  if (now != ObjectStatus::kPending) return now;
  Watch* known = watches_.find(id.unique);
  if (known == nullptr) {
    known = &watches_[id.unique];
    *known = Watch{false, false, kNoNumber, id};
  }
  // A call of our own completes by its reply; everything else is the raylet's to tell.
  if (!known->at_raylet && pending_of(id, nullptr) == nullptr) {
    const WaitResult result = wait_subscribe(segment_->entry(id.index).state);
    if (result != WaitResult::kSubscribed) {
      if (!known->user && known->waiters == kNoNumber) watches_.erase(id.unique);
      return status(id);
    }
    known->at_raylet = true;
    to_raylet({static_cast<uint32_t>(Rec::kSubscribe), 0, id_word(id), id.unique, 0}, true);
  }
  known->user |= user;
  if (waiter != kNoCall) {
    uint32_t number;
    if (free_waiters_.empty()) {
      number = static_cast<uint32_t>(waiters_.size());
      waiters_.emplace_back();
    } else {
      number = free_waiters_.back();
      free_waiters_.pop_back();
    }
    waiters_[number] = Waiter{waiter, calls_[waiter].generation, known->waiters};
    known->waiters = number;
  }
  return ObjectStatus::kPending;
}

void ClientCore::object_ready(const ObjectId& id, bool gone) {
  if (!watches_.empty() && watches_.find(id.unique) != nullptr) ready_.push_back({id, gone});
}

}  // namespace polyray
