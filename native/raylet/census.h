// SPDX-License-Identifier: Apache-2.0
// Who did how much: the counters of the attached processes, and the sums of those that ended, by kind and language.
//
// Sums never shrink: what a process counted is added to its kind's at its end, on the thread that also reads.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <map>
#include <utility>

#include "raylet/peers.h"
#include "raylet/raylet.h"
#include "store/segment.h"

namespace polyray::raylet {

class Census {
 public:
  explicit Census(Segment& segment) : segment_(segment) {}
  // The endpoint is dead and its number not used again yet.
  void bury(const Peer& peer);
  // Fills what the segment and the endpoints tell.
  void fill(Peers& peers, RayletStats& stats) const;

 private:
  void count_chunks(RayletStats& stats) const;
  void count_slabs(RayletStats& stats) const;
  Segment& segment_;
  std::map<std::pair<uint32_t, uint32_t>, ProcessStats> ended_;  // by kind and language
};

}  // namespace polyray::raylet
