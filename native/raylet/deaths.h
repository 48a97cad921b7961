// SPDX-License-Identifier: Apache-2.0
// What happens when an endpoint ends, however it ends (docs/failure.md has the table).
//
// Order of steps: drain what it sent; mark it dead; tell its contacts (kPeerGone); drop nested references of a half-done
// seal; settle its call records (queued: retracted, running: adopted); give its unsealed bytes back; sweep its row; settle
// what it supervised; orphan its chunks. Its endpoint number is used again when every contact acknowledged
// (kPeerGoneAck) and every adopted call is done.
// Invariants:
//  1. Every pending object that the dead endpoint supervised is sealed: by the worker that runs it, or as an error.
//  2. No byte of its record and ring chunks is reused while somebody may still read it.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "raylet/frees.h"

namespace polyray::raylet {

class Deaths {
 public:
  static constexpr uint64_t kAdoptedPollMs = 20;
  struct Exit {
    int32_t code = -1;  // -1: unknown
    int32_t signal = 0;
    std::string memory = {};  // the error's text when the node ended it for lack of memory
    bool again = false;       // then: its tasks may run again
  };
  struct Report {
    std::set<uint32_t> busy_workers;  // endpoints that still run calls of the dead one
  };
  // on_adopted_done(worker endpoint): it runs no adopted call any more.
  Deaths(Segment& segment, Peers& peers, Frees& frees, ExtentDesk& extents,
         std::function<void(uint32_t)> on_adopted_done)
      : segment_(segment),
        peers_(peers),
        frees_(frees),
        extents_(extents),
        on_adopted_done_(std::move(on_adopted_done)) {}
  // REQUIRES: its sockets are closed and its inbound records were drained. `peer` is out of the table already.
  Report handle(const Peer& peer, const Exit& exit);
  void acknowledged(const Peer& by, uint32_t endpoint, uint32_t serial);
  void step(uint64_t now_ms);
  std::optional<uint64_t> next_deadline_ms() const;
  size_t graves() const { return graves_.size(); }
  size_t adopted() const { return adopted_.size(); }

 private:
  struct Grave {
    uint32_t serial = 0;
    uint64_t in_ring = 0;
    uint64_t out_ring = 0;
    std::set<uint64_t> waits_for;  // peer ids
  };
  struct Adopted {
    uint64_t record = 0;
    uint32_t caller = 0;  // the dead submitter's endpoint
    uint64_t target = 0;  // peer id of the worker
    std::vector<ObjectId> returns;
    std::vector<ObjectId> refs;
  };
  void undo_seal(uint32_t endpoint);
  void settle_records(const Peer& peer, Report& report);
  void reclaim_bytes(uint32_t endpoint);
  void settle_supervised(uint32_t endpoint);
  // The text as kPeerGone carries it to one contact; 0 when there is none.
  uint64_t memory_word(const Peer& to, const Exit& exit);
  void finish(const Adopted& call);
  void bury(uint32_t endpoint);
  void bury_the_ready();

  Segment& segment_;
  Peers& peers_;
  Frees& frees_;
  ExtentDesk& extents_;
  std::function<void(uint32_t)> on_adopted_done_;
  std::map<uint32_t, Grave> graves_;  // by endpoint
  std::vector<Adopted> adopted_;
  uint64_t poll_at_ms_ = 0;
};

}  // namespace polyray::raylet
