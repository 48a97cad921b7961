// SPDX-License-Identifier: Apache-2.0
// Small object bytes: granules of 256 KiB of the data region cut into equal slots by the client that owns them.
//
// The raylet grants granules as extents (aligned to kGranuleBytes); the client writes SlabHeader and allocates slots by
// setting bits; the raylet clears a bit when it frees the object. At the owner's death the raylet marks the slab orphan
// and takes the granule back when its last bit is cleared.
// Thread rules: one SlabPool, one thread at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "store/bits.h"
#include "store/segment.h"

namespace polyray {

inline constexpr uint64_t kMaxSlabObject = 64 * 1024;  // larger objects get an extent of their own

class SlabPool {
 public:
  SlabPool(Segment& segment, uint32_t endpoint) : segment_(segment), owner_(endpoint + 1) {}
  // Offset of a free slot of >= bytes, or 0 when a new granule is needed (call add_granule, then again).
  uint64_t allocate(uint64_t bytes);
  // Cuts a granted granule into slots of slot_size(bytes). REQUIRES: bytes <= kMaxSlabObject.
  Status add_granule(uint64_t granule, uint64_t bytes);
  static uint64_t slot_size(
      uint64_t
          bytes);  // classes: 64 128 192 256 384 512 768 1K 1.5K 2K 3K 4K 6K 8K 12K 16K 24K 32K 48K 64K
  // Wholly unused granules beyond `keep` are handed to give_back(offset, bytes): send kExtentReturn. The header keeps its
  // owner until the raylet calls slab_retire, so that a death in between leaks nothing.
  void trim(size_t keep, const std::function<void(uint64_t, uint64_t)>& give_back);

 private:
  Segment& segment_;
  uint32_t owner_;
  struct OwnedGranule {
    uint64_t granule;
    uint32_t next_word;
  };
  struct SizeClass {
    std::vector<OwnedGranule> granules;
    size_t cursor = 0;
  };
  SizeClass by_class_[20];
};

// Clears the slot's bit; true when the slab is orphan and now empty (the raylet frees the granule).
bool slab_free(Segment& segment, uint64_t offset);
bool is_slab(const Segment& segment, uint64_t data_offset);
uint64_t slab_slot_bytes(const Segment& segment,
                         uint64_t data_offset);  // 0 when it is not in a slab

// Calls visit(granule, header, owner) for each slab.
template <class Visit>
void for_each_slab(const Segment& segment, Visit&& visit) {
  const uint64_t high = segment.header().granule_high.load(std::memory_order_acquire);
  for (uint64_t granule = 0; granule < high; ++granule) {
    SlabHeader& head = segment.slab(granule);
    if (const uint32_t owner = head.owner.load(std::memory_order_acquire); owner != 0)
      visit(granule, head, owner);
  }
}

// --- raylet
// The granule is no slab any more. False (nothing done) while a slot is used. Then free it in the ExtentAllocator.
bool slab_retire(Segment& segment, uint64_t granule);
// After an endpoint died: marks its slabs orphan; empty ones are retired and handed to give_back(offset, bytes).
void orphan_slabs(Segment& segment, uint32_t endpoint,
                  const std::function<void(uint64_t, uint64_t)>& give_back);

}  // namespace polyray
