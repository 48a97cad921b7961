// SPDX-License-Identifier: Apache-2.0
// The reference row of one endpoint: which references and pins it counts, so that the raylet can undo them at its death.
//
// One slot per distinct (object, kind); counts inside the process are local. Order of steps (a crash leaks at most one):
//   take:    slot = ACQUIRING | entry.refs += 1 | slot = REF          (a fresh entry is created with refs = 1 instead)
//   release: slot = EMPTY     | entry.refs -= 1 -> 0: tell the raylet (kRelease)
// Thread rules: one thread at a time; sweep_row is for the raylet after the endpoint is dead.
#pragma once
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "store/entry_table.h"
#include "store/protocols.h"
#include "store/segment.h"

namespace polyray {

class ReferenceRow {
 public:
  ReferenceRow(Segment& segment, uint32_t endpoint);
  // A new pending entry that this endpoint made: counts 1 (refs is stored, not added). False: the row is full.
  bool adopt_new(const ObjectId& id);
  // One more local reference; takes the shared one when it is the first. False: the object is gone, or the row is full.
  bool acquire(const ObjectId& id);
  // Drops one local reference. True when the shared count reached zero (send kRelease).
  bool release(const ObjectId& id);
  // Pins likewise; a pin needs a sealed object in memory.
  bool pin(const ObjectId& id);
  // True when it was the last pin of an entry whose references are closed (send kRelease).
  bool unpin(const ObjectId& id);
  uint32_t local_refs(const ObjectId& id);
  size_t size() const;
  // acquire() of an id whose entry was freed and reused at that very moment may drop the other object's last reference:
  // takes such ids out (send kRelease for each). Nearly always empty.
  std::vector<ObjectId> take_strays() { return std::exchange(strays_, {}); }

 private:
  struct Held {  // small: a program may hold millions
    uint64_t unique = 0;
    uint32_t slot_ref = 0;
    uint32_t refs = 0;
    uint32_t slot_pin = 0;
    uint32_t pins = 0;
  };
  uint32_t take_slot();
  // Null: nothing is held of it.
  Held* find(const ObjectId& id);
  Held& hold(const ObjectId& id);
  void drop_if_unused(const ObjectId& id, const Held& held);
  std::atomic<uint64_t>& slot(uint32_t number);
  Segment& segment_;
  uint32_t endpoint_;
  EntryTable<Held> held_;  // what is held keeps its entry from another use
  std::vector<uint32_t> free_slots_;
  std::vector<ObjectId> strays_;
  uint32_t slot_count_ = 0;
};

// What an endpoint counts now, seen from outside: a snapshot of its row while it may change.
void for_each_held(const Segment& segment, uint32_t endpoint,
                   const std::function<void(const ObjectId&, RowState)>& visit);

// Raylet: undoes every slot of a dead endpoint and gives its row chunks back. on_zero(id) for objects whose last
// reference went, or whose last pin went when their references were closed.
void sweep_row(Segment& segment, uint32_t endpoint,
               const std::function<void(const ObjectId&)>& on_zero);

}  // namespace polyray
