// SPDX-License-Identifier: Apache-2.0
// Open addressing with backward-shift deletion: no tombstones, so a table that lives through
// millions of calls stays short.

#include "node_api/handles.h"

namespace polyray::node_api {

void HandleTable::grow() {
  std::vector<Bucket> old = std::move(buckets_);
  const size_t size = old.empty() ? 1024 : old.size() * 2;
  buckets_.assign(size, Bucket{});
  shift_ = 64 - static_cast<uint32_t>(__builtin_ctzll(size));
  for (const Bucket& bucket : old) {
    if (bucket.unique == 0) continue;
    size_t at = home(bucket);
    while (buckets_[at].unique != 0) at = (at + 1) & (size - 1);
    buckets_[at] = bucket;
  }
}

uint32_t HandleTable::insert(const ObjectId& id) {
  HandleSlot slot;
  slot.id = id;
  slot.count = 1;
  const uint32_t handle = slots_.add(slot);
  if (handle == 0) return 0;
  if ((used_ + 1) * 4 > buckets_.size() * 3) grow();
  const size_t mask = buckets_.size() - 1;
  const Bucket bucket{id.unique, id.node_tag, handle};
  size_t at = home(bucket);
  while (buckets_[at].unique != 0) at = (at + 1) & mask;
  buckets_[at] = bucket;
  ++used_;
  return handle;
}

uint32_t HandleTable::lookup(const ObjectId& id) const {
  if (buckets_.empty()) return 0;
  const size_t mask = buckets_.size() - 1;
  size_t at = hash(id) >> shift_;
  while (buckets_[at].unique != 0) {
    if (buckets_[at].unique == id.unique && buckets_[at].node_tag == id.node_tag)
      return buckets_[at].handle;
    at = (at + 1) & mask;
  }
  return 0;
}

void HandleTable::remove(uint32_t handle) {
  const ObjectId id = slots_.find(handle)->id;
  const size_t mask = buckets_.size() - 1;
  size_t at = hash(id) >> shift_;
  while (buckets_[at].handle != handle || buckets_[at].unique == 0) at = (at + 1) & mask;
  // Moves later members of the probe chain up, so that no gap cuts them off.
  size_t next = (at + 1) & mask;
  while (buckets_[next].unique != 0) {
    const size_t distance = (next - home(buckets_[next])) & mask;
    if (distance >= ((next - at) & mask)) {
      buckets_[at] = buckets_[next];
      at = next;
    }
    next = (next + 1) & mask;
  }
  buckets_[at] = Bucket{};
  --used_;
  slots_.remove(handle);
}

void HandleTable::clear() {
  std::vector<uint32_t> all;
  all.reserve(slots_.live());
  slots_.each([&](uint32_t handle, HandleSlot&) { all.push_back(handle); });
  for (uint32_t handle : all) remove(handle);
}

}  // namespace polyray::node_api
