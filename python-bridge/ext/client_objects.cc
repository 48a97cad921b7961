// SPDX-License-Identifier: Apache-2.0
// Client: putting, getting, waiting. Envelopes carry their own table of refs (docs/values.md), which is read here.
#include <algorithm>

#include "client_binding.h"
#include "store/error_envelope.h"

namespace polyray::py {

namespace {

// Bigger values are read in place.
constexpr uint64_t kCopyBytes = 64 * 1024;

const ObjectId& id_of(nb::handle ref) {
  return id_to_read(ref_at(ref));
}

std::vector<ObjectId> ids_of(nb::handle refs) {
  std::vector<ObjectId> ids;
  for (nb::handle ref : nb::borrow<nb::sequence>(refs)) ids.push_back(id_of(ref));
  return ids;
}

nb::object put(Endpoint& self, nb::handle envelope, uint32_t flags) {
  Session& session = self.open();
  const ByteArgument bytes(envelope);
  const auto refs = envelope_refs(bytes.bytes());
  const Result<ObjectId> made = with_room(self, kPutWaitMs, [&](Client& client, uint32_t ms) {
    session.start_pump(false);  // releases of a program that does nothing more must get out
    return client.put(bytes.bytes(), refs, flags, ms);
  });
  check(made.status());
  return make_ref(self.session, made.value());
}

PutBuffer* put_begin(Endpoint& self, uint64_t size, int64_t timeout_ms) {
  const Result<polyray::PutBuffer> begun = wait_for_room(
      self, timeout_ms, [&](Client& client, uint32_t ms) { return client.put_begin(size, ms); });
  check(begun.status());
  return new PutBuffer(self.session, begun.value());
}

void require_unexported(const PutBuffer& buffer) {
  if (!buffer.open) raise_code(StatusCode::kClosed, "[closed] this buffer is sealed.");
  if (buffer.exports > 0)
    throw nb::type_error("release every memoryview over the buffer before the seal");
}

nb::object put_seal(Endpoint& self, PutBuffer& buffer, uint32_t flags) {
  Session& session = self.open();
  require_unexported(buffer);
  const ObjectId id = buffer.put.id;
  buffer.open = false;
  Status sealed;
  {
    const Locked lock(session);
    session.start_pump(false);
    sealed = session.client().put_seal(buffer.put,
                                       envelope_refs({buffer.put.data, buffer.put.size}), flags);
  }
  check(sealed);
  return make_ref(self.session, id);
}

[[noreturn]] void raise_gone(const ObjectId& id) {
  raise_code(StatusCode::kObjectLost,
             "[object lost] " + hex_of(id) +
                 ": its value is gone: it was freed, or the process that made it ended.");
}

// The bytes of a sealed object: a bytes object when small, a View in place when big.
nb::object read(Endpoint& self, const ObjectId& id) {
  Session& session = self.open();
  Result<ObjectView> pinned = Status{};
  {
    const Locked lock(session);
    pinned = session.client().pin(id);
  }
  if (!pinned.is_ok()) {
    const StatusCode code = pinned.status().code;
    if (code == StatusCode::kObjectFreed && pinned.status().message.starts_with("["))
      raise_code(code, "[object freed] " + hex_of(id) + ": free() was called for it.");
    if (code == StatusCode::kNotFound || code == StatusCode::kObjectFreed) raise_gone(id);
    raise_status(pinned.status());
  }
  const ObjectView& view = pinned.value();
  if (view.size > kCopyBytes)
    return nb::cast(new View(self.session, id, view), nb::rv_policy::take_ownership);
  nb::object copy = nb::bytes(view.data, view.size);
  if (view.pinned) {
    const Locked lock(session);
    session.client().unpin(id);
  }
  return copy;
}

// None when the time is over.
nb::object fetch(Endpoint& self, nb::handle ref, int64_t timeout_ms, bool blocked) {
  Session& session = self.open();
  const ObjectId id = id_of(ref);
  ObjectStatus status;
  {
    const Locked lock(session);
    status = session.client().status(id);
  }
  if (status == ObjectStatus::kPending) {
    const std::vector<ObjectId> ids{id};
    const bool main = on_main_thread();
    const auto wait = [&](int64_t left) { return session.wait(ids, 1, left, blocked, main); };
    if (!wait_with_signals(self, timeout_ms, wait)) return nb::none();
  }
  return read(self, id);
}

// A list of bools: which of the refs are settled, once `needed` of them are or the time is over.
nb::list wait(Endpoint& self, nb::handle refs, size_t needed, int64_t timeout_ms, bool blocked,
              bool any_error, bool streams) {
  Session& session = self.open();
  const std::vector<ObjectId> ids = ids_of(refs);
  const bool main = on_main_thread();
  wait_with_signals(self, timeout_ms, [&](int64_t left) {
    return session.wait(ids, std::min(needed, ids.size()), left, blocked, main, any_error, streams);
  });
  std::vector<bool> settled(ids.size());
  {
    const Locked lock(session);
    for (size_t i = 0; i < ids.size(); ++i)
      settled[i] = session.client().status(ids[i]) != ObjectStatus::kPending;
  }
  if (streams) {
    for (size_t i = 0; i < ids.size(); ++i)
      settled[i] = settled[i] || session.stream_has_item(ids[i], false);
  }
  nb::list flags;
  for (const bool flag : settled) flags.append(nb::bool_(flag));
  return flags;
}

nb::object ref_of(Endpoint& self, nb::handle raw) {
  Session& session = self.open();
  const ObjectId id = id_of_bytes(raw);
  bool held;
  {
    const Locked lock(session);
    held = session.client().add_ref(id);
  }
  // A ref to something that is gone stays a value; reading it says that it is gone.
  return make_ref(held ? self.session : nullptr, id);
}

nb::dict object_info(Endpoint& self, nb::handle ref) {
  Session& session = self.open();
  const ObjectId id = id_of(ref);
  ObjectInfo known;
  {
    const Locked lock(session);
    known = session.client().info(id);
  }
  nb::dict info;
  info["status"] = static_cast<uint32_t>(known.status);
  info["size"] = known.size;
  info["in_store"] = known.in_store;
  info["spilled"] = known.spilled;
  info["freed"] = known.freed;
  info["refs"] = known.refs;
  info["pins"] = known.pins;
  return info;
}

bool notify(Endpoint& self, nb::handle ref, const NotifierHandle& notifier, bool next_item) {
  const ObjectId id = id_of(ref);
  Session& session = self.open();
  nb::gil_scoped_release release;
  return session.notify(id, notifier.notifier, next_item);
}

}  // namespace

void bind_client_objects(nb::class_<Endpoint>& client) {
  client.def("put", &put, nb::arg("envelope"), nb::arg("flags") = 0)
      .def("put_begin", &put_begin, nb::arg("size"), nb::arg("timeout_ms"),
           nb::rv_policy::take_ownership)
      .def("put_seal", &put_seal, nb::arg("buffer"), nb::arg("flags") = 0)
      .def("fetch", &fetch, nb::arg("ref"), nb::arg("timeout_ms"), nb::arg("blocked"))
      .def(
          "read_id", [](Endpoint& self, nb::handle raw) { return read(self, id_of_bytes(raw)); },
          nb::arg("id"))
      .def("wait", &wait, nb::arg("refs"), nb::arg("needed"), nb::arg("timeout_ms"),
           nb::arg("blocked"), nb::arg("any_error") = false, nb::arg("streams") = false)
      .def(
          "status",
          [](Endpoint& self, nb::handle ref) {
            Session& session = self.open();
            const ObjectId id = id_of(ref);
            const Locked lock(session);
            return static_cast<uint32_t>(session.client().status(id));
          },
          nb::arg("ref"))
      .def(
          "object_size",
          [](Endpoint& self, nb::handle ref) {
            Session& session = self.open();
            const ObjectId id = id_of(ref);
            const Locked lock(session);
            return session.client().object_size(id);
          },
          nb::arg("ref"))
      .def("object_info", &object_info, nb::arg("ref"))
      .def(
          "free_object",
          [](Endpoint& self, nb::handle ref) {
            Session& session = self.open();
            const ObjectId id = id_of(ref);
            const Locked lock(session);
            const bool done = session.client().free_object(id);
            session.client().flush();
            return done;
          },
          nb::arg("ref"))
      .def("ref_of", &ref_of, nb::arg("id"))
      .def("notify", &notify, nb::arg("ref"), nb::arg("notifier"), nb::arg("next_item") = false)
      .def("create_actor_object", [](Endpoint& self) {
        Session& session = self.open();
        Result<ObjectId> made = Status{};
        {
          const Locked lock(session);
          made = session.client().create_actor_object();
        }
        check(made.status());
        return make_ref(self.session, made.value());
      });
}

}  // namespace polyray::py
