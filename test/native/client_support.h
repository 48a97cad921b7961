// SPDX-License-Identifier: Apache-2.0
// A whole small runtime for tests of the client: a real raylet in this process, a service endpoint that starts worker
// processes (this program again, with --worker), drivers, and workers written in C++ that obey little text commands.
//
// Envelopes here are the command text behind a 16-byte envelope header with the table of refs, as the product writes them.
#pragma once
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "os/env.h"
#include "raylet/raylet.h"
#include "store/error_envelope.h"
#include "store/segment.h"

namespace polyray::testing {

inline constexpr const char* kToken = "test-token";

// --- values ------------------------------------------------------------------------------------------------------

inline std::vector<uint8_t> value_of(std::string_view text, std::span<const ObjectId> refs = {}) {
  std::vector<uint8_t> bytes(16, 0);
  bytes[0] = 1;
  const auto size = static_cast<uint32_t>(text.size());
  const auto count = static_cast<uint32_t>(refs.size());
  std::memcpy(&bytes[4], &size, 4);
  std::memcpy(&bytes[12], &count, 4);
  const auto* ids = reinterpret_cast<const uint8_t*>(refs.data());
  bytes.insert(bytes.end(), ids, ids + refs.size_bytes());
  bytes.insert(bytes.end(), text.begin(), text.end());
  return bytes;
}

inline std::string text_of(std::span<const uint8_t> bytes) {
  if (bytes.size() < 16) return "(cut off)";
  uint32_t count;
  std::memcpy(&count, &bytes[12], 4);
  const size_t start = 16 + size_t{count} * sizeof(ObjectId);
  return {reinterpret_cast<const char*>(bytes.data()) + start, bytes.size() - start};
}

inline std::string read_text(Client& client, const ObjectId& id) {
  Result<ObjectView> view = client.pin(id);
  if (!view.is_ok()) return "(" + view.status().message + ")";
  const std::span<const uint8_t> bytes(view.value().data, view.value().size);
  // Errors: the raw bytes, in which a test looks for words.
  std::string text =
      view.value().is_error ? std::string(bytes.begin(), bytes.end()) : text_of(bytes);
  if (view.value().pinned) client.unpin(id);
  return text;
}

// --- an event loop -----------------------------------------------------------------------------------------------

// Polls until `done`, passing events to `on_event`. False after timeout_ms (a watchdog, not an expectation).
inline bool run_until(Client& client, const std::function<bool()>& done,
                      const std::function<void(Event&)>& on_event, uint32_t timeout_ms = 30'000) {
  const uint64_t deadline = os::now_ms() + timeout_ms;
  std::vector<Event> events;
  while (!done()) {
    events.clear();
    client.poll(events, 256);
    for (Event& event : events) on_event(event);
    client.flush();
    if (!events.empty()) continue;
    if (os::now_ms() > deadline) return false;
    if (client.arm(kArmedFutex)) client.wait_doorbell(100);
    if (client.is_detached()) return false;
  }
  return true;
}

// Waits for objects. Other events go to `other`.
inline bool wait_all(Client& client, std::span<const ObjectId> ids,
                     const std::function<void(Event&)>& other = {}, uint32_t timeout_ms = 30'000) {
  std::set<uint64_t> open;
  for (const ObjectId& id : ids)
    if (client.subscribe(id) == ObjectStatus::kPending) open.insert(id.unique);
  client.flush();
  return run_until(
      client, [&] { return open.empty(); },
      [&](Event& event) {
        if (event.kind == EventKind::kObjectReady || event.kind == EventKind::kObjectGone)
          open.erase(event.id.unique);
        if (other) other(event);
      },
      timeout_ms);
}

inline std::string get(Client& client, const ObjectId& id) {
  if (!wait_all(client, {&id, 1})) return "(timeout)";
  return read_text(client, id);
}

// --- workers -----------------------------------------------------------------------------------------------------

struct Submitter {
  Client& client;
  uint32_t spec;
  // A task whose value is `command`; refs are inside, the first `top` of them top-level.
  ObjectId task(std::string_view command, std::span<const ObjectId> refs = {}, uint32_t top = 0,
                int32_t retries = 0) {
    const auto envelope = value_of(command, refs);
    CallArguments arguments;
    arguments.envelope = envelope;
    arguments.refs = refs;
    arguments.top_refs = top;
    arguments.max_retries = retries;
    ObjectId id;
    const Status status = client.submit_task(spec, arguments, &id);
    EXPECT_TRUE(status.is_ok()) << status.message;
    return id;
  }
};

inline SpecInfo make_spec(Client& client, uint64_t cpus_fixed = kResourceUnit,
                          uint64_t class_hash = 77) {
  SpecInfo info;
  info.spec = client.put(value_of("spec"), {}, kEntryKeep).value();
  info.lease.class_hash = class_hash + client.job();
  info.lease.language = 1;
  info.lease.job = client.job();
  ResourceItem cpu{};
  cpu.amount = cpus_fixed;
  std::strcpy(cpu.name, "CPU");
  info.resources.push_back(cpu);
  info.worker_key = "{}";
  info.max_retries = 0;
  return info;
}

class TestWorker {
 public:
  explicit TestWorker(const AttachOptions& options) {
    Result<std::unique_ptr<Client>> attached = Client::attach(options);
    if (!attached.is_ok()) {
      fprintf(stderr, "worker cannot attach: %s\n", attached.status().message.c_str());
      std::_Exit(3);
    }
    client_ = std::move(attached.value());
    client_->worker_ready();
  }

