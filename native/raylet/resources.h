// SPDX-License-Identifier: Apache-2.0
// Amounts of named resources in fixed point (1/10,000): what a class needs, what the node has, what is taken.
//
// Pure and steppable: no clock, no I/O.
// Invariants:
//  1. A ResourceSet is sorted by name and holds no zero amounts.
//  2. NodeResources::in_use is the sum of everything acquired and not released; it may exceed the total only after
//     acquire_anyway (a blocked worker that goes on).
// Thread rules: plain values; the raylet's are used on the raylet thread.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace polyray::raylet {

class ResourceSet {
 public:
  using Item = std::pair<std::string, uint64_t>;
  ResourceSet() = default;
  explicit ResourceSet(std::span<const Item> items);
  uint64_t get(std::string_view name) const;
  void set(std::string_view name, uint64_t amount);
  void add(const ResourceSet& other);
  // Subtracts, stopping at zero.
  void subtract(const ResourceSet& other);
  bool empty() const { return items_.empty(); }
  // Every amount of `need` is at most ours.
  bool covers(const ResourceSet& need) const;
  // Some resource of `other` that is also in `this` (both above zero).
  bool overlaps(const ResourceSet& other) const;
  const std::vector<Item>& items() const { return items_; }
  // {"CPU":1.5,...} with amounts in units.
  std::string json() const;
  friend bool operator==(const ResourceSet&, const ResourceSet&) = default;

 private:
  std::vector<Item> items_;
};

class NodeResources {
 public:
  explicit NodeResources(ResourceSet total) : total_(std::move(total)) {}
  // The node could satisfy it if nothing else ran here.
  bool feasible(const ResourceSet& need) const { return total_.covers(need); }
  bool fits(const ResourceSet& need) const;
  // What is free now; never negative.
  ResourceSet free() const;
  // False, and nothing taken, when it does not fit.
  bool acquire(const ResourceSet& need);
  void acquire_anyway(const ResourceSet& need) { in_use_.add(need); }
  void release(const ResourceSet& need) { in_use_.subtract(need); }
  // More or fewer resources to give out (the bundles of a placement group).
  void grow(const ResourceSet& extra) { total_.add(extra); }
  void shrink(const ResourceSet& extra) { total_.subtract(extra); }
  const ResourceSet& total() const { return total_; }
  const ResourceSet& in_use() const { return in_use_; }

 private:
  ResourceSet total_;
  ResourceSet in_use_;
};

}  // namespace polyray::raylet
