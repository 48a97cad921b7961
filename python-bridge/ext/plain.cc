// SPDX-License-Identifier: Apache-2.0
// The fast half of the value model (docs/values.md): one pass over the objects or the bytes, no temporary objects.
//
// Writers answer None for what is not plain, readers answer NOT_PLAIN: the caller then takes serialize.py, which also
// makes the errors. Bytes are the same as there (test/python/test_plain.py compares them).
// Invariants: (1) exact types only; (2) a reader checks every length against the end; (3) depth is bounded.
// Thread rules: with the GIL; no state.
#include "plain.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/limits.h"
#include "client_binding.h"

namespace polyray::py {

namespace {

constexpr size_t kHeaderBytes = 16;
constexpr size_t kMaxBytes = 60 * 1024;  // larger values leave by another way
constexpr size_t kMaxBin = 256;          // longer byte strings are buffers
constexpr int kMaxDepth = 32;
constexpr size_t kMaxBytesWithRefs = 8 * 1024 * 1024;
constexpr size_t kFewRefs = 16;  // so many are found by looking at each
constexpr uint8_t kExtRef = 1;
constexpr uint8_t kExtArgRef = 2;

class Writer {
 public:
  Writer() { bytes_.resize(kHeaderBytes); }

  // False: not plain (no Python error is set).
  bool value(PyObject* object, int depth = 0) {
    if (object == Py_None) return byte(0xc0);
    if (object == Py_True) return byte(0xc3);
    if (object == Py_False) return byte(0xc2);
    if (PyLong_CheckExact(object)) return integer(object);
    if (PyFloat_CheckExact(object)) {
      byte(0xcb);
      return big(std::bit_cast<uint64_t>(PyFloat_AsDouble(object)), 8);
    }
    if (PyUnicode_CheckExact(object)) return text(object);
    if (PyBytes_CheckExact(object)) return binary(object);
    if (depth >= kMaxDepth) return false;
    if (PyList_CheckExact(object)) return list(object, depth);
    if (PyDict_CheckExact(object)) return dict(object, depth);
    if (const Ref* ref = as_ref(object); ref != nullptr) return reference(kExtRef, ref->id);
    return false;
  }

  // Refs at the top level of arguments come first in the table. REQUIRES: before anything is written.
  void expect_argument(PyObject* object) {
    if (PyUnicode_CheckExact(object) || PyLong_CheckExact(object) || PyFloat_CheckExact(object))
      return;
    if (const Ref* ref = as_ref(object); ref != nullptr) index_of(ref->id);
    argument_refs_ = refs_.size();
  }

  bool argument(PyObject* object) {
    if (argument_refs_ > 0) {
      if (const Ref* ref = as_ref(object); ref != nullptr) return reference(kExtArgRef, ref->id);
    }
    return value(object);
  }

  size_t argument_refs() const { return argument_refs_; }

  bool array(size_t count) {
    if (count < 16) return byte(static_cast<uint8_t>(0x90 | count));
    return sized(count, 0, 0xdc, 0xdd);
  }

  bool map(size_t count) {
    if (count < 16) return byte(static_cast<uint8_t>(0x80 | count));
    return sized(count, 0, 0xde, 0xdf);
  }

  bool text(PyObject* object) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(object, &size);
    if (data == nullptr) {  // a lone surrogate
      PyErr_Clear();
      return false;
    }
    const auto bytes = static_cast<size_t>(size);
    if (bytes < 32)
      byte(static_cast<uint8_t>(0xa0 | bytes));
    else
      sized(bytes, 0xd9, 0xda, 0xdb);
    return raw(data, bytes);
  }

  // None when it grew too large.
  nb::object finish() {
    return close() ? nb::object(nb::bytes(bytes_.data(), bytes_.size())) : nb::none();
  }

  // The whole envelope, after close().
  std::string take() { return std::move(bytes_); }

  // Writes the header; false when it grew too large.
  bool close() {
    if (bytes_.size() > limit() || argument_refs_ > UINT16_MAX) return false;
    const size_t body = bytes_.size() - kHeaderBytes;
    if (!refs_.empty()) {
      const size_t table = refs_.size() * sizeof(ObjectId);
      bytes_.insert(kHeaderBytes, table, '\0');
      std::memcpy(bytes_.data() + kHeaderBytes, refs_.data(), table);
    }
    auto* head = reinterpret_cast<uint8_t*>(bytes_.data());
    head[0] = 1;
    const auto arguments = static_cast<uint16_t>(argument_refs_);
    const auto refs = static_cast<uint32_t>(refs_.size());
    const auto length = static_cast<uint32_t>(body);
    std::memcpy(head + 2, &arguments, 2);
    std::memcpy(head + 4, &length, 4);
    std::memcpy(head + 12, &refs, 4);
    return true;
  }

