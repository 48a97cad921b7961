// SPDX-License-Identifier: Apache-2.0
// Client: attaching, identity, requests to the node service, ending.
#include "client_binding.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

namespace polyray::py {

void do_chores(Endpoint& endpoint) {
  const Chores chores = endpoint.session->take_chores();
  if (chores.collect) {
    PyGC_Collect();
    if (endpoint.session->usable())
      endpoint.session->with([](Client& client) { client.gc_done(); });
  }
  if (endpoint.on_cancel.is_none()) return;
  for (const auto& [task, how] : chores.cancelled) {
    try {
      endpoint.on_cancel(id_bytes(task), (how & kCancelNotRecursive) == 0);
    } catch (nb::python_error& error) {
      if (!error.matches(PyExc_Exception)) throw;  // an interrupt of this thread's own call
      error.discard_as_unraisable("a cancellation");
    }
  }
}

void raise_ended() {
  raise_code(StatusCode::kLocalRayletDied,
             "[node ended] the runtime has ended. Call polyray.init() to start or join another.");
}

namespace {

Endpoint* attach(const std::string& socket_name, const std::string& token, uint32_t kind,
                 uint64_t startup_token, uint32_t job, bool send_stdio) {
  AttachOptions options;
  options.socket_name = socket_name;
  options.token = token;
  options.kind = static_cast<EndpointKind>(kind);
  options.language = 2;
  options.startup_token = startup_token;
  options.job = job;
  options.package_version = POLYRAY_VERSION;
  options.send_stdio = send_stdio;
  Status failed;
  std::shared_ptr<Session> session;
  {
    nb::gil_scoped_release release;
    auto attached = Client::attach(options);
    if (attached.is_ok())
      session = std::make_shared<Session>(std::move(attached.value()));
    else
      failed = attached.status();
  }
  check(failed);
  set_ref_session(session);
  return new Endpoint{.session = std::move(session), .on_cancel = nb::none()};
}

nb::bytes request(Endpoint& self, nb::handle payload, int64_t timeout_ms) {
  Session& session = self.open();
  uint32_t number;
  {
    const ByteArgument bytes(payload);
    const Locked lock(session);
    number = session.client().service_request(bytes.bytes());
    session.client().flush();
  }
  std::vector<uint8_t> answer;
  const bool main = on_main_thread();
  if (!wait_with_signals(self, timeout_ms, [&](int64_t left) {
        return session.wait_answer(number, answer, left, main);
      })) {
    raise_code(StatusCode::kGetTimeout, "[timeout] the node service gave no answer in time.");
  }
  return nb::bytes(answer.data(), answer.size());
}

nb::dict counters(Endpoint& self) {
  Client::Counters counts;
  {
    Session& session = self.open();
    const Locked lock(session);
    counts = session.client().counters();
  }
  nb::dict result;
  result["calls_submitted"] = counts.calls_submitted;
  result["calls_executed"] = counts.calls_executed;
  result["bells_rung"] = counts.bells_rung;
  result["bells_saved"] = counts.bells_saved;
  result["puts"] = counts.puts;
  result["put_bytes"] = counts.put_bytes;
  result["zero_copy_bytes"] = counts.zero_copy_bytes;
  result["retries"] = counts.retries;
  result["retracted"] = counts.retracted;
  return result;
}

}  // namespace

void bind_client(nb::module_& module) {
  auto client = nb::class_<Endpoint>(module, "Client", nb::is_weak_referenceable());
  client.def_prop_ro("endpoint", [](Endpoint& self) { return self.open().client().endpoint(); })
      .def_prop_ro("serial", [](Endpoint& self) { return self.open().client().serial(); })
      .def_prop_ro("node_tag", [](Endpoint& self) { return self.open().client().node_tag(); })
      .def_prop_ro("job", [](Endpoint& self) { return self.open().client().job(); })
      .def_prop_ro("devices", [](Endpoint& self) { return self.open().client().devices(); })
      .def_prop_ro("is_attached",
                   [](Endpoint& self) { return self.session->usable() && !self.session->ended(); })
      .def("counters", &counters)
      .def("request", &request, nb::arg("payload"), nb::arg("timeout_ms"))
      .def("detach", [](Endpoint& self) {
        nb::gil_scoped_release release;
        if (self.session->usable()) self.session->close();
      });
  bind_client_objects(client);
  bind_client_calls(client);
  bind_client_worker(client);
  bind_client_wait(client);
  module.def("attach", &attach, nb::arg("socket_name"), nb::arg("token"), nb::arg("kind"),
             nb::arg("startup_token"), nb::arg("job"), nb::arg("send_stdio"),
             nb::rv_policy::take_ownership);
}

}  // namespace polyray::py
