// SPDX-License-Identifier: Apache-2.0
// The Python classes of objects.h: identity, buffers, call fields.
#include "objects.h"

#include <nanobind/stl/string.h>

#include "errors.h"
#include "notifier.h"
#include "os/env.h"

namespace polyray::py {

namespace {

constexpr char kHex[] = "0123456789abcdef";

int view_getbuffer(PyObject* self, Py_buffer* buffer, int flags) {
  const View* view = nb::inst_ptr<View>(self);
  return PyBuffer_FillInfo(buffer, self, const_cast<uint8_t*>(view->bytes.data),
                           static_cast<Py_ssize_t>(view->bytes.size), 1, flags);
}

int put_getbuffer(PyObject* self, Py_buffer* buffer, int flags) {
  PutBuffer* put = nb::inst_ptr<PutBuffer>(self);
  if (!put->open) {
    PyErr_SetString(PyExc_BufferError, "this buffer is sealed");
    return -1;
  }
  const int filled = PyBuffer_FillInfo(buffer, self, put->put.data,
                                       static_cast<Py_ssize_t>(put->put.size), 0, flags);
  if (filled == 0) put->exports += 1;
  return filled;
}

void put_releasebuffer(PyObject* self, Py_buffer*) {
  nb::inst_ptr<PutBuffer>(self)->exports -= 1;
}

PyType_Slot view_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(view_getbuffer)},
                            {0, nullptr}};
PyType_Slot put_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(put_getbuffer)},
                           {Py_bf_releasebuffer, reinterpret_cast<void*>(put_releasebuffer)},
                           {0, nullptr}};

// Copies without the GIL; gives where the copy ends in the target.
size_t copy_into(nb::handle target, size_t offset, nb::handle source) {
  const WritableBytes to(target);
  const ByteArgument from(source);
  const size_t size = from.bytes().size();
  if (offset > to.bytes().size() || size > to.bytes().size() - offset)
    throw nb::value_error("the source does not fit into the target");
  nb::gil_scoped_release release;
  os::copy_bytes(to.bytes().data() + offset, from.bytes().data(), size);
  return offset + size;
}

// Process wide, with the GIL: what refs made of bytes belong to, and the job that ids name.
std::weak_ptr<Session> ref_session;
uint32_t ref_job = 0;

constexpr size_t kActorAt = 8;  // in both ids: unique | what follows
constexpr size_t kEntryAt = 12;
constexpr size_t kMarkAt = 16;  // ones, where the id of an actor has other bytes
constexpr size_t kJobAt = 20;
constexpr size_t kReturnAt = kWideTaskId;
constexpr uint32_t kOnes = 0xffffffff;

template <size_t N>
std::string hex_of_bytes(const std::array<uint8_t, N>& raw) {
  std::string text;
  for (const uint8_t byte : raw) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

template <size_t N>
nb::bytes bytes_of(const std::array<uint8_t, N>& raw) {
  return nb::bytes(reinterpret_cast<const char*>(raw.data()), raw.size());
}

void put_word(uint8_t* at, uint32_t word) {
  std::memcpy(at, &word, sizeof(word));
}

ObjectId narrow_of(const uint8_t* wide) {
  ObjectId id;
  std::memcpy(&id.unique, wide, sizeof(id.unique));
  std::memcpy(&id.node_tag, wide + kActorAt, sizeof(id.node_tag));
  std::memcpy(&id.index, wide + kEntryAt, sizeof(id.index));
  return id;
}

WideId wide_of_ref(const Ref& ref) {
  return ref.foreign ? *ref.foreign : wide_of(ref.id);
}

std::array<uint8_t, kWideTaskId> task_of_ref(const Ref& ref) {
  const ObjectId& first = ref.first.unique == 0 ? ref.id : ref.first;
  const WideId wide = ref.foreign ? *ref.foreign : wide_of(first);
  std::array<uint8_t, kWideTaskId> task{};
  std::memcpy(task.data(), wide.data(), task.size());
  if (ref.actor.unique != 0) std::memcpy(task.data() + kActorAt, &ref.actor, sizeof(ObjectId));
  return task;
}

// ObjectRef(bytes): counts the object when there is one of that id.
void init_ref(Ref* self, nb::handle id) {
  if (!PyBytes_Check(id.ptr())) {
    const nb::object type = nb::steal(PyObject_Str(reinterpret_cast<PyObject*>(Py_TYPE(id.ptr()))));
    throw nb::type_error(
        ("Unsupported type: " + nb::cast<std::string>(type) + ", expected bytes").c_str());
  }
  const ByteArgument raw(id);
  if (raw.bytes().size() != kWideObjectId)
    throw nb::value_error(
        ("ID string needs to have length 28, got " + std::to_string(raw.bytes().size())).c_str());
  const ObjectId known = id_of_bytes(id);
  std::shared_ptr<Session> session = ref_session.lock();
  if (!session || !session->usable() ||
      !session->with([&](Client& client) { return client.add_ref(known); }))
    session = nullptr;
  new (self) Ref(std::move(session), known);
  WideId given;
  std::memcpy(given.data(), raw.bytes().data(), given.size());
  if (!self->session && given != wide_of(known)) self->foreign = std::make_unique<WideId>(given);
}

bool is_nil(const Ref& self) {
  return self.id.unique == 0 || self.id.unique == ~uint64_t{0};
}

bool equal_refs(const Ref& self, nb::handle other) {
  Ref* ref = nullptr;
  if (!nb::try_cast<Ref*>(other, ref) || ref == nullptr || !(ref->id == self.id)) return false;
  if (!self.foreign && !ref->foreign) return true;
  return self.foreign && ref->foreign && *self.foreign == *ref->foreign;
}

void bind_ref(nb::module_& module) {
  nb::class_<Ref>(module, "ObjectRef", nb::is_weak_referenceable())
      .def("__init__", &init_ref, nb::arg("id"))
      .def("binary", [](const Ref& self) { return bytes_of(wide_of_ref(self)); })
      .def("hex", [](const Ref& self) { return hex_of_bytes(wide_of_ref(self)); })
      .def("store_id", [](const Ref& self) { return id_bytes(self.id); })
      .def("task_bytes", [](const Ref& self) { return bytes_of(task_of_ref(self)); })
      .def_ro("spec", &Ref::spec)
      .def("is_nil", &is_nil)
      .def("__hash__", [](const Ref& self) { return static_cast<Py_ssize_t>(self.id.unique >> 1); })
      .def("__eq__", &equal_refs, nb::arg().none())
      .def("__repr__",
           [](const Ref& self) { return "ObjectRef(" + hex_of_bytes(wide_of_ref(self)) + ")"; });
}

}  // namespace

