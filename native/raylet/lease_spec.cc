// SPDX-License-Identifier: Apache-2.0
// Payload of kLeaseRequest (see lease_spec.h).
#include "raylet/lease_spec.h"

#include <cstring>

#include "wire/messages.h"

namespace polyray::raylet {

std::optional<LeaseClass> read_lease_class(std::span<const uint8_t> payload) {
  LeaseSpec spec;
  if (payload.size() < sizeof spec) return std::nullopt;
  std::memcpy(&spec, payload.data(), sizeof spec);
  if (spec.resource_count > kMaxClassResources) return std::nullopt;
  const size_t items_bytes = spec.resource_count * sizeof(ResourceItem);
  if (payload.size() < sizeof spec + items_bytes + spec.key_bytes) return std::nullopt;
  LeaseClass out;
  out.hash = spec.class_hash;
  out.pool.job = spec.job;
  out.pool.language = spec.language;
  out.dedicated = (spec.flags & kLeaseDedicated) != 0;
  out.priority = spec.priority;
  for (uint32_t i = 0; i < spec.resource_count; ++i) {
    ResourceItem item;
    std::memcpy(&item, payload.data() + sizeof spec + i * sizeof item, sizeof item);
    const std::string name(item.name, ::strnlen(item.name, sizeof item.name));
    if (name.empty() || item.amount > UINT64_MAX / (2 * kMaxClassResources)) return std::nullopt;
    out.need.set(name, out.need.get(name) + item.amount);
  }
  const auto* key = reinterpret_cast<const char*>(payload.data() + sizeof spec + items_bytes);
  out.pool.key.assign(key, spec.key_bytes);
  return out;
}

}  // namespace polyray::raylet
