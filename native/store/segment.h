// SPDX-License-Identifier: Apache-2.0
// One process's mapping of the shared segment, and the address arithmetic over layout.h.
//
// Owns: the memfd (a dup), the control mapping (read-write, MADV_DONTFORK), the data mapping for writing (read-write,
// MADV_DONTFORK) and the data mapping for reading (PROT_READ, kept over fork).
// Thread rules: fixed after construction; every accessor may be called from any thread.
#pragma once
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "store/layout.h"

namespace polyray {

struct SegmentOptions {
  uint64_t data_bytes = 0;       // rounded up to kGranuleBytes
  uint64_t max_chunks = 131072;  // 64 KiB each, virtual until claimed (8 GiB)
  uint32_t node_tag = 0;
  const char* file_path =
      nullptr;  // --plasma-directory: a file instead of a memfd (unlinked after open)
};

class Segment {
 public:
  // Raylet: makes, sizes, seals (F_SEAL_SHRINK|GROW) and maps the segment; writes the header.
  static Result<std::unique_ptr<Segment>> create(const SegmentOptions& options);
  // Client: maps a received fd and checks magic, version and sizes.
  static Result<std::unique_ptr<Segment>> map(int fd);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  int fd() const { return fd_; }
  SegmentHeader& header() const { return *header_; }
  Endpoint& endpoint(uint32_t number) const;  // REQUIRES: number < kMaxEndpoints
  ChunkHeader& chunk(uint32_t number) const;  // REQUIRES: number < header().chunk_count
  SlabHeader& slab(uint64_t granule) const;   // REQUIRES: granule < header().granule_count
  Lease& lease(uint32_t number) const;        // REQUIRES: number < kMaxLeases
  ObjectEntry& entry(uint32_t index) const {
    return *reinterpret_cast<ObjectEntry*>(base_ + uint64_t{index} * kEntryBytes);
  }
  // Checked: null when the index lies outside an entries chunk or the slot now holds another object.
  ObjectEntry* find(const ObjectId& id) const;
  uint8_t* at(uint64_t offset) const;          // writable address of any offset (control or data)
  const uint8_t* read(uint64_t offset) const;  // read-only address of a data offset
  uint64_t offset_of(
      const void* address) const;  // of an address inside the control or writable data mapping
  bool is_data(uint64_t offset) const { return offset >= control_bytes_; }
  uint64_t granule_of(uint64_t data_offset) const {
    return (data_offset - control_bytes_) / kGranuleBytes;
  }
  uint64_t granule_offset(uint64_t granule) const {
    return control_bytes_ + granule * kGranuleBytes;
  }
  uint32_t chunk_of(uint64_t control_offset) const;  // UINT32_MAX when it is not in the chunk heap
  uint64_t chunk_offset(uint32_t chunk) const;
  RingHeader& ring(uint64_t offset) const { return *reinterpret_cast<RingHeader*>(at(offset)); }
  CallRecord& record(uint64_t offset) const { return *reinterpret_cast<CallRecord*>(at(offset)); }
  uint64_t control_bytes() const { return control_bytes_; }
  uint64_t data_bytes() const { return data_bytes_; }

  // --- checks of numbers that another process wrote: false means do not touch
  // A used slot of at least `min_bytes` in a chunk of that kind, and the offset is where the slot begins.
  bool valid_slot(uint64_t offset, ChunkKind kind, uint64_t min_bytes) const;
  bool valid_record(uint64_t offset) const;  // a CallRecord whose tail fits its slot
  bool valid_payload(uint64_t offset, uint64_t bytes) const;  // bytes in a record slot
  bool valid_ring(uint64_t offset) const;  // a RingHeader whose slots fit, with known endpoints
  bool valid_data(uint64_t offset, uint64_t bytes) const;  // inside the data region
  // Makes control bytes present before they are touched, so that a full machine is kOutOfMemory, not SIGBUS.
  Status populate(uint64_t offset, uint64_t bytes) const;
  Status populate_endpoint(uint32_t number) const;  // all but most of the inbound table
  // Read-only base of the data region (what Python buffers and JS copy-on-write maps are made over).
  const uint8_t* data_read_base() const { return data_read_; }

 private:
  // Copied from the checked header: nobody can move a table under us later.
  struct Tables {
    uint64_t endpoints, chunk_headers, slab_headers, leases, chunks, chunk_count;
    uint32_t node_tag;
  };
  Segment();
  int fd_ = -1;
  uint32_t pid_;                   // who mapped: a forked child has only the read-only mapping
  uint8_t* base_ = nullptr;        // control region
  uint8_t* data_write_ = nullptr;  // data region, writable
  uint8_t* data_read_ = nullptr;   // data region, read-only
  SegmentHeader* header_ = nullptr;
  uint64_t control_bytes_ = 0;
  uint64_t data_bytes_ = 0;
  Tables places_{};
};

}  // namespace polyray
