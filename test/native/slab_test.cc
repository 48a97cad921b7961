// SPDX-License-Identifier: Apache-2.0
// Goal: slab slots fit, never overlap, come back when freed, and granules return to the raylet, also after a death.
#include "store/slab.h"

#include <map>

#include "store/extents.h"
#include "store_support.h"

namespace polyray {
namespace {

using namespace support;

TEST(Slab, SizesFitWithLittleWaste) {
  EXPECT_EQ(SlabPool::slot_size(0), 64u);
  EXPECT_EQ(SlabPool::slot_size(65), 128u);
  EXPECT_EQ(SlabPool::slot_size(kMaxSlabObject), kMaxSlabObject);
  EXPECT_EQ(SlabPool::slot_size(kMaxSlabObject + 1), 0u);
  for (uint64_t bytes = 129; bytes <= kMaxSlabObject; bytes += 61) {
    const uint64_t size = SlabPool::slot_size(bytes);
    ASSERT_GE(size, bytes);
    ASSERT_EQ(size % 64, 0u);
    ASSERT_LT(size, bytes * 3 / 2 + 64);
  }
}

TEST(Slab, SlotsNeverOverlapAndComeBack) {
  auto segment = make_segment();
  SlabPool pool(*segment, 1);
  std::map<uint64_t, uint64_t> live;
  uint64_t granule = 0;
  for (uint64_t bytes : {64u, 100u, 1500u, 30000u, 65536u}) {
    EXPECT_EQ(pool.allocate(bytes), 0u) << "no granule yet";
    ASSERT_TRUE(pool.add_granule(granule++, bytes).is_ok());
    const uint64_t size = SlabPool::slot_size(bytes);
    for (uint64_t i = 0; i < kGranuleBytes / size; ++i) {
      const uint64_t offset = pool.allocate(bytes);
      ASSERT_NE(offset, 0u);
      ASSERT_TRUE(is_slab(*segment, offset));
      ASSERT_EQ(slab_slot_bytes(*segment, offset), size);
      const auto next = live.lower_bound(offset);
      ASSERT_TRUE(next == live.end() || next->first >= offset + size);
      ASSERT_TRUE(next == live.begin() ||
                  std::prev(next)->first + std::prev(next)->second <= offset);
      live.emplace(offset, size);
    }
    EXPECT_EQ(pool.allocate(bytes), 0u) << "full";
  }
  const uint64_t freed = live.begin()->first;
  EXPECT_FALSE(slab_free(*segment, freed)) << "not an orphan";
  EXPECT_EQ(pool.allocate(64), freed);
}

TEST(Slab, FreeIgnoresWhatIsNoUsedSlot) {
  auto segment = make_segment();
  SlabPool pool(*segment, 1);
  ASSERT_TRUE(pool.add_granule(0, 128).is_ok());
  const uint64_t offset = pool.allocate(128);
  slab_free(*segment, offset + 64);
  slab_free(*segment, 0);
  slab_free(*segment, segment->granule_offset(3));
  slab_free(*segment, ~uint64_t{0});
  EXPECT_EQ(segment->slab(0).live.load(), 1u);
  slab_free(*segment, offset);
  slab_free(*segment, offset);
  EXPECT_EQ(segment->slab(0).live.load(), 0u) << "twice counts once";
  EXPECT_FALSE(pool.add_granule(1 << 20, 64).is_ok());
  EXPECT_FALSE(pool.add_granule(1, kMaxSlabObject + 1).is_ok());
}

TEST(Slab, UnusedGranulesGoBackThroughTheRaylet) {
  auto segment = make_segment();
  ExtentAllocator extents(*segment);
  SlabPool pool(*segment, 1);
  std::vector<uint64_t> offsets;
  for (int i = 0; i < 3; ++i) {
    const uint64_t extent = extents.allocate(kGranuleBytes, kGranuleBytes, 1).value();
    ASSERT_TRUE(pool.add_granule(segment->granule_of(extent), 65536).is_ok());
    for (int k = 0; k < 4; ++k) offsets.push_back(pool.allocate(65536));
  }
  for (size_t i = 0; i < 8; ++i) slab_free(*segment, offsets[i]);
  size_t given = 0;
  pool.trim(1, [&](uint64_t offset, uint64_t bytes) {
    ++given;
    EXPECT_TRUE(slab_retire(*segment, segment->granule_of(offset)));
    extents.free(offset, bytes, 1);
  });
  EXPECT_EQ(given, 1u);
  EXPECT_EQ(extents.used_bytes(), 2 * kGranuleBytes);
  EXPECT_FALSE(slab_retire(*segment, segment->granule_of(offsets[8]))) << "in use";
  EXPECT_NE(pool.allocate(65536), 0u) << "the kept one";
}

TEST(Slab, GranulesOfTheDeadDrain) {
  auto segment = make_segment();
  SlabPool pool(*segment, 9);
  ASSERT_TRUE(pool.add_granule(0, 64).is_ok());
  ASSERT_TRUE(pool.add_granule(5, 4096).is_ok());
  const uint64_t kept = pool.allocate(64);
  std::vector<uint64_t> back;
  orphan_slabs(*segment, 9, [&](uint64_t offset, uint64_t) { back.push_back(offset); });
  EXPECT_EQ(back, std::vector<uint64_t>{segment->granule_offset(5)});
  EXPECT_TRUE(is_slab(*segment, kept));
  EXPECT_TRUE(slab_free(*segment, kept))
      << "the last slot of an orphan: the raylet takes the granule";
  EXPECT_TRUE(slab_retire(*segment, 0));
  EXPECT_FALSE(is_slab(*segment, kept));
}

}  // namespace
}  // namespace polyray
