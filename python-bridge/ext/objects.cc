// SPDX-License-Identifier: Apache-2.0
// The Python classes of objects.h: identity, buffers, call fields.
#include "objects.h"

#include <nanobind/stl/shared_ptr.h>
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

void bind_ref(nb::module_& module) {
  nb::class_<Ref>(module, "ObjectRef", nb::is_weak_referenceable())
      .def("binary", [](const Ref& self) { return id_bytes(self.id); })
      .def("hex", [](const Ref& self) { return hex_of(self.id); })
      .def("is_nil", [](const Ref& self) { return self.id.unique == 0; })
      .def("__hash__", [](const Ref& self) { return static_cast<Py_ssize_t>(self.id.unique >> 1); })
      .def(
          "__eq__",
          [](const Ref& self, nb::handle other) {
            Ref* ref = nullptr;
            return nb::try_cast<Ref*>(other, ref) && ref != nullptr && ref->id == self.id;
          },
          nb::arg().none())
      .def("__repr__", [](const Ref& self) { return "ObjectRef(" + hex_of(self.id) + ")"; });
}

}  // namespace

ObjectId id_of_bytes(nb::handle bytes) {
  ObjectId id;
  const ByteArgument raw(bytes);
  if (raw.bytes().size() != sizeof(ObjectId)) throw nb::value_error("an object id has 16 bytes");
  std::memcpy(&id, raw.bytes().data(), sizeof(ObjectId));
  return id;
}

std::string hex_of(const ObjectId& id) {
  const auto* raw = reinterpret_cast<const uint8_t*>(&id);
  std::string text;
  for (size_t i = 0; i < sizeof(ObjectId); ++i) {
    text += kHex[raw[i] >> 4];
    text += kHex[raw[i] & 15];
  }
  return text;
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
      .def_ro("args", &Call::args)
      .def_prop_ro("spec_number", [](const Call& self) { return self.spec.unique; })
      .def_prop_ro("spec", [](const Call& self) { return id_bytes(self.spec); })
      .def_prop_ro("task", [](const Call& self) { return id_bytes(self.task); })
      .def_prop_ro("actor", [](const Call& self) { return id_bytes(self.actor); });
  nb::class_<Notifier>(module, "Notifier")
      .def(nb::init<>())
      .def("fileno", &Notifier::fd)
      .def("take", [](Notifier& self) {
        nb::list ids;
        for (const ObjectId& id : self.take()) ids.append(id_bytes(id));
        return ids;
      });
}

}  // namespace polyray::py
