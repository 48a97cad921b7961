// SPDX-License-Identifier: Apache-2.0
// The extent allocator (see extents.h). `free_` says what is free, `backed_` which free bytes still have pages: those need
// no fallocate when they are granted again, and are what release_idle gives back.
#include "store/extents.h"

#include <algorithm>

#include "os/env.h"

namespace polyray {

namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr size_t kMaxRecent = 64;

constexpr uint64_t round_up(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

// Cuts [offset, offset + bytes) out of a map of ranges; what remains of a range keeps its other fields.
template <class Map, class Bytes, class WithBytes>
void cut(Map& map, uint64_t offset, uint64_t bytes, Bytes bytes_of, WithBytes with_bytes) {
  auto it = map.upper_bound(offset);
  if (it != map.begin()) --it;
  while (it != map.end() && it->first < offset + bytes) {
    const uint64_t begin = it->first;
    const uint64_t end = begin + bytes_of(it->second);
    if (end <= offset) {
      ++it;
      continue;
    }
    const auto value = it->second;
    it = map.erase(it);
    if (begin < offset) map.emplace(begin, with_bytes(value, offset - begin));
    if (end > offset + bytes)
      it = map.emplace(offset + bytes, with_bytes(value, end - offset - bytes)).first;
  }
}

}  // namespace

ExtentAllocator::ExtentAllocator(Segment& segment, uint64_t reserve_bytes)
    : segment_(segment), reserve_bytes_(std::min(reserve_bytes, segment.data_bytes() / 2)) {
  free_.emplace(segment.control_bytes(), segment.data_bytes());
}

void ExtentAllocator::set_used(uint64_t used) {
  used_ = used;
  segment_.header().data_used_bytes.store(used, std::memory_order_relaxed);
}

uint64_t ExtentAllocator::find_first(uint64_t bytes, uint64_t alignment, uint64_t* hole) const {
  if (bytes <= kGranuleBytes) return find_last(bytes, alignment, hole);
  const uint64_t end = segment_.control_bytes() + capacity_bytes();
  for (const auto& [offset, size] : free_) {
    const uint64_t aligned = round_up(offset, alignment);
    if (aligned + bytes > std::min(offset + size, end)) continue;
    *hole = offset;
    return aligned;
  }
  return 0;
}

// Small extents come from the other end, so that they do not stand in the way of big ones.
uint64_t ExtentAllocator::find_last(uint64_t bytes, uint64_t alignment, uint64_t* hole) const {
  for (auto it = free_.rbegin(); it != free_.rend(); ++it) {
    if (it->second < bytes) continue;
    const uint64_t aligned = (it->first + it->second - bytes) / alignment * alignment;
    if (aligned < it->first) continue;
    *hole = it->first;
    return aligned;
  }
  return 0;
}

// The free range that holds all of it, 0 if there is none.
uint64_t ExtentAllocator::hole_of(uint64_t offset, uint64_t bytes) const {
  auto it = free_.upper_bound(offset);
  if (it == free_.begin()) return 0;
  --it;
  return offset + bytes <= it->first + it->second ? it->first : 0;
}

// The newest extent that this client freed and that fits without much waste.
uint64_t ExtentAllocator::find_recent(uint64_t bytes, uint64_t alignment, uint32_t client) {
  const auto found = recent_.find(client);
  if (found == recent_.end()) return 0;
  std::vector<Recent>& list = found->second;
  for (size_t i = list.size(); i-- > 0;) {
    const Recent recent = list[i];
    if (recent.bytes < bytes || recent.bytes > bytes + bytes / 2 || recent.offset % alignment != 0)
      continue;
    list.erase(list.begin() + static_cast<ptrdiff_t>(i));
    if (hole_of(recent.offset, bytes) != 0) return recent.offset;
    if (list.empty()) break;
    i = std::min(i, list.size());
  }
  return 0;
}

void ExtentAllocator::take_free(uint64_t hole, uint64_t offset, uint64_t bytes) {
  const uint64_t end = hole + free_[hole];
  free_.erase(hole);
  if (offset > hole) free_.emplace(hole, offset - hole);
  if (end > offset + bytes) free_.emplace(offset + bytes, end - offset - bytes);
}

// Gets pages for the parts that have none.
Status ExtentAllocator::back(uint64_t offset, uint64_t bytes) {
  newly_backed_ = 0;
  uint64_t at = offset;
  const uint64_t end = offset + bytes;
  auto it = backed_.upper_bound(offset);
  if (it != backed_.begin()) --it;
  for (; at < end; ++it) {
    const uint64_t begin = it == backed_.end() ? end : std::min(std::max(it->first, at), end);
    if (begin > at) {
      Status reserved = os::reserve_file(segment_.fd(), at, begin - at);
      if (!reserved.is_ok()) {
        (void)os::punch_hole(segment_.fd(), at, begin - at);  // fallocate may have got some of it
        return Status::error(StatusCode::kOutOfMemory, reserved.message, reserved.sys_errno);
      }
      newly_backed_ += begin - at;
      fresh_bytes_ += begin - at;
      backed_.emplace(
          at, Backed{begin - at, os::now_ms()});  // still free: counts even if a later part fails
      at = begin;
    }
    if (it == backed_.end()) break;
    at = std::max(at, std::min(end, it->first + it->second.bytes));
  }
  return Status::ok();
}

Result<uint64_t> ExtentAllocator::allocate(uint64_t bytes, uint64_t alignment, uint32_t client) {
  if (bytes == 0 || bytes > capacity_bytes())
    return Status::error(bytes == 0 ? StatusCode::kInvalidArgument : StatusCode::kObjectStoreFull,
                         "an extent of " + std::to_string(bytes) + " bytes");
  bytes = round_up(bytes, kPageBytes);
  alignment = std::max(alignment, kPageBytes);
  if (alignment > kGranuleBytes || (alignment & (alignment - 1)) != 0)
    return Status::error(StatusCode::kInvalidArgument, "alignment is a power of two up to 256 KiB");
  uint64_t hole = 0;
  uint64_t offset = find_recent(bytes, alignment, client);
  if (offset != 0) {
    hole = hole_of(offset, bytes);
  } else {
    offset = find_first(bytes, alignment, &hole);
  }
  if (offset == 0)
    return Status::error(StatusCode::kObjectStoreFull,
                         "no free extent of " + std::to_string(bytes) + " bytes (" +
                             std::to_string(capacity_bytes() - std::min(used_, capacity_bytes())) +
                             " free, largest " + std::to_string(largest_free()) + ")");
  const uint64_t fresh_before = fresh_bytes_;
  Status backed = back(offset, bytes);
  if (!backed.is_ok()) return backed;
  reused_bytes_ += bytes - (fresh_bytes_ - fresh_before);
  take_free(hole, offset, bytes);
  cut(
      backed_, offset, bytes, [](const Backed& b) { return b.bytes; },
      [](const Backed& b, uint64_t size) { return Backed{size, b.freed_ms}; });
  set_used(used_ + bytes);
  return offset;
}

void ExtentAllocator::insert_free(uint64_t offset, uint64_t bytes) {
  auto next = free_.lower_bound(offset);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      offset = before->first;
      bytes += before->second;
      free_.erase(before);
    }
  }
  if (next != free_.end() && offset + bytes == next->first) {
    bytes += next->second;
    free_.erase(next);
  }
  free_.emplace(offset, bytes);
}

