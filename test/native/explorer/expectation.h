// SPDX-License-Identifier: Apache-2.0
// What explorer tests assert: the product code holds in every schedule, and each mutant is caught in some schedule.
#pragma once
#include <gtest/gtest.h>

#include <cstdio>

#include "explorer/explorer.h"

namespace explorer {

inline void expect_holds(const char* name, const std::function<void(Scenario&)>& make) {
  const Outcome outcome = explore(make);
  std::printf("%-44s %8llu states, %.4g schedules, at most %zu steps\n", name,
              static_cast<unsigned long long>(outcome.states), outcome.schedules, outcome.longest);
  EXPECT_EQ(outcome.failure, "") << name;
  EXPECT_GT(outcome.schedules, 1) << name << ": nothing was interleaved";
}

inline void expect_caught(const char* mutant, const std::function<void(Scenario&)>& make) {
  const Outcome outcome = explore(make);
  EXPECT_NE(outcome.failure, "") << mutant << " was not caught in " << outcome.schedules
                                 << " schedules";
}

}  // namespace explorer
