// SPDX-License-Identifier: Apache-2.0
// The worker table's transitions (see worker_table.h, docs/states/worker.md).
#include "raylet/worker_table.h"

#include <algorithm>

namespace polyray::raylet {

const char* worker_state_name(WorkerState state) {
  switch (state) {
    case WorkerState::kStarting:
      return "STARTING";
    case WorkerState::kIdle:
      return "IDLE";
    case WorkerState::kLeased:
      return "LEASED";
    case WorkerState::kDedicated:
      return "DEDICATED";
    case WorkerState::kLeaving:
      return "LEAVING";
  }
  return "?";
}

uint64_t WorkerTable::start(const PoolKey& pool, uint64_t class_hash, const ResourceSet& reserved,
                            bool dedicated) {
  const uint64_t token = next_token_++;
  Worker& worker = by_token_[token];
  worker.token = token;
  worker.pool = pool;
  worker.class_hash = class_hash;
  worker.reserved = reserved;
  worker.dedicated_start = dedicated;
  return token;
}

bool WorkerTable::start_first(const PoolKey& pool) {
  if (first_started_) return false;
  first_started_ = true;
  Worker& worker = by_token_[kFirstToken];
  worker.token = kFirstToken;
  worker.pool = pool;
  return true;
}

Worker* WorkerTable::by_token(uint64_t token) {
  const auto it = by_token_.find(token);
  return it == by_token_.end() ? nullptr : &it->second;
}

Worker* WorkerTable::by_endpoint(uint32_t endpoint) {
  const auto it = by_endpoint_.find(endpoint);
  return it == by_endpoint_.end() ? nullptr : by_token(it->second);
}

bool WorkerTable::attach(uint64_t token, uint32_t endpoint, uint32_t serial) {
  Worker* worker = by_token(token);
  if (worker == nullptr || worker->endpoint != 0 || worker->state != WorkerState::kStarting)
    return false;
  worker->endpoint = endpoint;
  worker->serial = serial;
  by_endpoint_[endpoint] = token;
  return true;
}

void WorkerTable::make_idle(Worker& worker, uint64_t now_ms) {
  if (worker.state == WorkerState::kIdle || worker.state == WorkerState::kLeaving) return;
  worker.state = WorkerState::kIdle;
  worker.lease = 0;
  worker.blocked = false;
  worker.reserved = ResourceSet();
  worker.idle_since_ms = now_ms;
  idle_[worker.pool].push_back(worker.token);
}

static void erase_token(std::map<PoolKey, std::vector<uint64_t>>& idle, const Worker& worker) {
  const auto it = idle.find(worker.pool);
  if (it == idle.end()) return;
  std::erase(it->second, worker.token);
  if (it->second.empty()) idle.erase(it);
}

void WorkerTable::lease(Worker& worker, uint32_t lease, bool dedicated) {
  if (worker.state == WorkerState::kIdle) erase_token(idle_, worker);
  worker.state = dedicated ? WorkerState::kDedicated : WorkerState::kLeased;
  worker.lease = lease;
}

void WorkerTable::leave(Worker& worker) {
  if (worker.state == WorkerState::kIdle) erase_token(idle_, worker);
  worker.state = WorkerState::kLeaving;
}

void WorkerTable::remove(uint64_t token) {
  const auto it = by_token_.find(token);
  if (it == by_token_.end()) return;
  if (it->second.state == WorkerState::kIdle) erase_token(idle_, it->second);
  if (it->second.endpoint != 0) by_endpoint_.erase(it->second.endpoint);
  by_token_.erase(it);
}

Worker* WorkerTable::idle(const PoolKey& pool) {
  const auto it = idle_.find(pool);
  return it == idle_.end() ? nullptr : by_token(it->second.back());
}

Worker* WorkerTable::oldest_idle() {
  Worker* oldest = nullptr;
  for (const auto& [pool, tokens] : idle_) {
    Worker* first = by_token(tokens.front());
    if (oldest == nullptr || first->idle_since_ms < oldest->idle_since_ms) oldest = first;
  }
  return oldest;
}

size_t WorkerTable::count(WorkerState state) const {
  return static_cast<size_t>(
      std::count_if(by_token_.begin(), by_token_.end(),
                    [state](const auto& item) { return item.second.state == state; }));
}

size_t WorkerTable::starting(const PoolKey& pool) const {
  return static_cast<size_t>(
      std::count_if(by_token_.begin(), by_token_.end(), [&pool](const auto& item) {
        return item.second.state == WorkerState::kStarting && item.second.pool == pool;
      }));
}

size_t WorkerTable::pool_size(const PoolKey& pool) const {
  return static_cast<size_t>(
      std::count_if(by_token_.begin(), by_token_.end(), [&pool](const auto& item) {
        const Worker& worker = item.second;
        return worker.pool == pool && !worker.blocked && worker.state != WorkerState::kDedicated &&
               worker.state != WorkerState::kLeaving;
      }));
}

std::vector<Worker*> WorkerTable::of_job(uint32_t job) {
  std::vector<Worker*> out;
  for (auto& [token, worker] : by_token_)
    if (worker.pool.job == job) out.push_back(&worker);
  return out;
}

std::vector<Worker*> WorkerTable::all() {
  std::vector<Worker*> out;
  for (auto& [token, worker] : by_token_) out.push_back(&worker);
  return out;
}

std::string WorkerTable::validate() const {
  size_t listed = 0;
  for (const auto& [pool, tokens] : idle_) {
    if (tokens.empty()) return "an empty idle list";
    for (const uint64_t token : tokens) {
      const auto it = by_token_.find(token);
      if (it == by_token_.end()) return "an idle token without a worker";
      if (it->second.state != WorkerState::kIdle) return "a listed worker is not idle";
      if (it->second.pool != pool) return "an idle worker in the wrong pool";
      ++listed;
    }
  }
  if (listed != count(WorkerState::kIdle)) return "an idle worker is not listed";
  for (const auto& [endpoint, token] : by_endpoint_) {
    const auto it = by_token_.find(token);
    if (it == by_token_.end() || it->second.endpoint != endpoint)
      return "an endpoint names the wrong worker";
  }
  for (const auto& [token, worker] : by_token_) {
    const bool leased =
        worker.state == WorkerState::kLeased || worker.state == WorkerState::kDedicated;
    if (leased && worker.lease == 0) return "a leased worker without a lease";
    if (worker.state == WorkerState::kIdle && worker.lease != 0)
      return "an idle worker with a lease";
    if (worker.state != WorkerState::kStarting && worker.endpoint == 0 &&
        worker.state != WorkerState::kLeaving)
      return "a worker in use that never attached";
  }
  return "";
}

}  // namespace polyray::raylet
