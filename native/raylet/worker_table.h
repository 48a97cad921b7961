// SPDX-License-Identifier: Apache-2.0
// Every worker process of the node, from the moment the raylet asks for it until it is gone.
//
//   STARTING -> IDLE <-> LEASED -> (LEAVING) -> gone        IDLE -> DEDICATED -> (LEAVING) -> gone
// A worker is found by its startup token first, by its endpoint once it attached. Workers are shared only inside one
// pool key: (job, language, worker key text).
// Pure and steppable: time is an argument.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "raylet/resources.h"

namespace polyray::raylet {

enum class WorkerState : uint32_t {
  kStarting = 0,
  kIdle = 1,
  kLeased = 2,
  kDedicated = 3,
  kLeaving = 4
};
const char* worker_state_name(WorkerState state);

struct PoolKey {
  uint32_t job = 0;
  uint32_t language = 0;
  std::string key;
  friend auto operator<=>(const PoolKey&, const PoolKey&) = default;
};

struct Worker {
  uint64_t token = 0;
  PoolKey pool;
  WorkerState state = WorkerState::kStarting;
  uint64_t class_hash = 0;  // it was started for this class
  bool dedicated_start = false;
  ResourceSet reserved;   // what that class needs: counted against starting more, while STARTING
  uint32_t endpoint = 0;  // 0: not attached yet
  uint32_t serial = 0;
  int64_t group = 0;  // process group leader, 0 unknown
  uint32_t lease = 0;
  bool blocked = false;  // its task waits: its resources are given back
  uint64_t idle_since_ms = 0;
};

class WorkerTable {
 public:
  // Of the worker that an embedding driver starts before it could ask: known to both without a word.
  static constexpr uint64_t kFirstToken = 1;
  // A worker has been asked for. Returns its startup token.
  uint64_t start(const PoolKey& pool, uint64_t class_hash, const ResourceSet& reserved,
                 bool dedicated);
  // A driver starts the worker of kFirstToken itself. False when there was one already.
  bool start_first(const PoolKey& pool);
  Worker* by_token(uint64_t token);
  Worker* by_endpoint(uint32_t endpoint);
  // The process attached. False when the token is unknown or used.
  bool attach(uint64_t token, uint32_t endpoint, uint32_t serial);
  // STARTING -> IDLE (also LEASED -> IDLE at the end of a lease).
  void make_idle(Worker& worker, uint64_t now_ms);
  // IDLE -> LEASED or DEDICATED.
  void lease(Worker& worker, uint32_t lease, bool dedicated);
  void leave(Worker& worker);
  void remove(uint64_t token);
  // The most recently used idle worker of the pool (its caches are warm), or null.
  Worker* idle(const PoolKey& pool);
  // The idle worker that waits longest, of any pool.
  Worker* oldest_idle();
  size_t count(WorkerState state) const;
  size_t starting(const PoolKey& pool) const;
  // Pool workers that are neither dedicated nor blocked nor leaving.
  size_t pool_size(const PoolKey& pool) const;
  std::vector<Worker*> of_job(uint32_t job);
  std::vector<Worker*> all();
  size_t size() const { return by_token_.size(); }
  // Empty when every invariant holds, else what is wrong.
  std::string validate() const;

 private:
  std::map<uint64_t, Worker> by_token_;
  std::unordered_map<uint32_t, uint64_t> by_endpoint_;
  std::map<PoolKey, std::vector<uint64_t>> idle_;  // tokens, newest last
  uint64_t next_token_ = kFirstToken + 1;
  bool first_started_ = false;
};

}  // namespace polyray::raylet
