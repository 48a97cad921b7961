// SPDX-License-Identifier: Apache-2.0
// Payload of kLeaseRequest (see lease_spec.h).
#include "raylet/lease_spec.h"

#include <cstring>
#include <string_view>

#include "wire/messages.h"

namespace polyray::raylet {

namespace {

constexpr std::string_view kBundle = "bundle_group_";

// Reads `count` items into a set; false when one of them is misshapen.
bool read_items(const uint8_t* from, uint32_t count, ResourceSet& to) {
  for (uint32_t i = 0; i < count; ++i) {
    ResourceItem item;
    std::memcpy(&item, from + i * sizeof item, sizeof item);
    const std::string name(item.name, ::strnlen(item.name, sizeof item.name));
    if (name.empty() || item.amount > UINT64_MAX / (2 * kMaxClassResources)) return false;
    to.set(name, to.get(name) + item.amount);
  }
  return true;
}

// The placement group that a class is placed into: the last part of its bundle resource.
std::string group_of(const ResourceSet& need) {
  for (const ResourceSet::Item& item : need.items())
    if (item.first.starts_with(kBundle)) return item.first.substr(item.first.rfind('_') + 1);
  return {};
}

}  // namespace

std::optional<GroupClass> read_group(std::span<const uint8_t> payload) {
  GroupSpec spec;
  if (payload.size() < sizeof spec) return std::nullopt;
  std::memcpy(&spec, payload.data(), sizeof spec);
  if (spec.need_count > kMaxGroupResources || spec.extra_count > kMaxGroupResources)
    return std::nullopt;
  const size_t items = size_t{spec.need_count} + spec.extra_count;
  if (payload.size() < sizeof spec + items * sizeof(ResourceItem)) return std::nullopt;
  GroupClass out;
  out.id.assign(spec.id, ::strnlen(spec.id, sizeof spec.id));
  out.possible = (spec.flags & 1) == 0;
  const uint8_t* from = payload.data() + sizeof spec;
  if (out.id.empty() || !read_items(from, spec.need_count, out.need) ||
      !read_items(from + spec.need_count * sizeof(ResourceItem), spec.extra_count, out.extra))
    return std::nullopt;
  return out;
}

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
  if (!read_items(payload.data() + sizeof spec, spec.resource_count, out.need)) return std::nullopt;
  out.group = group_of(out.need);
  const auto* key = reinterpret_cast<const char*>(payload.data() + sizeof spec + items_bytes);
  out.pool.key.assign(key, spec.key_bytes);
  return out;
}

}  // namespace polyray::raylet
