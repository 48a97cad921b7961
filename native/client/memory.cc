// SPDX-License-Identifier: Apache-2.0
// Bytes in the data region: slots of own slabs for small values, extents granted by the raylet for big ones.
#include <algorithm>
#include <cstring>

#include "client/core.h"
#include "store/spill_place.h"

namespace polyray {

namespace {
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kPopulateBlock = 64 * 1024;
// Beyond what it may wait: the raylet always answers, unless it hangs.
constexpr uint64_t kGrantGraceMs = 10'000;
constexpr int kWaitSliceMs = 200;
}  // namespace

Result<ClientCore::Memory> ClientCore::allocate_bytes(uint64_t size, uint32_t wait_ms) {
  const uint64_t deadline_ms = os::now_ms() + wait_ms;
  for (;;) {
    Result<Memory> got =
        size <= kMaxSlabObject ? take_slab_slot(size, wait_ms) : take_extent(size, wait_ms);
    if (got.is_ok() || got.status().code != StatusCode::kWouldBlock) return got;
    // Values in our own slabs were spilled. If no slot of the size came free, empty granules may serve.
    const uint64_t now_ms = os::now_ms();
    wait_ms = deadline_ms > now_ms ? static_cast<uint32_t>(deadline_ms - now_ms) : 0;
    if (size <= kMaxSlabObject) {
      if (const uint64_t offset = slabs_.allocate(size))
        return Memory{offset, SlabPool::slot_size(size), segment_->at(offset)};
    }
    give_back_slabs();
  }
}

Result<ClientCore::Memory> ClientCore::take_extent(uint64_t size, uint32_t wait_ms) {
  Result<Memory> extent =
      request_extent((size + kPageBytes - 1) & ~(kPageBytes - 1), kPageBytes, wait_ms);
  if (extent.is_ok()) populate(extent.value());
  return extent;
}

Result<ClientCore::Memory> ClientCore::take_slab_slot(uint64_t size, uint32_t wait_ms) {
  uint64_t offset = slabs_.allocate(size);
  if (offset == 0) {
    Result<Memory> granule = request_extent(kGranuleBytes, kGranuleBytes, wait_ms);
    if (!granule.is_ok()) return granule.status();
    Status added = slabs_.add_granule(segment_->granule_of(granule.value().offset), size);
    if (!added.is_ok()) {
      free_bytes(granule.value().offset, granule.value().capacity);
      return added;
    }
    count(Count::kSlabGranules);
    populate(granule.value());
    offset = slabs_.allocate(size);
    if (offset == 0) return Status::error(StatusCode::kBrokenInvariant, "a new slab has no room");
  }
  return Memory{offset, SlabPool::slot_size(size), segment_->at(offset)};
}

void ClientCore::give_back_slabs() {
  slabs_.trim(0, [this](uint64_t offset, uint64_t bytes) {
    to_raylet({static_cast<uint32_t>(Rec::kExtentReturn), 0, offset, bytes, 0}, false);
  });
}

// Bytes that were never sealed.
void ClientCore::free_bytes(uint64_t offset, uint64_t capacity) {
  if (offset == 0) return;
  if (is_slab(*segment_, offset)) {
    slab_free(*segment_, offset);
  } else {
    to_raylet({static_cast<uint32_t>(Rec::kExtentReturn), 0, offset, capacity, 0}, false);
  }
}

// Asks and waits. Other records that come meanwhile stay in the inbox for the next poll.
Result<ClientCore::Memory> ClientCore::request_extent(uint64_t bytes, uint64_t alignment,
                                                      uint32_t wait_ms) {
  const uint32_t request = ++next_request_;
  const bool woken = segment_->endpoint(endpoint_).armed.load(std::memory_order_acquire) == 0;
  count(Count::kExtentRequests);
  to_raylet({static_cast<uint32_t>(Rec::kExtentRequest), request, bytes, alignment, wait_ms}, true);
  const uint64_t deadline_ms =
      os::now_ms() + wait_ms + (wait_ms == 0 ? 0 : kSpillPatienceMs) + kGrantGraceMs;
  size_t seen = inbox_.size();
  const size_t before = seen;
  for (;;) {
    drain();
    flush_overflow();  // the request may stand behind other records
    flush();
    for (; seen < inbox_.size(); ++seen) {
      RingSlot& slot = inbox_[seen].slot;
      if (slot.kind != static_cast<uint32_t>(Rec::kExtentGrant) || slot.a != request) continue;
      const RingSlot grant = slot;
      inbox_.erase(inbox_.begin() + static_cast<ptrdiff_t>(seen));
      give_back_doorbell(inbox_.size() > before, woken);
      if (grant.b != 0 && segment_->is_data(grant.b))
        return Memory{grant.b, grant.c, segment_->at(grant.b), grant.d != 0};
      std::string text = "the object store refused " + std::to_string(bytes) + " bytes";
      if (grant.d != 0) {
        const uint32_t room = slot_bytes_at(*segment_, grant.d);
        const auto* chars = reinterpret_cast<const char*>(segment_->at(grant.d));
        if (room != 0) text.assign(chars, strnlen(chars, room));
        slot_free(*segment_, grant.d);
      }
      const auto code = static_cast<StatusCode>(grant.c);
      return Status::error(code == StatusCode::kOk ? StatusCode::kObjectStoreFull : code, text);
    }
    const uint64_t now = os::now_ms();
    const bool late = now >= deadline_ms;
    if (late || !raylet_lives()) {
      give_back_doorbell(inbox_.size() > before, woken);
      return late ? Status::error(StatusCode::kTimedOut,
                                  "the raylet did not answer a request for memory")
                  : Status::error(StatusCode::kLocalRayletDied, "the raylet is gone");
    }
    if (inbound_.arm(kArmedFutex))
      inbound_.wait(static_cast<int>(std::min<uint64_t>(deadline_ms - now, kWaitSliceMs)));
  }
}

// Makes the pages present in this process's tables before they are written: far cheaper than a fault for each. What is
// remembered ends when the raylet gave idle pages back to the system.
void ClientCore::populate(const Memory& extent) {
  const uint64_t given_back = segment_->header().pages_given_back.load(std::memory_order_acquire);
  if (given_back != pages_given_back_) {
    populated_.assign(populated_.size(), false);
    pages_given_back_ = given_back;
  }
  const uint64_t start = segment_->control_bytes();
  const uint64_t from = extent.offset - start;
  const uint64_t end = from + extent.capacity;
  const os::Pages pages = extent.new_pages ? os::Pages::kNew : os::Pages::kPresent;
  // Only what is missing: the blocks at the ends, which an extent may have in part, are never remembered.
  uint64_t block = from / kPopulateBlock;
  uint64_t present = extent.capacity;
  while (block * kPopulateBlock < end) {
    if (populated_[block]) {
      ++block;
      continue;
    }
    const uint64_t first = block;
    while (block * kPopulateBlock < end && !populated_[block]) ++block;
    const uint64_t offset = std::max(from, first * kPopulateBlock);
    const uint64_t bytes = std::min(end, block * kPopulateBlock) - offset;
    present -= bytes;
    count(Count::kPopulatedBytes, bytes);
    uint8_t* data = segment_->at(start + offset);
    if (!os::populate_write(segment_->fd(), start + offset, data, bytes, pages).is_ok())
      return;  // then it faults
    for (uint64_t whole = first; whole < block; ++whole)
      populated_[whole] = whole * kPopulateBlock >= from && (whole + 1) * kPopulateBlock <= end;
  }
  count(Count::kPagesReusedBytes, present);
}

uint64_t ClientCore::capacity_of(uint64_t offset, uint64_t size) const {
  const uint64_t slot = slab_slot_bytes(*segment_, offset);
  return slot != 0 ? slot : (size + kPageBytes - 1) & ~(kPageBytes - 1);
}

}  // namespace polyray
