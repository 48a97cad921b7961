// SPDX-License-Identifier: Apache-2.0
// Spilled objects and their files (see spill_table.h).
#include "raylet/spill_table.h"

#include "os/env.h"
#include "store/spill_place.h"

namespace polyray::raylet {

SpillTable::~SpillTable() {
  files_.stop();
  for (const auto& [number, file] : by_number_) os::unlink_file(path_of(number));
  for (const std::string& folder : folders_) os::remove_folder(folder);
}

uint64_t SpillTable::open_file(uint32_t folder) {
  const uint64_t file = next_file_++;
  by_number_.emplace(file, File{folder, 0, true});
  return file;
}

std::string SpillTable::path_of(uint64_t file) const {
  return spill_file_path(folders_.at(by_number_.at(file).folder), file);
}

void SpillTable::add(const ObjectId& id, uint64_t file, uint64_t bytes,
                     std::vector<ObjectId> nested) {
  objects_.insert_or_assign(id.unique, Object{file, bytes, std::move(nested)});
  ++by_number_.at(file).live;
  bytes_ += bytes;
  total_bytes_ += bytes;
  ++total_objects_;
}

void SpillTable::close_file(uint64_t file, bool written) {
  if (!written) {
    by_number_.erase(file);
    return;
  }
  by_number_.at(file).open = false;
  remove_if_empty(file);
}

const std::vector<ObjectId>* SpillTable::nested_of(const ObjectId& id) const {
  const auto found = objects_.find(id.unique);
  return found == objects_.end() ? nullptr : &found->second.nested;
}

void SpillTable::forget(const ObjectId& id) {
  const auto found = objects_.find(id.unique);
  if (found == objects_.end()) return;
  const uint64_t file = found->second.file;
  bytes_ -= found->second.bytes;
  objects_.erase(found);
  --by_number_.at(file).live;
  remove_if_empty(file);
}

void SpillTable::remove_if_empty(uint64_t file) {
  const File& about = by_number_.at(file);
  if (about.live != 0 || about.open) return;
  files_.remove(path_of(file));
  by_number_.erase(file);
}

}  // namespace polyray::raylet
