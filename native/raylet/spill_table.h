// SPDX-License-Identifier: Apache-2.0
// What is on disk: spilled objects and the files that hold them.
//
// Owns: the names of the folders, which file lies where, which objects are in it, the nested references of each object
// (its envelope is on disk, but its end must drop them).
// Invariants:
//  1. A file is removed when its last object is forgotten; a file that holds nothing when it is closed goes at once.
//  2. At the end of this table every file and every folder of it is removed.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "raylet/spill_files.h"
#include "store/layout.h"

namespace polyray::raylet {

class SpillTable {
 public:
  explicit SpillTable(int bell_fd) : files_(bell_fd) {}
  ~SpillTable();
  SpillTable(const SpillTable&) = delete;
  SpillTable& operator=(const SpillTable&) = delete;
  void set_folders(std::vector<std::string> folders) { folders_ = std::move(folders); }
  const std::vector<std::string>& folders() const { return folders_; }
  SpillFiles& files() { return files_; }

  // A new file, still open: being written, or its objects are being added.
  uint64_t open_file(uint32_t folder);
  uint32_t folder_of(uint64_t file) const { return by_number_.at(file).folder; }
  std::string path_of(uint64_t file) const;
  void add(const ObjectId& id, uint64_t file, uint64_t bytes, std::vector<ObjectId> nested);
  // `written`: it exists on disk.
  void close_file(uint64_t file, bool written);
  // Null: the object is not here.
  const std::vector<ObjectId>* nested_of(const ObjectId& id) const;
  void forget(const ObjectId& id);
  uint64_t bytes() const { return bytes_; }
  uint64_t objects() const { return objects_.size(); }
  uint64_t total_bytes() const { return total_bytes_; }
  uint64_t total_objects() const { return total_objects_; }

 private:
  struct Object {
    uint64_t file;
    uint64_t bytes;
    std::vector<ObjectId> nested;
  };
  struct File {
    uint32_t folder;
    uint32_t live;
    bool open;
  };
  void remove_if_empty(uint64_t file);
  std::vector<std::string> folders_;
  std::unordered_map<uint64_t, Object> objects_;  // by unique
  std::unordered_map<uint64_t, File> by_number_;
  uint64_t next_file_ = 1;
  uint64_t bytes_ = 0;
  uint64_t total_bytes_ = 0;
  uint64_t total_objects_ = 0;
  SpillFiles files_;
};

}  // namespace polyray::raylet
