// SPDX-License-Identifier: Apache-2.0
// The pass over all entries at a death (see death_scan.h).
#include "raylet/death_scan.h"

#include <algorithm>

#include "store/slab.h"
#include "store/slots.h"

namespace polyray::raylet {

bool DeathScan::uses(uint64_t offset, uint64_t bytes) const {
  const auto it = std::lower_bound(offsets.begin(), offsets.end(), offset);
  return it != offsets.end() && *it < offset + bytes;
}

DeathScan scan_entries(Segment& segment, uint32_t endpoint) {
  DeathScan scan;
  for_each_entry(segment, [&](const ObjectId& id, ObjectEntry& entry) {
    const uint32_t state = entry.state.load(std::memory_order_acquire);
    const auto kind = static_cast<EntryState>(state & kEntryStateMask);
    if (kind == EntryState::kSealed) {
      if (entry.offset != 0) scan.offsets.push_back(entry.offset);
      if (entry.refs.load(std::memory_order_acquire) == 0) scan.unreferenced.push_back(id);
    } else if (kind == EntryState::kPending &&
               entry.sealer.load(std::memory_order_acquire) == endpoint + 1) {
      entry.offset = 0;
      entry.size = 0;
      entry.capacity = 0;
      entry.sealer.store(0, std::memory_order_release);
    }
  });
  std::sort(scan.offsets.begin(), scan.offsets.end());
  return scan;
}

void retire_slab_slots(Segment& segment, uint32_t endpoint, const DeathScan& scan) {
  for_each_slab(segment, [&](uint64_t granule, SlabHeader& slab, uint32_t owner) {
    if (owner != endpoint + 1) return;
    uint64_t keep[64] = {};
    const uint64_t start = segment.granule_offset(granule);
    const uint64_t slot_bytes = slab.slot_bytes;
    auto it = std::lower_bound(scan.offsets.begin(), scan.offsets.end(), start);
    for (; slot_bytes >= 64 && it != scan.offsets.end() && *it < start + kGranuleBytes; ++it) {
      const uint64_t slot = (*it - start) / slot_bytes;
      keep[slot / 64] |= uint64_t{1} << (slot % 64);
    }
    for (size_t word = 0; word < 64; ++word)
      slab.used[word].fetch_and(keep[word], std::memory_order_acq_rel);
    slab.live.store(count_used(slab.used), std::memory_order_relaxed);
  });
}

}  // namespace polyray::raylet
