// SPDX-License-Identifier: Apache-2.0
// One pass over every object entry after an endpoint died: which bytes are in use, and what the dead one left half done.
//
// A seal sends no message, so only the entries say which granted bytes hold an object. Only the dead endpoint could have
// put more objects into its own slabs and extents, so the answer stays true.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <vector>

#include "store/segment.h"

namespace polyray::raylet {

struct DeathScan {
  std::vector<uint64_t> offsets;  // of sealed objects in the data region, sorted
  std::vector<ObjectId>
      unreferenced;  // sealed, no reference left: the kRelease died with its sender
  bool uses(uint64_t offset, uint64_t bytes) const;
};

// Also takes the dead endpoint off as sealer of objects that it did not finish, so that somebody else can seal them.
DeathScan scan_entries(Segment& segment, uint32_t endpoint);
// Clears the bits of slots in the endpoint's slabs where no object lies.
void retire_slab_slots(Segment& segment, uint32_t endpoint, const DeathScan& scan);

}  // namespace polyray::raylet
