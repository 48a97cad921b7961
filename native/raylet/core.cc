// SPDX-License-Identifier: Apache-2.0
// Wiring and the turn of the raylet (see core.h). Records are handled in records.cc.
#include "raylet/core.h"

#include <algorithm>

#include "raylet/json_text.h"
#include "wire/messages.h"

namespace polyray::raylet {

namespace {

LeaseLimits limits_of(const RayletOptions& options, uint64_t cpus) {
  return LeaseLimits{std::max(options.worker_start_limit, 1u),
                     static_cast<uint32_t>(std::max<uint64_t>(16, 4 * cpus))};
}

uint64_t cpus_of(const RayletOptions& options) {
  return std::max<uint64_t>(ResourceSet(options.resources).get("CPU") / kResourceUnit, 1);
}

}  // namespace

Result<std::unique_ptr<RayletCore>> RayletCore::open(const RayletOptions& options) {
  if (options.session_token.size() >= sizeof(HelloBody::session_token) ||
      options.session_name.empty())
    return Status::error(StatusCode::kInvalidArgument,
                         "a session needs a name, and a token of at most 63 bytes");
  uint32_t node_tag = options.node_tag;
  while (node_tag == 0) os::fill_random({reinterpret_cast<uint8_t*>(&node_tag), sizeof node_tag});
  SegmentOptions store;
  store.data_bytes = options.object_store_bytes + ExtentDesk::kReserveBytes;
  store.node_tag = node_tag;
  const std::string file = options.plasma_directory + "/polyray-" + options.session_name;
  if (!options.plasma_directory.empty()) store.file_path = file.c_str();
  Result<std::unique_ptr<Segment>> segment = Segment::create(store);
  if (!segment.is_ok()) return segment.status();
  Result<os::Poller> poller = os::Poller::open();
  if (!poller.is_ok()) return poller.status();
  Result<os::Fd> bell = os::open_event();
  if (!bell.is_ok()) return bell.status();
  std::unique_ptr<RayletCore> core(new RayletCore(options, std::move(segment.value()),
                                                  std::move(poller.value()),
                                                  std::move(bell.value()), node_tag));
  Status opened = core->open_parts();
  if (!opened.is_ok()) return opened;
  return core;
}

RayletCore::RayletCore(const RayletOptions& options, std::unique_ptr<Segment> segment,
                       os::Poller poller, os::Fd bell, uint32_t node_tag)
    : options_(options),
      node_tag_(node_tag),
      socket_name_("polyray-" + options.session_name + "-raylet"),
      segment_(std::move(segment)),
      poller_(std::move(poller)),
      bell_(std::move(bell)),
      peers_(*segment_),
      leases_(ResourceSet(options.resources), workers_, &segment_->lease(0),
              limits_of(options, cpus_of(options))),
      census_(*segment_),
      extents_(*segment_, peers_),
      spilled_(bell_.get()),
      frees_(*segment_, peers_, extents_, spilled_),
      spiller_(*segment_, frees_, extents_, spilled_),
      processes_(peers_, guardian_),
      relay_(peers_),
      deaths_(*segment_, peers_, frees_, extents_,
              [this](uint32_t worker) {
                leases_.finish_adopted(worker, now_ms_);
                leases_changed_ = true;
              }),
      door_(*segment_, peers_, workers_, poller_,
            {options.session_token, options.package_version, node_tag},
            {[this](Peer& peer, std::vector<os::Fd>& stdio) { attached(peer, stdio); },
             [this](uint32_t endpoint) { socket_ended(endpoint); }}),
      max_idle_workers_(options.max_idle_workers != 0 ? options.max_idle_workers
                                                      : static_cast<uint32_t>(cpus_of(options))) {}

// Folders of the session's own: the guardian removes the one in the session folder with it, others when it is told.
void RayletCore::open_spiller() {
  std::vector<std::string> folders;
  for (const std::string& folder : options_.spill_folders)
    folders.push_back(folder + "/polyray_spilled_objects_" + options_.session_name);
  if (folders.empty() && !options_.session_dir.empty())
    folders.push_back(options_.session_dir + "/spill");
  spiller_.open(std::move(folders), [this](const std::string& path) { guardian_.remove(path); });
  extents_.set_room_maker(
      [this](uint64_t bytes, uint64_t now_ms) { return spiller_.make_room(bytes, now_ms); });
}

Status RayletCore::open_parts() {
  open_spiller();
  Status populated = segment_->populate_endpoint(kRayletEndpoint);
  if (populated.is_ok())
    populated = segment_->populate(segment_->offset_of(&segment_->lease(0)), 1024 * sizeof(Lease));
  if (!populated.is_ok()) return populated;
  Endpoint& self = segment_->endpoint(kRayletEndpoint);
  self.kind = static_cast<uint32_t>(EndpointKind::kRaylet);
  self.pid = os::own_pid();
  self.serial = 1;
  self.state.store(static_cast<uint32_t>(EndpointState::kAttached), std::memory_order_release);
  Status status = poller_.add(bell_.get(), os::kReadable, Door::token(Door::Token::kBell, 0));
  if (status.is_ok()) status = door_.open(socket_name_, bell_.get());
  if (status.is_ok())
    status = guardian_.start(options_.guardian_path, options_.session_name, options_.session_dir);
  if (status.is_ok() && guardian_.pidfd() >= 0)
    status = poller_.add(guardian_.pidfd(), os::kReadable, Door::token(Door::Token::kGuardian, 0));
  return status;
}

int RayletCore::sleep_ms(uint64_t now_ms) {
  if (leases_changed_ && !stopping_) return 0;
  std::optional<uint64_t> next;
  const auto until = [&next](std::optional<uint64_t> deadline) {
    if (deadline) next = std::min(next.value_or(*deadline), *deadline);
  };
  until(extents_.next_deadline_ms());
  until(spiller_.next_scan_ms());
  until(processes_.next_deadline_ms());
  until(deaths_.next_deadline_ms());
  for (const auto& [endpoint, deadline] : ending_) until(deadline);
  for (const auto& [token, by_ms] : attach_by_ms_) until(by_ms);
  for (const auto& [peer, at_ms] : alarms_) until(at_ms);
  if (lease_poll_at_ms_ != 0) until(lease_poll_at_ms_);
  if (stopping_) until(stop_at_ms_);
  until(idle_end_ms());
  if (!next) return -1;
  return *next <= now_ms ? 0 : static_cast<int>(std::min<uint64_t>(*next - now_ms, 60'000));
}

void RayletCore::turn() {
  Endpoint& self = segment_->endpoint(kRayletEndpoint);
  const int timeout_ms = sleep_ms(os::now_ms());
  const bool may_sleep = peers_.inbound().arm(kArmedEventFd);
  poller_.wait(may_sleep ? timeout_ms : 0, ready_).is_ok();
  self.armed.store(0, std::memory_order_relaxed);  // awake: nobody need ring
  now_ms_ = os::now_ms();
  for (const os::Poller::Ready& ready : ready_) react(ready);
  drain();
  step();
  peers_.flush();
}

void RayletCore::react(const os::Poller::Ready& ready) {
  const auto value = ready.token & ((uint64_t{1} << 56) - 1);
  switch (static_cast<Door::Token>(ready.token >> 56)) {
    case Door::Token::kListener:
      door_.accept_all();
      break;
    case Door::Token::kConnection:
      drain();  // a driver told of its first worker before that one could send anything
      door_.readable(value, ready.events);
      break;
    case Door::Token::kPidfd: {
      const Peer* peer = peers_.find(static_cast<uint32_t>(value));
      if (peer != nullptr && !peer->reap_awaited) ending_[peer->endpoint] = now_ms_;
      break;
    }
    case Door::Token::kBell:
      if (os::drain_event(bell_.get()) != 0) ++bells_received_;
      break;
    case Door::Token::kGuardian:
      poller_.remove(guardian_.pidfd());
      if (!stopping_ && guardian_.restart().is_ok())
        poller_.add(guardian_.pidfd(), os::kReadable, Door::token(Door::Token::kGuardian, 0))
            .is_ok();
      break;
  }
}

void RayletCore::drain() {
  peers_.inbound().drain(
      kDrainRecords,
      [this](uint64_t ring, const RingSlot& slot) {
        ++records_handled_;
        if (Peer* from = peers_.by_in_ring(ring)) record(*from, slot);
      },
      [this](uint64_t ring) { kick(ring); });
}

// Records without a bell have no ready bit either: sets the bit for one client, or for all (0).
void RayletCore::mark_ready(uint32_t endpoint) {
  Endpoint& self = segment_->endpoint(kRayletEndpoint);
  for_each_inbound(*segment_, kRayletEndpoint, [&](uint32_t inbound, uint64_t offset) {
    if (endpoint != 0 && offset != peers_.find(endpoint)->in_ring) return;
    self.ready[inbound / 64].fetch_or(uint64_t{1} << (inbound % 64), std::memory_order_acq_rel);
    self.ready_summary[inbound / 64 / 64].fetch_or(uint64_t{1} << (inbound / 64 % 64),
                                                   std::memory_order_acq_rel);
  });
}

void RayletCore::kick(uint64_t ring_offset) {
  if (Peer* peer = peers_.by_in_ring(ring_offset)) peer->out->kick();
}

void RayletCore::step() {
  std::vector<uint32_t> ended;
  for (const auto& [endpoint, deadline] : ending_)
    if (deadline <= now_ms_) ended.push_back(endpoint);
  for (const uint32_t endpoint : ended) end_endpoint(endpoint);

  deaths_.step(now_ms_);
  end_late_starts();
  ring_alarms();
  if (lease_poll_at_ms_ != 0 && lease_poll_at_ms_ <= now_ms_) leases_changed_ = true;
  if (leases_changed_ && !stopping_) {
    leases_changed_ = false;
    for (const LeaseEffect& effect : leases_.step(now_ms_)) apply(effect);
    lease_poll_at_ms_ = leases_.wants_poll() ? now_ms_ + kLeasePollMs : 0;
  }
  end_idle_workers();
  if (extents_.take_short()) {
    mark_ready(0);
    drain();
  }
  spiller_.step(now_ms_);
  extents_.step(now_ms_);
  processes_.step(now_ms_);
  if (stopping_) step_stop();
}

std::optional<uint64_t> RayletCore::idle_end_ms() {
  const size_t idle = workers_.count(WorkerState::kIdle);
  if (idle <= max_idle_workers_) return std::nullopt;
  const bool many = idle > max_idle_workers_ + kManyIdle;
  return workers_.oldest_idle()->idle_since_ms + (many ? kManyIdleMs : kIdleWorkerMs);
}

void RayletCore::end_idle_workers() {
  for (std::optional<uint64_t> due = idle_end_ms(); due && *due <= now_ms_; due = idle_end_ms()) {
    Worker* worker = workers_.oldest_idle();
    workers_.leave(*worker);
    processes_.end(uint64_t{worker->endpoint} | uint64_t{worker->serial} << 32, worker->token,
                   kJobGraceMs, now_ms_);
  }
}

void RayletCore::attached(Peer& peer, std::vector<os::Fd>& stdio) {
  if (peer.kind == EndpointKind::kService) relay_.service_attached();
  if (peer.kind == EndpointKind::kDriver) {
    JsonObject event("driver_joined");
    event.number("job", peer.job).number("endpoint", peer.endpoint).number("serial", peer.serial);
    event.number("pid", peer.pid).number("language", peer.language);
    event.number("stdoutFd", stdio.size() == 2 ? stdio[0].release() : -1);
    event.number("stderrFd", stdio.size() == 2 ? stdio[1].release() : -1);
    peers_.event(event.take());
  }
}

void RayletCore::socket_ended(uint32_t endpoint) {
  const Peer* peer = peers_.find(endpoint);
  if (peer == nullptr) return;
  // The end of the process follows at once, when it is the process that ended: then its exit status is known.
  const uint64_t at_ms = peer->pidfd.is_open() ? now_ms_ + kExitWaitMs : now_ms_;
  ending_.try_emplace(endpoint, at_ms);
}

void RayletCore::end_endpoint(uint32_t endpoint) {
  ending_.erase(endpoint);
  Peer* peer = peers_.find(endpoint);
  if (peer == nullptr || memory_waits(*peer)) return;
  Deaths::Exit exit;
  if (!exit_known(*peer, exit) && !peer->reap_awaited && peers_.service() != nullptr) {
    // Somebody else is its parent, or has reaped it: who waits for its calls wants to know how it ended.
    peer->reap_awaited = true;
    if (peer->pidfd.is_open()) poller_.remove(peer->pidfd.get());
    ending_[endpoint] = now_ms_ + kReapWaitMs;
    return;
  }
  if (const auto memory = memory_ends_.find(peer->startup_token); memory != memory_ends_.end()) {
    exit.memory = memory->second.text;
    exit.again = memory->second.again;
  }
  mark_ready(endpoint);
  drain();
  door_.close_peer(*peer);
  for (const uint32_t holder : leases_.holders_of(endpoint)) peers_.contact(endpoint, holder);
  const Peer gone = peers_.take(endpoint);
  const Deaths::Report report = deaths_.handle(gone, exit);
  census_.bury(gone);
  relay_.client_gone(gone.peer_id());
  leases_.client_gone(endpoint, report.busy_workers, now_ms_);
  leases_changed_ = true;
  if (gone.kind == EndpointKind::kWorker) worker_ended(gone, exit);
  if (gone.kind == EndpointKind::kDriver) {
    JsonObject event("driver_gone");
    event.number("job", gone.job).number("endpoint", gone.endpoint).number("serial", gone.serial);
    const bool last = peers_.driver_gone(gone.job);
    peers_.event(event.boolean("last", last).take());
    if (last) job_ended(gone.job);
  }
}

void RayletCore::end_for_memory(uint64_t peer_id, const std::string& payload) {
  const Peer* peer = peers_.find(peer_id);
  if (peer == nullptr || peer->kind != EndpointKind::kWorker || payload.size() < 2) return;
  memory_ends_[peer->startup_token] = {payload.substr(1), payload[0] == '1'};
  processes_.end(peer_id, peer->startup_token, 0, now_ms_);
}

bool RayletCore::memory_waits(Peer& peer) {
  const auto memory = memory_ends_.find(peer.startup_token);
  if (memory == memory_ends_.end() || stopping_) return false;
  uint64_t& tell_at_ms = memory->second.tell_at_ms;
  if (tell_at_ms == 0) tell_at_ms = now_ms_ + kMemoryWaitMs;
  if (tell_at_ms <= now_ms_) return false;
  if (!peer.reap_awaited && peer.pidfd.is_open()) poller_.remove(peer.pidfd.get());
  peer.reap_awaited = true;
  ending_[peer.endpoint] = tell_at_ms;
  return true;
}

// One answer for each time that the service asked. The holder of an idle lease takes it in use without a message, unless it
// sees the mark.
void RayletCore::watch_leases() {
  segment_->header().lease_watch.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (leases_.active_leases() != 0) leases_active();
}

void RayletCore::leases_active() {
  if (segment_->header().lease_watch.exchange(0, std::memory_order_relaxed) == 0) return;
  JsonObject event("leases_active");
  peers_.event(event.take());
}

// How the process of this endpoint ended; true when there is nothing to wait for.
bool RayletCore::exit_known(const Peer& peer, Deaths::Exit& exit) {
  if (const auto told = exits_.find(peer.startup_token); told != exits_.end()) {
    exit = told->second;
    return true;
  }
  if (peer.pidfd.is_open()) {
    const Result<os::ExitInfo> info = os::peek_exit(peer.pidfd.get());
    if (info.is_ok()) exit = {info.value().code, info.value().signal};
  }
  return exit.signal != 0 || exit.code >= 0 || peer.kind != EndpointKind::kWorker || stopping_;
}

void RayletCore::worker_exited(uint64_t token, const Deaths::Exit& exit) {
  const Worker* worker = workers_.by_token(token);
  if (worker == nullptr || worker->endpoint == 0) return;
  exits_[token] = exit;
  if (const auto ending = ending_.find(worker->endpoint); ending != ending_.end())
    ending->second = now_ms_;
}

void RayletCore::ring_alarms() {
  std::erase_if(alarms_, [this](const auto& alarm) {
    Peer* peer = peers_.find(alarm.first);
    if (peer != nullptr && alarm.second > now_ms_) return false;
    if (peer != nullptr)
      peers_.send(*peer, RingSlot{static_cast<uint32_t>(Rec::kAlarm), 0, 0, 0, 0});
    return true;
  });
}

// A worker that runs and never comes: whoever waits for its pool is told.
void RayletCore::end_late_starts() {
  for (auto it = attach_by_ms_.begin(); it != attach_by_ms_.end();) {
    const auto [token, by_ms] = *it;
    const Worker* worker = workers_.by_token(token);
    const bool over = worker == nullptr || worker->endpoint != 0;
    if (!over && by_ms > now_ms_) {
      ++it;
      continue;
    }
    it = attach_by_ms_.erase(it);
    if (over) continue;
    processes_.gone(token);
    leases_.start_failed(token, json_error(StatusCode::kRuntimeEnvSetup,
                                           "[runtime env] a worker process started but did not "
                                           "join within " +
                                               std::to_string(options_.worker_start_timeout_ms) +
                                               " ms. See its log file; what runs before its "
                                               "first task may hang."));
    leases_changed_ = true;
  }
}

void RayletCore::worker_ended(const Peer& peer, const Deaths::Exit& exit) {
  const std::string how = exit.signal != 0 ? "by signal " + std::to_string(exit.signal)
                          : exit.code >= 0 ? "with exit code " + std::to_string(exit.code)
                                           : std::string("unexpectedly");
  leases_.worker_gone(peer.startup_token,
                      "workers of this class end before they are ready (the last one " + how + ")");
  processes_.gone(peer.startup_token);
  exits_.erase(peer.startup_token);
  memory_ends_.erase(peer.startup_token);
  JsonObject event("worker_gone");
  event.number("startupToken", static_cast<int64_t>(peer.startup_token)).number("pid", peer.pid);
  event.number("endpoint", peer.endpoint).number("serial", peer.serial);
  peers_.event(event.number("exitCode", exit.code).number("signal", exit.signal).take());
}

void RayletCore::job_ended(uint32_t job) {
  for (Worker* worker : workers_.of_job(job)) {
    const uint64_t token = worker->token;
    const uint64_t peer_id = uint64_t{worker->endpoint} | uint64_t{worker->serial} << 32;
    processes_.end(worker->endpoint != 0 ? peer_id : ~uint64_t{0}, token, kJobGraceMs, now_ms_);
    if (worker->endpoint != 0)
      leases_.worker_leaving(worker->endpoint);
    else
      leases_.worker_gone(token, "the job has ended");
  }
  leases_.end_job(job);
  leases_changed_ = true;
  frees_.end_job(job);
}

void RayletCore::begin_stop(uint32_t grace_ms) {
  if (stopping_) return;
  stopping_ = true;
  now_ms_ = os::now_ms();
  stop_at_ms_ = now_ms_ + grace_ms;
  peers_.broadcast(RingSlot{static_cast<uint32_t>(Rec::kShutdown), 0, 0, 0, 0});
  peers_.flush();
  for (Worker* worker : workers_.all()) {
    const uint64_t peer_id = uint64_t{worker->endpoint} | uint64_t{worker->serial} << 32;
    processes_.end(worker->endpoint != 0 ? peer_id : ~uint64_t{0}, worker->token, grace_ms,
                   now_ms_);
  }
  step_stop();
}

void RayletCore::step_stop() {
  const auto& all = peers_.all();
  const bool workers_left = std::any_of(all.begin(), all.end(), [](const auto& item) {
    return item.second.kind == EndpointKind::kWorker;
  });
  if (!workers_left) {
    // Groups of workers that never attached are the guardian's.
    for (const uint64_t token : processes_.tokens()) processes_.gone(token);
    stopped_ = true;
    return;
  }
  if (stop_at_ms_ > now_ms_) return;
  if (killed_) {
    stopped_ = true;
    return;
  }
  killed_ = true;
  stop_at_ms_ = now_ms_ + 500;
  for (const auto& [endpoint, peer] : all)
    if (peer.kind == EndpointKind::kWorker)
      processes_.end(peer.peer_id(), peer.startup_token, 0, now_ms_);
}

void RayletCore::finish() {
  spilled_.files().stop();
  guardian_.finish(5000);
}

RayletStats RayletCore::stats() {
  mark_ready(0);
  drain();
  step();
  peers_.flush();
  RayletStats stats;
  stats.total = leases_.resources().total().items();
  stats.available = leases_.available().items();
  stats.store_used_bytes = extents_.used_bytes();
  stats.store_capacity_bytes = extents_.capacity_bytes();
  census_.fill(peers_, stats);
  stats.spilled_bytes = spilled_.bytes();
  stats.spilled_objects = spilled_.objects();
  stats.spilled_total_bytes = spilled_.total_bytes();
  stats.spilled_total_objects = spilled_.total_objects();
  stats.spill_write_ms = spiller_.write_ns() / 1'000'000;
  stats.spill_reads = segment_->header().spill_reads.load(std::memory_order_relaxed);
  stats.spill_read_bytes = segment_->header().spill_read_bytes.load(std::memory_order_relaxed);
  stats.endpoints = peers_.all().size() + deaths_.graves();
  stats.workers = workers_.size() - workers_.count(WorkerState::kStarting);
  stats.idle_workers = workers_.count(WorkerState::kIdle);
  stats.starting_workers = workers_.count(WorkerState::kStarting);
  stats.queued_leases = leases_.waiting();
  stats.active_leases = leases_.active_leases();
  stats.bells_received = bells_received_;
  stats.records_handled = records_handled_;
  stats.workers_started = workers_started_;
  stats.leases_granted = leases_.granted();
  stats.extents = extents_.extents();
  stats.extents_granted = extents_.granted();
  stats.pages_reused_bytes = extents_.allocator().reused_bytes();
  stats.pages_fresh_bytes = extents_.allocator().fresh_bytes();
  return stats;
}

}  // namespace polyray::raylet
