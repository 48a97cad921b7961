// SPDX-License-Identifier: Apache-2.0
// The class ObjectRef (see ref.h), written against CPython's stable interface: it holds no Python object, so it is in no
// cycle and out of the garbage collector's sight, which would visit every live ref in each full collection.
#include "ref.h"

#include <cstring>
#include <exception>

#include "objects.h"

#if PY_VERSION_HEX < 0x030c0000
#include <structmember.h>
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_READONLY READONLY
#endif

namespace polyray::py {

namespace {

struct RefObject {
  PyObject base;
  PyObject* weak_refs;
  Ref ref;
};
// 96 bytes with the head of the default build: a step of Python's allocator. (Free-threaded builds have a bigger head.)
static_assert(sizeof(RefObject) - sizeof(PyObject) <= 80);

// Process wide, with the GIL: the class, what refs made of bytes belong to, and the job that ids name.
PyTypeObject* ref_type = nullptr;
std::weak_ptr<Session> ref_session;
uint32_t ref_job = 0;

constexpr char kHex[] = "0123456789abcdef";
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
PyObject* bytes_of(const std::array<uint8_t, N>& raw) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(raw.data()), raw.size());
}

PyObject* text_of(const std::string& text) {
  return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
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

Ref& ref_in(PyObject* self) {
  return reinterpret_cast<RefObject*>(self)->ref;
}

// What make() gives. Python's frames are C, through which no exception may go: all that is thrown here is want of memory.
template <class Result, class Make>
Result or_no_memory(Result failed, Make&& make) {
  try {
    return make();
  } catch (const std::exception&) {
    PyErr_NoMemory();
    return failed;
  }
}

WideId wide_of_ref(const Ref& ref) {
  return ref.foreign ? *ref.foreign : wide_of(ref.id);
}

std::array<uint8_t, kWideTaskId> task_of_ref(const Ref& ref) {
  const WideId wide = ref.foreign ? *ref.foreign : wide_of(ref.first ? *ref.first : ref.id);
  std::array<uint8_t, kWideTaskId> task{};
  std::memcpy(task.data(), wide.data(), task.size());
  if (ref.actor.unique != 0) std::memcpy(task.data() + kActorAt, &ref.actor, sizeof(ObjectId));
  return task;
}

bool same_object(const Ref& one, const Ref& other) {
  if (!(one.id == other.id)) return false;
  if (!one.foreign && !other.foreign) return true;
  return one.foreign && other.foreign && *one.foreign == *other.foreign;
}

// --- the class -------------------------------------------------------------------------------------------------------

PyObject* ref_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = PyType_GenericAlloc(type, 0);
  if (self != nullptr) new (&ref_in(self)) Ref();
  return self;
}

// ObjectRef(id): counts the object when there is one of that id.
int ref_init(PyObject* self, PyObject* args, PyObject* named) {
  char name[] = "id";
  char* names[] = {name, nullptr};
  PyObject* id = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, named, "O:ObjectRef", names, &id)) return -1;
  if (!PyBytes_Check(id)) {
    PyErr_Format(PyExc_TypeError, "Unsupported type: %S, expected bytes",
                 reinterpret_cast<PyObject*>(Py_TYPE(id)));
    return -1;
  }
  if (PyBytes_Size(id) != static_cast<Py_ssize_t>(kWideObjectId)) {
    PyErr_Format(PyExc_ValueError, "ID string needs to have length 28, got %zd", PyBytes_Size(id));
    return -1;
  }
  WideId given;
  std::memcpy(given.data(), PyBytes_AsString(id), given.size());
  return or_no_memory(-1, [&] {
    const ObjectId known = narrow_of(given.data());
    std::shared_ptr<Session> session = ref_session.lock();
    if (!session || !session->usable() ||
        !session->with([&](Client& client) { return client.add_ref(known); }))
      session = nullptr;
    Ref& ref = ref_in(self);
    ref.~Ref();  // of an earlier __init__
    new (&ref) Ref(std::move(session), known);
    if (!ref.session && given != wide_of(known)) ref.foreign = std::make_unique<WideId>(given);
    return 0;
  });
}

void ref_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  if (reinterpret_cast<RefObject*>(self)->weak_refs != nullptr) PyObject_ClearWeakRefs(self);
  ref_in(self).~Ref();
  if (type == ref_type)
    PyObject_Free(self);
  else
    reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF(reinterpret_cast<PyObject*>(type));
}

Py_hash_t ref_hash(PyObject* self) {
  return static_cast<Py_hash_t>(ref_in(self).id.unique >> 1);
}

