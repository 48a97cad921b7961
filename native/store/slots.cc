// SPDX-License-Identifier: Apache-2.0
// Claiming chunks and slots (see slots.h). A slot is taken by setting its bit; only the owner of the chunk sets bits, so
// the owner's view "this bit is 0" cannot become wrong under it.
#include "store/slots.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "os/env.h"

namespace polyray {

namespace {

constexpr size_t kProbedChunks =
    64;  // full chunks looked at before one more is claimed: bounds one allocate()

// Entries are read by other processes at any time, so they are cleared word by word, not by memset.
void clear_slot(uint8_t* bytes, uint64_t count, bool shared_words) {
  if (!shared_words) {
    std::memset(bytes, 0, count);
    return;
  }
  auto* words = reinterpret_cast<uint64_t*>(bytes);
  for (uint64_t i = 0; i < count / 8; ++i)
    std::atomic_ref<uint64_t>(words[i]).store(0, std::memory_order_relaxed);
}

uint32_t class_of(uint64_t bytes) {
  const uint64_t rounded = std::bit_ceil(std::max<uint64_t>(bytes, kEntryBytes));
  return static_cast<uint32_t>(std::countr_zero(rounded) - std::countr_zero(uint64_t{kEntryBytes}));
}

// CAS on one chunk. kWouldBlock: somebody has it.
Status try_claim(Segment& segment, uint32_t chunk, uint32_t owner) {
  if (chunk >= segment.header().chunk_high.load(std::memory_order_acquire)) {
    Status populated =
        segment.populate(segment.offset_of(&segment.chunk(chunk)), sizeof(ChunkHeader));
    if (!populated.is_ok()) return populated;
  }
  ChunkHeader& head = segment.chunk(chunk);
  uint32_t none = 0;
  if (head.owner.load(std::memory_order_relaxed) != 0 ||
      !head.owner.compare_exchange_strong(none, owner, std::memory_order_acq_rel))
    return Status::error(StatusCode::kWouldBlock, "");
  return Status::ok();
}

}  // namespace

Result<uint32_t> chunk_claim(Segment& segment, ChunkKind kind, uint32_t owner,
                             uint32_t slot_bytes) {
  SegmentHeader& header = segment.header();
  const uint64_t count = header.chunk_count;
  const uint64_t start = header.next_chunk_hint.load(std::memory_order_relaxed) % count;
  for (uint64_t i = 0; i < count; ++i) {
    const auto number = static_cast<uint32_t>((start + i) % count);
    Status claimed = try_claim(segment, number, owner);
    if (claimed.code == StatusCode::kWouldBlock) continue;
    if (!claimed.is_ok()) return claimed;
    ChunkHeader& head = segment.chunk(number);
    raise_to(header.chunk_high, number + 1);
    header.next_chunk_hint.store(number + 1, std::memory_order_relaxed);
    Status populated = segment.populate(segment.chunk_offset(number), kChunkBytes);
    if (!populated.is_ok()) {
      head.owner.store(0, std::memory_order_release);
      return populated;
    }
    if (head.dirty != 0) std::memset(segment.at(segment.chunk_offset(number)), 0, kChunkBytes);
    for (auto& word : head.used) word.store(0, std::memory_order_relaxed);
    head.dirty = 1;
    head.slot_bytes = slot_bytes;
    head.slot_count = static_cast<uint32_t>(kChunkBytes / slot_bytes);
    head.kind.store(static_cast<uint32_t>(kind), std::memory_order_release);
    return number;
  }
  return Status::error(StatusCode::kTableFull,
                       "all " + std::to_string(count) + " chunks of the control region are in use");
}

void chunk_release(Segment& segment, uint32_t chunk) {
  ChunkHeader& head = segment.chunk(chunk);
  head.kind.store(static_cast<uint32_t>(ChunkKind::kFree), std::memory_order_release);
  if (os::punch_hole(segment.fd(), segment.chunk_offset(chunk), kChunkBytes).is_ok())
    head.dirty = 0;
  head.owner.store(0, std::memory_order_release);
  auto& hint = segment.header().next_chunk_hint;
  uint64_t seen = hint.load(std::memory_order_relaxed);
  while (chunk < seen && !hint.compare_exchange_weak(seen, chunk, std::memory_order_relaxed)) {
  }
}

// Offset of a slot now marked used, or 0.
uint64_t SlotPool::take_bit(OwnedChunk& owned) {
  ChunkHeader& head = segment_.chunk(owned.chunk);
  const std::optional<uint32_t> slot = find_unused(head.used, head.slot_count, owned.next_word);
  if (!slot) return 0;
  head.used[*slot / 64].fetch_or(uint64_t{1} << (*slot % 64), std::memory_order_acq_rel);
  return segment_.chunk_offset(owned.chunk) + uint64_t{*slot} * head.slot_bytes;
}

Result<uint64_t> SlotPool::allocate(uint64_t bytes) {
  if (bytes > kChunkBytes || (kind_ == ChunkKind::kEntries && bytes > kEntryBytes))
    return Status::error(StatusCode::kInvalidArgument,
                         "a slot of " + std::to_string(bytes) + " bytes");
  SizeClass& size_class = by_class_[class_of(bytes)];
  std::vector<OwnedChunk>& chunks = size_class.chunks;
  uint64_t offset = 0;
  const size_t probes = std::min(chunks.size(), kProbedChunks);
  for (size_t i = 0; i < probes && offset == 0; ++i) {
    offset = take_bit(chunks[size_class.cursor]);
    if (offset == 0) size_class.cursor = (size_class.cursor + 1) % chunks.size();
  }
  if (offset == 0) {
    const auto slot_bytes = static_cast<uint32_t>(kEntryBytes << class_of(bytes));
    Result<uint32_t> chunk = chunk_claim(segment_, kind_, owner_, slot_bytes);
    if (!chunk.is_ok()) return chunk.status();
    size_class.cursor = chunks.size();
    chunks.push_back({chunk.value(), 0});
    offset = take_bit(chunks.back());
  }
  const uint64_t cleared = kind_ == ChunkKind::kEntries ? kEntryBytes : (bytes + 7) & ~uint64_t{7};
  clear_slot(segment_.at(offset), cleared, kind_ == ChunkKind::kEntries);
  return offset;
}

void SlotPool::trim(size_t keep) {
  size_t unused = 0;
  for (SizeClass& size_class : by_class_) {
    std::erase_if(size_class.chunks, [&](const OwnedChunk& owned) {
      if (!none_used(segment_.chunk(owned.chunk).used) || ++unused <= keep) return false;
      chunk_release(segment_, owned.chunk);
      return true;
    });
    if (size_class.cursor >= size_class.chunks.size()) size_class.cursor = 0;
  }
}

size_t SlotPool::chunk_count() const {
  size_t count = 0;
  for (const SizeClass& size_class : by_class_) count += size_class.chunks.size();
  return count;
}

namespace {

// The bitmap word and bit of a slot; null when the offset is not the beginning of a slot.
std::atomic<uint64_t>* find_bit(const Segment& segment, uint64_t offset, uint64_t& bit) {
  const uint32_t number = segment.chunk_of(offset);
  if (number == UINT32_MAX || number >= segment.header().chunk_high.load(std::memory_order_relaxed))
    return nullptr;
  ChunkHeader& head = segment.chunk(number);
  if (head.kind.load(std::memory_order_acquire) == static_cast<uint32_t>(ChunkKind::kFree))
    return nullptr;
  const uint64_t inside = offset - segment.chunk_offset(number);
  const uint64_t slot_bytes = head.slot_bytes;
  if (slot_bytes < kEntryBytes || inside % slot_bytes != 0) return nullptr;
  const uint64_t slot = inside / slot_bytes;
  bit = uint64_t{1} << (slot % 64);
  return &head.used[slot / 64];
}

}  // namespace

bool slot_free(Segment& segment, uint64_t offset) {
  uint64_t bit = 0;
  std::atomic<uint64_t>* word = find_bit(segment, offset, bit);
  return word != nullptr && (word->fetch_and(~bit, std::memory_order_acq_rel) & bit) != 0;
}

uint32_t slot_bytes_at(const Segment& segment, uint64_t offset) {
  uint64_t bit = 0;
  return find_bit(segment, offset, bit) == nullptr
             ? 0
             : segment.chunk(segment.chunk_of(offset)).slot_bytes;
}

bool slot_is_used(const Segment& segment, uint64_t offset) {
  uint64_t bit = 0;
  const std::atomic<uint64_t>* word = find_bit(segment, offset, bit);
  return word != nullptr && (word->load(std::memory_order_acquire) & bit) != 0;
}

void orphan_chunks(Segment& segment, uint32_t endpoint) {
  for_each_chunk(segment, [&](uint32_t number, ChunkHeader& head, uint32_t owner) {
    if (owner != endpoint + 1 || is_kind(head, ChunkKind::kRecords) ||
        is_kind(head, ChunkKind::kRings))
      return;
    // Of no kind: it died between the claim and the kind, or while it gave the chunk back. Rows: sweep_row is done.
    const bool outlives = is_kind(head, ChunkKind::kEntries) || is_kind(head, ChunkKind::kEvents);
    if (outlives && !none_used(head.used))
      head.owner.store(kOwnerOrphan, std::memory_order_release);
    else
      chunk_release(segment, number);
  });
}

void release_chunks(Segment& segment, uint32_t endpoint) {
  for_each_chunk(segment, [&](uint32_t number, ChunkHeader& head, uint32_t owner) {
    if (owner != endpoint + 1) return;
    for (auto& word : head.used) word.store(0, std::memory_order_relaxed);
    chunk_release(segment, number);
  });
}

size_t reclaim_orphans(Segment& segment) {
  size_t count = 0;
  for_each_chunk(segment, [&](uint32_t number, ChunkHeader& head, uint32_t owner) {
    // Nobody sets bits in an orphan chunk, so "unused" stays true.
    if (owner != kOwnerOrphan || !none_used(head.used)) return;
    chunk_release(segment, number);
    ++count;
  });
  return count;
}

}  // namespace polyray
