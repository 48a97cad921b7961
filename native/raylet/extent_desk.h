// SPDX-License-Identifier: Apache-2.0
// Grants, takes back and accounts the extents of the data region, and lets requests wait when memory is short.
//
// Owns: the allocator, the table of granted extents (who asked for each), the requests that wait.
// Memory is short -> the spiller is asked for room; if it has none, every client is asked now and then to collect
// (kGcRequest). Requests are tried again whenever something was freed, and refused at their deadline with a text that says
// who holds what.
// Invariants:
//  1. Every granted byte is in exactly one extent of the table; only exact extents are taken back.
//  2. A granule cut into slots is taken back only when no slot is used.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "raylet/peers.h"
#include "store/extents.h"
#include "store/slab.h"

namespace polyray::raylet {

class ExtentDesk {
 public:
  static constexpr uint32_t kNobody = 0xffffffff;  // holder of what ended endpoints left behind
  static constexpr uint64_t kIdleMs = 5000;        // free pages go back to the system after this

  static constexpr uint64_t kCollectEveryMs = 500;
  static constexpr uint64_t kReserveBytes =
      8 * 1024 * 1024;  // for small values, beyond the capacity

  ExtentDesk(Segment& segment, Peers& peers)
      : segment_(segment),
        peers_(peers),
        allocator_(segment, kReserveBytes),
        slabs_(segment, kRayletEndpoint) {}
  // kExtentRequest.
  void request(Peer& peer, const RingSlot& slot, uint64_t now_ms);
  // kExtentReturn: an unsealed put given up, or an unused granule.
  void give_back(const Peer& peer, uint64_t offset);
  // For the raylet itself (error envelopes): no waiting.
  Result<uint64_t> take(uint64_t bytes, uint64_t alignment);
  Result<uint64_t> take_small(uint64_t bytes);
  // The bytes of a freed object: a slab slot or a whole extent.
  void free_object_bytes(uint64_t offset);
  // A dead endpoint's extents that no sealed object uses are freed; the others belong to nobody now.
  // `in_use(offset, bytes)` says whether an object lies there.
  template <class InUse>
  void client_gone(uint32_t client, InUse&& in_use);
  bool holds_any(uint32_t client) const;
  // A request found no room since the last call: releases that wait in the rings without a bell may make some.
  bool take_short() { return std::exchange(short_, false); }
  // Who makes room: called in every step with the bytes that are waited for (0: none); true: room is coming.
  void set_room_maker(std::function<bool(uint64_t bytes, uint64_t now_ms)> make_room) {
    make_room_ = std::move(make_room);
  }
  // Slots in granules of this client came free: it looks there first, and gives empty granules back.
  void slots_came_free(uint32_t client);
  // No disk takes what should be spilled: requests that wait end soon, with this reason.
  void cannot_spill(const Status& why) { spill_fault_ = why; }
  // Answers what can be answered now: grants after frees, refusals at deadlines.
  void step(uint64_t now_ms);
  std::optional<uint64_t> next_deadline_ms() const;
  uint64_t used_bytes() const { return allocator_.used_bytes(); }
  uint64_t capacity_bytes() const { return allocator_.capacity_bytes(); }
  const ExtentAllocator& allocator() const { return allocator_; }
  size_t extents() const { return extents_.size(); }
  uint64_t granted() const { return granted_; }  // since the start
  const std::string& who_holds_what();

 private:
  struct Extent {
    uint64_t bytes;
    uint32_t client;
  };
  struct Waiting {
    uint64_t peer_id;
    uint32_t number;
    uint64_t bytes;
    uint64_t alignment;
    uint64_t deadline_ms;
    uint64_t patience_ms;  // until then, while values are written to disk
    Status why;
  };
  Result<uint64_t> allocate(uint64_t bytes, uint64_t alignment, uint32_t client);
  void free_extent(uint64_t offset);
  void grant(Peer& peer, uint32_t number, uint64_t offset);
  void refuse(Peer& peer, const Waiting& waiting);
  void grant_waiting();
  void fail_spill();

  Segment& segment_;
  Peers& peers_;
  ExtentAllocator allocator_;
  SlabPool slabs_;
  std::map<uint64_t, Extent> extents_;
  std::deque<Waiting> waiting_;
  uint64_t granted_ = 0;
  bool freed_ = false;  // something was freed since the last step
  bool short_ = false;
  uint64_t gc_again_ms_ = 0;  // when to ask everybody to collect again, if requests wait then
  bool coming_ = false;       // at the last step: the end of a write brings the next one
  std::string holders_;
  uint64_t holders_at_ms_ = 0;
  std::function<bool(uint64_t, uint64_t)> make_room_;
  Status spill_fault_;
  uint64_t last_free_ms_ = 0;
  uint64_t release_at_ms_ = 0;  // 0: no free pages to give back
};

template <class InUse>
void ExtentDesk::client_gone(uint32_t client, InUse&& in_use) {
  std::erase_if(waiting_,
                [client](const Waiting& w) { return static_cast<uint32_t>(w.peer_id) == client; });
  std::vector<uint64_t> unused;
  for (auto& [offset, extent] : extents_) {
    if (extent.client != client) continue;
    extent.client = kNobody;
    if (!in_use(offset, extent.bytes)) unused.push_back(offset);
  }
  for (const uint64_t offset : unused) free_extent(offset);
  allocator_.forget_client(client);
}

}  // namespace polyray::raylet
