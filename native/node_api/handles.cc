// SPDX-License-Identifier: Apache-2.0
#include "node_api/handles.h"

namespace polyray::node_api {

uint32_t HandleTable::insert(const ObjectId& id) {
  HandleSlot slot;
  slot.id = id;
  slot.count = 1;
  const uint32_t handle = slots_.add(slot);
  if (handle != 0) by_entry_.put(id.index, handle);
  return handle;
}

uint32_t HandleTable::lookup(const ObjectId& id) {
  const uint32_t* handle = by_entry_.find(id.index);
  if (handle == nullptr || *handle == 0) return 0;
  return slots_.find(*handle)->id == id ? *handle : 0;
}

void HandleTable::remove(uint32_t handle) {
  by_entry_.take_out(slots_.find(handle)->id.index);
  slots_.remove(handle);
}

void HandleTable::clear() {
  std::vector<uint32_t> all;
  all.reserve(slots_.live());
  slots_.each([&](uint32_t handle, HandleSlot&) { all.push_back(handle); });
  for (uint32_t handle : all) remove(handle);
}

}  // namespace polyray::node_api
