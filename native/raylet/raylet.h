// SPDX-License-Identifier: Apache-2.0
// The raylet: one native thread per node that grants leases and extents, frees objects, and notices deaths.
//
// Owns: the segment, the listening socket, every endpoint's registration, resources, leases, workers, the guardian's pipe.
// It decides; it never spawns (except the guardian): it tells the node service by kRayletEvent (JSON payload):
//   {"event":"worker_needed","startupToken":n,"language":1|2,"job":n,"key":"<worker_key JSON>","dedicated":bool}
//   {"event":"worker_gone","startupToken":n,"pid":n,"endpoint":n,"serial":n,"exitCode":n,"signal":n}
//   {"event":"driver_gone","job":n,"endpoint":n,"serial":n}
//   {"event":"driver_joined","job":n,"endpoint":n,"serial":n,"pid":n,"language":n}
//   {"event":"leases_active"}   (asked for by RayletOp::kWatchLeases)
//   {"event":"infeasible","request":...,"resources":{...}}   (no node can ever satisfy it; repeated at most once per class)
// and takes kRayletCommand records from the service (RayletOp in wire/messages.h).
// Thread rules: start/stop/stats from any thread; the rest on the raylet thread.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/layout.h"

namespace polyray {

struct RayletOptions {
  std::string session_name;  // abstract socket name: "polyray-<session>-raylet"
  std::string session_token;
  std::string
      session_dir;  // removed by the guardian at the end (logs may be kept by the service first)
  std::string guardian_path;  // polyray-guardian executable
  std::string package_version;
  uint32_t node_tag = 0;  // 0: random
  uint64_t object_store_bytes = 0;
  std::string plasma_directory;  // empty: memfd
  // Existing folders for spilled objects, used in turn (each gets a folder of this session). None: session_dir/spill.
  std::vector<std::string> spill_folders;
  std::vector<std::pair<std::string, uint64_t>>
      resources;                    // fixed-point amounts by name ("CPU", "GPU", "memory", ...)
  uint32_t max_idle_workers = 0;    // 0: number of CPUs
  uint32_t worker_start_limit = 4;  // at most so many starting at once
  uint32_t worker_start_timeout_ms = 30'000;  // from the start of its process until it attaches
};

// What the processes of one kind and language did (Count in store/layout.h, by number): one that lives, or, with pid 0, all
// that ended.
struct ProcessStats {
  uint32_t pid = 0, endpoint = 0, kind = 0, language = 0, job = 0;
  uint64_t ended = 0;       // pid 0: how many
  uint64_t rings = 0;       // that lead to it
  uint64_t ring_depth = 0;  // records in them that it has not taken
  uint64_t deepest_ring = 0;
  std::array<uint64_t, kCounts> counts{};
};

struct RayletStats {
  std::vector<std::pair<std::string, uint64_t>> total;
  std::vector<std::pair<std::string, uint64_t>> available;  // idle leases count as available
  uint64_t store_used_bytes = 0, store_capacity_bytes = 0, objects = 0, endpoints = 0, workers = 0,
           idle_workers = 0, starting_workers = 0, queued_leases = 0, active_leases = 0,
           bells_received = 0, records_handled = 0;
  uint64_t spilled_bytes = 0, spilled_objects = 0,  // on disk now
      spilled_total_bytes = 0, spilled_total_objects = 0, spill_write_ms = 0, spill_reads = 0,
           spill_read_bytes = 0;
  uint64_t workers_started = 0, leases_granted = 0, extents_granted = 0;  // since the start
  uint64_t pages_reused_bytes = 0, pages_fresh_bytes = 0;                 // of the extents granted
  uint64_t extents = 0, slabs = 0, slab_slots_used = 0, slab_slots = 0;   // now
  uint64_t record_chunks = 0, entry_chunks = 0, ring_chunks = 0, event_chunks = 0;
  std::vector<ProcessStats> processes;
};

class Raylet {
 public:
  static Result<std::unique_ptr<Raylet>> start(const RayletOptions& options);
  virtual ~Raylet() = default;  // stops
  virtual std::string socket_name() const = 0;
  virtual uint32_t node_tag() const = 0;
  virtual RayletStats stats() = 0;
  // Ends workers (SIGTERM to their groups, SIGKILL after grace_ms), tells clients kShutdown, joins the thread.
  virtual void stop(uint32_t grace_ms) = 0;
};

}  // namespace polyray
