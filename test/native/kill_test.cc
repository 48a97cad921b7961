// SPDX-License-Identifier: Apache-2.0
// Goal: a process killed at any moment leaves a store that the sweep brings back: nothing is freed early, at most one
// object leaks per death, rings stay readable, chunks and slabs return.
// Method: a child makes, seals, shares, pins and drops objects and pushes records as fast as it can; SIGKILL at a random
// moment, 200 times on one segment; the parent sweeps as the raylet does and compares every count with what it knows.
#include <random>
#include <set>

#include "store/extents.h"
#include "store/ring.h"
#include "store/slab.h"
#include "store_support.h"

namespace polyray {
namespace {

using namespace support;

constexpr uint32_t kParent = 1;
constexpr uint32_t kChild = 2;
constexpr int kKills = 200;
constexpr size_t kShared = 16;  // objects of the parent that the child refers to

// The child: every step of a client, over and over.
[[noreturn]] void run_child(Segment& segment, uint64_t serial, const std::vector<ObjectId>& shared,
                            uint64_t ring, uint32_t granule) {
  SlotPool entries(segment, ChunkKind::kEntries, kChild);
  SlotPool records(segment, ChunkKind::kRecords, kChild);
  SlabPool slabs(segment, kChild);
  ReferenceRow row(segment, kChild);
  RingProducer out(segment, ring, -1);
  (void)slabs.add_granule(granule, 512);
  std::mt19937_64 random(serial);
  std::vector<ObjectId> own;
  for (uint64_t sequence = 1;; ++sequence) {
    const ObjectId& other = shared[random() % shared.size()];
    if (row.local_refs(other) < 3) row.acquire(other);
    if (random() % 2) row.pin(other);
    if (random() % 2) row.unpin(other);
    if (random() % 2 && row.local_refs(other) > 0) row.release(other);
    Result<ObjectId> made = new_object(segment, entries, row, serial << 40 | sequence);
    if (!made.is_ok()) ::_exit(91);
    const uint64_t bytes = slabs.allocate(500);
    if (bytes != 0) {
      segment.entry(made.value().index).offset = bytes;
      segment.entry(made.value().index).capacity = 512;
    }
    seal_inline(segment, made.value());
    own.push_back(made.value());
    Result<uint64_t> record = records.allocate(300);
    if (record.is_ok()) slot_free(segment, record.value());
    out.push({1, 0, sequence, sequence * 7, ~sequence});
    out.bell();
    if (out.has_overflow()) out.flush();
    if (own.size() > 50) {
      // Its own raylet for once: frees what it dropped, as the raylet would on kRelease.
      const ObjectId gone = own[random() % own.size()];
      std::erase(own, gone);
      const uint64_t offset = segment.entry(gone.index).offset;
      if (row.release(gone)) {
        if (offset != 0) slab_free(segment, offset);
        close_and_free(segment, gone);
      }
    }
  }
}

TEST(Kill, ASigkillAtAnyMomentLeavesASweepableStore) {
  auto segment = make_segment(4 << 20, 512);
  attach(*segment, kParent);
  attach(*segment, kChild);
  ExtentAllocator extents(*segment);
  const uint64_t extent = extents.allocate(kGranuleBytes, kGranuleBytes, kChild).value();
  const auto granule = static_cast<uint32_t>((extent - segment->granule_offset(0)) / kGranuleBytes);
  ASSERT_EQ(segment->granule_offset(granule), extent);
  SlotPool entries(*segment, ChunkKind::kEntries, kParent);
  SlotPool rings(*segment, ChunkKind::kRings, kParent);
  ReferenceRow row(*segment, kParent);
  InboundRings in(*segment, kParent);
  std::vector<ObjectId> shared;
  for (uint64_t i = 0; i < kShared; ++i) {
    shared.push_back(new_object(*segment, entries, row, i + 1).value());
    seal_inline(*segment, shared.back());
  }
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  size_t leaked_refs = 0, leaked_pins = 0, leaked_entries = 0, leaked_slots = 0, records_read = 0,
         left_behind = 0;

  for (int kill_number = 0; kill_number < kKills; ++kill_number) {
    const uint64_t ring = rings.allocate(ring_bytes(kRingSlots)).value();
    ring_init(*segment, ring, kRingSlots, kChild, kParent, 0);
    ASSERT_TRUE(ring_register(*segment, ring).is_ok());
    const uint64_t serial = 1000 + static_cast<uint64_t>(kill_number);
    const pid_t child =
        fork_child(*segment, [&](Segment& own) { run_child(own, serial, shared, ring, granule); });
    // Lets it live for a random while, from "not started" on, and reads its ring meanwhile.
    uint64_t next = 1;
    const auto drain = [&] {
      return in.drain(
          1 << 20,
          [&](uint64_t from, const RingSlot& slot) {
            ASSERT_EQ(from, ring);
            ASSERT_EQ(slot.b, next);
            ASSERT_EQ(slot.c, next * 7);
            ASSERT_EQ(slot.d, ~next);
            ++next;
            ++records_read;
          },
          [](uint64_t) {});
    };
    const uint64_t end_ns = os::now_ns() + random() % 6'000'000;
    while (os::now_ns() < end_ns) drain();
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    const os::ExitInfo ended = wait_child(child);
    ASSERT_EQ(ended.signal, SIGKILL) << "code " << ended.code;
    drain();
    ASSERT_EQ(in.broken_rings(), 0u);

    // The sweep, in the raylet's order: rings, row, objects, slabs, chunks.
    in.remove(ring);
    ASSERT_TRUE(slot_free(*segment, ring));
    std::set<uint32_t> zero;
    sweep_row(*segment, kChild, [&](const ObjectId& id) {
      zero.insert(id.index);
      ObjectEntry* entry = segment->find(id);
      ASSERT_NE(entry, nullptr);
      ASSERT_EQ(entry->creator, 0u);
      const uint64_t offset = entry->offset;
      for (const ObjectId& mine : shared) ASSERT_NE(mine.index, id.index) << "an early free";
      if (close_and_free(*segment, id) && offset != 0) slab_free(*segment, offset);
    });
    left_behind += zero.size();
    size_t refs_over = 0, pins_over = 0;
    for (const ObjectId& id : shared) {
      ObjectEntry* entry = segment->find(id);
      ASSERT_NE(entry, nullptr) << "an early free";
      ASSERT_GE(entry->refs.load(), 1u) << "an early free";
      refs_over += entry->refs.load() - 1;
      pins_over += entry->pins.load();
      entry->refs.store(1);
      entry->pins.store(0);
    }
    // Entries that the child was about to make or to free when it died: found by their used bit.
    size_t entries_over = 0;
    for_each_slot(*segment, ChunkKind::kEntries, kChild + 1, [&](uint64_t offset) {
      ++entries_over;
      ObjectEntry& entry = segment->entry(static_cast<uint32_t>(offset / kEntryBytes));
      if (entry.offset != 0 && entry.unique.load() != 0) slab_free(*segment, entry.offset);
      entry.unique.store(0);
      slot_free(*segment, offset);
    });
    size_t slots_over = 0;
    for (const auto& word : segment->slab(0).used)
      slots_over += static_cast<size_t>(std::popcount(word.load()));
    size_t records_over = 0;
    for_each_slot(*segment, ChunkKind::kRecords, kChild + 1, [&](uint64_t offset) {
      ++records_over;
      slot_free(*segment, offset);
    });
    ASSERT_LE(refs_over + pins_over + entries_over, 1u) << "one death, more than one leak";
    ASSERT_LE(slots_over, 1u);
    ASSERT_LE(records_over, 1u);
    leaked_refs += refs_over;
    leaked_pins += pins_over;
    leaked_entries += entries_over;
    leaked_slots += slots_over;
    for (auto& word : segment->slab(0).used) word.store(0);
    orphan_slabs(*segment, kChild, [](uint64_t, uint64_t) {});
    orphan_chunks(*segment, kChild);
    release_chunks(*segment, kChild);
    reclaim_orphans(*segment);
    for (uint32_t chunk = 0; chunk < segment->header().chunk_high.load(); ++chunk) {
      const uint32_t owner = segment->chunk(chunk).owner.load();
      ASSERT_TRUE(owner == 0 || owner == kParent + 1) << "a chunk of the dead is left";
    }
  }
  std::printf(
      "%d kills: %zu records read, %zu objects swept; leaked and found: %zu refs, %zu pins, %zu "
      "entries, %zu slots\n",
      kKills, records_read, left_behind, leaked_refs, leaked_pins, leaked_entries, leaked_slots);
  EXPECT_GT(records_read, 1000u) << "the children did nothing";
  EXPECT_GT(left_behind, 100u);
}

}  // namespace
}  // namespace polyray
