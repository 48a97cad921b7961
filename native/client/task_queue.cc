// SPDX-License-Identifier: Apache-2.0
#include "client/task_queue.h"

#include <algorithm>
#include <utility>

namespace polyray {

namespace {
constexpr uint32_t kNoWorker = 0xfffffffe;
}

uint32_t TaskQueue::class_of(uint64_t class_hash) {
  const uint64_t key = class_hash == 0 ? 1 : class_hash;
  if (const uint32_t* known = class_by_hash_.find(key)) return *known;
  const auto number = static_cast<uint32_t>(classes_.size());
  classes_.emplace_back().hash = key;
  class_by_hash_[key] = number;
  return number;
}

uint32_t TaskQueue::depth(uint32_t class_number) const {
  const uint64_t service = classes_[class_number].service_ns;
  if (service == 0 || service >= kShortServiceNs) return 1;
  return static_cast<uint32_t>(std::clamp<uint64_t>(kShortServiceNs / service, 1, kMaxDepth));
}

void TaskQueue::enqueue(CallSlot call, uint32_t class_number) {
  Class& cls = classes_[class_number];
  links_[call].group = class_number;
  links_[call].owner = kQueued;
  cls.queue.push_back(links_, call);
  ++cls.outstanding;
  cls.has_priorities |= links_[call].priority != 0;
  pump_class(class_number);
}

void TaskQueue::requeue_front(CallSlot call, uint32_t class_number) {
  Class& cls = classes_[class_number];
  links_[call].group = class_number;
  links_[call].owner = kQueued;
  cls.queue.push_front(links_, call);
  ++cls.outstanding;
}

void TaskQueue::remove(CallSlot call) {
  auto& link = links_[call];
  const uint32_t class_number = link.group;
  Class& cls = classes_[class_number];
  --cls.outstanding;
  if (link.owner == kQueued) {
    cls.queue.remove(links_, call);
  } else {
    const uint32_t worker_number = link.owner;
    workers_[worker_number].in_flight.remove(links_, call);
    worker_dry(worker_number);
  }
  pump_class(class_number);
}

void TaskQueue::replied(CallSlot call, ReplyStatus status, uint64_t service_ns) {
  auto& link = links_[call];
  const uint32_t class_number = link.group;
  const uint32_t worker_number = link.owner;
  Class& cls = classes_[class_number];
  Worker& worker = workers_[worker_number];
  worker.in_flight.remove(links_, call);
  if (status == ReplyStatus::kReturned) {
    link.owner = kQueued;
    cls.queue.push_front(links_, call);
    worker.paused = true;
  } else {
    worker.paused = false;
    worker.room = std::min(worker.room + 1, kMaxDepth);
    if (service_ns != 0) {
      const auto sample = static_cast<int64_t>(service_ns);
      const auto average = static_cast<int64_t>(cls.service_ns);
      cls.service_ns =
          average == 0
              ? service_ns
              : static_cast<uint64_t>(std::max<int64_t>(1, average + (sample - average) / 8));
    }
    if (status == ReplyStatus::kRetry) {
      link.owner = kQueued;
      cls.queue.push_back(links_, call);
    } else {
      --cls.outstanding;
    }
  }
  if (worker.paused && worker.in_flight.empty()) {
    // It refused everything: it leaves, or runs somebody else's call for ever. Another worker takes over.
    const uint32_t lease = worker.lease;
    drop_worker(worker_number);
    port_.lease_return(lease);
  } else {
    if (!cls.queue.empty()) pump_class(class_number);
    worker_dry(worker_number);
  }
  pump_class(class_number);
}

void TaskQueue::granted(uint32_t class_number, uint64_t peer, uint32_t lease) {
  uint32_t number;
  if (free_workers_.empty()) {
    number = static_cast<uint32_t>(workers_.size());
    workers_.emplace_back();
  } else {
    number = free_workers_.back();
    free_workers_.pop_back();
  }
  Worker& worker = workers_[number];
  worker = Worker{};
  worker.peer = peer;
  worker.lease = lease;
  worker.class_number = class_number;
  worker.used = true;
  Class& cls = classes_[class_number];
  cls.workers.push_back(number);
  if (cls.backlog_sent > 0) --cls.backlog_sent;
  pump_class(class_number);
  worker_dry(number);
  pump_class(class_number);
}

void TaskQueue::worker_gone(uint64_t peer, std::vector<CallSlot>& lost) {
  for (uint32_t number = 0; number < workers_.size(); ++number) {
    Worker& worker = workers_[number];
    if (!worker.used || worker.peer != peer) continue;
    while (!worker.in_flight.empty()) {
      const CallSlot call = worker.in_flight.head();
      worker.in_flight.remove(links_, call);
      --classes_[worker.class_number].outstanding;
      lost.push_back(call);
    }
    drop_worker(number);
  }
}

void TaskQueue::class_failed(uint32_t class_number, std::vector<CallSlot>& failed) {
  Class& cls = classes_[class_number];
  while (!cls.queue.empty()) {
    const CallSlot call = cls.queue.head();
    cls.queue.remove(links_, call);
    --cls.outstanding;
    failed.push_back(call);
  }
  cls.backlog_sent = 0;
  update_backlog(class_number);
}

void TaskQueue::release_idle() {
  for (uint32_t number = 0; number < workers_.size(); ++number) {
    Worker& worker = workers_[number];
    if (!worker.used || !worker.in_flight.empty()) continue;
    const uint32_t lease = worker.lease;
    drop_worker(number);
    port_.lease_return(lease);
  }
}

// --- policy ------------------------------------------------------------------------------------------------------

bool TaskQueue::yield_due(Worker& worker) {
  const LeaseYield yields = port_.lease_yields(worker.lease);
  if (yields == LeaseYield::kNow) return true;
  if (yields == LeaseYield::kNo) {
    worker.yield_since_ns = 0;
    return false;
  }
  const uint64_t now = port_.now_ns();
  if (worker.yield_since_ns == 0) worker.yield_since_ns = now;
  return now - worker.yield_since_ns >= kYieldSliceNs;
}

// What the worker has to do before a call of this priority. Its first call runs, as far as we know.
uint32_t TaskQueue::load_for(const Worker& worker, int32_t priority) {
  if (worker.in_flight.empty()) return 0;
  const bool first_is_lower = links_[worker.in_flight.head()].priority < priority;
  return worker.in_flight.at_least(priority) + (first_is_lower ? 1 : 0);
}

// The worker with room that begins the call soonest; of equal ones that with the least in flight. `unwanted`: one that has
// nothing to do and gets nothing more, because its lease is asked back.
uint32_t TaskQueue::pick_worker(Class& cls, int32_t priority, uint32_t& unwanted) {
  const uint32_t limit = depth(static_cast<uint32_t>(&cls - classes_.data()));
  uint32_t best = kNoWorker;
  std::pair best_load(limit, kNoWorker);
  for (const uint32_t number : cls.workers) {
    Worker& worker = workers_[number];
    const std::pair load(load_for(worker, priority), worker.in_flight.size());
    if (load >= best_load || load.first >= std::min(limit, worker.room) || worker.paused ||
        worker.gone)
      continue;
    if (yield_due(worker)) {
      if (load.second == 0 && !worker.idle) unwanted = number;
      continue;
    }
    best = number;
    best_load = load;
    if (load.second == 0) break;
  }
  return best;
}

void TaskQueue::take_back(Class& cls, Worker& worker, CallSlot call) {
  worker.in_flight.remove(links_, call);
  links_[call].owner = kQueued;
  cls.queue.push_front(links_, call);
}

// Takes back what the worker has not begun and what comes after a call of this priority.
void TaskQueue::make_way(Class& cls, Worker& worker, int32_t priority) {
  if (worker.paused || worker.gone) return;
  const uint32_t before = worker.in_flight.size();
  while (!worker.in_flight.empty()) {
    const CallSlot call = worker.in_flight.tail();
    if (links_[call].priority >= priority || !port_.task_retract(call)) break;
    take_back(cls, worker, call);
  }
  if (worker.in_flight.size() < before) worker.room = worker.in_flight.size() + 1;
}

// REQUIRES: something is queued, and the worker is there.
bool TaskQueue::send_head(Class& cls, uint32_t worker_number) {
  const CallSlot call = cls.queue.head();
  cls.queue.remove(links_, call);
  if (send_to(worker_number, call)) return true;
  cls.queue.push_front(links_, call);
  return false;
}

bool TaskQueue::send_to(uint32_t worker_number, CallSlot call) {
  Worker& worker = workers_[worker_number];
  if (worker.idle) {
    if (!port_.lease_activate(worker.lease)) {
      const uint32_t lease = worker.lease;
      drop_worker(worker_number);
      port_.lease_return(lease);
      return false;
    }
    worker.idle = false;
  }
  if (!port_.task_send(call, worker.peer, worker.lease)) {
    worker.gone = true;
    if (worker.in_flight.empty()) {
      const uint32_t lease = worker.lease;
      drop_worker(worker_number);
      port_.lease_return(lease);
    }
    return false;
  }
  links_[call].owner = worker_number;
  worker.in_flight.push_back(links_, call);
  return true;
}

void TaskQueue::pump_class(uint32_t class_number) {
  Class& cls = classes_[class_number];
  while (!cls.queue.empty()) {
    const int32_t priority = links_[cls.queue.head()].priority;
    uint32_t unwanted = kNoWorker;
    const uint32_t number = pick_worker(cls, priority, unwanted);
    if (unwanted != kNoWorker) {
      const uint32_t lease = workers_[unwanted].lease;
      drop_worker(unwanted);
      port_.lease_return(lease);
      continue;
    }
    if (number == kNoWorker) {
      make_way_everywhere(cls, priority);
      break;
    }
    make_way(cls, workers_[number], priority);
    send_head(cls, number);
  }
  update_backlog(class_number);
}

// A call that no worker can take yet: nothing of a lower priority begins before it.
void TaskQueue::make_way_everywhere(Class& cls, int32_t priority) {
  if (!cls.has_priorities) return;
  for (const uint32_t number : cls.workers) {
    Worker& worker = workers_[number];
    if (worker.in_flight.size() > load_for(worker, priority)) make_way(cls, worker, priority);
  }
}

// In flight may have become empty: steal, give back, or linger.
void TaskQueue::worker_dry(uint32_t worker_number) {
  Worker& worker = workers_[worker_number];
  if (!worker.used || !worker.in_flight.empty() || worker.idle) return;
  if (!yield_due(worker) && !worker.gone && !worker.paused) {
    if (!classes_[worker.class_number].queue.empty()) return;  // pump_class comes next
    if (steal_for(worker_number)) return;
    if (port_.lease_idle(worker.lease)) {
      workers_[worker_number].idle = true;
      return;
    }
  }
  const uint32_t lease = workers_[worker_number].lease;
  drop_worker(worker_number);
  port_.lease_return(lease);
}

bool TaskQueue::steal_for(uint32_t worker_number) {
  Class& cls = classes_[workers_[worker_number].class_number];
  uint32_t victim = kNoWorker;
  uint32_t most = 1;
  for (const uint32_t number : cls.workers) {
    if (number == worker_number || workers_[number].in_flight.size() <= most) continue;
    victim = number;
    most = workers_[number].in_flight.size();
  }
  if (victim == kNoWorker) return false;
  uint32_t taken = 0;
  for (; taken < most / 2; ++taken) {
    const CallSlot call = workers_[victim].in_flight.tail();
    if (!port_.task_retract(call)) break;  // the worker is faster than we are
    take_back(cls, workers_[victim], call);
  }
  for (uint32_t sent = 0; sent < taken; ++sent)
    if (!send_head(cls, worker_number)) break;  // the caller pumps
  return taken > 0;
}

// REQUIRES: nothing in flight there.
void TaskQueue::drop_worker(uint32_t worker_number) {
  Worker& worker = workers_[worker_number];
  auto& list = classes_[worker.class_number].workers;
  list.erase(std::find(list.begin(), list.end(), worker_number));
  worker.used = false;
  free_workers_.push_back(worker_number);
}

// Tells the raylet when the number of workers wanted rises from 0, falls to 0, or changes twofold, and when the priority of
// the next call changes.
void TaskQueue::update_backlog(uint32_t class_number) {
  Class& cls = classes_[class_number];
  const auto have = static_cast<uint32_t>(cls.workers.size());
  const uint32_t want = cls.outstanding > have ? cls.outstanding - have : 0;
  const uint32_t sent = cls.backlog_sent;
  // While everything is at workers there is no next call: what was said last holds.
  const int32_t priority = cls.has_priorities && !cls.queue.empty()
                               ? links_[cls.queue.head()].priority
                               : cls.priority_sent;
  const bool other_priority = priority != cls.priority_sent;
  if (want == sent && !other_priority) return;
  if (want == 0 || sent == 0 || want >= sent * 2 || want <= sent / 2 || other_priority) {
    cls.backlog_sent = want;
    cls.priority_sent = priority;
    port_.lease_backlog(class_number, want, priority);
  }
}

bool TaskQueue::validate() {
  std::vector<uint32_t> in_flight(classes_.size(), 0);
  for (uint32_t number = 0; number < workers_.size(); ++number) {
    Worker& worker = workers_[number];
    if (!worker.used) continue;
    if (worker.idle && !worker.in_flight.empty()) return false;
    uint32_t count = 0;
    for (CallSlot c = worker.in_flight.head(); c != kNoCall; c = links_[c].next, ++count)
      if (links_[c].owner != number || links_[c].group != worker.class_number) return false;
    // Beside the calls that count there may be lower ones that had begun when they were to make way.
    if (count != worker.in_flight.size() || count > 2 * kMaxDepth) return false;
    in_flight[worker.class_number] += count;
  }
  for (uint32_t number = 0; number < classes_.size(); ++number) {
    uint32_t count = 0;
    bool all_queued = true;
    classes_[number].queue.each(links_, [&](CallSlot call) {
      all_queued = all_queued && links_[call].owner == kQueued;
      ++count;
    });
    if (!all_queued) return false;
    if (count != classes_[number].queue.size()) return false;
    if (count + in_flight[number] != classes_[number].outstanding) return false;
  }
  return true;
}

}  // namespace polyray
