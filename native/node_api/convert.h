// SPDX-License-Identifier: Apache-2.0
// Between napi_value and plain C++ values, by the raw C interface (a submission crosses once and
// allocates nothing).
//
// `Arguments<N>` reads the arguments of one call: the first bad one throws INVALID_ARGUMENT in JS
// and turns ok() false; later reads
// then give zeros. Bytes are borrowed: valid until the callback returns or JS runs.
// Thread rules: the environment's thread.
#pragma once
#include <node_api.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace polyray {
class Client;
}

namespace polyray::node_api {

class Environment;
struct HandleSlot;

// The endpoint and the slot of a handle; the slot is null after throwing.
using ObjectArgument = std::pair<std::shared_ptr<Client>, HandleSlot*>;
ObjectArgument object_of(Environment& self, uint32_t handle);

// Throws an Error with numeric `code` and `errno`; returns null for `return throw_status(...)`.
napi_value throw_status(napi_env env, const Status& status);
inline napi_value throw_code(napi_env env, StatusCode code, std::string message) {
  return throw_status(env, Status::error(code, std::move(message)));
}

inline napi_value make_number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}
inline napi_value make_u32(napi_env env, uint32_t value) {
  napi_value result = nullptr;
  napi_create_uint32(env, value, &result);
  return result;
}
inline napi_value make_bool(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}
inline napi_value make_null(napi_env env) {
  napi_value result = nullptr;
  napi_get_null(env, &result);
  return result;
}
inline napi_value make_string(napi_env env, std::string_view text) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &result);
  return result;
}
inline void set_property(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}
inline void set_number(napi_env env, napi_value object, const char* name, double value) {
  set_property(env, object, name, make_number(env, value));
}
// A Uint8Array of its own memory.
napi_value copy_bytes(napi_env env, const uint8_t* data, size_t size);
napi_value make_uint8_array(napi_env env, napi_value array_buffer, size_t offset, size_t size);
// Property readers of option objects; a missing or wrong property throws and returns false.
bool read_property(napi_env env, napi_value object, const char* name, std::string& value);
bool read_property(napi_env env, napi_value object, const char* name, uint64_t& value);
bool read_property(napi_env env, napi_value object, const char* name, uint32_t& value);
bool read_property(napi_env env, napi_value object, const char* name, int32_t& value);
bool read_property(napi_env env, napi_value object, const char* name, bool& value);
bool read_amounts(napi_env env, napi_value object, const char* name,
                  std::vector<std::pair<std::string, uint64_t>>& amounts);

template <size_t N>
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = N;
    void* data = nullptr;
    if (napi_get_cb_info(env, info, &count, values_, nullptr, &data) != napi_ok) ok_ = false;
    self_ = static_cast<Environment*>(data);
    if (count < N) fail("too few arguments");
  }
  bool ok() const { return ok_; }
  napi_env env() const { return env_; }
  Environment& self() const { return *self_; }
  napi_value raw(size_t i) const { return values_[i]; }

  uint32_t u32(size_t i) {
    uint32_t value = 0;
    if (ok_ && napi_get_value_uint32(env_, values_[i], &value) != napi_ok) wrong(i, "a number");
    return value;
  }
  int32_t i32(size_t i) {
    int32_t value = 0;
    if (ok_ && napi_get_value_int32(env_, values_[i], &value) != napi_ok) wrong(i, "a number");
    return value;
  }
  double f64(size_t i) {
    double value = 0;
    if (ok_ && napi_get_value_double(env_, values_[i], &value) != napi_ok) wrong(i, "a number");
    return value;
  }
  uint64_t size(size_t i) {
    const double value = f64(i);
    if (ok_ && !(value >= 0 && value <= 9007199254740991.0)) wrong(i, "a size");
    return ok_ ? static_cast<uint64_t>(value) : 0;
  }
  // A number or a bigint.
  uint64_t u64(size_t i) {
    if (!ok_) return 0;
    napi_valuetype type = napi_undefined;
    napi_typeof(env_, values_[i], &type);
    if (type != napi_bigint) return size(i);
    uint64_t value = 0;
    bool lossless = false;
    if (napi_get_value_bigint_uint64(env_, values_[i], &value, &lossless) != napi_ok || !lossless)
      wrong(i, "a u64");
    return value;
  }
  bool boolean(size_t i) {
    bool value = false;
    if (ok_ && napi_get_value_bool(env_, values_[i], &value) != napi_ok) wrong(i, "a boolean");
    return value;
  }
  // REQUIRES: every other argument was read.
  ObjectArgument object(size_t i) {
    const uint32_t handle = u32(i);
    return ok_ ? object_of(*self_, handle) : ObjectArgument{nullptr, nullptr};
  }
  std::string text(size_t i) {
    size_t length = 0;
    if (!ok_) return {};
    if (napi_get_value_string_utf8(env_, values_[i], nullptr, 0, &length) != napi_ok) {
      wrong(i, "a string");
      return {};
    }
    std::string value(length, '\0');
    napi_get_value_string_utf8(env_, values_[i], value.data(), length + 1, &length);
    return value;
  }
  bool is_null(size_t i) {
    napi_valuetype type = napi_undefined;
    return ok_ && napi_typeof(env_, values_[i], &type) == napi_ok &&
           (type == napi_null || type == napi_undefined);
  }
  std::span<uint8_t> bytes(size_t i) {
    if (!ok_) return {};
    std::span<uint8_t> result;
    if (!view(values_[i], napi_uint8_array, 1, result)) wrong(i, "a Uint8Array");
    return result;
  }
  // The first values_[i + 1] bytes of values_[i].
  std::span<uint8_t> prefix(size_t i) {
    std::span<uint8_t> all = bytes(i);
    const uint64_t length = size(i + 1);
    if (ok_ && length > all.size()) wrong(i + 1, "a length within the bytes");
    return ok_ ? all.first(length) : std::span<uint8_t>{};
  }
  bool is_number(size_t i) const {
    napi_valuetype type = napi_undefined;
    return ok_ && napi_typeof(env_, values_[i], &type) == napi_ok && type == napi_number;
  }
  // Null gives an empty span.
  std::span<const uint8_t> bytes_or_null(size_t i) {
    return is_null(i) ? std::span<const uint8_t>{} : std::span<const uint8_t>(bytes(i));
  }
  std::span<uint32_t> words(size_t i) {
    if (!ok_) return {};
    std::span<uint8_t> result;
    if (!view(values_[i], napi_uint32_array, 4, result)) wrong(i, "a Uint32Array");
    return {reinterpret_cast<uint32_t*>(result.data()), result.size() / 4};
  }
  std::span<const double> doubles(size_t i) {
    if (!ok_) return {};
    std::span<uint8_t> result;
    if (!view(values_[i], napi_float64_array, 8, result)) wrong(i, "a Float64Array");
    return {reinterpret_cast<const double*>(result.data()), result.size() / 8};
  }
  void wrong(size_t i, const char* expected) {
    fail("argument " + std::to_string(i + 1) + " must be " + expected);
  }
  void fail(std::string message) {
    if (!ok_) return;
    ok_ = false;
    throw_code(env_, StatusCode::kInvalidArgument, "[invalid argument] " + message);
  }

 private:
  bool view(napi_value value, napi_typedarray_type wanted, size_t element,
            std::span<uint8_t>& result) {
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env_, value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
        type != wanted)
      return false;
    result = {static_cast<uint8_t*>(data), length * element};
    return true;
  }

  napi_env env_;
  Environment* self_ = nullptr;
  napi_value values_[N == 0 ? 1 : N] = {};
  bool ok_ = true;
};

}  // namespace polyray::node_api
