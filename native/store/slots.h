// SPDX-License-Identifier: Apache-2.0
// Fixed-size slots in 64 KiB chunks of the control region (entries, call records, rings), claimed without a message.
//
// A SlotPool belongs to one endpoint: only it sets bits in the chunks that it owns; anybody may clear a bit
// (slot_free). A claimed chunk is populated (MADV_POPULATE_WRITE) first, so that a full machine is an error, not SIGBUS.
// Thread rules: one pool, one thread at a time. slot_free: any thread, any process.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
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

// --- raylet: after an endpoint died (sweep_row first)
// Marks its chunks orphan; empty ones and row chunks go back at once.
void orphan_chunks(Segment& segment, uint32_t endpoint);
// Takes back orphan chunks whose last slot was freed. Returns how many. Call now and then.
size_t reclaim_orphans(Segment& segment);
// Calls visit(offset) for each used slot of each chunk of that kind whose owner is `owner` (endpoint + 1, kOwnerOrphan).
void for_each_slot(Segment& segment, ChunkKind kind, uint32_t owner,
                   const std::function<void(uint64_t)>& visit);

}  // namespace polyray
