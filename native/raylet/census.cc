// SPDX-License-Identifier: Apache-2.0
// Counters of processes, chunks and slabs (see census.h).
#include "raylet/census.h"

#include <algorithm>

#include "store/ring.h"
#include "store/slab.h"
#include "store/slots.h"

namespace polyray::raylet {

namespace {

void add_counts(const EndpointCounters& from, ProcessStats& to) {
  for (uint32_t i = 0; i < kCounts; ++i)
    to.counts[i] += from.values[i].load(std::memory_order_relaxed);
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
  for_each_chunk(segment_, [&stats](uint32_t, const ChunkHeader& chunk, uint32_t) {
    switch (static_cast<ChunkKind>(chunk.kind.load(std::memory_order_acquire))) {
      case ChunkKind::kEntries:
        ++stats.entry_chunks;
        stats.objects += count_used(chunk.used);  // live objects and those being made or freed
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
  });
}

void Census::count_slabs(RayletStats& stats) const {
  for_each_slab(segment_, [&stats](uint64_t, const SlabHeader& slab, uint32_t) {
    ++stats.slabs;
    stats.slab_slots += slab.slot_count;
    stats.slab_slots_used += count_used(slab.used);
  });
}

}  // namespace polyray::raylet
