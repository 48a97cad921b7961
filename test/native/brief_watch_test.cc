// SPDX-License-Identifier: Apache-2.0
// Goal: who sleeps long never looks; who is woken at once again and again does; looks in vain become rare.
#include "client/brief_watch.h"

#include <gtest/gtest.h>

namespace polyray {
namespace {

constexpr uint64_t kShort = BriefWatch::kShortNs - 1;
constexpr uint64_t kLong = BriefWatch::kShortNs;

void sleep_for(BriefWatch& watch, uint64_t ns, uint32_t times = 1) {
  for (uint32_t i = 0; i < times; ++i) {
    watch.sleeps(1'000'000);
    EXPECT_TRUE(watch.asleep());
    watch.woken(1'000'000 + ns);
    EXPECT_FALSE(watch.asleep());
  }
}

// Short sleeps until the next look.
uint32_t until_due(BriefWatch& watch) {
  uint32_t count = 0;
  while (!watch.due() && count <= 2 * BriefWatch::kManySleeps) {
    sleep_for(watch, kShort);
    ++count;
  }
  return count;
}

TEST(BriefWatch, LooksAfterShortSleepsOnly) {
  BriefWatch watch(2);
  sleep_for(watch, kLong, 100);
  EXPECT_FALSE(watch.due());
  for (int i = 0; i < 100; ++i) {
    sleep_for(watch, kShort, BriefWatch::kFewSleeps - 1);
    EXPECT_FALSE(watch.due());
    sleep_for(watch, kLong);
  }
  EXPECT_EQ(until_due(watch), BriefWatch::kFewSleeps);
  watch.found();
  EXPECT_TRUE(watch.due()) << "what was worth it goes on";
}

TEST(BriefWatch, LooksInVainBecomeRareAndFindsBringThemBack) {
  BriefWatch watch(2);
  uint32_t needed = BriefWatch::kFewSleeps;
  while (needed < BriefWatch::kManySleeps) {
    EXPECT_EQ(until_due(watch), needed);
    watch.in_vain();
    needed *= 2;
  }
  EXPECT_EQ(until_due(watch), BriefWatch::kManySleeps);
  watch.in_vain();
  EXPECT_EQ(until_due(watch), BriefWatch::kManySleeps) << "there is a bound";
  for (uint32_t i = 0; i < 20 * BriefWatch::kFinds; ++i) watch.found();
  watch.in_vain();
  EXPECT_EQ(until_due(watch), 2 * BriefWatch::kFewSleeps);
}

TEST(BriefWatch, ALongSleepCountsSomeShortOnesOff) {
  BriefWatch watch(2);
  for (uint32_t needed = BriefWatch::kFewSleeps; needed < 32; needed *= 2) {
    until_due(watch);
    watch.in_vain();
  }
  sleep_for(watch, kShort, 31);
  sleep_for(watch, kLong);
  EXPECT_EQ(until_due(watch), 1 + BriefWatch::kLongSleep) << "one of many does not end it";
  watch.in_vain();
  for (int i = 0; i < 100; ++i) {
    sleep_for(watch, kShort, BriefWatch::kLongSleep);
    sleep_for(watch, kLong);
  }
  EXPECT_FALSE(watch.due()) << "many do";
}

TEST(BriefWatch, NeverWithOneProcessor) {
  BriefWatch watch(1);
  for (uint32_t i = 0; i < 2 * BriefWatch::kManySleeps; ++i) {
    watch.sleeps(1'000'000);
    EXPECT_FALSE(watch.asleep());
  }
  EXPECT_FALSE(watch.due());
}

}  // namespace
}  // namespace polyray
