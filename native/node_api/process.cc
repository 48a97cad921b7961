// SPDX-License-Identifier: Apache-2.0
// What the process has once: the raylet, if one was started here, and the note by which a
// worker_thread finds the runtime.
//
// The raylet stops by stopRaylet, with the environment that started it, or at exit() (process.exit
// runs no environment hooks).
// Thread rules: `process` is locked; the raylet is taken out before it is joined, so no lock is
// held while it stops.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"
#include "raylet/raylet.h"

namespace polyray::node_api {

namespace {

struct Process {
  std::mutex mutex;
  std::shared_ptr<Raylet> raylet;
  Environment* starter = nullptr;
  pid_t pid = 0;
  bool has_note = false;
  std::string note;
  bool exit_hook = false;
};

// Never destroyed: threads may still look at it while the process exits.
Process& process() {
  static Process* instance = new Process;
  return *instance;
}

// Workers get this long at an exit that nobody prepared (stopRaylet gives what the caller wants).
constexpr uint32_t kExitGraceMs = 200;

std::shared_ptr<Raylet> take_raylet(const Environment* starter) {
  std::lock_guard lock(process().mutex);
  if (starter != nullptr && process().starter != starter) return nullptr;
  if (process().pid != getpid()) return nullptr;  // a forked child has no raylet thread
  process().starter = nullptr;
  return std::exchange(process().raylet, nullptr);
}

void stop_at_exit() {
  if (auto raylet = take_raylet(nullptr); raylet != nullptr) raylet->stop(kExitGraceMs);
}

napi_value make_amounts(napi_env env,
                        const std::vector<std::pair<std::string, uint64_t>>& amounts) {
  napi_value record = nullptr;
  napi_create_object(env, &record);
  for (const auto& [name, amount] : amounts)
    set_number(env, record, name.c_str(), static_cast<double>(amount));
  return record;
}

}  // namespace

void stop_raylet_of(Environment& environment) {
  if (!environment.starts_raylet) return;
  environment.starts_raylet = false;
  if (auto raylet = take_raylet(&environment); raylet != nullptr) raylet->stop(kExitGraceMs);
}

napi_value start_raylet(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  RayletOptions options;
  std::string spill_folders;
  napi_value from = a.raw(0);
  if (!a.ok() || !read_property(env, from, "sessionName", options.session_name) ||
      !read_property(env, from, "sessionToken", options.session_token) ||
      !read_property(env, from, "sessionDir", options.session_dir) ||
      !read_property(env, from, "guardianPath", options.guardian_path) ||
      !read_property(env, from, "nodeTag", options.node_tag) ||
      !read_property(env, from, "objectStoreBytes", options.object_store_bytes) ||
      !read_property(env, from, "plasmaDirectory", options.plasma_directory) ||
      !read_property(env, from, "spillFolders", spill_folders) ||
      !read_amounts(env, from, "resources", options.resources) ||
      !read_property(env, from, "maxIdleWorkers", options.max_idle_workers) ||
      !read_property(env, from, "workerStartLimit", options.worker_start_limit)) {
    return nullptr;
  }
  options.package_version = POLYRAY_VERSION;
  for (size_t at = 0; at < spill_folders.size();) {
    const size_t end = std::min(spill_folders.find('\n', at), spill_folders.size());
    if (end > at) options.spill_folders.push_back(spill_folders.substr(at, end - at));
    at = end + 1;
  }
  Process& shared = process();
  std::lock_guard lock(shared.mutex);
  if (shared.raylet != nullptr && shared.pid == getpid()) {
    return throw_code(env, StatusCode::kAlreadyExists,
                      "[already exists] A node runs in this process. Stop it first.");
  }
  auto started = Raylet::start(options);
  if (!started.is_ok()) return throw_status(env, started.status());
  shared.raylet = std::move(started.value());
  shared.starter = &a.self();
  shared.pid = getpid();
  a.self().starts_raylet = true;
  if (!shared.exit_hook) {
    shared.exit_hook = true;
    std::atexit(stop_at_exit);
  }
  return make_string(env, shared.raylet->socket_name());
}

napi_value stop_raylet(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t grace_ms = a.u32(0);
  if (!a.ok()) return nullptr;
  auto raylet = take_raylet(nullptr);
  if (raylet == nullptr)
    return throw_code(env, StatusCode::kClosed, "[closed] No node runs in this process.");
  raylet->stop(grace_ms);
  return nullptr;
}

namespace {

// By number: Count in store/layout.h.
constexpr std::array<const char*, kCounts> kCountNames = {
    "tasksSubmitted",  "actorCallsSubmitted", "tasksSent",    "leasesGranted",
    "retries",         "retracted",           "givenUp",      "callsExecuted",
    "callsFinished",   "callsFailed",         "callsRetried", "callsCancelled",
    "recordsSent",     "bellsRung",           "puts",         "putBytes",
    "zeroCopyBytes",   "extentRequests",      "slabGranules", "populatedBytes",
    "pagesReusedBytes"};

napi_value make_processes(napi_env env, const std::vector<ProcessStats>& processes) {
  napi_value list = nullptr;
  napi_create_array_with_length(env, processes.size(), &list);
  for (uint32_t i = 0; i < processes.size(); ++i) {
    const ProcessStats& one = processes[i];
    const std::pair<const char*, uint64_t> numbers[] = {{"pid", one.pid},
                                                        {"endpoint", one.endpoint},
                                                        {"kind", one.kind},
                                                        {"language", one.language},
                                                        {"job", one.job},
                                                        {"ended", one.ended},
                                                        {"rings", one.rings},
                                                        {"ringDepth", one.ring_depth},
                                                        {"deepestRing", one.deepest_ring}};
    napi_value row = nullptr;
    napi_create_object(env, &row);
    for (const auto& [name, value] : numbers)
      set_number(env, row, name, static_cast<double>(value));
    napi_value counts = nullptr;
    napi_create_object(env, &counts);
    for (uint32_t n = 0; n < kCounts; ++n)
      set_number(env, counts, kCountNames[n], static_cast<double>(one.counts[n]));
    set_property(env, row, "counts", counts);
    napi_set_element(env, list, i, row);
  }
  return list;
}

}  // namespace

napi_value raylet_stats(napi_env env, napi_callback_info) {
  std::shared_ptr<Raylet> raylet;
  {
    std::lock_guard lock(process().mutex);
    raylet = process().raylet;
  }
  if (raylet == nullptr)
    return throw_code(env, StatusCode::kClosed, "[closed] No node runs in this process.");
  const RayletStats stats = raylet->stats();
  napi_value result = nullptr;
  napi_create_object(env, &result);
  set_property(env, result, "total", make_amounts(env, stats.total));
  set_property(env, result, "available", make_amounts(env, stats.available));
  const std::pair<const char*, uint64_t> numbers[] = {
      {"storeUsedBytes", stats.store_used_bytes},
      {"storeCapacityBytes", stats.store_capacity_bytes},
      {"objects", stats.objects},
      {"endpoints", stats.endpoints},
      {"workers", stats.workers},
      {"idleWorkers", stats.idle_workers},
      {"startingWorkers", stats.starting_workers},
      {"queuedLeases", stats.queued_leases},
      {"activeLeases", stats.active_leases},
      {"bellsReceived", stats.bells_received},
      {"recordsHandled", stats.records_handled},
      {"spilledBytes", stats.spilled_bytes},
      {"spilledObjects", stats.spilled_objects},
      {"spilledTotalBytes", stats.spilled_total_bytes},
      {"spilledTotalObjects", stats.spilled_total_objects},
      {"spillWriteMs", stats.spill_write_ms},
      {"spillReads", stats.spill_reads},
      {"spillReadBytes", stats.spill_read_bytes},
      {"workersStarted", stats.workers_started},
      {"leasesGranted", stats.leases_granted},
      {"extents", stats.extents},
      {"extentsGranted", stats.extents_granted},
      {"pagesReusedBytes", stats.pages_reused_bytes},
      {"pagesFreshBytes", stats.pages_fresh_bytes},
      {"slabs", stats.slabs},
      {"slabSlots", stats.slab_slots},
      {"slabSlotsUsed", stats.slab_slots_used},
      {"entryChunks", stats.entry_chunks},
      {"recordChunks", stats.record_chunks},
      {"ringChunks", stats.ring_chunks},
      {"eventChunks", stats.event_chunks}};
  for (const auto& [name, value] : numbers)
    set_number(env, result, name, static_cast<double>(value));
  set_property(env, result, "processes", make_processes(env, stats.processes));
  return result;
}

napi_value set_runtime_note(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const bool clear = a.is_null(0);
  std::string text = clear ? std::string() : a.text(0);
  if (!a.ok()) return nullptr;
  std::lock_guard lock(process().mutex);
  process().has_note = !clear;
  process().note = std::move(text);
  return nullptr;
}

napi_value runtime_note(napi_env env, napi_callback_info) {
  std::lock_guard lock(process().mutex);
  return process().has_note ? make_string(env, process().note) : make_null(env);
}

}  // namespace polyray::node_api
