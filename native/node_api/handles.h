// SPDX-License-Identifier: Apache-2.0
// Numbered slots with generations: how objects, open puts and running calls are named in
// JavaScript.
//
// A number is generation << kSlotBits | slot, positive and below 2^31 (a small integer for V8); 0
// names nothing. A number of a slot that
// was given away since is refused until its generation comes round again (255 uses later).
// Thread rules: one JS environment, its thread only.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "store/entry_table.h"
#include "store/layout.h"

namespace polyray::node_api {

template <class T, uint32_t kSlotBits>
class Slots {
 public:
  static constexpr uint32_t kMaxSlots = 1u << kSlotBits;
  static constexpr uint32_t kGenerations = 1u << (31 - kSlotBits);

  // 0: full.
  uint32_t add(T value) {
    uint32_t slot;
    if (!free_.empty()) {
      slot = free_.back();
      free_.pop_back();
    } else {
      if (items_.size() >= kMaxSlots) return 0;
      slot = static_cast<uint32_t>(items_.size());
      items_.push_back(Item{});
      items_[slot].generation = 1;
    }
    items_[slot].value = std::move(value);
    items_[slot].used = true;
    ++live_;
    return items_[slot].generation << kSlotBits | slot;
  }
  // Null when the number names nothing (any more).
  T* find(uint32_t number) {
    const uint32_t slot = number & (kMaxSlots - 1);
    if (slot >= items_.size()) return nullptr;
    Item& item = items_[slot];
    return item.used && item.generation == number >> kSlotBits ? &item.value : nullptr;
  }
  // REQUIRES: find(number) is not null.
  void remove(uint32_t number) {
    const uint32_t slot = number & (kMaxSlots - 1);
    Item& item = items_[slot];
    item.used = false;
    item.value = T{};
    item.generation = item.generation + 1 == kGenerations ? 1 : item.generation + 1;
    free_.push_back(slot);
    --live_;
  }
  template <class F>
  void each(F&& visit) {
    for (uint32_t slot = 0; slot < items_.size(); ++slot) {
      if (items_[slot].used) visit(items_[slot].generation << kSlotBits | slot, items_[slot].value);
    }
  }
  size_t live() const { return live_; }

 private:
  struct Item {
    T value{};
    uint32_t generation = 0;
    bool used = false;
  };
  std::vector<Item> items_;
  std::vector<uint32_t> free_;
  size_t live_ = 0;
};

// What this environment knows of one object. The client holds one reference for the slot; JS holds
// `count` of it.
struct HandleSlot {
  ObjectId id;
  uint32_t count = 0;
  bool wanted = false;      // deliver the ready event
  bool with_value = false;  // ... with the envelope, if small
  bool sync_wait = false;   // a waitSync counts on it
  bool interned = false;    // a spec: one count is the environment's own until detach
};

// Handles by number and by id. An entry has one handle at most: the reference behind it keeps the entry from another use.
class HandleTable {
 public:
  // A new slot with count 1; the caller gives it one client reference. 0: full. REQUIRES: the id has no handle.
  uint32_t insert(const ObjectId& id);
  HandleSlot* find(uint32_t handle) { return slots_.find(handle); }
  // 0: unknown here.
  uint32_t lookup(const ObjectId& id);
  // REQUIRES: find(handle) is not null.
  void remove(uint32_t handle);
  void clear();
  size_t live() const { return slots_.live(); }
  template <class F>
  void each(F&& visit) {
    slots_.each(visit);
  }

 private:
  Slots<HandleSlot, 23> slots_;
  EntryTable<uint32_t> by_entry_;  // 0: no handle
};

}  // namespace polyray::node_api
