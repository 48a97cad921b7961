// SPDX-License-Identifier: Apache-2.0
// Goal: the row counts references and pins once per object, and the sweep undoes exactly what a dead endpoint held.
#include "store/row.h"

#include <thread>

#include "store_support.h"

namespace polyray {
namespace {

using namespace support;

class RowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    segment_ = make_segment(1 << 20, 1024);
    attach(*segment_, 1);
    attach(*segment_, 2);
    entries_ = std::make_unique<SlotPool>(*segment_, ChunkKind::kEntries, 1);
    maker_ = std::make_unique<ReferenceRow>(*segment_, 1);
  }
  ObjectId make(uint64_t unique) {
    return new_object(*segment_, *entries_, *maker_, unique).value();
  }
  uint32_t refs(const ObjectId& id) { return segment_->entry(id.index).refs.load(); }
  uint32_t pins(const ObjectId& id) { return segment_->entry(id.index).pins.load(); }
  std::unique_ptr<Segment> segment_;
  std::unique_ptr<SlotPool> entries_;
  std::unique_ptr<ReferenceRow> maker_;
};

TEST_F(RowTest, CountsOncePerEndpoint) {
  const ObjectId id = make(1);
  ReferenceRow other(*segment_, 2);
  EXPECT_EQ(refs(id), 1u);
  EXPECT_TRUE(other.acquire(id));
  EXPECT_TRUE(other.acquire(id));
  EXPECT_EQ(refs(id), 2u);
  EXPECT_EQ(other.local_refs(id), 2u);
  EXPECT_FALSE(other.release(id));
  EXPECT_EQ(refs(id), 2u);
  EXPECT_FALSE(other.release(id)) << "the maker still holds it";
  EXPECT_EQ(refs(id), 1u);
  EXPECT_EQ(other.size(), 0u);
  EXPECT_FALSE(other.release(id)) << "not held: ignored";
  EXPECT_EQ(refs(id), 1u);
  EXPECT_TRUE(maker_->release(id)) << "the last one: tell the raylet";
  EXPECT_TRUE(close_and_free(*segment_, id));
}

TEST_F(RowTest, AGoneObjectIsNotAcquired) {
  const ObjectId id = make(1);
  ReferenceRow other(*segment_, 2);
  EXPECT_TRUE(maker_->release(id));
  EXPECT_FALSE(other.acquire(id)) << "at zero";
  EXPECT_TRUE(close_and_free(*segment_, id));
  EXPECT_FALSE(other.acquire(id)) << "free";
  const ObjectId next = make(2);
  EXPECT_EQ(next.index, id.index);
  EXPECT_FALSE(other.acquire(id)) << "reused by another object";
  EXPECT_TRUE(other.acquire(next));
  EXPECT_TRUE(other.take_strays().empty());
}

TEST_F(RowTest, PinsNeedSealedBytesAndOutliveReferences) {
  const ObjectId id = make(1);
  EXPECT_FALSE(maker_->pin(id)) << "pending";
  seal_inline(*segment_, id);
  EXPECT_TRUE(maker_->pin(id));
  EXPECT_TRUE(maker_->pin(id));
  EXPECT_EQ(pins(id), 1u);
  EXPECT_TRUE(maker_->release(id));
  EXPECT_FALSE(close_and_free(*segment_, id)) << "pinned bytes stay";
  EXPECT_NE(segment_->find(id), nullptr);
  EXPECT_FALSE(maker_->unpin(id));
  EXPECT_TRUE(maker_->unpin(id)) << "the last pin of a closed entry: tell the raylet";
  EXPECT_TRUE(close_and_free(*segment_, id));
}

TEST_F(RowTest, EvictedBytesAreNotPinned) {
  const ObjectId id = make(1);
  seal_inline(*segment_, id);
  ASSERT_TRUE(evict_close(segment_->entry(id.index).pins));
  EXPECT_FALSE(maker_->pin(id));
  evict_reopen(segment_->entry(id.index).pins);
  EXPECT_TRUE(maker_->pin(id));
  EXPECT_FALSE(evict_close(segment_->entry(id.index).pins));
}