  void run() {
    run_until(*client_, [this] { return over_; }, [this](Event& event) { handle(event); }, ~0u / 2);
  }

 private:
  void handle(Event& event) {
    if (event.kind == EventKind::kShutdown) over_ = true;
    if (event.kind == EventKind::kCancel) cancelled_[event.id.unique] = event.a;
    if (event.kind == EventKind::kStreamCredit) room_ += event.a;
    if (event.kind == EventKind::kCall) execute(event.call);
    if (event.kind == EventKind::kObjectReady || event.kind == EventKind::kObjectGone)
      ready_.insert(event.id.unique);
  }

  // Blocks as a worker does: gives the slot back, keeps polling.
  std::string blocking_get(const ObjectId& id) {
    if (client_->subscribe(id) == ObjectStatus::kPending) {
      client_->set_blocked(true);
      run_until(
          *client_, [&] { return over_ || ready_.contains(id.unique); },
          [this](Event& event) { handle(event); });
      client_->set_blocked(false);
    }
    return read_text(*client_, id);
  }

  void finish(const IncomingCall& call, std::string_view text,
              std::span<const ObjectId> refs = {}) {
    for (uint32_t i = 0; i < call.returns.size(); ++i)
      static_cast<void>(client_->return_small(call.handle, i, value_of(text, refs), refs, false));
    client_->reply(call.handle, ReplyStatus::kOk);
  }

