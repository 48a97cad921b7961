// SPDX-License-Identifier: Apache-2.0
// The worker processes as the system sees them: their groups, and the two steps of ending one (SIGTERM, then SIGKILL).
//
// Owns: which process group a startup token has, the deadlines of processes that were asked to end.
// Never signals the raylet's own process.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "raylet/guardian_link.h"
#include "raylet/peers.h"

namespace polyray::raylet {

class Processes {
 public:
  Processes(Peers& peers, GuardianLink& guardian) : peers_(peers), guardian_(guardian) {}
  // The node service spawned the worker: `group` is its process group leader.
  void started(uint64_t token, uint32_t group);
  // The worker's process is gone: ends what is left of its group.
  void gone(uint64_t token);
  // SIGTERM now, SIGKILL after grace_ms (0: SIGKILL now). `token` may be 0 (no worker), `peer_id` ~0 (not attached).
  void end(uint64_t peer_id, uint64_t token, uint64_t grace_ms, uint64_t now_ms);
  void step(uint64_t now_ms);
  std::optional<uint64_t> next_deadline_ms() const;
  // Every group that is not gone yet.
  std::vector<uint64_t> tokens() const;

 private:
  struct Ending {
    uint64_t peer_id;
    uint64_t token;
    uint64_t deadline_ms;
  };
  void signal(uint64_t peer_id, uint64_t token, int signal_number);
  Peers& peers_;
  GuardianLink& guardian_;
  std::map<uint64_t, uint32_t> groups_;  // by startup token
  std::vector<Ending> endings_;
};

}  // namespace polyray::raylet
