// SPDX-License-Identifier: Apache-2.0
// The pass over all entries at a death (see death_scan.h).
#include "raylet/death_scan.h"

#include <algorithm>
#include <bit>

namespace polyray::raylet {

namespace {

void visit_entry(Segment& segment, uint32_t index, uint32_t endpoint, DeathScan& scan) {
  ObjectEntry& entry = segment.entry(index);
  const uint64_t unique = entry.unique.load(std::memory_order_acquire);
  const uint32_t state = entry.state.load(std::memory_order_acquire);
  const auto kind = static_cast<EntryState>(state & kEntryStateMask);
  if (unique == 0) return;
  if (kind == EntryState::kSealed) {
    if (entry.offset != 0) scan.offsets.push_back(entry.offset);
    if (entry.refs.load(std::memory_order_acquire) == 0)
      scan.unreferenced.push_back({segment.header().node_tag, index, unique});
  } else if (kind == EntryState::kPending &&
             entry.sealer.load(std::memory_order_acquire) == endpoint + 1) {
    entry.offset = 0;
    entry.size = 0;
    entry.capacity = 0;
    entry.sealer.store(0, std::memory_order_release);
  }
}

}  // namespace

bool DeathScan::uses(uint64_t offset, uint64_t bytes) const {
  const auto it = std::lower_bound(offsets.begin(), offsets.end(), offset);
  return it != offsets.end() && *it < offset + bytes;
}

DeathScan scan_entries(Segment& segment, uint32_t endpoint) {
  DeathScan scan;
  const uint64_t high = segment.header().chunk_high.load(std::memory_order_acquire);
  for (uint32_t number = 0; number < high; ++number) {
    const ChunkHeader& chunk = segment.chunk(number);
    if (chunk.owner.load(std::memory_order_acquire) == 0 ||
        chunk.kind.load(std::memory_order_acquire) != static_cast<uint32_t>(ChunkKind::kEntries))
      continue;
    const auto first = static_cast<uint32_t>(segment.chunk_offset(number) / kEntryBytes);
    for (uint32_t word = 0; word < kEntriesPerChunk / 64; ++word) {
      for (uint64_t bits = chunk.used[word].load(std::memory_order_acquire); bits != 0;
           bits &= bits - 1)
        visit_entry(segment, first + word * 64 + static_cast<uint32_t>(std::countr_zero(bits)),
                    endpoint, scan);
    }
  }
  std::sort(scan.offsets.begin(), scan.offsets.end());
  return scan;
}

void retire_slab_slots(Segment& segment, uint32_t endpoint, const DeathScan& scan) {
  const uint64_t high = segment.header().granule_high.load(std::memory_order_acquire);
  for (uint64_t granule = 0; granule < high; ++granule) {
    SlabHeader& slab = segment.slab(granule);
    if (slab.owner.load(std::memory_order_acquire) != endpoint + 1) continue;
    uint64_t keep[64] = {};
    const uint64_t start = segment.granule_offset(granule);
    const uint64_t slot_bytes = slab.slot_bytes;
    auto it = std::lower_bound(scan.offsets.begin(), scan.offsets.end(), start);
    for (; slot_bytes >= 64 && it != scan.offsets.end() && *it < start + kGranuleBytes; ++it) {
      const uint64_t slot = (*it - start) / slot_bytes;
      if (slot < 64 * 64) keep[slot / 64] |= uint64_t{1} << (slot % 64);
    }
    uint32_t live = 0;
    for (size_t word = 0; word < 64; ++word) {
      const uint64_t left =
          slab.used[word].fetch_and(keep[word], std::memory_order_acq_rel) & keep[word];
      live += static_cast<uint32_t>(std::popcount(left));
    }
    slab.live.store(live, std::memory_order_relaxed);
  }
}

}  // namespace polyray::raylet
