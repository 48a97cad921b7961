// SPDX-License-Identifier: Apache-2.0
// The Python classes of objects.h: buffers, call fields.
#include "objects.h"

#include <nanobind/stl/string.h>

#include "errors.h"
#include "notifier.h"
#include "os/env.h"

namespace polyray::py {

namespace {

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

}  // namespace

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
