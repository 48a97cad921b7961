// SPDX-License-Identifier: Apache-2.0
// Making and mapping the segment: where each table lies, and the checks of what other processes wrote.
#include "store/segment.h"

#include <algorithm>
#include <bit>
#include <new>

#include "os/env.h"
#include "store/ring.h"

namespace polyray {

namespace {

constexpr uint64_t round_up(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

// Header fields that follow from the sizes alone; used to write a segment and to check one.
struct Places {
  uint64_t endpoints, chunk_headers, slab_headers, leases, chunks, control_bytes;
  Places(uint64_t chunk_count, uint64_t granule_count) {
    endpoints = round_up(sizeof(SegmentHeader), 4096);
    chunk_headers = endpoints + uint64_t{kMaxEndpoints} * kEndpointStride;
    slab_headers = round_up(chunk_headers + chunk_count * sizeof(ChunkHeader), 4096);
    leases = round_up(slab_headers + granule_count * sizeof(SlabHeader), 4096);
    chunks = round_up(leases + uint64_t{kMaxLeases} * sizeof(Lease), kChunkBytes);
    control_bytes = round_up(chunks + chunk_count * kChunkBytes, kGranuleBytes);
  }
};

constexpr uint64_t kMaxChunks = 1u << 22;    // 256 GiB of control bytes
constexpr uint64_t kMaxGranules = 1u << 26;  // 16 TiB of data

void fill_header(SegmentHeader& header, const Places& places, const SegmentOptions& options,
                 uint64_t data_bytes) {
  header.version = kLayoutVersion;
  header.node_tag = options.node_tag;
  header.control_bytes = places.control_bytes;
  header.data_bytes = data_bytes;
  header.endpoints_offset = places.endpoints;
  header.chunk_headers_offset = places.chunk_headers;
  header.chunk_count = options.max_chunks;
  header.chunks_offset = places.chunks;
  header.slab_headers_offset = places.slab_headers;
  header.granule_count = data_bytes / kGranuleBytes;
  header.leases_offset = places.leases;
  header.raylet_pid = os::own_pid();
  header.magic = kSegmentMagic;
}

Status check_header(const SegmentHeader& header, uint64_t file_bytes) {
  if (header.magic != kSegmentMagic)
    return Status::error(StatusCode::kVersionMismatch, "not a polyray segment");
  if (header.version != kLayoutVersion)
    return Status::error(StatusCode::kVersionMismatch,
                         "the segment has layout " + std::to_string(header.version) +
                             ", this process knows " + std::to_string(kLayoutVersion));
  const bool counts = header.chunk_count > 0 && header.chunk_count <= kMaxChunks &&
                      header.granule_count <= kMaxGranules;
  if (counts) {
    const Places places(header.chunk_count, header.granule_count);
    if (header.control_bytes == places.control_bytes &&
        header.data_bytes == header.granule_count * kGranuleBytes &&
        header.endpoints_offset == places.endpoints &&
        header.chunk_headers_offset == places.chunk_headers &&
        header.slab_headers_offset == places.slab_headers &&
        header.leases_offset == places.leases && header.chunks_offset == places.chunks &&
        header.control_bytes + header.data_bytes == file_bytes)
      return Status::ok();
  }
  return Status::error(StatusCode::kVersionMismatch,
                       "the segment's tables are not where this process expects them");
}

}  // namespace

Result<std::unique_ptr<Segment>> Segment::create(const SegmentOptions& given) {
  SegmentOptions options = given;
  const uint64_t data_bytes = round_up(std::max<uint64_t>(options.data_bytes, 1), kGranuleBytes);
  if (options.max_chunks == 0 || options.max_chunks > kMaxChunks ||
      data_bytes / kGranuleBytes > kMaxGranules)
    return Status::error(StatusCode::kInvalidArgument, "segment size out of range");
  const Places places(options.max_chunks, data_bytes / kGranuleBytes);
  const uint64_t bytes = places.control_bytes + data_bytes;
  Result<os::Fd> file = options.file_path != nullptr
                            ? os::open_unlinked_file(options.file_path, bytes)
                            : os::open_memory_file("polyray-store", bytes);
  if (!file.is_ok()) return file.status();
  const int fd = file.value().get();
  if (options.file_path == nullptr) {
    Status sealed = os::seal_size(fd);
    if (!sealed.is_ok()) return sealed;
  }
  Result<uint8_t*> page =
      os::map_shared(fd, 0, places.endpoints, os::Access::kReadWrite, os::OnFork::kDrop);
  if (!page.is_ok()) return page.status();
  Status populated = os::populate_write(fd, 0, page.value(), places.endpoints);
  if (populated.is_ok())
    fill_header(*reinterpret_cast<SegmentHeader*>(page.value()), places, options, data_bytes);
  os::unmap(page.value(), places.endpoints);
  if (!populated.is_ok()) return populated;
  return map(fd);
}

Result<std::unique_ptr<Segment>> Segment::map(int fd) {
  Result<uint64_t> size = os::file_bytes(fd);
  if (!size.is_ok()) return size.status();
  const uint64_t head_bytes = round_up(sizeof(SegmentHeader), 4096);
  if (size.value() < head_bytes)
    return Status::error(StatusCode::kVersionMismatch, "not a polyray segment");
  Result<uint8_t*> page = os::map_shared(fd, 0, head_bytes, os::Access::kRead, os::OnFork::kDrop);
  if (!page.is_ok()) return page.status();
  const auto& header = *reinterpret_cast<const SegmentHeader*>(page.value());
  Status checked = check_header(header, size.value());
  const uint64_t control_bytes = header.control_bytes;
  const uint64_t data_bytes = header.data_bytes;
  os::unmap(page.value(), head_bytes);
  if (!checked.is_ok()) return checked;

  Result<os::Fd> own = os::duplicate(fd);
  if (!own.is_ok()) return own.status();
  std::unique_ptr<Segment> segment(new Segment());
  segment->fd_ = own.value().release();
  segment->control_bytes_ = control_bytes;
  segment->data_bytes_ = data_bytes;
  const int file = segment->fd_;
  Result<uint8_t*> control =
      os::map_shared(file, 0, control_bytes, os::Access::kReadWrite, os::OnFork::kDrop);
  if (!control.is_ok()) return control.status();
  segment->base_ = control.value();
  segment->header_ = reinterpret_cast<SegmentHeader*>(segment->base_);
  Result<uint8_t*> write =
      os::map_shared(file, control_bytes, data_bytes, os::Access::kReadWrite, os::OnFork::kDrop);
  if (!write.is_ok()) return write.status();
  segment->data_write_ = write.value();
  Result<uint8_t*> read =
      os::map_shared(file, control_bytes, data_bytes, os::Access::kRead, os::OnFork::kKeep);
  if (!read.is_ok()) return read.status();
  segment->data_read_ = read.value();
  // Fixed from here on, whatever others write into the header page.
  segment->places_ = {segment->header_->endpoints_offset,
                      segment->header_->chunk_headers_offset,
                      segment->header_->slab_headers_offset,
                      segment->header_->leases_offset,
                      segment->header_->chunks_offset,
                      segment->header_->chunk_count,
                      segment->header_->node_tag};
  return segment;
}

Segment::~Segment() {
  // In a forked child the two writable mappings are not there (MADV_DONTFORK) and something else may be at their place.
  if (os::own_pid() == pid_) {
    os::unmap(base_, control_bytes_);
    os::unmap(data_write_, data_bytes_);
  }
  os::unmap(data_read_, data_bytes_);
  os::Fd(fd_).reset();
}

Segment::Segment() : pid_(os::own_pid()) {}

Endpoint& Segment::endpoint(uint32_t number) const {
  return *reinterpret_cast<Endpoint*>(base_ + places_.endpoints + number * kEndpointStride);
}

ChunkHeader& Segment::chunk(uint32_t number) const {
  return *reinterpret_cast<ChunkHeader*>(base_ + places_.chunk_headers +
                                         number * sizeof(ChunkHeader));
}

SlabHeader& Segment::slab(uint64_t granule) const {
  return *reinterpret_cast<SlabHeader*>(base_ + places_.slab_headers +
                                        granule * sizeof(SlabHeader));
}

Lease& Segment::lease(uint32_t number) const {
  return *reinterpret_cast<Lease*>(base_ + places_.leases + number * sizeof(Lease));
}

uint32_t Segment::chunk_of(uint64_t control_offset) const {
  if (control_offset < places_.chunks) return UINT32_MAX;
  const uint64_t number = (control_offset - places_.chunks) / kChunkBytes;
  return number < places_.chunk_count ? static_cast<uint32_t>(number) : UINT32_MAX;
}

uint64_t Segment::chunk_offset(uint32_t chunk) const {
  return places_.chunks + uint64_t{chunk} * kChunkBytes;
}

ObjectEntry* Segment::find(const ObjectId& id) const {
  if (id.unique == 0 || id.node_tag != places_.node_tag) return nullptr;
  const uint32_t number = chunk_of(uint64_t{id.index} * kEntryBytes);
  if (number == UINT32_MAX || number >= header_->chunk_high.load(std::memory_order_relaxed))
    return nullptr;
  if (chunk(number).kind.load(std::memory_order_acquire) !=
      static_cast<uint32_t>(ChunkKind::kEntries))
    return nullptr;
  ObjectEntry& found = entry(id.index);
  return found.unique.load(std::memory_order_acquire) == id.unique ? &found : nullptr;
}

uint8_t* Segment::at(uint64_t offset) const {
  return offset < control_bytes_ ? base_ + offset : data_write_ + (offset - control_bytes_);
}

const uint8_t* Segment::read(uint64_t offset) const {
  return data_read_ + (offset - control_bytes_);
}

uint64_t Segment::offset_of(const void* address) const {
  const auto* byte = static_cast<const uint8_t*>(address);
  if (byte >= base_ && byte < base_ + control_bytes_) return static_cast<uint64_t>(byte - base_);
  if (byte >= data_write_ && byte < data_write_ + data_bytes_)
    return control_bytes_ + static_cast<uint64_t>(byte - data_write_);
  return 0;
}

bool Segment::valid_slot(uint64_t offset, ChunkKind kind, uint64_t min_bytes) const {
  const uint32_t number = chunk_of(offset);
  if (number == UINT32_MAX || number >= header_->chunk_high.load(std::memory_order_relaxed))
    return false;
  const ChunkHeader& head = chunk(number);
  if (head.kind.load(std::memory_order_acquire) != static_cast<uint32_t>(kind)) return false;
  const uint64_t bytes = head.slot_bytes;
  if (bytes < kEntryBytes || bytes > kChunkBytes || !std::has_single_bit(bytes) ||
      bytes < min_bytes)
    return false;
  const uint64_t inside = offset - chunk_offset(number);
  if (inside % bytes != 0) return false;
  const uint64_t slot = inside / bytes;
  return (head.used[slot / 64].load(std::memory_order_acquire) >> (slot % 64) & 1) != 0;
}

bool Segment::valid_record(uint64_t offset) const {
  if (!valid_slot(offset, ChunkKind::kRecords, sizeof(CallRecord))) return false;
  const CallRecord& call = record(offset);
  const uint64_t need = sizeof(CallRecord) +
                        (uint64_t{call.return_count} + call.ref_count) * sizeof(ObjectId) +
                        call.payload_bytes;
  // Stored arguments list their refs themselves: the record has the id of the arguments alone.
  const bool in_store = (call.flags & kCallArgsInStore) != 0;
  return need <= chunk(chunk_of(offset)).slot_bytes &&
         (in_store ? call.ref_count == 1 : call.top_ref_count <= call.ref_count) &&
         call.method_bytes <= call.payload_bytes;
}

bool Segment::valid_payload(uint64_t offset, uint64_t bytes) const {
  return valid_slot(offset, ChunkKind::kRecords, bytes);
}

bool Segment::valid_ring(uint64_t offset) const {
  if (!valid_slot(offset, ChunkKind::kRings, sizeof(RingHeader))) return false;
  const RingHeader& head = ring(offset);
  const uint32_t capacity = head.capacity;
  return std::has_single_bit(capacity) &&
         ring_bytes(capacity) <= chunk(chunk_of(offset)).slot_bytes &&
         head.producer < kMaxEndpoints && head.consumer < kMaxEndpoints &&
         head.inbound < kMaxInboundRings;
}

bool Segment::valid_data(uint64_t offset, uint64_t bytes) const {
  return offset >= control_bytes_ && offset - control_bytes_ <= data_bytes_ &&
         bytes <= data_bytes_ - (offset - control_bytes_);
}

Status Segment::populate(uint64_t offset, uint64_t bytes) const {
  return os::populate_write(fd_, offset, at(offset), bytes);
}

Status Segment::populate_endpoint(uint32_t number) const {
  const uint64_t offset = places_.endpoints + number * kEndpointStride;
  return populate(offset, offsetof(Endpoint, inbound) + sizeof(uint64_t));
}

}  // namespace polyray
