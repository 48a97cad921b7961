// SPDX-License-Identifier: Apache-2.0
// Arithmetic of resource sets (see resources.h).
#include "raylet/resources.h"

#include <algorithm>
#include <cstdio>

#include "raylet/json_text.h"
#include "wire/messages.h"

namespace polyray::raylet {

namespace {
auto lower(auto& items, std::string_view name) {
  return std::lower_bound(
      items.begin(), items.end(), name,
      [](const ResourceSet::Item& item, std::string_view n) { return item.first < n; });
}
}  // namespace

ResourceSet::ResourceSet(std::span<const Item> items) {
  for (const Item& item : items) set(item.first, get(item.first) + item.second);
}

uint64_t ResourceSet::get(std::string_view name) const {
  const auto it = lower(items_, name);
  return it != items_.end() && it->first == name ? it->second : 0;
}

void ResourceSet::set(std::string_view name, uint64_t amount) {
  const auto it = lower(items_, name);
  const bool found = it != items_.end() && it->first == name;
  if (amount == 0) {
    if (found) items_.erase(it);
  } else if (found) {
    it->second = amount;
  } else {
    items_.insert(it, Item{std::string(name), amount});
  }
}

void ResourceSet::add(const ResourceSet& other) {
  for (const Item& item : other.items_) set(item.first, get(item.first) + item.second);
}

void ResourceSet::subtract(const ResourceSet& other) {
  for (const Item& item : other.items_) {
    const uint64_t have = get(item.first);
    set(item.first, have > item.second ? have - item.second : 0);
  }
}

bool ResourceSet::covers(const ResourceSet& need) const {
  return std::all_of(need.items_.begin(), need.items_.end(),
                     [this](const Item& item) { return get(item.first) >= item.second; });
}

bool ResourceSet::overlaps(const ResourceSet& other) const {
  return std::any_of(other.items_.begin(), other.items_.end(),
                     [this](const Item& item) { return get(item.first) > 0; });
}

std::string ResourceSet::json() const {
  std::string out = "{";
  for (const Item& item : items_) {
    if (out.size() > 1) out += ',';
    out += json_quote(item.first) + ":" + std::to_string(item.second / kResourceUnit);
    const uint64_t part = item.second % kResourceUnit;
    if (part == 0) continue;
    char digits[24];
    std::snprintf(digits, sizeof digits, ".%04llu", static_cast<unsigned long long>(part));
    out.append(digits, std::string_view(digits).find_last_not_of('0') + 1);
  }
  return out + "}";
}

bool NodeResources::fits(const ResourceSet& need) const {
  for (const ResourceSet::Item& item : need.items()) {
    const uint64_t total = total_.get(item.first);
    const uint64_t used = in_use_.get(item.first);
    if (used > total || item.second > total - used) return false;
  }
  return true;
}

ResourceSet NodeResources::free() const {
  ResourceSet out = total_;
  out.subtract(in_use_);
  return out;
}

bool NodeResources::acquire(const ResourceSet& need) {
  if (!fits(need)) return false;
  in_use_.add(need);
  return true;
}

}  // namespace polyray::raylet
