// SPDX-License-Identifier: Apache-2.0
// Goal: fractions of resources add up exactly, and the node never gives more than it has.
// Method: examples, then random acquire and release against a plain model.
#include "raylet/resources.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace polyray::raylet {
namespace {

ResourceSet set_of(std::initializer_list<ResourceSet::Item> items) {
  return ResourceSet(std::span<const ResourceSet::Item>(items.begin(), items.size()));
}

TEST(Resources, TheSameNameTwiceIsTheSumAndZeroIsAbsent) {
  const ResourceSet set = set_of({{"GPU", 1}, {"CPU", 5000}, {"CPU", 2500}, {"x", 0}});
  EXPECT_EQ(set.get("CPU"), 7500u);
  EXPECT_EQ(set.items().size(), 2u);
  EXPECT_EQ(set.items().front().first, "CPU") << "sorted by name";
}

TEST(Resources, ThreeThirdsOfACpuFitAndAFourthDoesNot) {
  NodeResources node(set_of({{"CPU", 10000}}));
  const ResourceSet third = set_of({{"CPU", 3333}});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(node.acquire(third)) << i;
  EXPECT_FALSE(node.acquire(third));
  EXPECT_EQ(node.free().get("CPU"), 1u);
}

TEST(Resources, SomethingTheNodeDoesNotHaveIsInfeasible) {
  NodeResources node(set_of({{"CPU", 20000}}));
  EXPECT_FALSE(node.feasible(set_of({{"GPU", 1}})));
  EXPECT_FALSE(node.feasible(set_of({{"CPU", 20001}})));
  EXPECT_TRUE(node.feasible(set_of({{"CPU", 20000}})));
  EXPECT_TRUE(node.feasible(ResourceSet()));
}

TEST(Resources, OversubscriptionIsCountedAndNothingFitsUntilItIsOver) {
  NodeResources node(set_of({{"CPU", 10000}}));
  const ResourceSet one = set_of({{"CPU", 10000}});
  EXPECT_TRUE(node.acquire(one));
  node.acquire_anyway(one);
  EXPECT_EQ(node.in_use().get("CPU"), 20000u);
  EXPECT_TRUE(node.free().empty());
  node.release(one);
  EXPECT_FALSE(node.acquire(set_of({{"CPU", 1}})));
  node.release(one);
  EXPECT_TRUE(node.acquire(one));
}

TEST(Resources, JsonHasUnitsAndEscapedNames) {
  EXPECT_EQ(set_of({{"CPU", 15000}, {"a\"b", 1}}).json(), "{\"CPU\":1.5,\"a\\\"b\":0.0001}");
}

TEST(Resources, RandomAcquireAndReleaseKeepTheSum) {
  std::mt19937 random(7);
  NodeResources node(set_of({{"CPU", 80000}, {"GPU", 20000}, {"memory", 1000000}}));
  const char* names[] = {"CPU", "GPU", "memory"};
  std::vector<ResourceSet> held;
  std::map<std::string, uint64_t> used;
  size_t refused = 0;
  for (int i = 0; i < 20000; ++i) {
    if (!held.empty() && random() % 2 == 0) {
      const size_t which = random() % held.size();
      for (const auto& [name, amount] : held[which].items()) used[name] -= amount;
      node.release(held[which]);
      held.erase(held.begin() + static_cast<ptrdiff_t>(which));
      continue;
    }
    ResourceSet need;
    for (const char* name : names)
      if (random() % 2 == 0) need.set(name, random() % 30000);
    bool fits = true;
    for (const auto& [name, amount] : need.items())
      fits = fits && used[name] + amount <= node.total().get(name);
    ASSERT_EQ(node.acquire(need), fits);
    refused += fits ? 0 : 1;
    if (!fits) continue;
    for (const auto& [name, amount] : need.items()) used[name] += amount;
    held.push_back(need);
  }
  for (const char* name : names) EXPECT_EQ(node.in_use().get(name), used[name]);
  EXPECT_GT(refused, 100u) << "the test must reach the limit";
}

}  // namespace
}  // namespace polyray::raylet
