// SPDX-License-Identifier: Apache-2.0
// Client: running calls in a worker: taking them, results, replies, the control thread.
#include <nanobind/stl/string.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <string_view>

#include <deque>
#include <thread>

#include "client_binding.h"
#include "os/env.h"
#include "plain.h"
#include "store/error_envelope.h"

namespace polyray::py {

thread_local uint64_t running_deadline_ms = 0;

namespace {

// Arguments bigger than this are read where they lie in the store: a view over them may outlive the reply.
constexpr size_t kCopyArgsBytes = 64 * 1024;

nb::object arguments_of(const std::shared_ptr<Session>& session, const IncomingCall& call) {
  if (call.envelope.size() > kCopyArgsBytes && call.args.unique != 0) {
    Result<ObjectView> pinned = Status{};
    {
      const Locked lock(*session);
      pinned = session->client().pin(call.args);
    }
    if (pinned.is_ok())
      return nb::cast(new View(session, call.args, pinned.value()), nb::rv_policy::take_ownership);
  }
  return nb::bytes(call.envelope.data(), call.envelope.size());
}

PyObject* decoded(std::string_view text) {
  PyObject* made =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (made == nullptr) throw nb::python_error();
  return made;
}

nb::object make_call(const std::shared_ptr<Session>& session, const IncomingCall& from) {
  auto* call = new Call;
  nb::object made = nb::cast(call, nb::rv_policy::take_ownership);
  call->handle = from.handle;
  call->kind = static_cast<uint32_t>(from.kind);
  call->flags = from.flags;
  call->spec = from.spec;
  call->task = from.task;
  call->actor = from.actor;
  call->incarnation = from.incarnation;
  call->attempt = from.attempt;
  call->retries_left = from.retries_left;
  call->deadline_ms = from.deadline_ms;
  call->return_count = static_cast<uint32_t>(from.returns.size());
  // A caller in TypeScript puts the options of this one call behind the method's name (ts/core/call.ts).
  const std::string_view method(from.method.data(), from.method.size());
  const size_t mark = method.find('\0');
  PyObject* name = decoded(method.substr(0, mark));
  PyUnicode_InternInPlace(&name);
  call->method = nb::steal(name);
  call->extras = mark == method.npos ? nb::none() : nb::steal(decoded(method.substr(mark + 1)));
  call->args = arguments_of(session, from);
  return made;
}

// How many threads wait for calls or are about to look for one; with the GIL.
struct Taker {
  explicit Taker(Endpoint& endpoint) : endpoint_(endpoint) { ++endpoint_.takers; }
  ~Taker() { --endpoint_.takers; }
  Taker(const Taker&) = delete;
  Taker& operator=(const Taker&) = delete;

