// SPDX-License-Identifier: Apache-2.0
// Which ready task goes to which leased worker: one queue per scheduling class, the highest priority first. Pure: every
// effect goes through TaskPort.
//
// Owns: the classes, their leased workers, the order of queued calls, the list of calls in flight per worker.
// Policy: one call at a time per worker; deeper (up to kMaxDepth) for classes whose measured service time is short.
//   A worker that runs dry takes unclaimed calls back from the fullest worker of its class. An idle lease lingers.
//   A call of a higher priority takes the place of the unclaimed ones of a lower at the worker that begins it soonest. What
//   it took back goes out again one by one, as replies come (`room`): so a burst of such calls moves few of the others.
// Invariants:
//  1. A call is queued or in flight at exactly one worker, until finished() or taken out.
//  2. outstanding == queued + in flight, per class.
//  3. A worker is removed only with an empty in-flight list.
//  4. What is unclaimed at a worker stands there by priority, and nothing that is queued has a higher one than it.
// Thread rules: one thread at a time.
#pragma once
#include <cstdint>
#include <vector>

#include "client/call_list.h"
#include "client/flat_map.h"
#include "wire/messages.h"

namespace polyray {

// How urgently others want a lease.
enum class LeaseYield { kNo, kSoon, kNow };

// What the queue asks of the outside. `peer` = endpoint | serial << 32.
class TaskPort {
 public:
  virtual ~TaskPort() = default;
  // Publishes the call to the worker. False: the worker is gone (its death will be reported by worker_gone).
  virtual bool task_send(CallSlot call, uint64_t peer, uint32_t lease) = 0;
  // Takes an unclaimed call back so that it can be sent again. False: it runs.
  virtual bool task_retract(CallSlot call) = 0;
  virtual bool lease_activate(uint32_t lease) = 0;  // false: revoked
  virtual bool lease_idle(
      uint32_t lease) = 0;  // false: others wait or it was revoked: give it back
  virtual LeaseYield lease_yields(uint32_t lease) = 0;  // kNow: to a call of a higher priority
  virtual void lease_return(uint32_t lease) = 0;        // also for one found revoked
  // More (absolute count) workers wanted for the class, for calls of this priority. 0: none.
  virtual void lease_backlog(uint32_t class_number, uint32_t workers_wanted, int32_t priority) = 0;
  virtual uint64_t now_ns() = 0;
};

class TaskQueue {
 public:
  static constexpr uint32_t kMaxDepth = 64;
  static constexpr uint64_t kShortServiceNs =
      2'000'000;  // a worker's ring holds at most so much work
  static constexpr uint64_t kYieldSliceNs =
      5'000'000;  // after this an asked-for lease goes back between two calls

  TaskQueue(CallLinks& links, TaskPort& port) : links_(links), port_(port) {}

  // The class of this hash; made when new. A call's priority is that of its link.
  uint32_t class_of(uint64_t class_hash);
  void enqueue(CallSlot call, uint32_t class_number);
  // A reply came. kReturned and kRetry queue the call again (the caller has counted the attempt); else it is finished.
  void replied(CallSlot call, ReplyStatus status, uint64_t service_ns);
  // Takes a call out: a queued one, or one in flight whose record the caller has retracted.
  void remove(CallSlot call);
  bool is_queued(CallSlot call) { return links_[call].owner == kQueued; }
  void granted(uint32_t class_number, uint64_t peer, uint32_t lease);
  // The worker died: its calls are taken out, oldest first, into `lost`; the caller requeues or settles each.
  void worker_gone(uint64_t peer, std::vector<CallSlot>& lost);
  // Puts calls of a dead worker back to the front, keeping their order. Then call pump_class.
  void requeue_front(CallSlot call, uint32_t class_number);
  void pump_class(uint32_t class_number);
  // The class can have no worker: takes out every queued call.
  void class_failed(uint32_t class_number, std::vector<CallSlot>& failed);
  // Gives every idle lease back (detach, memory pressure). Busy ones stay.
  void release_idle();
  uint32_t depth(uint32_t class_number) const;
  uint32_t worker_count(uint32_t class_number) const {
    return static_cast<uint32_t>(classes_[class_number].workers.size());
  }
  uint32_t queued(uint32_t class_number) const { return classes_[class_number].queue.size(); }
  // Checks the invariants; false names a broken queue (tests, simulation).
  bool validate();

 private:
  static constexpr uint32_t kQueued = 0xffffffff;
  struct Worker {
    uint64_t peer = 0;
    uint32_t lease = 0;
    uint32_t class_number = 0;
    RankedList in_flight;
    uint32_t room = kMaxDepth;  // in flight at most; less after calls had to make way
    uint64_t yield_since_ns = 0;
    bool used = false;
    bool idle = false;    // the lease word says IDLE
    bool paused = false;  // it gave calls back: it is blocked or leaving
    bool gone = false;    // a send failed
  };
  struct Class {
    uint64_t hash = 0;
    CallBands queue;
    std::vector<uint32_t> workers;
    uint32_t outstanding = 0;
    uint32_t backlog_sent = 0;
    int32_t priority_sent = 0;
    bool has_priorities = false;  // a call had one that is not 0
    uint64_t service_ns = 0;      // moving average; 0: not measured
  };
  uint32_t load_for(const Worker& worker, int32_t priority);
  void make_way(Class& cls, Worker& worker, int32_t priority);
  void make_way_everywhere(Class& cls, int32_t priority);
  void take_back(Class& cls, Worker& worker, CallSlot call);
  bool send_head(Class& cls, uint32_t worker_number);
  bool send_to(uint32_t worker_number, CallSlot call);
  uint32_t pick_worker(Class& cls, int32_t priority, uint32_t& unwanted);
  bool yield_due(Worker& worker);
  void worker_dry(uint32_t worker_number);
  bool steal_for(uint32_t worker_number);
  void drop_worker(uint32_t worker_number);
  void update_backlog(uint32_t class_number);

  CallLinks& links_;
  TaskPort& port_;
  std::vector<Class> classes_;
  std::vector<Worker> workers_;
  std::vector<uint32_t> free_workers_;
  FlatMap<uint32_t> class_by_hash_;
};

}  // namespace polyray
