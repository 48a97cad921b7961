// SPDX-License-Identifier: Apache-2.0
// The slow parts of convert.h: errors and option objects.

#include "node_api/convert.h"

#include "node_api/bind.h"
#include "node_api/environment.h"

namespace polyray::node_api {

namespace {

// The error by the environment's factory; null when there is none (or it failed: its own exception
// is then pending).
napi_value factory_error(napi_env env, const Status& status) {
  void* data = nullptr;
  if (napi_get_instance_data(env, &data) != napi_ok || data == nullptr) return nullptr;
  const Environment& self = **static_cast<std::shared_ptr<Environment>*>(data);
  if (self.error_factory == nullptr) return nullptr;
  napi_value factory = nullptr;
  napi_value receiver = nullptr;
  napi_value error = nullptr;
  napi_get_reference_value(env, self.error_factory, &factory);
  napi_get_undefined(env, &receiver);
  napi_value arguments[3] = {make_u32(env, static_cast<uint32_t>(status.code)),
                             make_string(env, status.message),
                             make_u32(env, static_cast<uint32_t>(status.sys_errno))};
  return napi_call_function(env, receiver, factory, 3, arguments, &error) == napi_ok ? error
                                                                                     : nullptr;
}

}  // namespace

napi_value set_error_factory(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  napi_valuetype type = napi_undefined;
  if (a.ok() && (napi_typeof(env, a.raw(0), &type) != napi_ok || type != napi_function))
    a.wrong(0, "a function");
  if (!a.ok()) return nullptr;
  if (a.self().error_factory != nullptr) napi_delete_reference(env, a.self().error_factory);
  napi_create_reference(env, a.raw(0), 1, &a.self().error_factory);
  return nullptr;
}

ObjectArgument object_of(Environment& self, uint32_t handle) {
  std::shared_ptr<Client> client = self.client_or_throw();
  HandleSlot* slot = client == nullptr ? nullptr : self.handle_or_throw(handle);
  return {std::move(client), slot};
}

napi_value throw_status(napi_env env, const Status& status) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) return nullptr;
  napi_value error = factory_error(env, status);
  if (error != nullptr) {
    napi_throw(env, error);
    return nullptr;
  }
  napi_is_exception_pending(env, &pending);
  if (pending) return nullptr;
  napi_create_error(env, nullptr, make_string(env, status.message), &error);
  if (error == nullptr) return nullptr;
  set_number(env, error, "code", static_cast<double>(status.code));
  set_number(env, error, "errno", status.sys_errno);
  napi_throw(env, error);
  return nullptr;
}

napi_value make_uint8_array(napi_env env, napi_value array_buffer, size_t offset, size_t size) {
  napi_value result = nullptr;
  napi_create_typedarray(env, napi_uint8_array, size, array_buffer, offset, &result);
  return result;
}

napi_value copy_bytes(napi_env env, const uint8_t* data, size_t size) {
  void* target = nullptr;
  napi_value buffer = nullptr;
  if (napi_create_arraybuffer(env, size, &target, &buffer) != napi_ok) return nullptr;
  if (size > 0) std::memcpy(target, data, size);
  return make_uint8_array(env, buffer, 0, size);
}

namespace {

bool missing(napi_env env, const char* name, const char* expected) {
  throw_code(env, StatusCode::kInvalidArgument,
             std::string("[invalid argument] option ") + name + " must be " + expected);
  return false;
}

bool get(napi_env env, napi_value object, const char* name, napi_value& value) {
  return napi_get_named_property(env, object, name, &value) == napi_ok;
}

}  // namespace

bool read_property(napi_env env, napi_value object, const char* name, std::string& value) {
  napi_value raw = nullptr;
  size_t length = 0;
  if (!get(env, object, name, raw) ||
      napi_get_value_string_utf8(env, raw, nullptr, 0, &length) != napi_ok) {
    return missing(env, name, "a string");
  }
  value.resize(length);
  napi_get_value_string_utf8(env, raw, value.data(), length + 1, &length);
  return true;
}

bool read_property(napi_env env, napi_value object, const char* name, uint64_t& value) {
  napi_value raw = nullptr;
  double number = 0;
  if (!get(env, object, name, raw) || napi_get_value_double(env, raw, &number) != napi_ok ||
      !(number >= 0) || number > 9007199254740991.0) {
    return missing(env, name, "a number from 0");
  }
  value = static_cast<uint64_t>(number);
  return true;
}

bool read_property(napi_env env, napi_value object, const char* name, uint32_t& value) {
  uint64_t wide = 0;
  if (!read_property(env, object, name, wide)) return false;
  if (wide > 0xffffffffull) return missing(env, name, "a number below 2^32");
  value = static_cast<uint32_t>(wide);
  return true;
}

bool read_property(napi_env env, napi_value object, const char* name, int32_t& value) {
  napi_value raw = nullptr;
  if (!get(env, object, name, raw) || napi_get_value_int32(env, raw, &value) != napi_ok)
    return missing(env, name, "a number");
  return true;
}

bool read_property(napi_env env, napi_value object, const char* name, bool& value) {
  napi_value raw = nullptr;
  if (!get(env, object, name, raw) || napi_get_value_bool(env, raw, &value) != napi_ok)
    return missing(env, name, "a boolean");
  return true;
}

bool read_amounts(napi_env env, napi_value object, const char* name,
                  std::vector<std::pair<std::string, uint64_t>>& amounts) {
  napi_value record = nullptr;
  napi_value keys = nullptr;
  uint32_t count = 0;
  if (!get(env, object, name, record) || napi_get_property_names(env, record, &keys) != napi_ok ||
      napi_get_array_length(env, keys, &count) != napi_ok) {
    return missing(env, name, "a record of numbers");
  }
  for (uint32_t i = 0; i < count; ++i) {
    napi_value key = nullptr;
    napi_value value = nullptr;
    double amount = 0;
    size_t length = 0;
    napi_get_element(env, keys, i, &key);
    napi_get_property(env, record, key, &value);
    if (napi_get_value_double(env, value, &amount) != napi_ok || !(amount >= 0))
      return missing(env, name, "a record of numbers");
    napi_get_value_string_utf8(env, key, nullptr, 0, &length);
    std::string text(length, '\0');
    napi_get_value_string_utf8(env, key, text.data(), length + 1, &length);
    amounts.emplace_back(std::move(text), static_cast<uint64_t>(amount));
  }
  return true;
}

}  // namespace polyray::node_api