 private:
  bool byte(uint8_t value) {
    bytes_.push_back(static_cast<char>(value));
    return true;
  }
  size_t limit() const { return refs_.empty() ? kMaxBytes : kMaxBytesWithRefs; }
  uint32_t index_of(const ObjectId& id) {
    if (refs_.size() <= kFewRefs) {
      for (size_t i = 0; i < refs_.size(); ++i) {
        if (refs_[i] == id) return static_cast<uint32_t>(i);
      }
    } else {
      if (places_.empty()) {
        for (size_t i = 0; i < refs_.size(); ++i) places_.emplace(refs_[i].unique, i);
      }
      if (const auto found = places_.find(id.unique);
          found != places_.end() && refs_[found->second] == id)
        return found->second;
    }
    const auto index = static_cast<uint32_t>(refs_.size());
    refs_.push_back(id);
    if (!places_.empty()) places_.emplace(id.unique, index);
    return index;
  }
  bool reference(uint8_t extension, const ObjectId& id) {
    const uint32_t number = index_of(id);
    byte(0xd6);  // an extension of four bytes
    byte(extension);
    return raw(&number, sizeof number);
  }
  bool raw(const void* data, size_t size) {
    if (bytes_.size() + size > limit()) return false;
    bytes_.append(static_cast<const char*>(data), size);
    return true;
  }
  bool big(uint64_t value, int size) {
    for (int i = size - 1; i >= 0; --i) byte(static_cast<uint8_t>(value >> (8 * i)));
    return true;
  }
  bool sized(size_t count, uint8_t one, uint8_t two, uint8_t four) {
    if (one != 0 && count < 256) {
      byte(one);
      return big(count, 1);
    }
    if (count < 65536) {
      byte(two);
      return big(count, 2);
    }
    byte(four);
    return big(count, 4);
  }
  bool integer(PyObject* object) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0) return false;  // also what only fits an unsigned number
    const auto bits = static_cast<uint64_t>(value);
    if (value >= 0) {
      if (value < 128) return byte(static_cast<uint8_t>(value));
      const int width = value < 256 ? 1 : value < 65536 ? 2 : value <= 0xffffffffLL ? 4 : 8;
      byte(static_cast<uint8_t>(width == 1 ? 0xcc : width == 2 ? 0xcd : width == 4 ? 0xce : 0xcf));
      return big(bits, width);
    }
    if (value >= -32) return byte(static_cast<uint8_t>(value));
    const int width = value >= -128 ? 1 : value >= -32768 ? 2 : value >= -2147483648LL ? 4 : 8;
    byte(static_cast<uint8_t>(width == 1 ? 0xd0 : width == 2 ? 0xd1 : width == 4 ? 0xd2 : 0xd3));
    return big(bits, width);
  }
  bool binary(PyObject* object) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(object, &data, &size) != 0) {
      PyErr_Clear();
      return false;
    }
    const auto bytes = static_cast<size_t>(size);
    if (bytes > kMaxBin) return false;
    sized(bytes, 0xc4, 0xc5, 0xc6);
    return raw(data, bytes);
  }
  bool list(PyObject* object, int depth) {
    const Py_ssize_t count = PyList_Size(object);
    array(static_cast<size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      if (bytes_.size() > limit() || !value(PyList_GetItem(object, i), depth + 1)) return false;
    }
    return true;
  }
  bool dict(PyObject* object, int depth) {
    map(static_cast<size_t>(PyDict_Size(object)));
    Py_ssize_t at = 0;
    PyObject* key = nullptr;
    PyObject* item = nullptr;
    while (PyDict_Next(object, &at, &key, &item) != 0) {
      // Other keys have rules of their own; serialize.py knows them.
      if (!PyUnicode_CheckExact(key) || bytes_.size() > limit() || !text(key) ||
          !value(item, depth + 1))
        return false;
    }
    return true;
  }

  std::string bytes_;
  std::vector<ObjectId> refs_;
  std::unordered_map<uint64_t, uint32_t> places_;
  size_t argument_refs_ = 0;
};

class Reader {
 public:
  Reader(std::span<const uint8_t> body, std::span<const uint8_t> refs, const Endpoint* endpoint)
      : at_(body.data()), end_(body.data() + body.size()), refs_(refs), endpoint_(endpoint) {}

  bool at_end() const { return at_ == end_; }

