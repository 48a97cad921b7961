// SPDX-License-Identifier: Apache-2.0
// Ref: one counted reference to an object, and ObjectRef, the Python class of it; ids as programs see them.
//
// ObjectRef is a class of CPython's, not of nanobind's: programs hold a million refs, and nanobind keeps a table of the
// Python objects of its classes, whose places are far apart in memory. A ref is one allocation of 96 bytes.
// Thread rules: with the GIL. A ref's end releases through the session; after fork, detach or shutdown it does nothing
// (the raylet swept the row).
#pragma once
#include <nanobind/nanobind.h>

#include <array>
#include <memory>
#include <string>

#include "session.h"

namespace polyray::py {

namespace nb = nanobind;

// The ids that programs see have Ray's sizes: ours with the job and, for tasks, the actor beside it.
constexpr size_t kWideObjectId = 28;
constexpr size_t kWideTaskId = 24;
constexpr uint32_t kNoSpec = 0xffffffff;
using WideId = std::array<uint8_t, kWideObjectId>;

// What lists of refs are asked for comes first.
struct Ref {
  ObjectId id{};
  bool settled = false;     // known for good
  bool watched = false;     // the client will hear of the settling
  uint32_t spec = kNoSpec;  // of the task that returns it, when this process submitted that
  std::shared_ptr<Session> session;  // null: names an object without counting it
  ObjectId actor{};                  // whose method returns it; nil: none, or not known here
  std::unique_ptr<ObjectId> first;   // the first return of the same call; null: the object itself
  std::unique_ptr<WideId> foreign;   // an id that no object of ours has
  Ref() = default;
  Ref(std::shared_ptr<Session> owner, const ObjectId& object)
      : id(object), session(std::move(owner)) {}
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  ~Ref() {
    if (session && session->usable())
      session->with([&](Client& client) { client.release_ref(id); });
  }
};

// A new Python object around a reference that the caller owns.
nb::object make_ref(const std::shared_ptr<Session>& session, const ObjectId& id);

// The Ref in an ObjectRef; null for anything else.
Ref* as_ref(nb::handle object);
// The same; raises TypeError for anything else.
Ref& ref_at(nb::handle object);
// The id of an object to wait for or to read; raises ValueError for that of a nil ref.
const ObjectId& id_to_read(const Ref& ref);
// The Ref in an object that is exactly an ObjectRef, as those of make_ref are; null for anything else.
Ref* exact_ref(PyObject* object);

// The id of a bytes object of 16 bytes, or of the 28 that programs see; raises ValueError.
ObjectId id_of_bytes(nb::handle bytes);
// The id as programs see it. Its last bytes are those of the job of this process.
WideId wide_of(const ObjectId& id);
std::string hex_of(const ObjectId& id);

// The session that this process attached last: refs that programs make of bytes count there.
void set_ref_session(const std::shared_ptr<Session>& session);

void bind_ref(nb::module_& module);

}  // namespace polyray::py
