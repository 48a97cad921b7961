// SPDX-License-Identifier: Apache-2.0
// Goal: slots are distinct, zeroed, freed by anybody, and chunks come and go without a message, also over deaths.
#include "store/slots.h"

#include <cstring>
#include <set>
#include <thread>

#include "store_support.h"

namespace polyray {
namespace {

using namespace support;

TEST(Slots, AreDistinctAlignedAndZeroed) {
  auto segment = make_segment();
  SlotPool pool(*segment, ChunkKind::kRecords, 1);
  std::set<uint64_t> seen;
  for (uint64_t bytes : {1u, 128u, 129u, 500u, 4000u, 40000u, 65536u}) {
    for (int i = 0; i < 5; ++i) {
      Result<uint64_t> slot = pool.allocate(bytes);
      ASSERT_TRUE(slot.is_ok()) << slot.status().message;
      EXPECT_TRUE(seen.insert(slot.value()).second);
      EXPECT_GE(slot_bytes_at(*segment, slot.value()), bytes);
      EXPECT_EQ(slot.value() % 64, 0u);
      EXPECT_TRUE(slot_is_used(*segment, slot.value()));
      for (uint64_t b = 0; b < bytes; ++b) ASSERT_EQ(segment->at(slot.value())[b], 0);
      std::memset(segment->at(slot.value()), 0xff, bytes);
    }
  }
}

TEST(Slots, AFreedSlotComesBackZeroed) {
  auto segment = make_segment();
  SlotPool pool(*segment, ChunkKind::kEntries, 1);
  std::vector<uint64_t> slots;
  for (uint32_t i = 0; i < kEntriesPerChunk; ++i)
    slots.push_back(pool.allocate(kEntryBytes).value());
  EXPECT_EQ(pool.chunk_count(), 1u);
  std::memset(segment->at(slots[77]), 0xff, kEntryBytes);
  EXPECT_TRUE(slot_free(*segment, slots[77]));
  EXPECT_EQ(pool.allocate(kEntryBytes).value(), slots[77]);
  for (uint32_t b = 0; b < kEntryBytes; ++b) ASSERT_EQ(segment->at(slots[77])[b], 0);
  EXPECT_NE(pool.allocate(kEntryBytes).value(), 0u);
  EXPECT_EQ(pool.chunk_count(), 2u);
}

TEST(Slots, FreeIgnoresWhatIsNoUsedSlot) {
  auto segment = make_segment();
  SlotPool pool(*segment, ChunkKind::kRecords, 1);
  const uint64_t slot = pool.allocate(256).value();
  EXPECT_FALSE(slot_free(*segment, slot + 8));
  EXPECT_FALSE(slot_free(*segment, slot + 256)) << "free already";
  EXPECT_FALSE(slot_free(*segment, 0));
  EXPECT_FALSE(slot_free(*segment, ~uint64_t{0}));
  EXPECT_FALSE(slot_free(*segment, segment->chunk_offset(200))) << "no chunk of anybody";
  EXPECT_TRUE(slot_free(*segment, slot));
  EXPECT_FALSE(slot_free(*segment, slot)) << "twice";
}

TEST(Slots, TooManyBytesAreRefused) {
  auto segment = make_segment();
  SlotPool records(*segment, ChunkKind::kRecords, 1);
  EXPECT_EQ(records.allocate(kChunkBytes + 1).status().code, StatusCode::kInvalidArgument);
  SlotPool entries(*segment, ChunkKind::kEntries, 1);
  EXPECT_EQ(entries.allocate(kEntryBytes + 1).status().code, StatusCode::kInvalidArgument);
}

TEST(Slots, AFullControlRegionIsATypedError) {
  auto segment = make_segment(1 << 20, 4);
  SlotPool pool(*segment, ChunkKind::kRecords, 1);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(pool.allocate(kChunkBytes).is_ok());
  EXPECT_EQ(pool.allocate(kChunkBytes).status().code, StatusCode::kTableFull);
  slot_free(*segment, segment->chunk_offset(2));
  EXPECT_EQ(pool.allocate(kChunkBytes).value(), segment->chunk_offset(2));
}

TEST(Slots, TrimmedChunksGiveTheirPagesBackAndAreReused) {
  auto segment = make_segment();
  SlotPool pool(*segment, ChunkKind::kRecords, 1);
  std::vector<uint64_t> slots;
  for (int i = 0; i < 20; ++i) slots.push_back(pool.allocate(kChunkBytes).value());
  std::memset(segment->at(slots[0]), 0xff, kChunkBytes);
  const uint64_t before = os::file_allocated_bytes(segment->fd());
  for (uint64_t slot : slots) slot_free(*segment, slot);
  pool.trim(4);
  EXPECT_EQ(pool.chunk_count(), 4u);
  EXPECT_EQ(before - os::file_allocated_bytes(segment->fd()), 16 * kChunkBytes);
  SlotPool other(*segment, ChunkKind::kRings, 2);
  for (int i = 0; i < 16; ++i) {
    const uint64_t slot = other.allocate(kChunkBytes).value();
    for (uint64_t b = 0; b < kChunkBytes; ++b) ASSERT_EQ(segment->at(slot)[b], 0);
  }
  EXPECT_EQ(segment->header().chunk_high.load(), 20u) << "freed chunks are taken first";
}

TEST(Slots, ADirtyChunkIsClearedByItsClaimer) {
  auto segment = make_segment();
  const uint32_t chunk = chunk_claim(*segment, ChunkKind::kRecords, 2, 128).value();
  std::memset(segment->at(segment->chunk_offset(chunk)), 0xee, kChunkBytes);
  // As after a death between the claim and the release, on a file system without holes.
  segment->chunk(chunk).kind.store(0);
  segment->chunk(chunk).owner.store(0);
  segment->header().next_chunk_hint.store(chunk);
  EXPECT_EQ(chunk_claim(*segment, ChunkKind::kRow, 3, kChunkBytes).value(), chunk);
  for (uint64_t b = 0; b < kChunkBytes; ++b)
    ASSERT_EQ(segment->at(segment->chunk_offset(chunk))[b], 0);
}

TEST(Slots, ThreadsNeverClaimTheSameChunk) {
  auto segment = make_segment(1 << 20, 512);
  std::vector<std::vector<uint32_t>> claimed(4);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 50; ++round) {
        for (int i = 0; i < 3; ++i) {
          const uint32_t chunk = chunk_claim(*segment, ChunkKind::kRecords, t + 1, 128).value();
          EXPECT_EQ(segment->chunk(chunk).owner.load(), t + 1);
          claimed[t].push_back(chunk);
        }
        EXPECT_EQ(segment->chunk(claimed[t].back()).owner.load(), t + 1);
        chunk_release(*segment, claimed[t].back());
        claimed[t].pop_back();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint32_t> all;
  for (const auto& list : claimed) all.insert(list.begin(), list.end());
  EXPECT_EQ(all.size(), 400u);
}

TEST(Slots, OthersMayFreeWhileTheOwnerAllocates) {
  auto segment = make_segment();
  SlotPool pool(*segment, ChunkKind::kRecords, 1);
  std::atomic<uint64_t> box{0};
  std::thread freer([&] {
    for (int i = 0; i < 100000;) {
      const uint64_t slot = box.exchange(0);
      if (slot == 0) {
        std::this_thread::yield();
        continue;
      }
      EXPECT_EQ(*segment->at(slot), 1);
      EXPECT_TRUE(slot_free(*segment, slot));
      ++i;
    }
  });
  for (int i = 0; i < 100000; ++i) {
    const uint64_t slot = pool.allocate(128).value();
    *segment->at(slot) = 1;
    while (box.load() != 0) std::this_thread::yield();
    box.store(slot);
  }
  freer.join();
  EXPECT_EQ(pool.chunk_count(), 1u);
  size_t left = 0;
  for_each_slot(*segment, ChunkKind::kRecords, 2, [&](uint64_t) { ++left; });
  EXPECT_EQ(left, 0u);
}

TEST(Slots, ChunksOfTheDeadDrainAndComeBack) {
  auto segment = make_segment();
  SlotPool pool(*segment, ChunkKind::kEvents, 5);
  SlotPool records(*segment, ChunkKind::kRecords, 5);
  const uint64_t kept = pool.allocate(128).value();
  const uint64_t empty = pool.allocate(4096).value();
  const uint64_t record = records.allocate(128).value();
  slot_free(*segment, empty);
  orphan_chunks(*segment, 5);
  EXPECT_EQ(segment->chunk(segment->chunk_of(empty)).owner.load(), 0u)
      << "empty ones come back at once";
  EXPECT_EQ(segment->chunk(segment->chunk_of(kept)).owner.load(), kOwnerOrphan);
  EXPECT_EQ(segment->chunk(segment->chunk_of(record)).owner.load(), 6u) << "others may read it";
  release_chunks(*segment, 5);
  EXPECT_EQ(segment->chunk(segment->chunk_of(record)).owner.load(), 0u);
  EXPECT_EQ(reclaim_orphans(*segment), 0u);
  std::vector<uint64_t> visited;
  for_each_slot(*segment, ChunkKind::kEvents, kOwnerOrphan,
                [&](uint64_t offset) { visited.push_back(offset); });
  EXPECT_EQ(visited, std::vector<uint64_t>{kept});
  EXPECT_TRUE(slot_free(*segment, kept));
  EXPECT_EQ(reclaim_orphans(*segment), 1u);
  EXPECT_EQ(segment->chunk(segment->chunk_of(kept)).owner.load(), 0u);
}

TEST(Slots, AllocationStaysBoundedOverManyFullChunks) {
  auto segment = make_segment(1 << 20, 512);
  SlotPool pool(*segment, ChunkKind::kEntries, 1);
  std::set<uint64_t> seen;
  for (uint32_t i = 0; i < 100 * kEntriesPerChunk; ++i)
    ASSERT_TRUE(seen.insert(pool.allocate(128).value()).second);
  EXPECT_EQ(pool.chunk_count(), 100u);
}

}  // namespace
}  // namespace polyray
