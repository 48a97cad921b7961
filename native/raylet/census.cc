// SPDX-License-Identifier: Apache-2.0
// Counters of processes, chunks and slabs (see census.h).
#include "raylet/census.h"

#include <algorithm>
#include <bit>

#include "store/ring.h"

namespace polyray::raylet {

namespace {

void add_counts(const EndpointCounters& from, ProcessStats& to) {
  for (uint32_t i = 0; i < kCounts; ++i)
    to.counts[i] += from.values[i].load(std::memory_order_relaxed);
}

uint64_t used_slots(const ChunkHeader& chunk) {
  uint64_t count = 0;
  for (const auto& word : chunk.used)
    count += static_cast<uint64_t>(std::popcount(word.load(std::memory_order_relaxed)));
  return count;
}

}  // namespace

void Census::bury(const Peer& peer) {
  const auto kind = static_cast<uint32_t>(peer.kind);
  ProcessStats& sum = ended_[{kind, peer.language}];
  sum.kind = kind;
  sum.language = peer.language;
  ++sum.ended;
  add_counts(segment_.endpoint(peer.endpoint).counters, sum);
}

void Census::fill(Peers& peers, RayletStats& stats) const {
  for (const auto& [key, sum] : ended_) stats.processes.push_back(sum);
  ProcessStats raylet;
  raylet.pid = segment_.endpoint(kRayletEndpoint).pid;
  raylet.kind = static_cast<uint32_t>(EndpointKind::kRaylet);
  std::vector<ProcessStats> live{raylet};
  for (const auto& [number, peer] : peers.all()) {
    ProcessStats one;
    one.pid = peer.pid;
    one.endpoint = number;
    one.kind = static_cast<uint32_t>(peer.kind);
    one.language = peer.language;
    one.job = peer.job;
    live.push_back(one);
  }
  for (ProcessStats& one : live) {
    add_counts(segment_.endpoint(one.endpoint).counters, one);
    for_each_inbound(segment_, one.endpoint, [&](uint32_t, uint64_t offset) {
      if (!segment_.valid_ring(offset)) return;
      const RingHeader& ring = segment_.ring(offset);
      const uint64_t head = ring.head.load(std::memory_order_acquire);
      const uint64_t tail = ring.tail.load(std::memory_order_acquire);
      const uint64_t depth = tail > head ? std::min<uint64_t>(tail - head, ring.capacity) : 0;
      ++one.rings;
      one.ring_depth += depth;
      one.deepest_ring = std::max(one.deepest_ring, depth);
    });
    stats.processes.push_back(one);
  }
  count_chunks(stats);
  count_slabs(stats);
}

void Census::count_chunks(RayletStats& stats) const {
  const uint64_t high = segment_.header().chunk_high.load(std::memory_order_acquire);
  for (uint32_t number = 0; number < high; ++number) {
    const ChunkHeader& chunk = segment_.chunk(number);
    if (chunk.owner.load(std::memory_order_acquire) == 0) continue;
    switch (static_cast<ChunkKind>(chunk.kind.load(std::memory_order_acquire))) {
      case ChunkKind::kEntries:
        ++stats.entry_chunks;
        stats.objects += used_slots(chunk);  // live objects and those being made or freed
        break;
      case ChunkKind::kRecords:
        ++stats.record_chunks;
        break;
      case ChunkKind::kRings:
        ++stats.ring_chunks;
        break;
      case ChunkKind::kEvents:
        ++stats.event_chunks;
        break;
      case ChunkKind::kFree:
      case ChunkKind::kRow:
        break;
    }
  }
}

void Census::count_slabs(RayletStats& stats) const {
  const uint64_t high = segment_.header().granule_high.load(std::memory_order_acquire);
  for (uint64_t granule = 0; granule < high; ++granule) {
    const SlabHeader& slab = segment_.slab(granule);
    if (slab.owner.load(std::memory_order_acquire) == 0) continue;
    ++stats.slabs;
    stats.slab_slots += slab.slot_count;
    for (const auto& word : slab.used)
      stats.slab_slots_used +=
          static_cast<uint64_t>(std::popcount(word.load(std::memory_order_relaxed)));
  }
}

}  // namespace polyray::raylet