  // Null: not plain or broken (no Python error is set), or a Python error of its own is set.
  PyObject* value(int depth = 0) {
    if (at_ == end_) return nullptr;
    const uint8_t tag = *at_++;
    if (tag < 0x80) return PyLong_FromLong(tag);
    if (tag >= 0xe0) return PyLong_FromLong(static_cast<int8_t>(tag));
    if (tag < 0x90) return dict(tag & 15, depth);
    if (tag < 0xa0) return list(tag & 15, depth);
    if (tag < 0xc0) return text(tag & 31);
    switch (tag) {
      case 0xc0:
        return same(Py_None);
      case 0xc2:
        return same(Py_False);
      case 0xc3:
        return same(Py_True);
      case 0xcb: {
        uint64_t bits = 0;
        return big(8, bits) ? PyFloat_FromDouble(std::bit_cast<double>(bits)) : nullptr;
      }
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf: {
        uint64_t bits = 0;
        return big(size_t{1} << (tag - 0xcc), bits) ? PyLong_FromUnsignedLongLong(bits) : nullptr;
      }
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3: {
        const int width = 1 << (tag - 0xd0);
        uint64_t bits = 0;
        if (!big(static_cast<size_t>(width), bits)) return nullptr;
        const int shift = 64 - 8 * width;
        return PyLong_FromLongLong(static_cast<int64_t>(bits << shift) >> shift);
      }
      case 0xc4:
      case 0xc5:
      case 0xc6: {
        uint64_t size = 0;
        if (!big(size_t{1} << (tag - 0xc4), size) || !has(size)) return nullptr;
        PyObject* made = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(at_),
                                                   static_cast<Py_ssize_t>(size));
        at_ += size;
        return made;
      }
      case 0xd9:
      case 0xda:
      case 0xdb: {
        uint64_t size = 0;
        return big(size_t{1} << (tag - 0xd9), size) ? text(size) : nullptr;
      }
      case 0xdc:
      case 0xdd: {
        uint64_t count = 0;
        return big(size_t{2} << (tag - 0xdc), count) ? list(count, depth) : nullptr;
      }
      case 0xde:
      case 0xdf: {
        uint64_t count = 0;
        return big(size_t{2} << (tag - 0xde), count) ? dict(count, depth) : nullptr;
      }
      case 0xd6:
        return reference();
      default:
        return nullptr;  // other extensions, float32, what is unknown
    }
  }

 private:
  static PyObject* same(PyObject* object) {
    Py_INCREF(object);
    return object;
  }
  bool has(uint64_t size) const { return size <= static_cast<uint64_t>(end_ - at_); }
  bool big(size_t size, uint64_t& value) {
    if (!has(size)) return false;
    for (size_t i = 0; i < size; ++i) value = value << 8 | *at_++;
    return true;
  }
  PyObject* text(uint64_t size) {
    if (!has(size)) return nullptr;
    PyObject* made = PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(at_),
                                          static_cast<Py_ssize_t>(size), nullptr);
    at_ += size;
    if (made == nullptr) PyErr_Clear();  // a surrogate, or broken: serialize.py says which
    return made;
  }
  PyObject* list(uint64_t count, int depth) {
    if (depth >= kMaxDepth || !has(count)) return nullptr;
    PyObject* made = PyList_New(static_cast<Py_ssize_t>(count));
    for (uint64_t i = 0; made != nullptr && i < count; ++i) {
      PyObject* item = value(depth + 1);
      if (item == nullptr || PyList_SetItem(made, static_cast<Py_ssize_t>(i), item) != 0) {
        Py_DECREF(made);
        return nullptr;
      }
    }
    return made;
  }
  PyObject* dict(uint64_t count, int depth) {
    if (depth >= kMaxDepth || !has(2 * count)) return nullptr;
    PyObject* made = PyDict_New();
    for (uint64_t i = 0; made != nullptr && i < count; ++i) {
      PyObject* key = value(depth + 1);
      // Only str keys: others may not be hashable, or have to be told from a MAP.
      PyObject* item = key == nullptr || !PyUnicode_CheckExact(key) ? nullptr : value(depth + 1);
      const bool stored = item != nullptr && PyDict_SetItem(made, key, item) == 0;
      Py_XDECREF(key);
      Py_XDECREF(item);
      if (!stored) {
        Py_DECREF(made);
        return nullptr;
      }
    }
    return made;
  }

  PyObject* reference() {
    uint32_t index = 0;
    if (!has(5) || *at_ != kExtRef || endpoint_ == nullptr) return nullptr;
    std::memcpy(&index, at_ + 1, sizeof index);
    at_ += 5;
    if (index >= refs_.size() / sizeof(ObjectId)) return nullptr;
    ObjectId id;
    std::memcpy(&id, refs_.data() + index * sizeof(ObjectId), sizeof id);
    bool held = false;
    {
      const Locked lock(*endpoint_->session);
      held = endpoint_->session->client().add_ref(id);
    }
    // A ref to something that is gone stays a value; reading it says that it is gone.
    return make_ref(held ? endpoint_->session : nullptr, id).release().ptr();
  }

  const uint8_t* at_;
  const uint8_t* end_;
  std::span<const uint8_t> refs_;
  const Endpoint* endpoint_;
};

