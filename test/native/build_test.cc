// SPDX-License-Identifier: Apache-2.0
//
// Goal: the flags that the whole tree is compiled with reach every target.
// Method: compare what the compiler sees with what cmake/polyray.cmake promises.

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

TEST(Build, IsCxx20OrNewer) {
  EXPECT_GE(__cplusplus, 202002L);
}

TEST(Build, KnowsItsVersion) {
  EXPECT_EQ(2, std::count(std::begin(POLYRAY_VERSION), std::end(POLYRAY_VERSION), '.'));
}
