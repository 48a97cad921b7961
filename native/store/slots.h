// SPDX-License-Identifier: Apache-2.0
// Fixed-size slots in 64 KiB chunks of the control region (entries, call records, rings), claimed without a message.
//
// A SlotPool belongs to one endpoint: only it sets bits in the chunks that it owns; anybody may clear a bit
// (slot_free). A claimed chunk is populated (MADV_POPULATE_WRITE) first, so that a full machine is an error, not SIGBUS.
// Thread rules: one pool, one thread at a time. slot_free: any thread, any process.
#pragma once
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "store/bits.h"
#include "store/segment.h"

namespace polyray {

class SlotPool {
 public:
  SlotPool(Segment& segment, ChunkKind kind, uint32_t endpoint)
      : segment_(segment), kind_(kind), owner_(endpoint + 1) {}
  // Zeroed slot of at least `bytes` (size classes: 128, 256, 512, 1K, 2K, 4K, 8K, 16K, 32K, 64K; entries are 128).
  // The first `bytes` are zero. Errors: kTableFull (no chunk is left), kOutOfMemory (no pages), kInvalidArgument.
  Result<uint64_t> allocate(uint64_t bytes);
  // Chunks that are wholly unused beyond `keep` go back, with their pages.
  void trim(size_t keep);
  size_t chunk_count() const;

 private:
  struct OwnedChunk {
    uint32_t chunk;
    uint32_t next_word;
  };
  struct SizeClass {
    std::vector<OwnedChunk> chunks;
    size_t cursor = 0;
  };
  uint64_t take_bit(OwnedChunk& owned);
  Segment& segment_;
  ChunkKind kind_;
  uint32_t owner_;
  SizeClass by_class_[10];
};

// Clears the slot's bit. A wrong offset or a slot that is free already is ignored (returns false).
bool slot_free(Segment& segment, uint64_t offset);
uint32_t slot_bytes_at(const Segment& segment, uint64_t offset);
bool slot_is_used(const Segment& segment, uint64_t offset);

// Claims a free chunk for `owner` (endpoint + 1): populated and zeroed. slot_bytes divides kChunkBytes.
Result<uint32_t> chunk_claim(Segment& segment, ChunkKind kind, uint32_t owner, uint32_t slot_bytes);
// Gives a chunk back. REQUIRES: the caller owns it (or is the raylet and its owner is dead) and no slot is used.
void chunk_release(Segment& segment, uint32_t chunk);

// Calls visit(number, header, owner) for each chunk that somebody has, or had and left behind (kOwnerOrphan).
template <class Visit>
void for_each_chunk(const Segment& segment, Visit&& visit) {
  const uint64_t high = segment.header().chunk_high.load(std::memory_order_acquire);
  for (uint32_t number = 0; number < high; ++number) {
    ChunkHeader& head = segment.chunk(number);
    if (const uint32_t owner = head.owner.load(std::memory_order_acquire); owner != 0)
      visit(number, head, owner);
  }
}
inline bool is_kind(const ChunkHeader& head, ChunkKind kind) {
  return head.kind.load(std::memory_order_acquire) == static_cast<uint32_t>(kind);
}
// Calls visit(offset) for each used slot of a chunk.
template <class Visit>
void for_each_slot_in(const Segment& segment, uint32_t chunk, Visit&& visit) {
  const uint64_t slot_bytes = segment.chunk(chunk).slot_bytes;
  for_each_used(segment.chunk(chunk).used, [&](uint32_t slot) {
    if (slot * slot_bytes < kChunkBytes) visit(segment.chunk_offset(chunk) + slot * slot_bytes);
  });
}
// Calls visit(offset) for each used slot of each chunk of that kind whose owner is `owner` (endpoint + 1, kOwnerOrphan).
template <class Visit>
void for_each_slot(const Segment& segment, ChunkKind kind, uint32_t owner, Visit&& visit) {
  for_each_chunk(segment, [&](uint32_t number, const ChunkHeader& head, uint32_t has) {
    if (has == owner && is_kind(head, kind)) for_each_slot_in(segment, number, visit);
  });
}
// Calls visit(id, entry) for each object entry in use: sealed, pending, or being freed.
template <class Visit>
void for_each_entry(const Segment& segment, Visit&& visit) {
  const uint32_t node_tag = segment.header().node_tag;
  for_each_chunk(segment, [&](uint32_t number, const ChunkHeader& head, uint32_t) {
    if (!is_kind(head, ChunkKind::kEntries)) return;
    const auto first = static_cast<uint32_t>(segment.chunk_offset(number) / kEntryBytes);
    for_each_used(head.used, [&](uint32_t slot) {
      if (slot >= kEntriesPerChunk) return;
      ObjectEntry& entry = segment.entry(first + slot);
      const uint64_t unique = entry.unique.load(std::memory_order_acquire);
      if (unique != 0) visit(ObjectId{node_tag, first + slot, unique}, entry);
    });
  });
}

// --- raylet: after an endpoint died (sweep_row first)
// Its chunks of what outlives it (objects, unread events) become orphans; rows and empty ones go back at once. Records and
// rings stay: others may still read them (release_chunks).
void orphan_chunks(Segment& segment, uint32_t endpoint);
// Takes back whatever chunks the endpoint still has.
void release_chunks(Segment& segment, uint32_t endpoint);
// Takes back orphan chunks whose last slot was freed. Returns how many. Call now and then.
size_t reclaim_orphans(Segment& segment);

}  // namespace polyray
