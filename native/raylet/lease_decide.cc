// SPDX-License-Identifier: Apache-2.0
// The lease queue's decision: which waiting request is served next, by which worker, and which workers are started.
#include <algorithm>
#include <tuple>

#include "raylet/lease_queue.h"

namespace polyray::raylet {

// The waiting requests in the order of service: the highest priority, then the job with the fewest active leases, then
// the request with the fewest, then the oldest.
class LeaseQueue::Line {
 public:
  void count(uint32_t job) { jobs_[job].active += 1; }
  void add(Request* request) { jobs_[request->spec->pool.job].waiting.insert(place_of(request)); }
  // Takes the first one out; null when nobody waits.
  Request* take() {
    Job* best = nullptr;
    const auto key = [](const Job& job) {
      const Place& first = *job.waiting.begin();
      return std::tuple(std::get<0>(first), job.active, std::get<1>(first), std::get<2>(first));
    };
    for (auto& [number, job] : jobs_)
      if (!job.waiting.empty() && (best == nullptr || key(job) < key(*best))) best = &job;
    if (best == nullptr) return nullptr;
    Request* request = std::get<3>(*best->waiting.begin());
    best->waiting.erase(best->waiting.begin());
    return request;
  }

 private:
  using Place =
      std::tuple<int64_t, uint32_t, uint64_t, Request*>;  // priority (inverted), active, seq
  struct Job {
    uint32_t active = 0;
    std::set<Place> waiting;
  };
  static Place place_of(Request* request) {
    return {-int64_t{request->priority}, request->active, request->seq, request};
  }
  std::map<uint32_t, Job> jobs_;
};

// Some resource of `need` is not free, and `held` has of it.
static bool has_what_lacks(const ResourceSet& held, const ResourceSet& need,
                           const ResourceSet& free) {
  return std::any_of(need.items().begin(), need.items().end(), [&](const ResourceSet::Item& item) {
    return free.get(item.first) < item.second && held.get(item.first) > 0;
  });
}

bool LeaseQueue::reclaim(const ResourceSet& need, const PoolKey* pool, const RequestId* own_id,
                         uint64_t now_ms) {
  std::vector<uint32_t> idle, taken;
  for (const uint32_t number : idle_now_) {
    const auto it = held_.find(number);
    if (it == held_.end() || !it->second.live) continue;
    const bool own = own_id != nullptr && it->second.client == own_id->first &&
                     it->second.request == own_id->second;
    if (!own) idle.push_back(number);
  }
  if (idle.empty()) return false;
  ResourceSet free = resources_.free();
  const auto take = [&](auto&& wanted) {
    const auto it = std::find_if(idle.begin(), idle.end(), wanted);
    if (it == idle.end()) return false;
    free.add(held_.at(*it).spec->need);
    taken.push_back(*it);
    idle.erase(it);
    return true;
  };
  if (pool != nullptr) {
    const auto same_pool = [&](uint32_t number) { return held_.at(number).spec->pool == *pool; };
    if (!take(same_pool)) return false;
  }
  while (!free.covers(need)) {
    const auto helps = [&](uint32_t number) {
      return has_what_lacks(held_.at(number).spec->need, need, free);
    };
    if (!take(helps)) return false;
  }
  // Room in sum may be in pieces of several devices: leases that hold devices go until one choice is left.
  Devices devices = devices_;
  const auto give = [&](uint32_t number) {
    devices.release(held_.at(number).devices, gpus_of(held_.at(number).spec->need));
  };
  for (const uint32_t number : taken) give(number);
  while (!devices.choose(gpus_of(need))) {
    if (!take([&](uint32_t number) { return held_.at(number).devices != 0; })) return false;
    give(taken.back());
  }
  bool all = true;
  for (const uint32_t number : taken) all = revoke_idle(number, now_ms) && all;
  return all;
}

void LeaseQueue::grant(Request& request, Worker& worker, std::vector<LeaseEffect>& effects) {
  ++granted_;
  const uint32_t number = take_number();
  const uint64_t gpus = gpus_of(request.spec->need);
  const uint64_t devices = devices_.choose(gpus).value_or(0);
  resources_.acquire_anyway(request.spec->need);
  devices_.take(devices, gpus);
  workers_.lease(worker, number, request.spec->dedicated);
  Held& held = held_[number];
  held = Held{request.id.first, request.id.second, request.spec, worker.token, worker.endpoint,
              worker.serial,    devices,           true,         false};
  Lease& word = words_[number];
  word.holder = request.id.first;
  word.worker = worker.endpoint;
  word.worker_serial = worker.serial;
  word.word.store(static_cast<uint32_t>(LeaseState::kActive), std::memory_order_release);
  request.backlog -= 1;
  request.passed_over = 0;
  LeaseEffect effect;
  effect.kind = LeaseEffect::Kind::kGrant;
  effect.client = request.id.first;
  effect.request = request.id.second;
  effect.lease = number;
  effect.worker = worker.endpoint;
  effect.serial = worker.serial;
  effect.devices = devices;
  effect.spec = request.spec;
  effects.push_back(std::move(effect));
}

LeaseQueue::Served LeaseQueue::serve(Request& request, uint64_t now_ms,
                                     std::vector<LeaseEffect>& effects) {
  const LeaseClass& spec = *request.spec;
  if (!spec.group.empty()) {
    const auto group = groups_.find(spec.group);
    if (group == groups_.end()) {
      if (spec.dedicated)
        fail(request, StatusCode::kActorUnschedulable,
             "The actor is not schedulable: Could not create the actor because its associated "
             "placement group was removed.\nRequired placement group " +
                 spec.group + " is removed.");
      else
        fail(request, StatusCode::kTaskPlacementGroupRemoved,
             "The placement group corresponding to this task has been removed.");
      return Served::kFailed;
    }
    if (!group->second.ready) return Served::kNoResources;
  }
  if (!resources_.feasible(spec.need)) {
    LeaseEffect effect;
    effect.client = request.id.first;
    effect.request = request.id.second;
    effect.spec = request.spec;
    if (infeasible_told_.insert(spec.hash).second) {
      effect.kind = LeaseEffect::Kind::kInfeasible;
      effects.push_back(effect);
    }
    effect.kind = LeaseEffect::Kind::kFail;
    effect.code = spec.dedicated ? StatusCode::kActorUnschedulable : StatusCode::kTaskUnschedulable;
    const auto& items = spec.need.items();
    const bool other_node = std::any_of(items.begin(), items.end(), [](const auto& item) {
      return item.first.starts_with("node_affinity:");
    });
    effect.message = std::string("The ") + (spec.dedicated ? "actor" : "task") +
                     " is not schedulable: The node specified via NodeAffinitySchedulingStrategy "
                     "doesn't exist any more or is infeasible, and soft=False was specified.";
    ResourceSet own;  // without those of placement groups
    for (const auto& item : resources_.total().items())
      if (item.first.find("_group_") == std::string::npos) own.set(item.first, item.second);
    if (!other_node)
      effect.message = "[unschedulable] It needs " + spec.need.json() + ", but the node has " +
                       own.json() + " in all.";
    effects.push_back(std::move(effect));
    request.backlog = 0;
    return Served::kFailed;
  }
  if (free_numbers_.empty() && next_number_ >= kMaxLeases) return Served::kNoWorker;
  for (int attempt = 0; attempt < 3; ++attempt) {
    Worker* worker = workers_.idle(spec.pool);
    const bool fits = this->fits(spec);
    if (worker != nullptr && fits) {
      grant(request, *worker, effects);
      return Served::kGranted;
    }
    if (reclaim(spec.need, worker == nullptr ? &spec.pool : nullptr, &request.id, now_ms)) continue;
    if (worker == nullptr && fits) return Served::kNoWorker;
  }
  return fits(spec) ? Served::kNoWorker : Served::kNoResources;
}

void LeaseQueue::start_workers(const std::vector<Request*>& waiting,
                               std::vector<LeaseEffect>& effects) {
  ResourceSet room = available();
  size_t starting = 0;
  // Its devices are free in sum only: a worker more would not help.
  const auto in_pieces = [this](const LeaseClass& spec) {
    return resources_.fits(spec.need) && !fits(spec);
  };
  std::map<PoolKey, size_t> claimable;
  for (Worker* worker : workers_.all()) {
    if (worker->state != WorkerState::kStarting) continue;
    room.subtract(worker->reserved);
    claimable[worker->pool] += 1;
    ++starting;
  }
  std::vector<std::pair<Request*, size_t>> wanting;
  for (Request* request : waiting) {
    size_t& coming = claimable[request->spec->pool];
    const size_t covered = std::min<size_t>(coming, request->backlog);
    coming -= covered;
    if (covered < request->backlog) wanting.emplace_back(request, request->backlog - covered);
  }
  // One each in turn, so that a long backlog does not take every start.
  while (!wanting.empty()) {
    for (auto& [request, want] : wanting) {
      const LeaseClass& spec = *request->spec;
      if (starting >= limits_.start_limit) return;
      const bool pool_full = !spec.dedicated && workers_.pool_size(spec.pool) >= limits_.pool_limit;
      if (pool_full || !room.covers(spec.need) || in_pieces(spec)) {
        want = 0;
        continue;
      }
      LeaseEffect effect;
      effect.kind = LeaseEffect::Kind::kStart;
      effect.token = workers_.start(spec.pool, spec.hash, spec.need, spec.dedicated);
      effect.spec = request->spec;
      effects.push_back(std::move(effect));
      room.subtract(spec.need);
      ++starting;
      want -= 1;
    }
    std::erase_if(wanting, [](const auto& item) { return item.second == 0; });
  }
}

// What is free and what is leased for lower priorities is enough for it: if not, nobody need stop for it.
bool LeaseQueue::lower_would_do(const Request& request) const {
  ResourceSet could = resources_.free();
  for (const auto& [number, held] : held_) {
    const auto own = requests_.find({held.client, held.request});
    const int32_t priority = own != requests_.end() ? own->second.priority : 0;
    if (held.live && priority < request.priority) could.add(held.spec->need);
  }
  return could.covers(request.spec->need);
}

// A lease yields to a waiting request that has none, or at least two fewer than the lease's own request; at once to one of
// a higher priority; never to one of a lower priority than that of its own calls that wait.
uint32_t LeaseQueue::yield_for(const Held& held, std::vector<Waiting>& waiting,
                               const ResourceSet& free) {
  const RequestId id{held.client, held.request};
  const auto own = requests_.find(id);
  const Request* queued =
      own != requests_.end() && own->second.backlog > 0 ? &own->second : nullptr;
  const uint32_t own_active = own == requests_.end() ? 1 : own->second.active;
  uint32_t yield = 0;
  for (Waiting& item : waiting) {
    const Request* request = item.request;
    if (request->id == id) continue;
    const ResourceSet& need = request->spec->need;
    const bool helps = !item.poor          ? held.spec->pool == request->spec->pool
                       : free.covers(need) ? held.devices != 0  // free in pieces of several devices
                                           : has_what_lacks(held.spec->need, need, free);
    if (!helps) continue;
    const bool higher = queued != nullptr && request->priority > queued->priority;
    const bool enough =  // as many leases as it has calls, when one serves one
        item.urgent >= request->backlog && held.spec->need.covers(request->spec->need);
    if (higher && item.servable && !enough) {
      ++item.urgent;
      return kLeaseYield | kLeaseUrgent;
    }
    if ((higher && !item.servable) || (queued != nullptr && request->priority < queued->priority)) {
      wants_poll_ = true;  // a lease of the other that becomes idle rings no bell
      continue;
    }
    if (request->active == 0 || own_active > request->active + 1)
      yield = kLeaseYield;
    else
      wants_poll_ = true;
  }
  return yield;
}

void LeaseQueue::set_yields(const std::vector<Request*>& waiting) {
  wants_poll_ = false;
  std::vector<const ResourceSet*> groups;  // that could be reserved if leases came back
  for (const auto& [id, group] : groups_)
    if (!group.ready && group.what.possible && resources_.feasible(group.what.need))
      groups.push_back(&group.what.need);
  if (!groups.empty()) wants_poll_ = true;
  const ResourceSet free = resources_.free();
  std::vector<Waiting> items;
  for (const Request* request : waiting) {
    const bool poor = !fits(*request->spec);
    items.push_back({request, poor, !poor || lower_would_do(*request), 0});
  }
  for (auto& [number, held] : held_) {
    if (!held.live || held.spec->dedicated || held.client == 0) continue;
    const Worker* worker = workers_.by_token(held.token);
    uint32_t yield = yield_for(held, items, free);
    if (worker != nullptr && worker->state == WorkerState::kLeaving) yield |= kLeaseYield;
    for (const ResourceSet* need : groups)
      if (held.spec->need.overlaps(*need)) yield |= kLeaseYield;
    if (yield != 0) {
      const uint32_t seen =
          words_[number].word.fetch_or(yield & ~held.yield, std::memory_order_acq_rel);
      // It became idle after this step had looked: its holder sends no message, so look again.
      const bool missed = std::find(idle_now_.begin(), idle_now_.end(), number) == idle_now_.end();
      if (missed && (seen & kLeaseStateMask) == static_cast<uint32_t>(LeaseState::kIdle))
        wants_poll_ = true;
    }
    const uint32_t over = held.yield & ~yield;
    held.yield = yield;
    if (over != 0) words_[number].word.fetch_and(~over, std::memory_order_acq_rel);
  }
}

// The groups that wait, oldest first: all bundles of one are taken together or not at all.
void LeaseQueue::serve_groups(uint64_t now_ms, std::vector<LeaseEffect>& effects) {
  std::vector<Group*> waiting;
  for (auto& [id, group] : groups_)
    if (!group.ready && group.what.possible && resources_.feasible(group.what.need))
      waiting.push_back(&group);
  std::sort(waiting.begin(), waiting.end(),
            [](const Group* a, const Group* b) { return a->seq < b->seq; });
  for (Group* group : waiting) {
    const ResourceSet& need = group->what.need;
    if (!resources_.fits(need)) reclaim(need, nullptr, nullptr, now_ms);
    if (!resources_.acquire(need)) continue;
    resources_.grow(group->what.extra);
    group->ready = true;
    LeaseEffect effect;
    effect.kind = LeaseEffect::Kind::kGroupReady;
    effect.message = group->what.id;
    effects.push_back(std::move(effect));
  }
}

std::vector<LeaseEffect> LeaseQueue::step(uint64_t now_ms) {
  std::vector<LeaseEffect> effects = std::move(pending_);
  pending_.clear();
  Line line;
  for (auto& [id, request] : requests_) request.active = 0;
  idle_now_.clear();
  for (const auto& item : held_) {
    if (is_idle(item)) idle_now_.push_back(item.first);
    if (!item.second.live || is_idle(item) || item.second.spec->dedicated) continue;
    line.count(item.second.spec->pool.job);
    const auto own = requests_.find({item.second.client, item.second.request});
    if (own != requests_.end()) own->second.active += 1;
  }
  serve_groups(now_ms, effects);
  std::vector<Request*> waiting;
  for (auto& [id, request] : requests_)
    if (request.backlog > 0) waiting.push_back(&request);
  for (Request* request : waiting) line.add(request);

  // Of the requests that were passed over too often the one of the highest priority, then the oldest: nobody of no higher
  // priority may take what it needs.
  const Request* first = nullptr;
  for (const Request* request : waiting)
    if (request->passed_over >= kPassLimit &&
        (first == nullptr || std::tuple(-int64_t{request->priority}, request->seq) <
                                 std::tuple(-int64_t{first->priority}, first->seq)))
      first = request;
  std::vector<Request*> poor;  // could not be served for lack of resources
  while (Request* request = line.take()) {
    if (first != nullptr && request != first && request->priority <= first->priority &&
        request->spec->need.overlaps(first->spec->need))
      continue;
    const Served served = serve(*request, now_ms, effects);
    if (served == Served::kNoResources) poor.push_back(request);
    if (served != Served::kGranted) continue;
    if (request == first) first = nullptr;
    if (!request->spec->dedicated) {
      line.count(request->spec->pool.job);
      request->active += 1;
    }
    if (request->backlog > 0) line.add(request);
    for (Request* other : poor)
      if (((other->priority > request->priority && lower_would_do(*other)) ||
           (other->priority == request->priority && other->seq < request->seq)) &&
          other->spec->need.overlaps(request->spec->need))
        other->passed_over += 1;
  }
  std::erase_if(waiting, [](const Request* request) { return request->backlog == 0; });
  std::sort(waiting.begin(), waiting.end(), [](const Request* a, const Request* b) {
    return std::tuple(-int64_t{a->priority}, a->active, a->seq) <
           std::tuple(-int64_t{b->priority}, b->active, b->seq);
  });
  start_workers(waiting, effects);
  set_yields(waiting);
  for (LeaseEffect& effect : pending_) effects.push_back(std::move(effect));
  pending_.clear();
  return effects;
}

}  // namespace polyray::raylet
