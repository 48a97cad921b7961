// SPDX-License-Identifier: Apache-2.0
// Goal: a segment is made, sealed, mapped and checked; numbers from other processes are refused when they lead outside.
#include "store/segment.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "store/ring.h"
#include "store_support.h"

namespace polyray {
namespace {

using namespace support;

TEST(SegmentTest, ClientSeesWhatTheRayletWrote) {
  auto raylet = make_segment();
  Result<std::unique_ptr<Segment>> client = Segment::map(raylet->fd());
  ASSERT_TRUE(client.is_ok()) << client.status().message;
  const uint64_t offset = raylet->granule_offset(1);
  raylet->at(offset)[5] = 42;
  EXPECT_EQ(client.value()->read(offset)[5], 42);
  EXPECT_EQ(client.value()->at(offset)[5], 42);
  EXPECT_EQ(client.value()->offset_of(client.value()->at(offset) + 5), offset + 5);
  EXPECT_EQ(client.value()->header().node_tag, 7u);
}

TEST(SegmentTest, IsSparseUntilTouched) {
  auto segment = make_segment(uint64_t{1} << 30, 131072);
  EXPECT_LT(os::file_allocated_bytes(segment->fd()), uint64_t{1} << 20);
}

TEST(SegmentTest, CannotBeResized) {
  auto segment = make_segment();
  EXPECT_NE(::ftruncate(segment->fd(), 4096), 0);
  EXPECT_NE(::ftruncate(segment->fd(), static_cast<off_t>(segment->control_bytes() +
                                                          segment->data_bytes() + 4096)),
            0);
}

TEST(SegmentTest, TablesDoNotOverlap) {
  auto segment = make_segment();
  const auto at = [&](const void* p) { return segment->offset_of(p); };
  EXPECT_LE(sizeof(SegmentHeader), at(&segment->endpoint(0)));
  EXPECT_LE(at(&segment->endpoint(kMaxEndpoints - 1)) + sizeof(Endpoint), at(&segment->chunk(0)));
  EXPECT_LE(at(&segment->chunk(255)) + sizeof(ChunkHeader), at(&segment->slab(0)));
  EXPECT_LE(at(&segment->slab(15)) + sizeof(SlabHeader), at(&segment->lease(0)));
  EXPECT_LE(at(&segment->lease(kMaxLeases - 1)) + sizeof(Lease), segment->chunk_offset(0));
  EXPECT_LE(segment->chunk_offset(255) + kChunkBytes, segment->control_bytes());
  EXPECT_EQ(segment->chunk_offset(0) % kChunkBytes, 0u);
  EXPECT_EQ(segment->control_bytes() % kGranuleBytes, 0u);
}

TEST(SegmentTest, RefusesOtherFiles) {
  Result<os::Fd> small = os::open_memory_file("small", 100);
  EXPECT_EQ(Segment::map(small.value().get()).status().code, StatusCode::kVersionMismatch);
  Result<os::Fd> zero = os::open_memory_file("zero", 1 << 20);
  EXPECT_EQ(Segment::map(zero.value().get()).status().code, StatusCode::kVersionMismatch);
  Result<os::Pipe> pipe = os::open_pipe();
  EXPECT_FALSE(Segment::map(pipe.value().read.get()).is_ok());
}

TEST(SegmentTest, RefusesAHeaderThatDoesNotFit) {
  auto segment = make_segment();
  SegmentHeader& header = segment->header();
  const auto refuses = [&](auto& field) {
    const auto saved = field;
    field = saved + 1;
    EXPECT_EQ(Segment::map(segment->fd()).status().code, StatusCode::kVersionMismatch);
    field = saved;
  };
  refuses(header.magic);
  refuses(header.version);
  refuses(header.control_bytes);
  refuses(header.data_bytes);
  refuses(header.endpoints_offset);
  refuses(header.chunk_count);
  refuses(header.chunks_offset);
  refuses(header.granule_count);
  EXPECT_TRUE(Segment::map(segment->fd()).is_ok());
}

TEST(SegmentTest, AForkedChildKeepsOnlyTheReadOnlyData) {
  auto segment = make_segment();
  segment->at(segment->granule_offset(0))[0] = 9;
  const uint8_t* data = segment->read(segment->granule_offset(0));
  const uint8_t* control = segment->at(0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    unsigned char present = 0;
    const bool unmapped = ::mincore(const_cast<uint8_t*>(control), 4096, &present) != 0;
    segment.reset();  // must not unmap what is not ours
    ::_exit(unmapped && data != nullptr ? 0 : 1);
  }
  EXPECT_EQ(wait_child(pid).code, 0);
  const pid_t reader = ::fork();
  if (reader == 0) ::_exit(data[0]);
  EXPECT_EQ(wait_child(reader).code, 9);
}

TEST(SegmentTest, AFileInsteadOfAMemfd) {
  char path[] = "/tmp/polyray-segment-XXXXXX";
  const int fd = ::mkstemp(path);
  ::close(fd);
  SegmentOptions options;
  options.data_bytes = 1 << 20;
  options.max_chunks = 16;
  options.file_path = path;
  EXPECT_EQ(Segment::create(options).status().code, StatusCode::kAlreadyExists)
      << "must not take over a file";
  ::unlink(path);
  Result<std::unique_ptr<Segment>> made = Segment::create(options);
  ASSERT_TRUE(made.is_ok()) << made.status().message;
  EXPECT_NE(::access(path, F_OK), 0) << "the name is removed at once";
  EXPECT_TRUE(Segment::map(made.value()->fd()).is_ok());
}

TEST(SegmentTest, FindsOnlyLivingObjects) {
  auto segment = make_segment();
  attach(*segment, 1);
  SlotPool entries(*segment, ChunkKind::kEntries, 1);
  ReferenceRow row(*segment, 1);
  const ObjectId id = new_object(*segment, entries, row, 55).value();
  EXPECT_EQ(segment->find(id), &segment->entry(id.index));
  ObjectId other = id;
  other.unique = 56;
  EXPECT_EQ(segment->find(other), nullptr);
  other = id;
  other.node_tag = 8;
  EXPECT_EQ(segment->find(other), nullptr);
  for (uint32_t index : {0u, 1u, 12345u, 0xffffffffu}) {
    other = id;
    other.index = index;
    EXPECT_EQ(segment->find(other), nullptr) << index;
  }
  EXPECT_EQ(segment->find(ObjectId{}), nullptr);
}

TEST(SegmentTest, ChecksOffsetsOfOthers) {
  auto segment = make_segment();
  attach(*segment, 1);
  SlotPool records(*segment, ChunkKind::kRecords, 1);
  const uint64_t offset = records.allocate(1000).value();
  EXPECT_TRUE(segment->valid_record(offset));
  EXPECT_TRUE(segment->valid_payload(offset, 1024));
  EXPECT_FALSE(segment->valid_payload(offset, 1025));
  EXPECT_FALSE(segment->valid_payload(offset + 8, 8)) << "not where a slot begins";
  EXPECT_FALSE(segment->valid_payload(offset + 1024, 8)) << "not a used slot";
  EXPECT_FALSE(segment->valid_ring(offset)) << "another kind of chunk";
  for (uint64_t wild :
       {uint64_t{0}, uint64_t{64}, segment->control_bytes(), ~uint64_t{0}, ~uint64_t{0} - 127})
    EXPECT_FALSE(segment->valid_record(wild)) << wild;
  CallRecord& call = segment->record(offset);
  call.payload_bytes = 1024 - sizeof(CallRecord);
  EXPECT_TRUE(segment->valid_record(offset));
  call.payload_bytes += 1;
  EXPECT_FALSE(segment->valid_record(offset));
  call.payload_bytes = 64;
  call.ref_count = 1;
  call.top_ref_count = 5;
  EXPECT_FALSE(segment->valid_record(offset)) << "more top-level refs than refs";
  call.flags = kCallArgsInStore;
  EXPECT_TRUE(segment->valid_record(offset)) << "the refs are listed in the stored arguments";
  call.payload_bytes = 0;
  call.return_count = 0xffffffff;
  call.ref_count = 0xffffffff;
  EXPECT_FALSE(segment->valid_record(offset)) << "sizes that overflow 32 bits";
  EXPECT_TRUE(slot_free(*segment, offset));
  EXPECT_FALSE(segment->valid_payload(offset, 8));
}

TEST(SegmentTest, ChecksDataRanges) {
  auto segment = make_segment(1 << 20);
  const uint64_t begin = segment->control_bytes();
  EXPECT_TRUE(segment->valid_data(begin, 1 << 20));
  EXPECT_FALSE(segment->valid_data(begin, (1 << 20) + 1));
  EXPECT_FALSE(segment->valid_data(begin - 1, 1));
  EXPECT_FALSE(segment->valid_data(begin + 1, ~uint64_t{0}));
  EXPECT_FALSE(segment->valid_data(~uint64_t{0}, 2));
}

}  // namespace
}  // namespace polyray
