// SPDX-License-Identifier: Apache-2.0
// The raylet without its thread: all parts wired together, one turn at a time.
//
// Owns every part. turn() handles what the poller reported, drains the inbound rings, lets the parts decide, sends.
// Thread rules: everything after open() on one thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "raylet/census.h"
#include "raylet/deaths.h"
#include "raylet/door.h"
#include "raylet/lease_queue.h"
#include "raylet/processes.h"
#include "raylet/raylet.h"
#include "raylet/service_relay.h"
#include "raylet/spiller.h"

namespace polyray::raylet {

class RayletCore {
 public:
  static constexpr uint64_t kExitWaitMs = 30;    // for the exit status, after the socket ended
  static constexpr uint64_t kReapWaitMs = 100;   // for the service's word of how a worker ended
  static constexpr uint64_t kMemoryWaitMs = 50;  // before its callers know, so that memory is back
  static constexpr uint64_t kJobGraceMs = 1000;  // SIGTERM to SIGKILL at a job's end
  static constexpr uint64_t kActorGraceMs = 5000;   // the same for a returned dedicated worker
  static constexpr uint64_t kIdleWorkerMs = 10000;  // surplus idle workers end after this
  static constexpr uint64_t kManyIdleMs = 1000;     // the same when there are many of them
  static constexpr size_t kManyIdle = 8;
  static constexpr uint64_t kLeasePollMs = 20;
  static constexpr size_t kDrainRecords = 65536;

  static Result<std::unique_ptr<RayletCore>> open(const RayletOptions& options);
  // One turn; sleeps first when nothing is to do.
  void turn();
  void begin_stop(uint32_t grace_ms);
  bool stopped() const { return stopping_ && stopped_; }
  void finish();  // after the thread has ended: the guardian
  RayletStats stats();
  int bell_fd() const { return bell_.get(); }
  const std::string& socket_name() const { return socket_name_; }
  uint32_t node_tag() const { return node_tag_; }

 private:
  RayletCore(const RayletOptions& options, std::unique_ptr<Segment> segment, os::Poller poller,
             os::Fd bell, uint32_t node_tag);
  Status open_parts();
  void open_spiller();
  int sleep_ms(uint64_t now_ms);
  void react(const os::Poller::Ready& ready);
  void drain();
  void step();
  void record(Peer& from, const RingSlot& slot);
  void lease_request(Peer& from, const RingSlot& slot);
  void command(Peer& from, const RingSlot& slot);
  void first_worker(Peer& from, const RingSlot& slot);
  void control_peer(const RingSlot& slot);
  void apply(const LeaseEffect& effect);
  // Tells the service to start the worker of a startup token.
  void need_worker(uint64_t token, const PoolKey& pool, bool dedicated);
  void attached(Peer& peer, std::vector<os::Fd>& stdio);
  void socket_ended(uint32_t endpoint);
  void end_endpoint(uint32_t endpoint);
  bool exit_known(const Peer& peer, Deaths::Exit& exit);
  void worker_exited(uint64_t token, const Deaths::Exit& exit);
  // Ends a worker for lack of memory; the payload is as RayletOp::kEndForMemory says.
  void end_for_memory(uint64_t peer_id, const std::string& payload);
  // True while the end of this one, ended for lack of memory, is not to be told yet.
  bool memory_waits(Peer& peer);
  void watch_leases();
  void leases_active();
  void end_late_starts();
  void ring_alarms();
  void worker_ended(const Peer& peer, const Deaths::Exit& exit);
  void job_ended(uint32_t job);
  void end_idle_workers();
  // When the next surplus idle worker is to end, if there is one.
  std::optional<uint64_t> idle_end_ms();
  void step_stop();
  void kick(uint64_t ring_offset);
  void mark_ready(uint32_t endpoint);

  RayletOptions options_;
  uint32_t node_tag_;
  std::string socket_name_;
  std::unique_ptr<Segment> segment_;
  os::Poller poller_;
  os::Fd bell_;
  Peers peers_;
  WorkerTable workers_;
  LeaseQueue leases_;
  Census census_;
  ExtentDesk extents_;
  SpillTable spilled_;
  Frees frees_;
  Spiller spiller_;
  GuardianLink guardian_;
  Processes processes_;
  ServiceRelay relay_;
  Deaths deaths_;
  Door door_;
  std::map<uint32_t, uint64_t>
      ending_;  // endpoints whose end is to be handled, and when at the latest
  std::map<uint64_t, Deaths::Exit> exits_;  // what the service said, by startup token
  struct MemoryEnd {
    std::string text;
    bool again = false;
    uint64_t tell_at_ms = 0;  // 0: it has not ended yet
  };
  std::map<uint64_t, MemoryEnd> memory_ends_;  // by startup token
  std::map<uint64_t, uint64_t> alarms_;        // when a client wants to be rung, by peer id
  std::map<uint64_t, uint64_t> attach_by_ms_;  // started workers that have not attached
  std::vector<os::Poller::Ready> ready_;
  uint64_t now_ms_ = 0;
  uint64_t lease_poll_at_ms_ = 0;
  uint64_t bells_received_ = 0;
  uint64_t records_handled_ = 0;
  uint64_t workers_started_ = 0;
  uint32_t max_idle_workers_ = 0;
  bool leases_changed_ = false;
  bool stopping_ = false;
  bool stopped_ = false;
  bool killed_ = false;
  uint64_t stop_at_ms_ = 0;
};

}  // namespace polyray::raylet