PyObject* ref_compare(PyObject* self, PyObject* other, int operation) {
  if (operation != Py_EQ && operation != Py_NE) {
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
  }
  const Ref* ref = as_ref(other);
  const bool same = ref != nullptr && same_object(ref_in(self), *ref);
  return PyBool_FromLong(same == (operation == Py_EQ));
}

PyObject* ref_repr(PyObject* self) {
  return or_no_memory<PyObject*>(nullptr, [&] {
    return text_of("ObjectRef(" + hex_of_bytes(wide_of_ref(ref_in(self))) + ")");
  });
}

PyObject* ref_binary(PyObject* self, PyObject*) {
  return bytes_of(wide_of_ref(ref_in(self)));
}

PyObject* ref_hex(PyObject* self, PyObject*) {
  return or_no_memory<PyObject*>(nullptr,
                                 [&] { return text_of(hex_of_bytes(wide_of_ref(ref_in(self)))); });
}

PyObject* ref_store_id(PyObject* self, PyObject*) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(&ref_in(self).id),
                                   sizeof(ObjectId));
}

PyObject* ref_task_bytes(PyObject* self, PyObject*) {
  return bytes_of(task_of_ref(ref_in(self)));
}

PyObject* ref_is_nil(PyObject* self, PyObject*) {
  const uint64_t unique = ref_in(self).id.unique;
  return PyBool_FromLong(unique == 0 || unique == ~uint64_t{0});
}

PyObject* ref_spec(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(ref_in(self).spec);
}

PyMethodDef ref_methods[] = {{"binary", ref_binary, METH_NOARGS, nullptr},
                             {"hex", ref_hex, METH_NOARGS, nullptr},
                             {"store_id", ref_store_id, METH_NOARGS, nullptr},
                             {"task_bytes", ref_task_bytes, METH_NOARGS, nullptr},
                             {"is_nil", ref_is_nil, METH_NOARGS, nullptr},
                             {nullptr, nullptr, 0, nullptr}};
PyGetSetDef ref_getters[] = {{"spec", ref_spec, nullptr, nullptr, nullptr},
                             {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyMemberDef ref_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, sizeof(PyObject), Py_READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot ref_slots[] = {{Py_tp_new, reinterpret_cast<void*>(ref_new)},
                           {Py_tp_init, reinterpret_cast<void*>(ref_init)},
                           {Py_tp_dealloc, reinterpret_cast<void*>(ref_dealloc)},
                           {Py_tp_hash, reinterpret_cast<void*>(ref_hash)},
                           {Py_tp_richcompare, reinterpret_cast<void*>(ref_compare)},
                           {Py_tp_repr, reinterpret_cast<void*>(ref_repr)},
                           {Py_tp_methods, ref_methods},
                           {Py_tp_getset, ref_getters},
                           {Py_tp_members, ref_members},
                           {0, nullptr}};
PyType_Spec ref_class = {"polyray._native.ObjectRef", sizeof(RefObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, ref_slots};

}  // namespace

nb::object make_ref(const std::shared_ptr<Session>& session, const ObjectId& id) {
  PyObject* made = PyType_GenericAlloc(ref_type, 0);
  if (made == nullptr) {
    const Ref unheld(session, id);
    throw nb::python_error();
  }
  new (&ref_in(made)) Ref(session, id);
  return nb::steal(made);
}

Ref* as_ref(nb::handle object) {
  PyTypeObject* type = Py_TYPE(object.ptr());
  return type == ref_type || PyType_IsSubtype(type, ref_type) ? &ref_in(object.ptr()) : nullptr;
}

Ref& ref_at(nb::handle object) {
  if (Ref* ref = as_ref(object); ref != nullptr) return *ref;
  PyErr_Format(PyExc_TypeError, "an ObjectRef is needed, not %R", object.ptr());
  throw nb::python_error();
}

const ObjectId& id_to_read(const Ref& ref) {
  if (ref.id.unique == 0)
    throw nb::value_error("this ObjectRef is nil: it was made without an id and names no object");
  return ref.id;
}

Ref* exact_ref(PyObject* object) {
  return Py_TYPE(object) == ref_type ? &ref_in(object) : nullptr;
}

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

void bind_ref(nb::module_& module) {
  module.def("set_id_job", [](uint32_t job) { ref_job = job; }, nb::arg("job"));
  PyObject* made = PyType_FromSpec(&ref_class);
  if (made == nullptr) throw nb::python_error();
  ref_type = reinterpret_cast<PyTypeObject*>(made);
  module.attr("ObjectRef") = nb::handle(made);
}

}  // namespace polyray::py
