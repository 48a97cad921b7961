// SPDX-License-Identifier: Apache-2.0
// Python objects over the store: View (pinned read-only bytes), PutBuffer (bytes being written), Call (a call that runs
// here); ref.h has the counted reference.
//
// Destructors release through the session; after fork, detach or shutdown they do nothing (the raylet swept the row).
// Thread rules: created and destroyed with the GIL; the session's lock orders everything else.
#pragma once
#include <nanobind/nanobind.h>

#include <memory>
#include <span>

#include "ref.h"
#include "session.h"

namespace polyray::py {

namespace nb = nanobind;

struct View {
  std::shared_ptr<Session> session;
  ObjectId id;
  ObjectView bytes;
  View(std::shared_ptr<Session> owner, ObjectId object, ObjectView view)
      : session(std::move(owner)), id(object), bytes(view) {}
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() {
    if (bytes.pinned && session && session->usable())
      session->with([&](Client& client) {
        client.unpin(id);
        client.flush();  // perhaps somebody has freed it: nobody who sleeps rings for that
      });
  }
};

struct PutBuffer {
  std::shared_ptr<Session> session;
  polyray::PutBuffer put;
  uint64_t call = 0;  // a return of this call, when `of_call`
  uint32_t index = 0;
  bool of_call = false;
  bool open = true;
  size_t exports = 0;
  PutBuffer(std::shared_ptr<Session> owner, polyray::PutBuffer buffer)
      : session(std::move(owner)), put(buffer) {}
  PutBuffer(const PutBuffer&) = delete;
  PutBuffer& operator=(const PutBuffer&) = delete;
  ~PutBuffer() {
    if (open && session && session->usable())
      session->with([&](Client& client) { client.put_abort(put); });
  }
};

// The fields that outlive the reply are copied; `args` is a bytes object, or a View of big arguments.
struct Call {
  uint64_t handle = 0;
  uint32_t kind = 0;
  uint32_t flags = 0;
  ObjectId spec, task, actor;
  uint32_t incarnation = 0;
  uint32_t attempt = 0;
  int32_t retries_left = 0;
  uint64_t deadline_ms = 0;
  uint32_t return_count = 0;
  nb::object method;
  nb::object extras;  // options of this one call as JSON text, or None
  nb::object args;
};

inline nb::bytes id_bytes(const ObjectId& id) {
  return nb::bytes(reinterpret_cast<const char*>(&id), sizeof(ObjectId));
}

// Bytes of any contiguous buffer while this lives. Raises the Python error of the object.
template <typename Byte, int kFlags>
class BufferBytes {
 public:
  explicit BufferBytes(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, kFlags) != 0) throw nb::python_error();
  }
  ~BufferBytes() { PyBuffer_Release(&view_); }
  BufferBytes(const BufferBytes&) = delete;
  BufferBytes& operator=(const BufferBytes&) = delete;
  std::span<Byte> bytes() const {
    return {static_cast<Byte*>(view_.buf), static_cast<size_t>(view_.len)};
  }

 private:
  Py_buffer view_{};
};

using ByteArgument = BufferBytes<const uint8_t, PyBUF_SIMPLE>;
using WritableBytes = BufferBytes<uint8_t, PyBUF_WRITABLE>;

void bind_objects(nb::module_& module);

}  // namespace polyray::py
