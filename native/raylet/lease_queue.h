// SPDX-License-Identifier: Apache-2.0
// Who gets which worker: requests by scheduling class, leases held, and the decision which grants and starts come next.
//
// Owns: the requests, the leases' numbers and words (in shared memory, given as an array), the node's resources.
// Pure and steppable: events are methods, step() returns effects; no I/O, time is an argument.
// Order: the highest priority first, then the job with the fewest active leases first, then the request with the fewest, then the oldest. A request that
// was passed over kPassLimit times for lack of resources, by others of no higher priority, holds back everything that uses the same resources.
// Invariants (validate()):
//  1. Acquired resources = sum over live leases whose worker is not blocked.
//  2. A worker that is LEASED or DEDICATED has exactly one live lease, and the lease names it.
//  3. A lease number is reused only after its holder gave it back, acknowledged the worker's death, or died.
// Thread rules: raylet thread; the holder's process flips the words ACTIVE <-> IDLE meanwhile.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "raylet/devices.h"
#include "raylet/resources.h"
#include "raylet/worker_table.h"
#include "store/layout.h"

namespace polyray::raylet {

// A scheduling class as one client asked for it.
struct LeaseClass {
  uint64_t hash = 0;
  PoolKey pool;
  ResourceSet need;
  std::string group;  // the placement group whose bundle it is placed into; empty: none
  bool dedicated = false;
  int32_t priority = 0;  // of the first call that waits, at the time of the request
};

// A placement group: takes `need` of the node at once, and gives `extra` to give out instead.
struct GroupClass {
  std::string id;
  ResourceSet need;
  ResourceSet extra;
  bool possible = true;  // false: stays pending for ever
};

struct LeaseEffect {
  enum class Kind { kGrant, kStart, kFail, kInfeasible, kEndWorker, kGroupReady };
  Kind kind{};
  uint32_t client = 0;  // kGrant, kFail, kInfeasible
  uint32_t request = 0;
  uint32_t lease = 0;   // kGrant
  uint32_t worker = 0;  // kGrant: endpoint
  uint32_t serial = 0;
  uint64_t devices = 0;  // kGrant: the GPUs, a bit each
  uint64_t token = 0;    // kStart, kEndWorker
  std::shared_ptr<const LeaseClass> spec;
  StatusCode code = StatusCode::kOk;  // kFail; kOk: `message` is the JSON {code,message} as it is
  std::string message;                // kGroupReady: the group's id
  bool at_once = false;               // kEndWorker: without a grace
};

struct LeaseLimits {
  uint32_t start_limit = 4;  // workers starting at once
  uint32_t pool_limit = 64;  // workers of one pool that are neither dedicated nor blocked
};

class LeaseQueue {
 public:
  static constexpr uint32_t kPassLimit = 64;
  static constexpr uint32_t kFailedStartLimit = 3;

  // REQUIRES: `words` has kMaxLeases elements and outlives the queue.
  LeaseQueue(ResourceSet total, WorkerTable& workers, Lease* words, LeaseLimits limits);

  void request(uint32_t client, uint32_t number, LeaseClass spec, uint32_t backlog);
  // False: no such request.
  bool set_backlog(uint32_t client, uint32_t number, uint32_t backlog, int32_t priority = 0);
  // kLeaseReturn; also how a holder frees the number of a revoked lease.
  void give_back(uint32_t client, uint32_t lease, uint64_t now_ms);
  // The worker of `client`'s leases is gone and the client knows it.
  void forget_gone(uint32_t client, uint32_t worker, uint32_t worker_serial);
  void worker_ready(uint32_t endpoint, uint64_t now_ms);
  void worker_leaving(uint32_t endpoint);
  void worker_blocked(uint32_t endpoint, bool blocked);
  // The process ended (or never came). `message` is used when its pool keeps failing to start.
  void worker_gone(uint64_t token, const std::string& message);
  // The node service could not start it: fails every request that waits for its pool, with its JSON {code,message}.
  void start_failed(uint64_t token, const std::string& json);
  // Placement groups: reserved in the order they came, as soon as they fit.
  void add_group(GroupClass group);
  // Its resources go back; workers that run in its bundles end, what waits for them fails.
  void remove_group(const std::string& id, uint64_t now_ms);
  // Fails what waits for workers of this job.
  void end_job(uint32_t job);
  // Leases whose worker still runs a call of the dead client stay until finish_adopted(worker).
  void client_gone(uint32_t client, const std::set<uint32_t>& busy_workers, uint64_t now_ms);
  void finish_adopted(uint32_t worker, uint64_t now_ms);
  // Grants, starts and failures due now.
  std::vector<LeaseEffect> step(uint64_t now_ms);

