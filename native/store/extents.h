// SPDX-License-Identifier: Apache-2.0
// The raylet's allocator of data extents: first fit over a free map in the raylet's own memory, with a short list of
// recently freed extents per client, so that the same client gets pages back that its page tables already know.
//
// Invariants: extents never overlap; every granted extent is fallocate'd first; bytes are multiples of 4 KiB.
// Thread rules: raylet thread only.
#pragma once
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "store/segment.h"

namespace polyray {

class ExtentAllocator {
 public:
  // The last `reserve_bytes` of the data region are for extents of at most a granule: small values find room in a store
  // that is full of big ones. They are not part of the capacity.
  explicit ExtentAllocator(Segment& segment, uint64_t reserve_bytes = 0);
  // Offset from segment start. Errors: kObjectStoreFull (no room), kOutOfMemory (the kernel has no pages).
  Result<uint64_t> allocate(uint64_t bytes, uint64_t alignment, uint32_t client);
  // How many bytes of the last extent got new pages.
  uint64_t newly_backed_bytes() const { return newly_backed_; }
  void free(uint64_t offset, uint64_t bytes, uint32_t client);
  void forget_client(uint32_t client);
  uint64_t used_bytes() const { return used_; }
  uint64_t capacity_bytes() const { return segment_.data_bytes() - reserve_bytes_; }
  uint64_t largest_free() const;
  // Granted since the start: bytes that had their pages, and bytes that had to get them.
  uint64_t reused_bytes() const { return reused_bytes_; }
  uint64_t fresh_bytes() const { return fresh_bytes_; }
  // Gives pages of extents idle for `idle_ms` back to the system (punch hole). Returns bytes given back.
  uint64_t release_idle(uint64_t now_ms, uint64_t idle_ms);

 private:
  struct Recent {
    uint64_t offset;
    uint64_t bytes;
    uint64_t freed_ms;
  };
  struct Backed {
    uint64_t bytes;
    uint64_t freed_ms;
  };  // a free range that still has its pages
  void insert_free(uint64_t offset, uint64_t bytes);
  void take_free(uint64_t hole, uint64_t offset, uint64_t bytes);
  uint64_t find_recent(uint64_t bytes, uint64_t alignment, uint32_t client);
  uint64_t find_first(uint64_t bytes, uint64_t alignment, uint64_t* hole) const;
  uint64_t find_last(uint64_t bytes, uint64_t alignment, uint64_t* hole) const;
  uint64_t hole_of(uint64_t offset, uint64_t bytes) const;
  Status back(uint64_t offset, uint64_t bytes);
  void set_used(uint64_t used);
  Segment& segment_;
  const uint64_t reserve_bytes_;
  std::map<uint64_t, uint64_t> free_;  // offset -> bytes, coalesced
  std::map<uint64_t, Backed> backed_;  // offset -> free bytes that have pages
  std::unordered_map<uint32_t, std::vector<Recent>> recent_;  // by client, newest last
  uint64_t used_ = 0;
  uint64_t newly_backed_ = 0;
  uint64_t reused_bytes_ = 0;
  uint64_t fresh_bytes_ = 0;
};

}  // namespace polyray
