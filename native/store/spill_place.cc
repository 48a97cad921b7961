// SPDX-License-Identifier: Apache-2.0
// Spill folders and files by number (see spill_place.h).
#include "store/spill_place.h"

#include <cstring>

namespace polyray {

Status publish_spill_folders(Segment& segment, SlotPool& records,
                             std::span<const std::string> folders) {
  std::string list;
  for (const std::string& folder : folders) list.append(folder).push_back('\0');
  list.push_back('\0');
  Result<uint64_t> slot = records.allocate(list.size());
  if (!slot.is_ok()) return slot.status();
  std::memcpy(segment.at(slot.value()), list.data(), list.size());
  segment.header().spill_folders.store(slot.value(), std::memory_order_release);
  return Status::ok();
}

std::string spill_file_path(const std::string& folder, uint64_t file) {
  return folder + "/" + std::to_string(file);
}

SpillPlace spill_place_of(const ObjectEntry& entry) {
  SpillPlace place;
  std::memcpy(&place, entry.inline_data, sizeof(place));
  return place;
}

namespace {

// Folder number `index` of the published list; empty: there is none.
std::string folder_of(const Segment& segment, uint32_t index) {
  const uint64_t offset = segment.header().spill_folders.load(std::memory_order_acquire);
  if (offset == 0 || !segment.valid_payload(offset, 1)) return {};
  const char* at = reinterpret_cast<const char*>(segment.at(offset));
  const char* const end = at + slot_bytes_at(segment, offset);
  for (uint32_t i = 0; at < end && *at != '\0'; ++i) {
    const size_t size = ::strnlen(at, static_cast<size_t>(end - at));
    if (i == index) return std::string(at, size);
    at += size + 1;
  }
  return {};
}

}  // namespace

Result<os::Fd> open_spilled(const Segment& segment, const SpillPlace& place) {
  const std::string folder = folder_of(segment, place.folder);
  if (folder.empty())
    return Status::error(StatusCode::kObjectLost,
                         "[object lost] the object's spill folder is not known.");
  const std::string path = spill_file_path(folder, place.file);
  Result<os::Fd> file = os::open_readable(path);
  if (file.is_ok()) return file;
  return Status::error(StatusCode::kObjectLost,
                       "[object lost] the object was spilled to " + path +
                           ", which cannot be read (" + file.status().message +
                           "). Do not remove spill files of a running session.");
}

}  // namespace polyray