ObjectId id_of_bytes(nb::handle bytes) {
  ObjectId id;
  const ByteArgument raw(bytes);
  if (raw.bytes().size() == kWideObjectId) return narrow_of(raw.bytes().data());
  if (raw.bytes().size() != sizeof(ObjectId)) throw nb::value_error("an object id has 28 bytes");
  std::memcpy(&id, raw.bytes().data(), sizeof(ObjectId));
  return id;
}

WideId wide_of(const ObjectId& id) {
  WideId wide;
  std::memcpy(wide.data(), &id.unique, sizeof(id.unique));
  put_word(wide.data() + kActorAt, id.node_tag);
  put_word(wide.data() + kEntryAt, id.index);
  put_word(wide.data() + kMarkAt, kOnes);
  put_word(wide.data() + kJobAt, ref_job);
  put_word(wide.data() + kReturnAt, 1);
  return wide;
}

std::string hex_of(const ObjectId& id) {
  return hex_of_bytes(wide_of(id));
}

void set_ref_session(const std::shared_ptr<Session>& session) {
  ref_session = session;
}

nb::object make_ref(const std::shared_ptr<Session>& session, const ObjectId& id) {
  // In place: one allocation. Out of the garbage collector's sight: a ref points at no Python object, so it is in no
  // cycle, and each full collection would visit every live ref.
  nb::object ref = nb::inst_alloc(nb::type<Ref>());
  new (nb::inst_ptr<Ref>(ref)) Ref(session, id);
  nb::inst_mark_ready(ref);
  PyObject_GC_UnTrack(ref.ptr());
  return ref;
}

void bind_objects(nb::module_& module) {
  module.def("set_id_job", [](uint32_t job) { ref_job = job; }, nb::arg("job"));
  bind_ref(module);
  module.def("copy_into", &copy_into, nb::arg("target"), nb::arg("offset"), nb::arg("source"));
  nb::class_<View>(module, "View", nb::type_slots(view_slots))
      .def_prop_ro("address",
                   [](const View& self) { return reinterpret_cast<uintptr_t>(self.bytes.data); })
      .def("__len__", [](const View& self) { return self.bytes.size; });
  nb::class_<PutBuffer>(module, "PutBuffer", nb::type_slots(put_slots))
      .def("__len__", [](const PutBuffer& self) { return self.put.size; });
  nb::class_<Call>(module, "Call")
      .def_ro("handle", &Call::handle)
      .def_ro("kind", &Call::kind)
      .def_ro("flags", &Call::flags)
      .def_ro("incarnation", &Call::incarnation)
      .def_ro("attempt", &Call::attempt)
      .def_ro("retries_left", &Call::retries_left)
      .def_ro("deadline_ms", &Call::deadline_ms)
      .def_ro("return_count", &Call::return_count)
      .def_ro("method", &Call::method)
      .def_ro("extras", &Call::extras)
      .def_ro("args", &Call::args)
      .def_prop_ro("spec_number", [](const Call& self) { return self.spec.unique; })
      .def_prop_ro("spec", [](const Call& self) { return id_bytes(self.spec); })
      .def_prop_ro("task", [](const Call& self) { return id_bytes(self.task); })
      .def_prop_ro("actor", [](const Call& self) { return id_bytes(self.actor); });
  nb::class_<NotifierHandle>(module, "Notifier")
      .def(nb::init<>())
      .def("fileno", [](const NotifierHandle& self) { return self.notifier->fd(); })
      .def("take", [](const NotifierHandle& self) {
        nb::list ids;
        for (const ObjectId& id : self.notifier->take()) ids.append(id_bytes(id));
        return ids;
      });
}

}  // namespace polyray::py