  void execute(const IncomingCall& call) {
    const std::string text = text_of(call.envelope);
    const size_t colon = text.find(':');
    const std::string verb = text.substr(0, colon);
    const std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
    if (call.kind == CallKind::kActorCreate)
      client_->set_actor_identity(call.actor, call.incarnation);
    if (verb == "echo") return finish(call, rest);
    if (verb == "pid") return finish(call, std::to_string(getpid()));
    if (verb == "sum") {
      int64_t total = rest.empty() ? 0 : std::stoll(rest);
      for (const ObjectId& id : call.refs) total += std::stoll(read_text(*client_, id));
      return finish(call, std::to_string(total));
    }
    if (verb == "count") return finish(call, std::to_string(++counter_));
    if (verb == "append") {
      log_ += rest + ",";
      return finish(call, log_);
    }
    if (verb == "sleep") {
      os::sleep_ms(static_cast<uint32_t>(std::stoul(rest)));
      return finish(call, "slept");
    }
    if (verb == "get") return finish(call, blocking_get(call.refs[0]));
    if (verb == "ref")
      return finish(call, rest, {call.refs.data(), call.refs.size()});  // a value with refs inside
    if (verb == "big") {
      const std::string bytes(std::stoul(rest), 'x');
      return finish(call, bytes);
    }
    if (verb == "size")
      return finish(call,
                    std::to_string(call.envelope.size()) + " " + std::to_string(call.refs.size()));
    if (verb == "nested") {
      Submitter own{*client_, client_->register_spec(make_spec(*client_))};
      const ObjectId id = own.task("echo:" + rest);
      const std::string inner = blocking_get(id);
      client_->release_ref(id);
      return finish(call, "nested " + inner);
    }
    if (verb == "die" || verb == "dieonce") {
      if (verb == "dieonce" && call.attempt > 0)
        return finish(call, "attempt " + std::to_string(call.attempt));
      kill(getpid(), SIGKILL);
    }
    if (verb == "sealdie") {
      static_cast<void>(client_->return_small(
          call.handle, 0, value_of("sealed " + std::to_string(call.attempt)), {}, false));
      kill(getpid(), SIGKILL);
    }
    if (verb == "leave") {
      client_->worker_exit();
      return finish(call, "left");
    }
    if (verb == "retry") {  // "retry:times", while the caller allows it
      if (call.attempt < static_cast<uint32_t>(std::stoul(rest)) && call.retries_left != 0)
        return client_->reply(call.handle, ReplyStatus::kRetry);
      return finish(call, "attempt " + std::to_string(call.attempt));
    }
    if (verb == "untilcancel") {
      run_until(
          *client_, [&] { return over_ || cancelled_.contains(call.task.unique); },
          [this](Event& event) { handle(event); });
      const auto envelope = error_envelope(
          {.code = StatusCode::kTaskCancelled,
           .message = "cancelled by the worker " + std::to_string(cancelled_[call.task.unique])});
      static_cast<void>(client_->return_small(call.handle, 0, envelope, {}, true));
      return client_->reply(call.handle, ReplyStatus::kCancelled);
    }
    if (verb == "stream") {
      const auto count = static_cast<uint32_t>(std::stoul(rest));
      for (uint32_t i = 0; i < count; ++i) {
        const ObjectId item = client_->put(value_of("item " + std::to_string(i)), {}).value();
        static_cast<void>(client_->stream_item(call.handle, i, item));
        client_->release_ref(item);
        client_->flush();
      }
      return finish(call, "end");
    }
    if (verb == "hold") return held_.push_back(call);  // ended by letgo
    if (verb == "emit") {                              // so many items of the calls that are held
      for (const IncomingCall& held : held_)
        for (uint32_t i = 0; i < std::stoul(rest); ++i) {
          items_.push_back(client_->put(value_of("item"), {}).value());
          EXPECT_TRUE(client_->stream_item(held.handle, i, items_.back()).is_ok());
          client_->release_ref(items_.back());
        }
      return finish(call, "emitted");
    }
    if (verb == "letgo") {
      for (const IncomingCall& held : held_) finish(held, "let go");
      held_.clear();
      return finish(call, "done");
    }
    if (verb == "kept") {  // items that are still there, room that the caller gave for more
      const auto left = std::count_if(items_.begin(), items_.end(), [this](const ObjectId& id) {
        return client_->status(id) != ObjectStatus::kGone;
      });
      return finish(call, std::to_string(left) + " " + std::to_string(room_));
    }
    if (verb == "fail") {
      const auto envelope = error_envelope({.code = StatusCode::kTaskFailed, .message = rest});
      static_cast<void>(client_->return_small(call.handle, 0, envelope, {}, true));
      return client_->reply(call.handle, ReplyStatus::kError);
    }
    if (verb == "flood") {  // many calls to another actor: "flood:endpoint:serial:count"
      uint32_t endpoint = 0, serial = 0, count = 0;
      sscanf(rest.c_str(), "%u:%u:%u", &endpoint, &serial, &count);
      const ObjectId other = call.refs[0];
      client_->set_actor_state(other, ActorPhase::kAlive, endpoint | uint64_t{serial} << 32, 1, 0,
                               {});
      const auto envelope = value_of("count");
      CallArguments arguments;
      arguments.method = "count";
      arguments.envelope = envelope;
      std::vector<ObjectId> ids(count);
      for (ObjectId& id : ids) static_cast<void>(client_->submit_actor_call(other, arguments, &id));
      client_->flush();
      floods_.push_back({call.handle, std::move(ids)});
      return;  // replied when all are there
    }
    if (verb == "flooded") {
      for (auto& [handle, ids] : floods_) {
        wait_all(*client_, ids, [this](Event& event) { handle_other(event); });
        int most = 0;
        for (const ObjectId& id : ids) {
          most = std::max(most, std::stoi(read_text(*client_, id)));
          client_->release_ref(id);
        }
        static_cast<void>(
            client_->return_small(handle, 0, value_of(std::to_string(most)), {}, false));
        client_->reply(handle, ReplyStatus::kOk);
      }
      floods_.clear();
      return finish(call, "done");
    }
    finish(call, "?" + verb);
  }

