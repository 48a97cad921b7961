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
#include "store/segment.h"

namespace polyray {

class SlotPool {
 public:
  SlotPool(Segment& segment, ChunkKind kind, uint32_t endpoint) : segment_(segment), kind_(kind), owner_(endpoint + 1) {}
  // Zeroed slot of at least `bytes` (size classes: 128, 256, 512, 1K, 2K, 4K, 8K, 16K, 32K, 64K; entries are 128).
  // Returns the offset; error kOutOfMemory when no chunk is left.
  Result<uint64_t> allocate(uint64_t bytes);
  // Chunks that are wholly unused beyond `keep` go back (CAS owner -> 0).
  void trim(size_t keep);

 private:
  struct OwnedChunk { uint32_t chunk; uint32_t next_word; };
  Result<uint32_t> claim_chunk(uint32_t slot_bytes);
  Segment& segment_;
  ChunkKind kind_;
  uint32_t owner_;
  std::vector<OwnedChunk> by_class_[10];
};

void slot_free(Segment& segment, uint64_t offset);
uint32_t slot_bytes_at(const Segment& segment, uint64_t offset);
bool slot_is_used(const Segment& segment, uint64_t offset);

}  // namespace polyray
