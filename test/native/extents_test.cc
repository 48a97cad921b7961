// SPDX-License-Identifier: Apache-2.0
// Goal: extents never overlap, have pages before they are granted, coalesce when freed, and idle pages go back.
#include "store/extents.h"

#include <map>
#include <random>

#include "store_support.h"

namespace polyray {
namespace {

using namespace support;

TEST(Extents, RandomUseNeverOverlapsAndEndsWhole) {
  auto segment = make_segment(16 << 20);
  ExtentAllocator extents(*segment);
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::map<uint64_t, uint64_t> live;
  uint64_t used = 0;
  for (int step = 0; step < 5000; ++step) {
    const uint32_t client = random() % 4;
    if (random() % 2 == 0) {
      const uint64_t bytes = 1 + random() % (1 << 20);
      const uint64_t alignment = uint64_t{4096} << random() % 7;
      Result<uint64_t> granted = extents.allocate(bytes, alignment, client);
      if (!granted.is_ok()) {
        ASSERT_EQ(granted.status().code, StatusCode::kObjectStoreFull);
        continue;
      }
      const uint64_t offset = granted.value();
      const uint64_t rounded = (bytes + 4095) / 4096 * 4096;
      ASSERT_EQ(offset % alignment, 0u);
      ASSERT_TRUE(segment->valid_data(offset, rounded));
      const auto next = live.lower_bound(offset);
      ASSERT_TRUE(next == live.end() || next->first >= offset + rounded);
      ASSERT_TRUE(next == live.begin() ||
                  std::prev(next)->first + std::prev(next)->second <= offset);
      live.emplace(offset, rounded);
      used += rounded;
    } else if (!live.empty()) {
      auto it = std::next(live.begin(), static_cast<ptrdiff_t>(random() % live.size()));
      extents.free(it->first, it->second, client);
      used -= it->second;
      live.erase(it);
    }
    if (step % 500 == 0) (void)extents.release_idle(os::now_ms(), 0);
    ASSERT_EQ(extents.used_bytes(), used);
    ASSERT_GE(os::file_allocated_bytes(segment->fd()), used) << "granted bytes have pages";
  }
  for (const auto& [offset, bytes] : live) extents.free(offset, bytes, 0);
  EXPECT_EQ(extents.used_bytes(), 0u);
  EXPECT_EQ(extents.largest_free(), segment->data_bytes());
  EXPECT_EQ(segment->header().data_used_bytes.load(), 0u);
  extents.release_idle(os::now_ms(), 0);
  EXPECT_LT(os::file_allocated_bytes(segment->fd()), 1u << 20) << "idle pages went back";
}

TEST(Extents, TheSameClientGetsItsWarmExtentBack) {
  auto segment = make_segment();
  ExtentAllocator extents(*segment);
  const uint64_t first = extents.allocate(100000, 4096, 1).value();
  const uint64_t second = extents.allocate(100000, 4096, 2).value();
  extents.free(first, 100000, 1);
  extents.free(second, 100000, 2);
  EXPECT_EQ(extents.allocate(100000, 4096, 2).value(), second);
  EXPECT_EQ(extents.allocate(100000, 4096, 1).value(), first);
  extents.free(first, 100000, 1);
  extents.free(second, 100000, 2);
  extents.forget_client(2);
  EXPECT_EQ(extents.allocate(100000, 4096, 2).value(), first)
      << "first fit when it has none of its own";
}

TEST(Extents, NoRoomIsATypedErrorAndChangesNothing) {
  auto segment = make_segment(1 << 20);
  ExtentAllocator extents(*segment);
  EXPECT_EQ(extents.allocate((1 << 20) + 1, 4096, 1).status().code, StatusCode::kObjectStoreFull);
  EXPECT_EQ(extents.allocate(0, 4096, 1).status().code, StatusCode::kInvalidArgument);
  EXPECT_EQ(extents.allocate(4096, 12345, 1).status().code, StatusCode::kInvalidArgument);
  EXPECT_TRUE(extents.allocate(1 << 20, 4096, 1).is_ok());
  EXPECT_EQ(extents.allocate(1, 4096, 1).status().code, StatusCode::kObjectStoreFull);
  EXPECT_EQ(extents.used_bytes(), uint64_t{1} << 20);
}

TEST(Extents, GarbageIsNotFreed) {
  auto segment = make_segment(1 << 20);
  ExtentAllocator extents(*segment);
  const uint64_t offset = extents.allocate(8192, 4096, 1).value();
  extents.free(offset + 1, 4096, 1);
  extents.free(0, 4096, 1);
  extents.free(~uint64_t{0} - 4095, 4096, 1);
  extents.free(offset, uint64_t{2} << 20, 1);
  extents.free(offset + 8192, 4096, 1);
  EXPECT_EQ(extents.used_bytes(), 8192u);
  extents.free(offset, 8192, 1);
  extents.free(offset, 8192, 1);
  EXPECT_EQ(extents.used_bytes(), 0u);
  EXPECT_EQ(extents.largest_free(), uint64_t{1} << 20);
}

TEST(Extents, OnlyIdlePagesGoBack) {
  auto segment = make_segment();
  ExtentAllocator extents(*segment);
  const uint64_t offset = extents.allocate(1 << 20, 4096, 1).value();
  segment->at(offset)[0] = 1;
  extents.free(offset, 1 << 20, 1);
  EXPECT_EQ(extents.release_idle(os::now_ms(), 60000), 0u) << "not idle for long enough";
  EXPECT_EQ(extents.allocate(1 << 20, 4096, 1).value(), offset);
  EXPECT_EQ(extents.release_idle(os::now_ms() + 60000, 1), 0u) << "in use";
  extents.free(offset, 1 << 20, 1);
  EXPECT_EQ(segment->header().pages_given_back.load(), 0u);
  EXPECT_EQ(extents.release_idle(os::now_ms() + 60000, 1), uint64_t{1} << 20);
  EXPECT_EQ(segment->read(offset)[0], 0);
  EXPECT_EQ(segment->header().pages_given_back.load(), 1u) << "clients populate their maps again";
}

TEST(Extents, ItIsKnownWhichExtentsHaveNewPages) {
  auto segment = make_segment();
  ExtentAllocator extents(*segment);
  const uint64_t offset = extents.allocate(1 << 20, 4096, 1).value();
  EXPECT_EQ(extents.newly_backed_bytes(), uint64_t{1} << 20);
  extents.free(offset, 1 << 20, 1);
  EXPECT_EQ(extents.allocate(1 << 20, 4096, 2).value(), offset);
  EXPECT_EQ(extents.newly_backed_bytes(), 0u);
  extents.free(offset, 1 << 20, 2);
  EXPECT_EQ(extents.allocate(3 << 19, 4096, 1).value(), offset);
  EXPECT_EQ(extents.newly_backed_bytes(), uint64_t{1} << 19) << "the part that it has more";
}

}  // namespace
}  // namespace polyray