  void handle_other(Event& event) {
    if (event.kind == EventKind::kCall || event.kind == EventKind::kShutdown) handle(event);
  }

  struct Flood {
    uint64_t handle;
    std::vector<ObjectId> ids;
  };
  std::unique_ptr<Client> client_;
  std::set<uint64_t> ready_;
  std::map<uint64_t, uint32_t> cancelled_;  // how, by task
  std::vector<Flood> floods_;
  std::string log_;
  std::vector<IncomingCall> held_;
  std::vector<ObjectId> items_;  // of streams
  uint32_t room_ = 0;
  int counter_ = 0;
  bool over_ = false;
};

// argv: program --worker <socket> <startup token>
inline int worker_main(char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  AttachOptions options;
  options.socket_name = argv[2];
  options.token = kToken;
  options.kind = EndpointKind::kWorker;
  options.startup_token = std::strtoull(argv[3], nullptr, 10);
  TestWorker worker(options);
  worker.run();
  return 0;
}

// The main() of every program that starts workers.
inline int tests_or_worker(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--worker") return worker_main(argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

// --- the runtime -------------------------------------------------------------------------------------------------

// The service lives on a thread of its own, as in the product.
class TestRuntime {
 public:
  explicit TestRuntime(uint64_t cpus = 2, uint64_t store_bytes = 64 << 20) {
    static int number = 0;
    RayletOptions options;
    options.session_name =
        "polyray-test-" + std::to_string(getpid()) + "-" + std::to_string(++number);
    options.session_token = kToken;
    options.object_store_bytes = store_bytes;
    options.resources = {{"CPU", cpus * kResourceUnit}};
    options.max_idle_workers = 8;
    Result<std::unique_ptr<Raylet>> started = Raylet::start(options);
    if (!started.is_ok()) {
      ADD_FAILURE() << started.status().message;
      std::abort();
    }
    raylet = std::move(started.value());
    service = attach(EndpointKind::kService);
    thread_ = std::thread([this] { serve(); });
  }

  ~TestRuntime() {
    stopping_ = true;
    raylet->stop(500);
    thread_.join();
    service.reset();
    for (const auto& [token, pid] : pids_) {
      kill(static_cast<pid_t>(pid), SIGKILL);
      waitpid(static_cast<pid_t>(pid), nullptr, 0);
    }
  }

  std::unique_ptr<Client> attach(EndpointKind kind = EndpointKind::kDriver, uint32_t job = 0) {
    AttachOptions options;
    options.socket_name = raylet->socket_name();
    options.token = kToken;
    options.kind = kind;
    options.job = job;
    Result<std::unique_ptr<Client>> client = Client::attach(options);
    if (!client.is_ok()) {
      ADD_FAILURE() << client.status().message;
      std::abort();
    }
    return std::move(client.value());
  }

  // A dedicated worker with an actor in it, made by the service thread. Returns its peer key.
  struct ActorProcess {
    ObjectId id;
    uint64_t peer = 0;
    uint32_t incarnation = 1;
  };
  ActorProcess make_actor(Client& owner, uint32_t incarnation = 1, ObjectId id = {}) {
    ActorProcess actor;
    actor.id = id.unique != 0 ? id : owner.create_actor_object().value();
    actor.incarnation = incarnation;
    request_ = &actor;
    for (int i = 0; i < 3000 && request_ != nullptr; ++i) os::sleep_ms(10);
    EXPECT_NE(actor.peer, 0u) << "no worker for the actor";
    return actor;
  }

  // SIGKILL for one of the leased workers (deaths before they are ready are another story). False: there is none.
  bool kill_worker(uint32_t which) {
    std::vector<uint32_t> pids;
    for (uint32_t number = 1; number < 256; ++number) {
      const Lease& lease = service->segment().lease(number);
      if ((lease.word.load() & kLeaseStateMask) != static_cast<uint32_t>(LeaseState::kActive))
        continue;
      const Endpoint& endpoint = service->segment().endpoint(lease.worker);
      if (endpoint.state.load() == static_cast<uint32_t>(EndpointState::kAttached) &&
          endpoint.serial == lease.worker_serial)
        pids.push_back(endpoint.pid);
    }
    return !pids.empty() && kill(static_cast<pid_t>(pids[which % pids.size()]), SIGKILL) == 0;
  }

  std::unique_ptr<Raylet> raylet;
  std::unique_ptr<Client> service;
  std::atomic<uint32_t> started_workers{0};

 private:
  void serve() {
    Client& client = *service;
    SpecInfo actor_spec = make_spec(client, 0, 4242);
    const uint32_t spec_number = client.register_spec(actor_spec);
    uint32_t asked = 0;
    ObjectId created;
    run_until(
        client,
        [&] {
          ActorProcess* wanted = request_;
          if (wanted != nullptr && asked == 0) {
            asked = client.request_dedicated(actor_spec);
            client.flush();
          }
          return stopping_.load();
        },
        [&](Event& event) {
          if (event.kind == EventKind::kRayletEvent)
            raylet_event(std::string(event.payload.begin(), event.payload.end()));
          if (event.kind == EventKind::kLeaseFailed)
            ADD_FAILURE() << std::string(event.payload.begin(), event.payload.end());
          if (event.kind == EventKind::kLeaseGranted && event.a == asked) {
            ActorProcess* wanted = request_;
            wanted->peer = event.peer;
            const auto envelope = value_of("create");
            CallArguments arguments;
            arguments.envelope = envelope;
            const Status status = client.submit_actor_create(
                event.peer, wanted->id, wanted->incarnation, spec_number, arguments, &created);
            EXPECT_TRUE(status.is_ok()) << status.message;
            client.subscribe(created);
          }
          if (event.kind == EventKind::kObjectReady && event.id == created) {
            asked = 0;
            request_ = nullptr;
          }
        },
        ~0u / 2);
  }

  static uint64_t number_in(const std::string& json, const std::string& name) {
    const size_t at = json.find("\"" + name + "\":");
    return at == std::string::npos
               ? 0
               : std::strtoull(json.c_str() + at + name.size() + 3, nullptr, 10);
  }

  void raylet_event(const std::string& json) {
    if (json.find("worker_needed") != std::string::npos) {
      const uint64_t token = number_in(json, "startupToken");
      os::SpawnOptions options;
      options.path = "/proc/self/exe";
      options.arguments = {"--worker", raylet->socket_name(), std::to_string(token)};
      Result<uint32_t> pid = os::spawn(options);
      if (!pid.is_ok()) {
        ADD_FAILURE() << pid.status().message;
        return;
      }
      ++started_workers;
      pids_[token] = pid.value();
      service->raylet_command(RayletOp::kWorkerStarted, token, pid.value(), 0, {});
    } else if (json.find("worker_gone") != std::string::npos) {
      const uint64_t token = number_in(json, "startupToken");
      if (const auto it = pids_.find(token); it != pids_.end()) {
        waitpid(static_cast<pid_t>(it->second), nullptr, WNOHANG);
        pids_.erase(it);
      }
    }
  }

  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<ActorProcess*> request_{nullptr};
  std::map<uint64_t, uint32_t> pids_;
};

}  // namespace polyray::testing