  // Something waits, and a lease of somebody else may become idle without a message: look again soon.
  bool wants_poll() const { return wants_poll_; }
  // Total minus acquired, where IDLE leases count as free.
  ResourceSet available() const;
  const NodeResources& resources() const { return resources_; }
  uint64_t waiting() const;                      // sum of backlogs
  uint64_t active_leases() const;                // live and not IDLE
  uint64_t granted() const { return granted_; }  // since the start
  std::vector<uint32_t> holders_of(uint32_t worker) const;
  std::string validate() const;

 private:
  using RequestId = std::pair<uint32_t, uint32_t>;  // client, number
  struct Request {
    RequestId id;
    std::shared_ptr<const LeaseClass> spec;
    uint32_t backlog = 0;
    uint64_t seq = 0;
    uint32_t passed_over = 0;
    int32_t priority = 0;  // of the first call that waits
    uint32_t active = 0;   // during step()
  };
  struct Held {
    uint32_t client = 0;  // 0: adopted by the raylet
    uint32_t request = 0;
    std::shared_ptr<const LeaseClass> spec;
    uint64_t token = 0;
    uint32_t worker = 0;
    uint32_t worker_serial = 0;
    uint64_t devices = 0;
    bool live = true;    // false: only the number is kept
    uint32_t yield = 0;  // kLeaseYield, kLeaseUrgent
  };
  class Line;
  enum class Served { kGranted, kNoResources, kNoWorker, kFailed };

  // What is given back while the worker's task waits: its CPUs. Devices, memory and named resources stay.
  static ResourceSet freed_when_blocked(const ResourceSet& need);
  // How much of devices it takes; of a bundle's GPUs as of the node's.
  static uint64_t gpus_of(const ResourceSet& need);
  void release(const Held& held, bool blocked);
  bool fits(const LeaseClass& spec) const;
  LeaseState word_state(uint32_t lease) const;
  bool is_idle(const std::pair<const uint32_t, Held>& item) const;
  bool revoke_idle(uint32_t lease, uint64_t now_ms);
  // Ends a live lease: resources back, worker to its pool (or on its way out).
  void end_lease(uint32_t lease, Held& held, uint64_t now_ms);
  void free_number(uint32_t lease);
  uint32_t take_number();
  Served serve(Request& request, uint64_t now_ms, std::vector<LeaseEffect>& effects);
  // Takes idle leases until `need` fits, one of `pool` first when it is given; `own` is left alone.
  bool reclaim(const ResourceSet& need, const PoolKey* pool, const RequestId* own, uint64_t now_ms);
  void serve_groups(uint64_t now_ms, std::vector<LeaseEffect>& effects);
  void grant(Request& request, Worker& worker, std::vector<LeaseEffect>& effects);
  void start_workers(const std::vector<Request*>& waiting, std::vector<LeaseEffect>& effects);
  void set_yields(const std::vector<Request*>& waiting);
  bool lower_would_do(const Request& request) const;
  struct Waiting {
    const Request* request;
    bool poor;        // short of resources, else of a worker
    bool servable;    // by what is free and what lower priorities hold
    uint32_t urgent;  // leases that were told to come back to it at once
  };
  uint32_t yield_for(const Held& held, std::vector<Waiting>& waiting, const ResourceSet& free);
  void fail_pool(const PoolKey& pool, StatusCode code, const std::string& message);
  void fail(Request& request, StatusCode code, const std::string& message);

  NodeResources resources_;
  Devices devices_;
  WorkerTable& workers_;
  Lease* words_;
  LeaseLimits limits_;
  std::map<RequestId, Request> requests_;
  std::map<uint32_t, Held> held_;  // by lease number
  struct Group {
    GroupClass what;
    uint64_t seq = 0;
    bool ready = false;
  };
  std::map<std::string, Group> groups_;  // by id
  std::vector<uint32_t> free_numbers_;
  uint32_t next_number_ = 1;
  uint64_t next_seq_ = 1;
  uint64_t granted_ = 0;
  std::map<PoolKey, uint32_t> failed_starts_;
  std::set<uint64_t> infeasible_told_;  // class hashes
  std::vector<LeaseEffect> pending_;    // effects made between steps
  std::vector<uint32_t> idle_now_;      // leases seen IDLE at the beginning of step()
  bool wants_poll_ = false;
};

}  // namespace polyray::raylet