TEST_F(RowTest, TheSweepUndoesExactlyWhatTheDeadHeld) {
  const ObjectId kept = make(1), dropped = make(2), pinned = make(3);
  ReferenceRow dead(*segment_, 2);
  seal_inline(*segment_, pinned);
  for (const ObjectId& id : {kept, dropped, pinned}) ASSERT_TRUE(dead.acquire(id));
  ASSERT_TRUE(dead.pin(pinned));
  EXPECT_FALSE(maker_->release(dropped)) << "the dead one holds it";
  EXPECT_FALSE(maker_->release(pinned));
  std::vector<ObjectId> zero;
  sweep_row(*segment_, 2, [&](const ObjectId& id) { zero.push_back(id); });
  EXPECT_EQ(zero, (std::vector<ObjectId>{dropped, pinned}));
  EXPECT_EQ(refs(kept), 1u);
  EXPECT_EQ(pins(pinned), 0u);
  for (const ObjectId& id : zero) EXPECT_TRUE(close_and_free(*segment_, id));
  zero.clear();
  sweep_row(*segment_, 2, [&](const ObjectId& id) { zero.push_back(id); });
  EXPECT_TRUE(zero.empty()) << "a second sweep finds nothing";
  EXPECT_EQ(refs(kept), 1u);
  EXPECT_EQ(segment_->endpoint(2).row_chunk_count.load(), 0u);
}

TEST_F(RowTest, AHalfTakenSlotIsNotUndone) {
  const ObjectId id = make(1);
  const uint32_t chunk = chunk_claim(*segment_, ChunkKind::kRow, 3, kChunkBytes).value();
  segment_->endpoint(2).row_chunks[0].store(chunk + 1);
  segment_->endpoint(2).row_chunk_count.store(1);
  auto* slots =
      reinterpret_cast<std::atomic<uint64_t>*>(segment_->at(segment_->chunk_offset(chunk)));
  slots[0].store(row_word(id.index, id.unique, RowState::kAcquiring));
  slots[1].store(row_word(id.index, id.unique + 1, RowState::kRef));  // another object was there
  slots[2].store(row_word(0xffffffff, 1, RowState::kRef));            // garbage
  slots[3].store(~uint64_t{0});
  sweep_row(*segment_, 2, [&](const ObjectId&) { ADD_FAILURE() << "nothing went to zero"; });
  EXPECT_EQ(refs(id), 1u);
  EXPECT_EQ(segment_->chunk(chunk).owner.load(), 0u);
}

TEST_F(RowTest, GrowsOverManyChunksAndReusesSlots) {
  std::vector<ObjectId> ids;
  for (uint64_t i = 1; i <= 20000; ++i) ids.push_back(make(i));
  EXPECT_EQ(segment_->endpoint(1).row_chunk_count.load(), 3u);
  for (const ObjectId& id : ids) EXPECT_TRUE(maker_->release(id));
  EXPECT_EQ(maker_->size(), 0u);
  for (const ObjectId& id : ids) EXPECT_TRUE(close_and_free(*segment_, id));
  for (uint64_t i = 1; i <= 20000; ++i) make(100000 + i);
  EXPECT_EQ(segment_->endpoint(1).row_chunk_count.load(), 3u);
}

TEST_F(RowTest, AnEndpointHoldsAMillionObjectsAndTheSweepFindsThemAll) {
  constexpr uint64_t kObjects = 1'000'000;
  segment_ = make_segment(1 << 20, 4096);
  attach(*segment_, 1);
  entries_ = std::make_unique<SlotPool>(*segment_, ChunkKind::kEntries, 1);
  maker_ = std::make_unique<ReferenceRow>(*segment_, 1);
  for (uint64_t i = 1; i <= kObjects; ++i)
    ASSERT_TRUE(new_object(*segment_, *entries_, *maker_, i).is_ok()) << i;
  EXPECT_EQ(maker_->size(), kObjects);
  uint64_t zero = 0;
  sweep_row(*segment_, 1, [&](const ObjectId&) { ++zero; });
  EXPECT_EQ(zero, kObjects);
}

TEST_F(RowTest, ThreadsOfDifferentEndpointsCountExactly) {
  const ObjectId id = make(1);
  seal_inline(*segment_, id);
  std::vector<std::thread> threads;
  for (uint32_t e = 10; e < 14; ++e) {
    attach(*segment_, e);
    threads.emplace_back([&, e] {
      ReferenceRow row(*segment_, e);
      for (int i = 0; i < 20000; ++i) {
        EXPECT_TRUE(row.acquire(id));
        EXPECT_TRUE(row.pin(id));
        EXPECT_FALSE(row.unpin(id));
        EXPECT_FALSE(row.release(id));
      }
      EXPECT_TRUE(row.acquire(id));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refs(id), 5u);
  EXPECT_EQ(pins(id), 0u);
}

}  // namespace
}  // namespace polyray