void ExtentAllocator::free(uint64_t offset, uint64_t bytes, uint32_t client) {
  bytes = round_up(bytes, kPageBytes);
  if (bytes == 0 || offset % kPageBytes != 0 || !segment_.valid_data(offset, bytes)) return;
  // A client may return garbage or the same extent twice: free bytes are not freed again.
  auto next = free_.upper_bound(offset);
  if (next != free_.end() && next->first < offset + bytes) return;
  if (next != free_.begin() && std::prev(next)->first + std::prev(next)->second > offset) return;
  const uint64_t now_ms = os::now_ms();
  insert_free(offset, bytes);
  backed_.insert_or_assign(offset, Backed{bytes, now_ms});
  std::vector<Recent>& list = recent_[client];
  if (list.size() >= kMaxRecent) list.erase(list.begin());
  list.push_back({offset, bytes, now_ms});
  set_used(used_ - std::min(used_, bytes));
}

void ExtentAllocator::forget_client(uint32_t client) {
  recent_.erase(client);
}

uint64_t ExtentAllocator::largest_free() const {
  uint64_t largest = 0;
  for (const auto& [offset, bytes] : free_) largest = std::max(largest, bytes);
  return largest;
}

uint64_t ExtentAllocator::release_idle(uint64_t now_ms, uint64_t idle_ms) {
  uint64_t released = 0;
  for (auto it = backed_.begin(); it != backed_.end();) {
    if (it->second.freed_ms + idle_ms > now_ms ||
        !os::punch_hole(segment_.fd(), it->first, it->second.bytes).is_ok()) {
      ++it;
      continue;
    }
    released += it->second.bytes;
    it = backed_.erase(it);
  }
  if (released != 0) segment_.header().pages_given_back.fetch_add(1, std::memory_order_release);
  for (auto it = recent_.begin(); it != recent_.end();) {
    std::erase_if(it->second,
                  [&](const Recent& recent) { return recent.freed_ms + idle_ms <= now_ms; });
    it = it->second.empty() ? recent_.erase(it) : std::next(it);
  }
  return released;
}

}  // namespace polyray
