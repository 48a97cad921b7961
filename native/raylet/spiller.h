// SPDX-License-Identifier: Apache-2.0
// Which objects go to disk when memory is short, and the two steps of each (docs/design/0002-spilling.md).
//
// Step 1: the raylet pins the victim and has its bytes written by the file thread. Step 2: the write is done; if nobody
// pinned the object meanwhile, its pins are closed for good, its entry says where the bytes are now, its memory is free.
// Victims are sealed, referenced and unpinned; values with an extent of their own go first, least recently used first;
// then whole granules of small values.
// Invariants:
//  1. Bytes in memory are given back only after they are whole on disk.
//  2. A spilled object stays on disk until it is freed: readers map its file. So no state goes back and nothing is undone
//     when a reader dies.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "raylet/frees.h"
#include "raylet/spill_table.h"

namespace polyray::raylet {

class Spiller {
 public:
  static constexpr uint64_t kScanEveryMs = 20;  // while a request waits and nothing can be spilled
  static constexpr uint64_t kFolderRestMs = 1000;  // a full folder is tried again after this
  Spiller(Segment& segment, Frees& frees, ExtentDesk& extents, SpillTable& table)
      : segment_(segment),
        frees_(frees),
        extents_(extents),
        table_(table),
        records_(segment, ChunkKind::kRecords, kRaylet) {}
  // `folders`: made at the first spill, after `announce(path)` told whoever removes what is left. Empty: never spills.
  void open(std::vector<std::string> folders, std::function<void(const std::string&)> announce);
  // `bytes` are wanted. True: room is coming (writes are under way).
  bool make_room(uint64_t bytes, uint64_t now_ms);
  // Takes results of writes.
  void step(uint64_t now_ms);
  // When to call make_room again although nothing happened.
  std::optional<uint64_t> next_scan_ms() const { return retry_at_ms_; }
  uint64_t write_ns() const { return write_ns_; }

 private:
  static constexpr uint32_t kRaylet = kRayletEndpoint;
  struct Victim {
    uint64_t touched_ms;
    ObjectId id;
    uint64_t bytes;
    uint64_t offset;
  };
  struct Item {
    ObjectId id;
    uint64_t bytes;
    uint64_t at;  // in the file
    std::vector<ObjectId> nested;
  };
  struct Writing {
    uint64_t file;
    uint64_t bytes;
    std::vector<Item> items;
  };
  bool ready(uint64_t now_ms);
  std::optional<uint32_t> next_folder(uint64_t now_ms);
  void scan(uint64_t bytes);
  void choose_granules(uint64_t bytes);
  bool take(const Victim& victim, Writing& writing, std::vector<SpillPiece>& pieces);
  bool start(std::deque<Victim>& victims, uint64_t most, uint64_t now_ms);
  void finish(const Writing& writing, bool written);
  void finish_item(const Writing& writing, const Item& item, bool written);

  Segment& segment_;
  Frees& frees_;
  ExtentDesk& extents_;
  SpillTable& table_;
  SlotPool records_;
  std::function<void(const std::string&)> announce_;
  bool published_ = false;
  std::vector<uint64_t> folder_rests_until_ms_;
  uint32_t next_folder_ = 0;
  std::deque<Victim> extents_of_own_;  // oldest first; checked again when taken
  std::vector<Victim> small_;          // in slabs, found by the last scan
  std::deque<Victim> granules_;        // of small_: whole granules
  std::vector<Writing> writing_;
  uint64_t writing_bytes_ = 0;
  uint64_t scanned_at_ms_ = 0;
  std::optional<uint64_t> retry_at_ms_;
  uint64_t write_ns_ = 0;
};

}  // namespace polyray::raylet
