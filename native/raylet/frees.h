// SPDX-License-Identifier: Apache-2.0
// The end of objects, and the waiters of objects: what the raylet does with kRelease, kSealed and kSubscribe.
//
// Owns: the list of subscribers, the kept objects of each job.
// An object is freed at zero references and zero pins: its nested references are dropped (a loop, not a recursion), its
// bytes go back, its entry slot is cleared, its subscribers hear kObjectGone.
// Invariants:
//  1. Only this class frees entries.
//  2. Every subscriber gets exactly one kObjectReady or kObjectGone.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "raylet/extent_desk.h"
#include "raylet/peers.h"
#include "raylet/spill_table.h"

namespace polyray::raylet {

class Frees {
 public:
  Frees(Segment& segment, Peers& peers, ExtentDesk& extents, SpillTable& spilled)
      : segment_(segment), peers_(peers), extents_(extents), spilled_(spilled) {}
  void released(const ObjectId& id);
  void sealed(const ObjectId& id);
  // A user freed it (kEntryFreed is set): its bytes go now unless somebody has them pinned, its entry with its last
  // reference.
  void free_bytes(const ObjectId& id);
  // The references that a sealed container counts, wherever its bytes are.
  std::vector<ObjectId> nested_of(const ObjectId& id) const;
  void subscribe(Peer& peer, const ObjectId& id);
  // After a death: a sealer may have died between the seal and its kSealed.
  void recheck_subscriptions();
  void client_gone(uint32_t endpoint);
  // Frees the job's kept objects.
  void end_job(uint32_t job);
  // Adds a reference of the raylet's own; false: the object is gone.
  bool hold(const ObjectId& id);
  void drop(const ObjectId& id);
  // Seals a pending object with an error envelope. False: somebody else sealed it, or it is gone.
  bool seal_error(const ObjectId& id, StatusCode code, const std::string& message);
  // Drops nested references that a dead sealer had added for an object it did not finish.
  void undo_nested(const ObjectEntry& entry, uint32_t count);
  size_t subscriptions() const { return subscribers_.size(); }

 private:
  struct Subscription {
    ObjectId id;
    std::vector<uint64_t> peers;
  };
  std::vector<ObjectId> nested_of(const ObjectEntry& entry) const;
  void drop_nested(const ObjectEntry& entry, const ObjectId& id, std::vector<ObjectId>& next);
  void released(std::vector<ObjectId> next);
  void free_entry(ObjectEntry& entry, const ObjectId& id, std::vector<ObjectId>& next);
  void tell(const ObjectId& id, Rec kind);
  uint64_t store_bytes(uint64_t bytes);

  Segment& segment_;
  Peers& peers_;
  ExtentDesk& extents_;
  SpillTable& spilled_;
  std::unordered_map<uint64_t, Subscription> subscribers_;  // by unique
  std::map<uint32_t, std::map<uint64_t, ObjectId>> kept_;   // by job, then by unique
};

}  // namespace polyray::raylet