 private:
  Endpoint& endpoint_;
};

// None: nothing came in time, or stop_calls(). A call is taken with the GIL held: a thread that was roused for it and
// still waits for the GIL holds none back.
nb::object next_call(Endpoint& self, int64_t timeout_ms) {
  Session& session = self.open();
  IncomingCall call;
  const bool main = on_main_thread();
  bool arrived = false;
  for (;;) {
    if (session.calls_stopped()) return nb::none();
    {
      const Locked lock(session);
      if (session.take_call(call, arrived)) break;
    }
    if (session.calls_stopped()) return nb::none();
    const Taker taker(self);
    arrived = true;
    if (!wait_with_signals(self, timeout_ms,
                           [&](int64_t left) { return session.wait_call(left, main); }))
      return nb::none();
  }
  running_deadline_ms = call.deadline_ms;
  return make_call(self.session, call);
}

nb::list take_calls(Endpoint& self) {
  Session& session = self.open();
  std::deque<IncomingCall> calls;
  bool chores = false;
  {
    const Locked lock(session);
    session.take_calls(calls);
    chores = session.has_chores();
  }
  nb::list made;
  for (const IncomingCall& call : calls) made.append(make_call(self.session, call));
  if (chores) do_chores(self);
  if (session.ended()) raise_ended();
  return made;
}

// What the main thread does while others take the calls: signals and chores, until end_rest().
void rest(Endpoint& self) {
  Session& session = self.open();
  wait_with_signals(self, -1, [&](int64_t) { return session.rest(); }, 0);
}

int host_calls(Endpoint& self) {
  const int fd = self.open().host_calls();
  if (fd < 0) raise_code(StatusCode::kOutOfMemory, "[out of memory] no descriptor is left.");
  return fd;
}

// A result that somebody sealed before (a retried task whose first worker had sealed it) is no error.
void check_sealed(const Status& status) {
  if (status.code != StatusCode::kAlreadyExists) check(status);
}

void return_value(Endpoint& self, uint64_t handle, uint32_t index, nb::handle envelope,
                  bool is_error) {
  const ByteArgument bytes(envelope);
  const auto refs = envelope_refs(bytes.bytes());
  check_sealed(with_room(self, kReturnWaitMs, [&](Client& client, uint32_t ms) {
    return client.return_small(handle, index, bytes.bytes(), refs, is_error, ms);
  }));
}

// None: sealed before.
nb::object return_begin(Endpoint& self, uint64_t handle, uint32_t index, uint64_t size) {
  const Result<polyray::PutBuffer> begun = wait_for_room(
      self, kReturnWaitMs,
      [&](Client& client, uint32_t ms) { return client.return_begin(handle, index, size, ms); });
  if (begun.status().code == StatusCode::kAlreadyExists) return nb::none();
  check(begun.status());
  auto* buffer = new PutBuffer(self.session, begun.value());
  buffer->of_call = true;
  buffer->call = handle;
  buffer->index = index;
  return nb::cast(buffer, nb::rv_policy::take_ownership);
}

void return_seal(Endpoint& self, PutBuffer& buffer, bool is_error) {
  Session& session = self.open();
  if (!buffer.open || !buffer.of_call)
    raise_code(StatusCode::kClosed, "[closed] this buffer is sealed.");
  if (buffer.exports > 0)
    throw nb::type_error("release every memoryview over the buffer before the seal");
  buffer.open = false;
  Status status;
  {
    const Locked lock(session);
    const auto refs = envelope_refs({buffer.put.data, buffer.put.size});
    status = session.client().return_seal(buffer.call, buffer.index, buffer.put, refs, is_error);
  }
  check_sealed(status);
}

void finish_with(Endpoint& self, uint64_t handle, std::span<const uint8_t> bytes, bool is_error,
                 ReplyStatus status) {
  const auto refs = envelope_refs(bytes);
  check_sealed(with_room(self, kReturnWaitMs, [&](Client& client, uint32_t ms) {
    Status sealed = client.return_small(handle, 0, bytes, refs, is_error, ms);
    if (sealed.is_ok() || sealed.code == StatusCode::kAlreadyExists) client.reply(handle, status);
    return sealed;
  }));
}

// return_value of return 0 and reply, in one crossing.
void finish(Endpoint& self, uint64_t handle, nb::handle envelope, bool is_error, uint32_t status) {
  const ByteArgument bytes(envelope);
  finish_with(self, handle, bytes.bytes(), is_error, static_cast<ReplyStatus>(status));
}

// The same with a value that is plain and small; false: it is not.
bool finish_plain(Endpoint& self, uint64_t handle, nb::handle value) {
  std::string envelope;
  if (!encode_plain(value, kCopyArgsBytes, envelope)) return false;
  const std::span bytes(reinterpret_cast<const uint8_t*>(envelope.data()), envelope.size());
  finish_with(self, handle, bytes, false, ReplyStatus::kOk);
  return true;
}

// The positional and the named arguments of a call, or None when they are not plain. Named: a dict or None.
nb::object plain_arguments(Endpoint& self, const Call& call) {
  if (!PyBytes_CheckExact(call.args.ptr())) return nb::none();
  self.open();
  const ByteArgument bytes(call.args);
  const nb::object made = nb::steal(decode_plain(bytes.bytes(), &self));
  if (!made.is_valid() || !PyList_CheckExact(made.ptr()) || PyList_Size(made.ptr()) != 2)
    return nb::none();
  PyObject* positional = PyList_GetItem(made.ptr(), 0);
  PyObject* named = PyList_GetItem(made.ptr(), 1);
  if (!PyList_CheckExact(positional) || (named != Py_None && !PyDict_CheckExact(named)))
    return nb::none();
  return nb::make_tuple(nb::borrow(positional), nb::borrow(named));
}

void reply(Endpoint& self, uint64_t handle, uint32_t status) {
  Session& session = self.open();
  const Locked lock(session);
  session.client().reply(handle, static_cast<ReplyStatus>(status));
}

struct Control {
  AttachOptions options;
  uint32_t endpoint;
  pthread_t main;
};

void on_control(ControlOp op, void* context) {
  const auto* control = static_cast<Control*>(context);
  if (op == ControlOp::kKill) {
    static_cast<void>(os::signal_group(static_cast<uint32_t>(getpid()), SIGKILL));
    _exit(137);
  }
  if (op == ControlOp::kInterrupt) pthread_kill(control->main, SIGINT);
  if (op == ControlOp::kStackDump) pthread_kill(control->main, SIGUSR1);
}

// Ends the process group when the raylet is gone: a worker never outlives its runtime.
void start_control_thread(Endpoint& self, const std::string& socket_name, const std::string& token,
                          uint64_t startup_token) {
  auto* control = new Control{};
  control->options.socket_name = socket_name;
  control->options.token = token;
  control->options.kind = EndpointKind::kWorker;
  control->options.language = 2;
  control->options.startup_token = startup_token;
  control->options.package_version = POLYRAY_VERSION;
  control->endpoint = self.open().client().endpoint();
  control->main = pthread_self();
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([control] {
    pthread_setname_np(pthread_self(), "polyray-control");
    const Status ended =
        run_control_thread(control->options, control->endpoint, on_control, control);
    if (ended.is_ok() && getpgrp() == getpid())
      static_cast<void>(os::signal_group(static_cast<uint32_t>(getpid()), SIGKILL));
    if (ended.is_ok()) _exit(1);
  }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

void bind_client_worker(nb::class_<Endpoint>& client) {
  client.def("next_call", &next_call, nb::arg("timeout_ms"))
      .def_prop_ro("takers", [](Endpoint& self) { return self.takers; })
      .def_prop_ro("doorbell_fd", [](Endpoint& self) { return self.open().client().doorbell_fd(); })
      .def("host_calls", &host_calls)
      .def("take_calls", &take_calls)
      .def("rest", &rest)
      .def("end_rest", [](Endpoint& self) { self.session->end_rest(); })
      .def("stop_calls", [](Endpoint& self) { self.session->stop_calls(); })
      .def("return_value", &return_value, nb::arg("call"), nb::arg("index"), nb::arg("envelope"),
           nb::arg("is_error"))
      .def("return_begin", &return_begin, nb::arg("call"), nb::arg("index"), nb::arg("size"))
      .def("return_seal", &return_seal, nb::arg("buffer"), nb::arg("is_error"))
      .def("finish", &finish, nb::arg("call"), nb::arg("envelope"), nb::arg("is_error"),
           nb::arg("status"))
      .def("finish_plain", &finish_plain, nb::arg("call"), nb::arg("value").none())
      .def("plain_arguments", &plain_arguments, nb::arg("call"))
      .def("reply", &reply, nb::arg("call"), nb::arg("status"))
      .def("flush",
           [](Endpoint& self) {
             Session& session = self.open();
             const Locked lock(session);
             session.client().flush();
           })
      .def(
          "stream_item",
          [](Endpoint& self, uint64_t call, uint32_t number, nb::handle item) {
            Session& session = self.open();
            const ObjectId id = ref_at(item).id;
            Status status;
            {
              const Locked lock(session);
              status = session.client().stream_item(call, number, id);
              session.client().flush();
            }
            check(status);
          },
          nb::arg("call"), nb::arg("number"), nb::arg("item"))
      .def(
          "wait_consumed",
          [](Endpoint& self, nb::handle task, uint32_t needed, int64_t timeout_ms) {
            Session& session = self.open();
            const ObjectId id = id_of_bytes(task);
            const bool main = on_main_thread();
            return wait_with_signals(self, timeout_ms, [&](int64_t left) {
              return session.wait_consumed(id, needed, left, main);
            });
          },
          nb::arg("task"), nb::arg("needed"), nb::arg("timeout_ms"))
      .def(
          "end_producing",
          [](Endpoint& self, nb::handle task) { self.session->end_producing(id_of_bytes(task)); },
          nb::arg("task"))
      .def("worker_ready",
           [](Endpoint& self) {
             Session& session = self.open();
             const Locked lock(session);
             session.start_pump(true);
             session.client().worker_ready();
           })
      .def("worker_exit",
           [](Endpoint& self) {
             Session& session = self.open();
             const Locked lock(session);
             session.client().worker_exit();
           })
      .def(
          "set_actor_identity",
          [](Endpoint& self, nb::handle actor, uint32_t incarnation) {
            Session& session = self.open();
            const ObjectId id = id_of_bytes(actor);
            const Locked lock(session);
            session.client().set_actor_identity(id, incarnation);
          },
          nb::arg("actor"), nb::arg("incarnation"))
      .def(
          "is_cancelled",
          [](Endpoint& self, nb::handle task) {
            return self.session->cancelled(id_of_bytes(task)).has_value();
          },
          nb::arg("task"))
      .def(
          "cancels_children",
          [](Endpoint& self, nb::handle task) {
            const auto how = self.session->cancelled(id_of_bytes(task));
            return how.has_value() && (*how & kCancelNotRecursive) == 0;
          },
          nb::arg("task"))
      .def(
          "timed_out",
          [](Endpoint& self, nb::handle task) {
            const auto how = self.session->cancelled(id_of_bytes(task));
            return how.has_value() && (*how & kCancelTimeout) != 0;
          },
          nb::arg("task"))
      .def(
          "cancel_error",
          [](Endpoint& self, nb::handle task) {
            const auto error = self.session->cancel_error(id_of_bytes(task));
            return nb::bytes(error.data(), error.size());
          },
          nb::arg("task"))
      .def(
          "forget_cancelled",
          [](Endpoint& self, nb::handle task) {
            self.session->forget_cancelled(id_of_bytes(task));
          },
          nb::arg("task"))
      .def(
          "on_cancel",
          [](Endpoint& self, nb::object callback) { self.on_cancel = std::move(callback); },
          nb::arg("callback").none())
      .def("start_control_thread", &start_control_thread, nb::arg("socket_name"), nb::arg("token"),
           nb::arg("startup_token"));
}

}  // namespace polyray::py
