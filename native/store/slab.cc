// SPDX-License-Identifier: Apache-2.0
// Slabs of small object bytes (see slab.h). The owner sets bits, the raylet or the owner clears them; `live` is a hint
// that lets the owner skip full granules without reading their bitmaps.
#include "store/slab.h"

#include <algorithm>
#include <array>

namespace polyray {

namespace {

constexpr std::array<uint32_t, 20> kSizes = {64,    128,   192,   256,   384,   512,  768,
                                             1024,  1536,  2048,  3072,  4096,  6144, 8192,
                                             12288, 16384, 24576, 32768, 49152, 65536};
static_assert(kSizes.back() == kMaxSlabObject);

size_t class_of(uint64_t bytes) {
  return static_cast<size_t>(
      std::lower_bound(kSizes.begin(), kSizes.end(), std::max<uint64_t>(bytes, 1)) -
      kSizes.begin());
}

// Offset of a slot now marked used, or 0.
uint64_t take_bit(Segment& segment, uint64_t granule, uint32_t& next_word) {
  SlabHeader& head = segment.slab(granule);
  const uint32_t count = head.slot_count;
  if (head.live.load(std::memory_order_relaxed) >= count) return 0;
  const std::optional<uint32_t> slot = find_unused(head.used, count, next_word);
  if (!slot) return 0;
  // The count goes up before the bit and down after it: it is never below the number of used slots.
  head.live.fetch_add(1, std::memory_order_relaxed);
  head.used[*slot / 64].fetch_or(uint64_t{1} << (*slot % 64), std::memory_order_acq_rel);
  return segment.granule_offset(granule) + uint64_t{*slot} * head.slot_bytes;
}

}  // namespace

uint64_t SlabPool::slot_size(uint64_t bytes) {
  return bytes > kMaxSlabObject ? 0 : kSizes[class_of(bytes)];
}

uint64_t SlabPool::allocate(uint64_t bytes) {
  if (bytes > kMaxSlabObject) return 0;
  SizeClass& size_class = by_class_[class_of(bytes)];
  for (size_t i = 0; i < size_class.granules.size(); ++i) {
    OwnedGranule& owned = size_class.granules[size_class.cursor];
    const uint64_t offset = take_bit(segment_, owned.granule, owned.next_word);
    if (offset != 0) return offset;
    size_class.cursor = (size_class.cursor + 1) % size_class.granules.size();
  }
  return 0;
}

Status SlabPool::add_granule(uint64_t granule, uint64_t bytes) {
  if (bytes > kMaxSlabObject || granule >= segment_.data_bytes() / kGranuleBytes)
    return Status::error(StatusCode::kInvalidArgument, "not a granule or not a slab size");
  SlabHeader& head = segment_.slab(granule);
  Status populated = segment_.populate(segment_.offset_of(&head), sizeof(SlabHeader));
  if (!populated.is_ok()) return populated;
  for (auto& word : head.used) word.store(0, std::memory_order_relaxed);
  head.live.store(0, std::memory_order_relaxed);
  const size_t number = class_of(bytes);
  head.slot_bytes = kSizes[number];
  head.slot_count = static_cast<uint32_t>(kGranuleBytes / kSizes[number]);
  head.owner.store(owner_, std::memory_order_release);
  raise_to(segment_.header().granule_high, granule + 1);
  by_class_[number].cursor = by_class_[number].granules.size();
  by_class_[number].granules.push_back({granule, 0});
  return Status::ok();
}

void SlabPool::trim(size_t keep, const std::function<void(uint64_t, uint64_t)>& give_back) {
  size_t unused = 0;
  for (SizeClass& size_class : by_class_) {
    std::erase_if(size_class.granules, [&](const OwnedGranule& owned) {
      if (!none_used(segment_.slab(owned.granule).used) || ++unused <= keep) return false;
      give_back(segment_.granule_offset(owned.granule), kGranuleBytes);
      return true;
    });
    if (size_class.cursor >= size_class.granules.size()) size_class.cursor = 0;
  }
}

bool is_slab(const Segment& segment, uint64_t data_offset) {
  return slab_slot_bytes(segment, data_offset) != 0;
}

uint64_t slab_slot_bytes(const Segment& segment, uint64_t data_offset) {
  if (!segment.valid_data(data_offset, 1)) return 0;
  const uint64_t granule = segment.granule_of(data_offset);
  if (granule >= segment.header().granule_high.load(std::memory_order_acquire)) return 0;
  const SlabHeader& head = segment.slab(granule);
  return head.owner.load(std::memory_order_acquire) != 0 ? head.slot_bytes : 0;
}

bool slab_free(Segment& segment, uint64_t offset) {
  const uint64_t slot_bytes = slab_slot_bytes(segment, offset);
  if (slot_bytes == 0) return false;
  SlabHeader& head = segment.slab(segment.granule_of(offset));
  const uint64_t inside = offset - segment.granule_offset(segment.granule_of(offset));
  if (inside % slot_bytes != 0) return false;
  const uint64_t slot = inside / slot_bytes;
  if (slot >= 64 * 64) return false;
  const uint64_t bit = uint64_t{1} << (slot % 64);
  if ((head.used[slot / 64].fetch_and(~bit, std::memory_order_acq_rel) & bit) == 0) return false;
  head.live.fetch_sub(1, std::memory_order_relaxed);
  return head.owner.load(std::memory_order_acquire) == kOwnerOrphan && none_used(head.used);
}

bool slab_retire(Segment& segment, uint64_t granule) {
  SlabHeader& head = segment.slab(granule);
  if (!none_used(head.used)) return false;
  head.slot_bytes = 0;
  head.slot_count = 0;
  head.live.store(0, std::memory_order_relaxed);
  head.owner.store(0, std::memory_order_release);
  return true;
}

void orphan_slabs(Segment& segment, uint32_t endpoint,
                  const std::function<void(uint64_t, uint64_t)>& give_back) {
  for_each_slab(segment, [&](uint64_t granule, SlabHeader& head, uint32_t owner) {
    if (owner != endpoint + 1) return;
    if (slab_retire(segment, granule)) {
      give_back(segment.granule_offset(granule), kGranuleBytes);
    } else {
      head.owner.store(kOwnerOrphan, std::memory_order_release);
    }
  });
}

}  // namespace polyray