struct Envelope {
  std::span<const uint8_t> refs;
  std::span<const uint8_t> body;  // empty: not for this reader
};

// The parts of an envelope without buffers, flags and argument refs.
Envelope parts_of(std::span<const uint8_t> data) {
  static constexpr std::array<uint8_t, 4> kStart{1, 0, 0, 0};
  if (data.size() <= kHeaderBytes || std::memcmp(data.data(), kStart.data(), kStart.size()) != 0)
    return {};
  std::array<uint32_t, 3> counts{};  // body bytes, buffers, refs
  std::memcpy(counts.data(), data.data() + 4, sizeof counts);
  const uint64_t table = uint64_t{counts[2]} * sizeof(ObjectId);
  if (counts[1] != 0 || table + counts[0] > data.size() - kHeaderBytes) return {};
  return {data.subspan(kHeaderBytes, table), data.subspan(kHeaderBytes + table, counts[0])};
}

nb::object encode_to_bytes(nb::handle value) {
  Writer writer;
  return writer.value(value.ptr()) ? writer.finish() : nb::none();
}

// args: a tuple or list; kwargs: a dict with str keys, or None.
nb::object encode_plain_args(nb::handle args, nb::handle kwargs) {
  Writer writer;
  const Py_ssize_t count = PySequence_Size(args.ptr());
  if (count < 0) throw nb::python_error();
  const bool is_tuple = PyTuple_CheckExact(args.ptr());
  if (!is_tuple && !PyList_CheckExact(args.ptr())) return nb::none();
  const bool has_named = !kwargs.is_none() && PyDict_Size(kwargs.ptr()) > 0;
  for (Py_ssize_t i = 0; i < count; ++i)
    writer.expect_argument(is_tuple ? PyTuple_GetItem(args.ptr(), i)
                                    : PyList_GetItem(args.ptr(), i));
  Py_ssize_t at = 0;
  PyObject* key = nullptr;
  PyObject* named = nullptr;
  while (has_named && PyDict_Next(kwargs.ptr(), &at, &key, &named) != 0)
    writer.expect_argument(named);
  if (writer.argument_refs() > limits::kMaxRefArgs) return nb::none();
  writer.array(2);
  writer.array(static_cast<size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = is_tuple ? PyTuple_GetItem(args.ptr(), i) : PyList_GetItem(args.ptr(), i);
    if (!writer.argument(item)) return nb::none();
  }
  if (!has_named) {
    writer.value(Py_None);
    return writer.finish();
  }
  writer.map(static_cast<size_t>(PyDict_Size(kwargs.ptr())));
  at = 0;
  while (PyDict_Next(kwargs.ptr(), &at, &key, &named) != 0) {
    if (!PyUnicode_CheckExact(key) || !writer.text(key) || !writer.argument(named))
      return nb::none();
  }
  return writer.finish();
}

}  // namespace

bool encode_plain(nb::handle value, size_t most, std::string& bytes) {
  Writer writer;
  if (!writer.value(value.ptr()) || !writer.close()) return false;
  bytes = writer.take();
  return bytes.size() <= most;
}

PyObject* decode_plain(std::span<const uint8_t> bytes, const Endpoint* endpoint) {
  const Envelope parts = parts_of(bytes);
  if (parts.body.empty()) return nullptr;
  Reader reader(parts.body, parts.refs, endpoint);
  PyObject* made = reader.value();
  if (made == nullptr) {
    if (PyErr_Occurred() != nullptr) throw nb::python_error();
    return nullptr;
  }
  if (reader.at_end()) return made;
  Py_DECREF(made);
  return nullptr;
}

void bind_plain(nb::module_& module) {
  nb::object not_plain = nb::module_::import_("builtins").attr("object")();
  module.attr("NOT_PLAIN") = not_plain;
  module.def("encode_plain", &encode_to_bytes, nb::arg("value").none());
  module.def("encode_plain_args", &encode_plain_args, nb::arg("args"), nb::arg("kwargs").none());
  module.def(
      "decode_plain",
      [not_plain](nb::handle data, const Endpoint* client) {
        const ByteArgument bytes(data);
        if (client != nullptr) client->open();
        PyObject* made = decode_plain(bytes.bytes(), client);
        return made == nullptr ? not_plain : nb::steal(made);
      },
      nb::arg("data"), nb::arg("client") = nb::none());
}

}  // namespace polyray::py
