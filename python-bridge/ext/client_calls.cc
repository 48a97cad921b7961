// SPDX-License-Identifier: Apache-2.0
// Client: specs, submitting tasks and actor calls, cancelling, streams.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

#include "client_binding.h"
#include "os/env.h"
#include "store/error_envelope.h"

namespace polyray::py {

namespace {

constexpr uint32_t kMaxReturns = 1000;

uint64_t hash_text(uint64_t hash, const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 1099511628211ull;
  return hash;
}

// Everything that makes two calls need different workers.
uint64_t class_hash(const SpecInfo& info) {
  uint64_t hash = 14695981039346656037ull;
  const uint32_t fixed[] = {info.lease.language, info.lease.job, info.lease.flags};
  hash = hash_text(hash, fixed, sizeof(fixed));
  for (const ResourceItem& item : info.resources) hash = hash_text(hash, &item, sizeof(item));
  return hash_text(hash, info.worker_key.data(), info.worker_key.size());
}

uint32_t register_spec(Endpoint& self, nb::handle spec, uint32_t language,
                       const std::vector<std::pair<std::string, uint64_t>>& resources,
                       const std::string& worker_key, int32_t max_retries, int32_t priority) {
  Session& session = self.open();
  SpecInfo info;
  info.spec = ref_at(spec).id;
  info.worker_key = worker_key;
  info.max_retries = max_retries;
  info.lease.language = language;
  info.lease.priority = priority;
  info.lease.key_bytes = static_cast<uint32_t>(worker_key.size());
  info.lease.resource_count = static_cast<uint32_t>(resources.size());
  for (const auto& [name, amount] : resources) {
    ResourceItem item{};
    if (name.size() >= sizeof(item.name))
      raise_code(StatusCode::kInvalidOption,
                 "[invalid option] the name of a resource is too long: " + name);
    item.amount = amount;
    std::copy(name.begin(), name.end(), item.name);
    info.resources.push_back(item);
  }
  const Locked lock(session);
  info.lease.job = session.client().job();
  info.lease.class_hash = class_hash(info);
  return session.client().register_spec(std::move(info));
}

// Where the returns of a call come from.
struct Origin {
  ObjectId actor;  // nil: a task
  uint32_t spec = kNoSpec;
};

// One return of a call: what tells its task is kept beside it.
nb::object return_ref(const std::shared_ptr<Session>& session, const ObjectId& id,
                      const ObjectId& first, const Origin& origin) {
  nb::object made = make_ref(session, id);
  Ref& ref = *exact_ref(made.ptr());
  if (!(first == id)) ref.first = std::make_unique<ObjectId>(first);
  ref.actor = origin.actor;
  ref.spec = origin.spec;
  return made;
}

// The refs of one submitted call: one ref, or a list.
nb::object refs_of(const std::shared_ptr<Session>& session, const ObjectId* ids, uint32_t count,
                   const Origin& origin) {
  if (count == 1) return return_ref(session, ids[0], ids[0], origin);
  nb::list refs;
  for (uint32_t i = 0; i < count; ++i) refs.append(return_ref(session, ids[i], ids[0], origin));
  return refs;
}

// When a call with this limit (0: none) must end; never later than the call that this thread runs.
uint64_t deadline_of(uint64_t timeout_ms) {
  const uint64_t own = timeout_ms == 0 ? 0 : os::now_ms() + timeout_ms;
  const uint64_t outer = running_deadline_ms;
  return own == 0 || outer == 0 ? own + outer : std::min(own, outer);
}

CallArguments arguments_of(std::span<const uint8_t> envelope, uint32_t returns, uint32_t flags,
                           int32_t retries, uint64_t timeout_ms) {
  if (returns < 1 || returns > kMaxReturns)
    raise_code(StatusCode::kInvalidOption, "[invalid option] num_returns is 1 to 1000.");
  CallArguments call;
  call.envelope = envelope;
  call.refs = envelope_refs(envelope, &call.top_refs);
  call.return_count = returns;
  call.flags = static_cast<uint16_t>(flags);
  call.max_retries = retries;
  call.deadline_ms = deadline_of(timeout_ms);
  return call;
}

// `envelope`: the args' bytes, or the ref of the object that they were put as.
template <class Submit>
nb::object submit(Endpoint& self, nb::handle envelope, uint32_t returns, uint32_t flags,
                  int32_t retries, uint64_t timeout_ms, const Origin& origin, Submit&& use) {
  Session& session = self.open();
  const Ref* stored = as_ref(envelope);
  std::optional<ByteArgument> bytes;
  if (stored == nullptr) bytes.emplace(envelope);
  CallArguments call = arguments_of(bytes ? bytes->bytes() : std::span<const uint8_t>(), returns,
                                    flags, retries, timeout_ms);
  if (stored != nullptr) call.stored = stored->id;
  ObjectId one;
  std::vector<ObjectId> many(returns > 1 ? returns : 0);
  ObjectId* ids = returns > 1 ? many.data() : &one;
  Status status;
  {
    const Locked lock(session);
    status = use(session, call, ids);
    if (status.is_ok()) {
      if (flags & kCallStreaming) session.open_stream(ids[0]);
      session.start_pump(false);
      session.client().flush();
    }
  }
  check(status);
  return refs_of(self.session, ids, returns, origin);
}

nb::object submit_task(Endpoint& self, uint32_t spec, nb::handle envelope, uint32_t returns,
                       uint32_t flags, int32_t retries, uint64_t timeout_ms) {
  return submit(self, envelope, returns, flags, retries, timeout_ms, Origin{{}, spec},
                [&](Session& session, CallArguments& call, ObjectId* ids) {
                  return session.client().submit_task(spec, call, ids);
                });
}

nb::object submit_actor_call(Endpoint& self, nb::handle actor, nb::handle method,
                             nb::handle envelope, uint32_t returns, uint32_t flags, int32_t retries,
                             uint64_t timeout_ms) {
  const ObjectId id = ref_at(actor).id;
  Py_ssize_t size = 0;
  const char* name = PyUnicode_AsUTF8AndSize(method.ptr(), &size);
  if (name == nullptr) throw nb::python_error();
  return submit(self, envelope, returns, flags, retries, timeout_ms, Origin{id, kNoSpec},
                [&](Session& session, CallArguments& call, ObjectId* ids) {
                  call.method = {name, static_cast<size_t>(size)};
                  session.watch_actor(id);
                  return session.client().submit_actor_call(id, call, ids);
                });
}

bool cancel(Endpoint& self, nb::handle ref, bool force, bool recursive, nb::handle error) {
  Session& session = self.open();
  const ObjectId id = ref_at(ref).id;
  const ByteArgument bytes(error);
  const Locked lock(session);
  const bool queued = session.client().cancel(id, force, recursive, bytes.bytes());
  session.client().flush();
  return queued;
}

// (True, ref) for an item, (True, None) at the end, (False, None) when the time is over.
nb::tuple next_item(Endpoint& self, nb::handle task, int64_t timeout_ms) {
  Session& session = self.open();
  const ObjectId id = ref_at(task).id;
  ObjectId item;
  const bool main = on_main_thread();
  const auto wait = [&](int64_t left) { return session.next_item(id, item, left, main); };
  if (!wait_with_signals(self, timeout_ms, wait)) return nb::make_tuple(false, nb::none());
  if (item.unique == 0) return nb::make_tuple(true, nb::none());
  const Origin origin{ref_at(task).actor, kNoSpec};
  return nb::make_tuple(true, return_ref(self.session, item, id, origin));
}

}  // namespace

void bind_client_calls(nb::class_<Endpoint>& client) {
  client
      .def("register_spec", &register_spec, nb::arg("spec"), nb::arg("language"),
           nb::arg("resources"), nb::arg("worker_key"), nb::arg("max_retries"), nb::arg("priority"))
      .def("submit_task", &submit_task, nb::arg("spec"), nb::arg("envelope"), nb::arg("returns"),
           nb::arg("flags"), nb::arg("retries"), nb::arg("timeout_ms") = 0)
      .def("submit_actor_call", &submit_actor_call, nb::arg("actor"), nb::arg("method"),
           nb::arg("envelope"), nb::arg("returns"), nb::arg("flags"), nb::arg("retries"),
           nb::arg("timeout_ms") = 0)
      .def(
          "actor_pending_calls",
          [](Endpoint& self, nb::handle actor) {
            Session& session = self.open();
            const ObjectId id = ref_at(actor).id;
            const Locked lock(session);
            return session.client().actor_pending_calls(id);
          },
          nb::arg("actor"))
      .def("cancel", &cancel, nb::arg("ref"), nb::arg("force"), nb::arg("recursive"),
           nb::arg("error"))
      .def(
          "is_actor_call",
          [](Endpoint& self, nb::handle ref) {
            Session& session = self.open();
            const ObjectId id = ref_at(ref).id;
            const Locked lock(session);
            return session.client().is_actor_call(id);
          },
          nb::arg("ref"))
      .def("next_item", &next_item, nb::arg("task"), nb::arg("timeout_ms"))
      .def(
          "stream_has_item",
          [](Endpoint& self, nb::handle task) {
            return self.open().stream_has_item(ref_at(task).id);
          },
          nb::arg("task"))
      .def(
          "stream_at_end",
          [](Endpoint& self, nb::handle task) {
            return self.open().stream_at_end(ref_at(task).id);
          },
          nb::arg("task"))
      .def(
          "stream_consumed",
          [](Endpoint& self, nb::handle task, uint32_t items) {
            Session& session = self.open();
            const ObjectId id = ref_at(task).id;
            const Locked lock(session);
            session.client().stream_consumed(id, items);
            session.client().flush();
          },
          nb::arg("task"), nb::arg("items"))
      .def(
          "close_stream",
          [](Endpoint& self, nb::handle task) {
            if (self.session->usable()) self.session->close_stream(ref_at(task).id);
          },
          nb::arg("task"));
}

}  // namespace polyray::py
