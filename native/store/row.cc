// SPDX-License-Identifier: Apache-2.0
// The reference row (see row.h); each step of take and drop is one of protocols.h.
#include "store/row.h"

#include <algorithm>

#include "store/slots.h"

namespace polyray {

namespace {

constexpr uint32_t kNoSlot = UINT32_MAX;
constexpr uint32_t kSlotsPerChunk = kChunkBytes / sizeof(uint64_t);

}  // namespace

ReferenceRow::ReferenceRow(Segment& segment, uint32_t endpoint)
    : segment_(segment), endpoint_(endpoint) {}

std::atomic<uint64_t>& ReferenceRow::slot(uint32_t number) {
  const uint32_t chunk = segment_.endpoint(endpoint_).row_chunks[number / kSlotsPerChunk].load(
                             std::memory_order_relaxed) -
                         1;
  return reinterpret_cast<std::atomic<uint64_t>*>(
      segment_.at(segment_.chunk_offset(chunk)))[number % kSlotsPerChunk];
}

uint32_t ReferenceRow::take_slot() {
  if (!free_slots_.empty()) {
    const uint32_t number = free_slots_.back();
    free_slots_.pop_back();
    return number;
  }
  Endpoint& self = segment_.endpoint(endpoint_);
  const uint32_t chunks = self.row_chunk_count.load(std::memory_order_relaxed);
  if (slot_count_ == chunks * kSlotsPerChunk) {
    if (chunks == kMaxRowChunks) return kNoSlot;
    Result<uint32_t> chunk = chunk_claim(segment_, ChunkKind::kRow, endpoint_ + 1, kChunkBytes);
    if (!chunk.is_ok()) return kNoSlot;
    self.row_chunks[chunks].store(chunk.value() + 1, std::memory_order_relaxed);
    self.row_chunk_count.store(chunks + 1, std::memory_order_release);
  }
  return slot_count_++;
}

ReferenceRow::Held& ReferenceRow::hold(const ObjectId& id) {
  Held* held = find(id);
  return held != nullptr ? *held : held_.put(id.index, Held{id.unique, kNoSlot, 0, kNoSlot, 0});
}

ReferenceRow::Held* ReferenceRow::find(const ObjectId& id) {
  Held* held = held_.find(id.index);
  return held != nullptr && held->unique == id.unique && id.unique != 0 ? held : nullptr;
}

void ReferenceRow::drop_if_unused(const ObjectId& id, const Held& held) {
  if (held.refs == 0 && held.pins == 0) held_.take_out(id.index);
}

bool ReferenceRow::adopt_new(const ObjectId& id) {
  const uint32_t number = take_slot();
  if (number == kNoSlot) return false;
  ObjectEntry& entry = segment_.entry(id.index);
  row_take(slot(number), id.index, id.unique, RowState::kRef, [&] {
    entry.refs.store(1, std::memory_order_release);
    return true;
  });
  Held& held = hold(id);
  held.slot_ref = number;
  held.refs = 1;
  return true;
}

bool ReferenceRow::acquire(const ObjectId& id) {
  if (Held* held = find(id); held != nullptr && held->refs > 0) {
    ++held->refs;
    return true;
  }
  ObjectEntry* entry = segment_.find(id);
  if (entry == nullptr) return false;
  const uint32_t number = take_slot();
  if (number == kNoSlot) return false;
  const bool taken = row_take(slot(number), id.index, id.unique, RowState::kRef,
                              [&] { return ref_acquire(entry->refs); });
  if (!taken) {
    free_slots_.push_back(number);
    return false;
  }
  // From here on the entry cannot be freed; but it may have been, and reused, between find and ref_acquire.
  const uint64_t unique = entry->unique.load(std::memory_order_acquire);
  if (unique != id.unique) {
    if (row_drop(slot(number), [&] { return ref_release(entry->refs); }))
      strays_.push_back({id.node_tag, id.index, unique});
    free_slots_.push_back(number);
    return false;
  }
  Held& held = hold(id);
  held.slot_ref = number;
  held.refs = 1;
  return true;
}

bool ReferenceRow::release(const ObjectId& id) {
  Held* held = find(id);
  if (held == nullptr || held->refs == 0) return false;
  if (--held->refs > 0) return false;
  const uint32_t number = held->slot_ref;
  held->slot_ref = kNoSlot;
  const bool zero =
      row_drop(slot(number), [&] { return ref_release(segment_.entry(id.index).refs); });
  free_slots_.push_back(number);
  drop_if_unused(id, *held);
  return zero;
}

bool ReferenceRow::pin(const ObjectId& id) {
  if (Held* held = find(id); held != nullptr && held->pins > 0) {
    ++held->pins;
    return true;
  }
  ObjectEntry* entry = segment_.find(id);
  if (entry == nullptr) return false;
  const uint32_t state = entry->state.load(std::memory_order_acquire);
  if (static_cast<EntryState>(state & kEntryStateMask) != EntryState::kSealed) return false;
  const uint32_t number = take_slot();
  if (number == kNoSlot) return false;
  if (!row_take(slot(number), id.index, id.unique, RowState::kPin,
                [&] { return pin_acquire(entry->pins); })) {
    free_slots_.push_back(number);
    return false;
  }
  if (entry->unique.load(std::memory_order_acquire) != id.unique) {
    const uint64_t other = entry->unique.load(std::memory_order_acquire);
    if (row_drop(slot(number), [&] { return unpin_last(entry->pins, entry->refs); }))
      strays_.push_back({id.node_tag, id.index, other});
    free_slots_.push_back(number);
    return false;
  }
  Held& held = hold(id);
  held.slot_pin = number;
  held.pins = 1;
  return true;
}

bool ReferenceRow::unpin(const ObjectId& id) {
  Held* held = find(id);
  if (held == nullptr || held->pins == 0) return false;
  if (--held->pins > 0) return false;
  const uint32_t number = held->slot_pin;
  held->slot_pin = kNoSlot;
  ObjectEntry& entry = segment_.entry(id.index);
  const bool last = row_drop(slot(number), [&] { return unpin_last(entry.pins, entry.refs); });
  free_slots_.push_back(number);
  drop_if_unused(id, *held);
  return last;
}

uint32_t ReferenceRow::local_refs(const ObjectId& id) {
  const Held* held = find(id);
  return held == nullptr ? 0 : held->refs;
}

size_t ReferenceRow::size() const {
  return held_.size();
}

namespace {

// Undoes one slot of a dead endpoint.
void sweep_slot(Segment& segment, uint64_t word,
                const std::function<void(const ObjectId&)>& on_zero) {
  const auto state = static_cast<RowState>(word >> 56);
  if (state != RowState::kRef && state != RowState::kPin) return;
  const auto index = static_cast<uint32_t>(word);
  const uint64_t offset = uint64_t{index} * kEntryBytes;
  if (!segment.valid_slot(offset, ChunkKind::kEntries, kEntryBytes)) return;
  ObjectEntry& entry = segment.entry(index);
  const uint64_t unique = entry.unique.load(std::memory_order_acquire);
  if ((unique & 0xffffff) != (word >> 32 & 0xffffff)) return;
  const ObjectId id{segment.header().node_tag, index, unique};
  if (state == RowState::kRef) {
    if ((entry.refs.load(std::memory_order_acquire) & ~kRefsClosed) != 0 && ref_release(entry.refs))
      on_zero(id);
  } else {
    if ((entry.pins.load(std::memory_order_acquire) & ~kPinsClosed) != 0 &&
        unpin_last(entry.pins, entry.refs))
      on_zero(id);
  }
}

}  // namespace

void for_each_held(const Segment& segment, uint32_t endpoint,
                   const std::function<void(const ObjectId&, RowState)>& visit) {
  const Endpoint& holder = segment.endpoint(endpoint);
  const uint32_t chunks =
      std::min(holder.row_chunk_count.load(std::memory_order_acquire), kMaxRowChunks);
  for (uint32_t i = 0; i < chunks; ++i) {
    const uint32_t chunk = holder.row_chunks[i].load(std::memory_order_acquire) - 1;
    if (chunk >= segment.header().chunk_high.load(std::memory_order_acquire)) continue;
    const ChunkHeader& head = segment.chunk(chunk);
    if (head.kind.load(std::memory_order_acquire) != static_cast<uint32_t>(ChunkKind::kRow) ||
        head.owner.load(std::memory_order_acquire) != endpoint + 1)
      continue;
    const auto* slots =
        reinterpret_cast<const std::atomic<uint64_t>*>(segment.at(segment.chunk_offset(chunk)));
    for (uint32_t number = 0; number < kSlotsPerChunk; ++number) {
      const uint64_t word = slots[number].load(std::memory_order_relaxed);
      const auto state = static_cast<RowState>(word >> 56);
      if (state != RowState::kRef && state != RowState::kPin) continue;
      const auto index = static_cast<uint32_t>(word);
      if (!segment.valid_slot(uint64_t{index} * kEntryBytes, ChunkKind::kEntries, kEntryBytes))
        continue;
      const uint64_t unique = segment.entry(index).unique.load(std::memory_order_acquire);
      if ((unique & 0xffffff) == (word >> 32 & 0xffffff))
        visit({segment.header().node_tag, index, unique}, state);
    }
  }
}

void sweep_row(Segment& segment, uint32_t endpoint,
               const std::function<void(const ObjectId&)>& on_zero) {
  Endpoint& dead = segment.endpoint(endpoint);
  const uint32_t chunks =
      std::min(dead.row_chunk_count.load(std::memory_order_acquire), kMaxRowChunks);
  for (uint32_t i = 0; i < chunks; ++i) {
    const uint32_t chunk = dead.row_chunks[i].exchange(0, std::memory_order_acq_rel) - 1;
    if (chunk >= segment.header().chunk_high.load(std::memory_order_acquire)) continue;
    ChunkHeader& head = segment.chunk(chunk);
    if (head.kind.load(std::memory_order_acquire) != static_cast<uint32_t>(ChunkKind::kRow) ||
        head.owner.load(std::memory_order_acquire) != endpoint + 1)
      continue;
    auto* slots = reinterpret_cast<std::atomic<uint64_t>*>(segment.at(segment.chunk_offset(chunk)));
    for (uint32_t number = 0; number < kSlotsPerChunk; ++number) {
      const uint64_t word = slots[number].exchange(0, std::memory_order_acq_rel);
      if (word != 0) sweep_slot(segment, word, on_zero);
    }
    chunk_release(segment, chunk);
  }
  dead.row_chunk_count.store(0, std::memory_order_release);
}

}  // namespace polyray
