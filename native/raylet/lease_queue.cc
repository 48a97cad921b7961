// SPDX-License-Identifier: Apache-2.0
// Events of the lease queue: requests, returns, workers and clients that come and go (see lease_queue.h).
// The decision itself is in lease_decide.cc.
#include "raylet/lease_queue.h"

#include <algorithm>

namespace polyray::raylet {

LeaseQueue::LeaseQueue(ResourceSet total, WorkerTable& workers, Lease* words, LeaseLimits limits)
    : resources_(std::move(total)),
      devices_(resources_.total().get("GPU")),
      workers_(workers),
      words_(words),
      limits_(limits) {}

void LeaseQueue::request(uint32_t client, uint32_t number, LeaseClass spec, uint32_t backlog) {
  Request& request = requests_[{client, number}];
  request.id = {client, number};
  request.spec = std::make_shared<const LeaseClass>(std::move(spec));
  request.backlog = backlog;
  request.priority = request.spec->priority;
  request.seq = next_seq_++;
  request.passed_over = 0;
}

bool LeaseQueue::set_backlog(uint32_t client, uint32_t number, uint32_t backlog, int32_t priority) {
  const auto it = requests_.find({client, number});
  if (it == requests_.end()) return false;
  Request& request = it->second;
  if (request.backlog == 0 && backlog > 0) {  // it comes anew: last in line
    request.seq = next_seq_++;
    request.passed_over = 0;
  }
  request.backlog = backlog;
  if (backlog > 0) request.priority = priority;
  return true;
}

LeaseState LeaseQueue::word_state(uint32_t lease) const {
  return static_cast<LeaseState>(words_[lease].word.load(std::memory_order_acquire) &
                                 kLeaseStateMask);
}

bool LeaseQueue::is_idle(const std::pair<const uint32_t, Held>& item) const {
  return item.second.live && !item.second.spec->dedicated &&
         word_state(item.first) == LeaseState::kIdle;
}

uint32_t LeaseQueue::take_number() {
  if (!free_numbers_.empty()) {
    const uint32_t number = free_numbers_.back();
    free_numbers_.pop_back();
    return number;
  }
  return next_number_ < kMaxLeases ? next_number_++ : 0;
}

void LeaseQueue::free_number(uint32_t lease) {
  words_[lease].word.store(static_cast<uint32_t>(LeaseState::kFree), std::memory_order_release);
  held_.erase(lease);
  free_numbers_.push_back(lease);
}

ResourceSet LeaseQueue::freed_when_blocked(const ResourceSet& need) {
  ResourceSet cpus;
  for (const auto& [name, amount] : need.items())
    if (name == "CPU" || name.starts_with("CPU_group_")) cpus.set(name, amount);
  return cpus;
}

uint64_t LeaseQueue::gpus_of(const ResourceSet& need) {
  if (const uint64_t own = need.get("GPU"); own != 0) return own;
  for (const auto& [name, amount] : need.items())
    if (name.starts_with("GPU_group_")) return amount;
  return 0;
}

void LeaseQueue::release(const Held& held, bool blocked) {
  ResourceSet need = held.spec->need;
  if (blocked) need.subtract(freed_when_blocked(need));
  resources_.release(need);
  devices_.release(held.devices, gpus_of(need));
}

bool LeaseQueue::fits(const LeaseClass& spec) const {
  return resources_.fits(spec.need) && devices_.choose(gpus_of(spec.need)).has_value();
}

void LeaseQueue::end_lease(uint32_t lease, Held& held, uint64_t now_ms) {
  held.live = false;
  words_[lease].word.store(static_cast<uint32_t>(LeaseState::kRevoked), std::memory_order_release);
  Worker* worker = workers_.by_token(held.token);
  release(held, worker != nullptr && worker->blocked);
  if (worker == nullptr) return;
  worker->blocked = false;
  worker->lease = 0;
  if (worker->state == WorkerState::kLeaving) return;
  if (!held.spec->dedicated) {
    workers_.make_idle(*worker, now_ms);
    return;
  }
  workers_.leave(*worker);
  LeaseEffect effect;
  effect.kind = LeaseEffect::Kind::kEndWorker;
  effect.token = worker->token;
  pending_.push_back(std::move(effect));
}

bool LeaseQueue::revoke_idle(uint32_t lease, uint64_t now_ms) {
  uint32_t word = words_[lease].word.load(std::memory_order_acquire);
  do {
    if (static_cast<LeaseState>(word & kLeaseStateMask) != LeaseState::kIdle) return false;
  } while (!words_[lease].word.compare_exchange_weak(
      word, static_cast<uint32_t>(LeaseState::kRevoked), std::memory_order_acq_rel,
      std::memory_order_acquire));
  end_lease(lease, held_.at(lease), now_ms);
  return true;
}

void LeaseQueue::give_back(uint32_t client, uint32_t lease, uint64_t now_ms) {
  const auto it = held_.find(lease);
  if (it == held_.end() || it->second.client != client) return;
  if (it->second.live) end_lease(lease, it->second, now_ms);
  free_number(lease);
}

void LeaseQueue::forget_gone(uint32_t client, uint32_t worker, uint32_t worker_serial) {
  std::vector<uint32_t> numbers;
  for (const auto& [number, held] : held_) {
    if (!held.live && held.client == client && held.worker == worker &&
        held.worker_serial == worker_serial)
      numbers.push_back(number);
  }
  for (const uint32_t number : numbers) free_number(number);
}

void LeaseQueue::worker_ready(uint32_t endpoint, uint64_t now_ms) {
  Worker* worker = workers_.by_endpoint(endpoint);
  if (worker == nullptr || worker->state != WorkerState::kStarting) return;
  failed_starts_.erase(worker->pool);
  workers_.make_idle(*worker, now_ms);
}

void LeaseQueue::worker_leaving(uint32_t endpoint) {
  Worker* worker = workers_.by_endpoint(endpoint);
  if (worker == nullptr || worker->state == WorkerState::kLeaving) return;
  const uint32_t lease = worker->lease;
  workers_.leave(*worker);
  if (lease != 0) words_[lease].word.fetch_or(kLeaseYield, std::memory_order_acq_rel);
}

void LeaseQueue::worker_blocked(uint32_t endpoint, bool blocked) {
  Worker* worker = workers_.by_endpoint(endpoint);
  if (worker == nullptr || worker->lease == 0 || worker->blocked == blocked) return;
  const auto it = held_.find(worker->lease);
  if (it == held_.end() || !it->second.live) return;
  worker->blocked = blocked;
  if (blocked)
    resources_.release(freed_when_blocked(it->second.spec->need));
  else
    resources_.acquire_anyway(freed_when_blocked(it->second.spec->need));
}

void LeaseQueue::worker_gone(uint64_t token, const std::string& message) {
  Worker* worker = workers_.by_token(token);
  if (worker == nullptr) return;
  const PoolKey pool = worker->pool;
  if (worker->lease != 0) {
    const uint32_t number = worker->lease;
    Held& held = held_.at(number);
    release(held, worker->blocked);
    held.live = false;
    words_[number].word.store(static_cast<uint32_t>(LeaseState::kRevoked),
                              std::memory_order_release);
    if (held.client == 0) free_number(number);
  }
  const bool failed = worker->state == WorkerState::kStarting;
  workers_.remove(token);
  if (!failed || ++failed_starts_[pool] < kFailedStartLimit) return;
  failed_starts_.erase(pool);
  fail_pool(pool, StatusCode::kWorkerCrashed, message);
}

void LeaseQueue::start_failed(uint64_t token, const std::string& json) {
  Worker* worker = workers_.by_token(token);
  if (worker == nullptr || worker->endpoint != 0)
    return;  // it attached: its death is noticed as such
  const PoolKey pool = worker->pool;
  workers_.remove(token);
  fail_pool(pool, StatusCode::kOk, json);
}

void LeaseQueue::fail(Request& request, StatusCode code, const std::string& message) {
  request.backlog = 0;
  LeaseEffect effect;
  effect.kind = LeaseEffect::Kind::kFail;
  effect.client = request.id.first;
  effect.request = request.id.second;
  effect.spec = request.spec;
  effect.code = code;
  effect.message = message;
  pending_.push_back(std::move(effect));
}

void LeaseQueue::fail_pool(const PoolKey& pool, StatusCode code, const std::string& message) {
  for (auto& [id, request] : requests_)
    if (request.backlog > 0 && request.spec->pool == pool) fail(request, code, message);
}

void LeaseQueue::add_group(GroupClass group) {
  Group& row = groups_[group.id];
  if (row.ready) return;
  row.what = std::move(group);
  row.seq = next_seq_++;
}

void LeaseQueue::remove_group(const std::string& id, uint64_t now_ms) {
  const auto it = groups_.find(id);
  if (it == groups_.end()) return;
  const Group group = std::move(it->second);
  groups_.erase(it);
  if (!group.ready) return;
  std::vector<uint32_t> numbers;
  for (const auto& [number, held] : held_)
    if (held.live && held.spec->group == id) numbers.push_back(number);
  for (const uint32_t number : numbers) {
    if (word_state(number) == LeaseState::kIdle && revoke_idle(number, now_ms)) continue;
    LeaseEffect effect;
    effect.kind = LeaseEffect::Kind::kEndWorker;
    effect.token = held_.at(number).token;
    effect.at_once = true;
    pending_.push_back(std::move(effect));
  }
  resources_.shrink(group.what.extra);
  resources_.release(group.what.need);
}

void LeaseQueue::end_job(uint32_t job) {
  for (auto& [id, request] : requests_)
    if (request.backlog > 0 && request.spec->pool.job == job)
      fail(request, StatusCode::kOwnerDied, "the job has ended");
  std::erase_if(requests_, [job](const auto& item) { return item.second.spec->pool.job == job; });
  std::erase_if(failed_starts_, [job](const auto& item) { return item.first.job == job; });
}

void LeaseQueue::client_gone(uint32_t client, const std::set<uint32_t>& busy_workers,
                             uint64_t now_ms) {
  std::erase_if(requests_, [client](const auto& item) { return item.first.first == client; });
  std::vector<uint32_t> ended;
  for (auto& [number, held] : held_) {
    if (held.client != client) continue;
    held.client = 0;
    if (held.live && !held.spec->dedicated && busy_workers.contains(held.worker)) continue;
    ended.push_back(number);
  }
  for (const uint32_t number : ended) {
    Held& held = held_.at(number);
    if (held.live) end_lease(number, held, now_ms);
    free_number(number);
  }
}

void LeaseQueue::finish_adopted(uint32_t worker, uint64_t now_ms) {
  Worker* found = workers_.by_endpoint(worker);
  if (found == nullptr || found->lease == 0) return;
  const uint32_t number = found->lease;
  const auto it = held_.find(number);
  if (it == held_.end() || it->second.client != 0) return;
  end_lease(number, it->second, now_ms);
  free_number(number);
}

ResourceSet LeaseQueue::available() const {
  ResourceSet in_use = resources_.in_use();
  for (const auto& item : held_)
    if (is_idle(item)) in_use.subtract(item.second.spec->need);
  ResourceSet out = resources_.total();
  out.subtract(in_use);
  return out;
}

uint64_t LeaseQueue::waiting() const {
  uint64_t sum = 0;
  for (const auto& [id, request] : requests_) sum += request.backlog;
  return sum;
}

uint64_t LeaseQueue::active_leases() const {
  return static_cast<uint64_t>(std::count_if(held_.begin(), held_.end(), [this](const auto& item) {
    return item.second.live && !is_idle(item);
  }));
}

std::vector<uint32_t> LeaseQueue::holders_of(uint32_t worker) const {
  std::vector<uint32_t> out;
  for (const auto& [number, held] : held_)
    if (held.worker == worker && held.client != 0) out.push_back(held.client);
  return out;
}

std::string LeaseQueue::validate() const {
  ResourceSet sum;
  std::set<uint64_t> tokens;
  for (const auto& [number, held] : held_) {
    if (!held.live) continue;
    Worker* worker = workers_.by_token(held.token);
    if (worker == nullptr) return "a live lease without a worker";
    if (worker->lease != number) return "a worker that does not know its lease";
    if (!tokens.insert(held.token).second) return "two live leases on one worker";
    ResourceSet need = held.spec->need;
    if (worker->blocked) need.subtract(freed_when_blocked(need));
    sum.add(need);
  }
  for (const auto& [id, group] : groups_)
    if (group.ready) sum.add(group.what.need);
  if (sum != resources_.in_use())
    return "acquired " + resources_.in_use().json() + " but leases hold " + sum.json();
  for (Worker* worker : workers_.all()) {
    const bool leased =
        worker->state == WorkerState::kLeased || worker->state == WorkerState::kDedicated;
    if (leased && !tokens.contains(worker->token)) return "a leased worker without a live lease";
  }
  for (const uint32_t number : free_numbers_)
    if (held_.contains(number)) return "a free lease number that is held";
  return workers_.validate();
}

}  // namespace polyray::raylet
