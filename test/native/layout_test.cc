// SPDX-License-Identifier: Apache-2.0
// Goal: the bytes of layout.h stay where every process expects them, and all-zero bytes are the free state.
#include "store/layout.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace polyray {
namespace {

template <class T>
bool is_shareable() {
  return std::is_standard_layout_v<T> && std::is_trivially_destructible_v<T>;
}

TEST(Layout, EveryStructureIsStandardLayout) {
  EXPECT_TRUE(is_shareable<SegmentHeader>() && is_shareable<Endpoint>() &&
              is_shareable<ObjectEntry>());
  EXPECT_TRUE(is_shareable<ChunkHeader>() && is_shareable<SlabHeader>() && is_shareable<Lease>());
  EXPECT_TRUE(is_shareable<RingHeader>() && is_shareable<RingSlot>() && is_shareable<CallRecord>());
}

TEST(Layout, AtomicsAreLockFreeAndPlain) {
  EXPECT_TRUE(std::atomic<uint32_t>::is_always_lock_free &&
              std::atomic<uint64_t>::is_always_lock_free);
  EXPECT_EQ(sizeof(std::atomic<uint32_t>), 4u);
  EXPECT_EQ(sizeof(std::atomic<uint64_t>), 8u);
}

TEST(Layout, OffsetsAreThoseOfVersionOne) {
  EXPECT_EQ(offsetof(ObjectEntry, state), 8u);
  EXPECT_EQ(offsetof(ObjectEntry, refs), 12u);
  EXPECT_EQ(offsetof(ObjectEntry, pins), 16u);
  EXPECT_EQ(offsetof(ObjectEntry, offset), 32u);
  EXPECT_EQ(offsetof(ObjectEntry, inline_data), 64u);
  EXPECT_EQ(offsetof(RingHeader, head), 64u);
  EXPECT_EQ(offsetof(RingHeader, capacity), 128u);
  EXPECT_EQ(offsetof(ChunkHeader, used), 24u);
  EXPECT_EQ(offsetof(SlabHeader, used), 64u);
  EXPECT_EQ(offsetof(Endpoint, armed), 64u);
  EXPECT_EQ(offsetof(Endpoint, ready), 8448u);
  EXPECT_EQ(offsetof(CallRecord, target), 104u);
}

TEST(Layout, WordsOfDifferentWritersAreOnDifferentCacheLines) {
  EXPECT_NE(offsetof(RingHeader, tail) / 64, offsetof(RingHeader, head) / 64);
  EXPECT_NE(offsetof(RingHeader, tail) / 64, offsetof(RingHeader, starved) / 64);
  EXPECT_NE(offsetof(Endpoint, armed) / 64, offsetof(Endpoint, state) / 64);
  EXPECT_NE(offsetof(Endpoint, armed) / 64, offsetof(Endpoint, sealing) / 64);
}

TEST(Layout, ZeroBytesAreTheFreeState) {
  EXPECT_EQ(static_cast<int>(EntryState::kFree), 0);
  EXPECT_EQ(static_cast<int>(ChunkKind::kFree), 0);
  EXPECT_EQ(static_cast<int>(EndpointState::kFree), 0);
  EXPECT_EQ(static_cast<int>(LeaseState::kFree), 0);
  EXPECT_EQ(static_cast<int>(RowState::kEmpty), 0);
  EXPECT_EQ(static_cast<int>(Claim::kNone), 0);
}

TEST(Layout, FlagsDoNotMeetTheStateOrEachOther) {
  const uint32_t flags[] = {kEntryWaiters, kEntryError, kEntryInline, kEntryHasRefs,
                            kEntryActor,   kEntryKeep,  kEntrySpilled};
  uint32_t seen = kEntryStateMask;
  for (uint32_t flag : flags) {
    EXPECT_EQ(seen & flag, 0u);
    seen |= flag;
  }
}

}  // namespace
}  // namespace polyray
