// SPDX-License-Identifier: Apache-2.0
// Reading spilled objects, freeing on request, and what is known of an object without reading it.
//
// A spilled object is read where it is: its file is mapped, once per process however often it is read. The reference that
// every reader holds keeps the file; a map outlives the file's removal. So a reader needs neither the raylet nor room.
#include "client/core.h"
#include "store/spill_place.h"

namespace polyray {

namespace {
constexpr int kClosedSpins =
    200;  // the raylet is between closing the pins and saying where the bytes are
constexpr uint32_t kClosedWaitMs = 30'000;  // as long as a raylet may stand still
}  // namespace

Result<SpilledFile> ClientCore::open_spilled(const ObjectId& id) {
  const ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr || (entry->state.load(std::memory_order_acquire) & kEntrySpilled) == 0)
    return Status::error(StatusCode::kNotFound, "the object is not spilled");
  const SpillPlace place = spill_place_of(*entry);
  Result<os::Fd> file = ::polyray::open_spilled(*segment_, place);
  if (!file.is_ok()) return file.status();
  return SpilledFile{file.value().release(), place.offset};
}

Result<ObjectView> ClientCore::pin_spilled(const ObjectEntry& entry, const ObjectId& id) {
  ObjectView view;
  view.is_error = (entry.state.load(std::memory_order_acquire) & kEntryError) != 0;
  view.size = entry.size;
  view.spilled = true;
  auto found = file_maps_.find(id.unique);
  if (found == file_maps_.end()) {
    Result<SpilledFile> file = open_spilled(id);
    if (!file.is_ok()) return file.status();
    const os::Fd fd(file.value().fd);
    Result<os::PrivateMap> map =
        os::map_private(fd.get(), file.value().offset, view.size, os::Access::kRead);
    if (!map.is_ok())
      return Status::error(
          StatusCode::kObjectLost,
          "[object lost] the spilled object cannot be read: " + map.status().message);
    found = file_maps_.emplace(id.unique, FileMap{map.value(), 0}).first;
    SegmentHeader& header = segment_->header();
    header.spill_reads.fetch_add(1, std::memory_order_relaxed);
    header.spill_read_bytes.fetch_add(view.size, std::memory_order_relaxed);
  }
  ++found->second.pins;
  ++pins_;
  view.data = found->second.map.data;
  view.pinned = true;
  return view;
}

bool ClientCore::unpin_spilled(const ObjectId& id) {
  const auto found = file_maps_.find(id.unique);
  if (found == file_maps_.end()) return false;
  // An object that was pinned in memory cannot be spilled meanwhile: all of this process's pins are of one kind.
  if (--found->second.pins > 0) return true;
  os::unmap(found->second.map.start, found->second.map.bytes);
  file_maps_.erase(found);
  return true;
}

Status freed_error() {
  return Status::error(StatusCode::kObjectFreed,
                       "[object freed] the object was freed: free() was called for it. Keep what "
                       "is still needed.");
}

// A pin was refused. Spilling takes a moment between closing the pins and publishing the file.
Result<ObjectView> ClientCore::pin_closed(const ObjectEntry& entry, const ObjectId& id) {
  const uint64_t give_up_ms = os::now_ms() + kClosedWaitMs;
  for (int spin = 0; segment_->find(id) == &entry; ++spin) {
    const uint32_t state = entry.state.load(std::memory_order_acquire);
    if (state & kEntryFreed) return freed_error();
    const bool goes = entry_state(state) != EntryState::kSealed;  // the entry goes too
    if (!goes && (state & kEntrySpilled) != 0) return pin_spilled(entry, id);
    if ((!goes && (entry.pins.load(std::memory_order_acquire) & kPinsClosed) == 0) ||
        os::now_ms() > give_up_ms || !raylet_lives())
      return Status::error(StatusCode::kObjectLost, "the bytes of the object are gone");
    if (spin > kClosedSpins) os::sleep_ms(1);
  }
  return Status::error(StatusCode::kObjectFreed, "the object is gone");
}

bool ClientCore::free_object(const ObjectId& id) {
  if (detached_) return false;
  ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr) return false;
  uint32_t state = entry->state.load(std::memory_order_acquire);
  do {
    if (entry_state(state) != EntryState::kSealed) return false;
    if (state & kEntryFreed) return true;
  } while (
      !entry->state.compare_exchange_weak(state, state | kEntryFreed, std::memory_order_acq_rel));
  to_raylet({static_cast<uint32_t>(Rec::kFreeObject), 0, id_word(id), id.unique, 0}, true);
  return true;
}

ObjectInfo ClientCore::info(const ObjectId& id) {
  ObjectInfo info;
  if (detached_) return info;
  const ObjectEntry* entry = segment_->find(id);
  if (entry == nullptr) return info;
  const uint32_t state = entry->state.load(std::memory_order_acquire);
  info.status = status(id);
  info.freed = (state & kEntryFreed) != 0;
  info.spilled = (state & kEntrySpilled) != 0;
  info.refs = entry->refs.load(std::memory_order_relaxed) & ~kRefsClosed;
  info.pins = entry->pins.load(std::memory_order_relaxed) & ~kPinsClosed;
  if (entry_state(state) != EntryState::kSealed) return info;
  info.size = entry->size;
  info.in_store = (state & kEntryInline) == 0;
  return info;
}

}  // namespace polyray
