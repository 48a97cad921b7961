// SPDX-License-Identifier: Apache-2.0
// releaseHandle to createActorObject: counts and ids of handles.

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"

namespace polyray::node_api {

namespace {

// What releaseHandles tells of each: as Released in ts/native/binding.ts.
enum class Released : uint32_t { kCounts, kLast, kFailed };

constexpr char kHex[] = "0123456789abcdef";

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

napi_value release_handle(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t handle = a.u32(0);
  if (!a.ok()) return nullptr;
  HandleSlot* slot = a.self().handle_or_throw(handle);
  if (slot == nullptr) return nullptr;
  return make_bool(env, a.self().release(handle, *slot));
}

napi_value release_handles(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const auto handles = a.words(0);
  const uint32_t count = a.u32(1);
  if (a.ok() && count > handles.size()) a.wrong(1, "at most the length of the list");
  Client* client = a.ok() ? a.self().client() : nullptr;
  if (client == nullptr) return nullptr;
  for (uint32_t& handle : handles.first(count)) {
    HandleSlot* slot = a.self().handles.find(handle);
    Released released = Released::kCounts;
    if (slot != nullptr && client->status(slot->id) == ObjectStatus::kError)
      released = Released::kFailed;
    else if (slot != nullptr && a.self().release(handle, *slot))
      released = Released::kLast;
    handle = static_cast<uint32_t>(released);
  }
  return nullptr;
}

napi_value retain_handle(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t handle = a.u32(0);
  if (!a.ok()) return nullptr;
  if (HandleSlot* slot = a.self().handle_or_throw(handle); slot != nullptr) slot->count++;
  return nullptr;
}

napi_value id_of(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t handle = a.u32(0);
  if (!a.ok()) return nullptr;
  HandleSlot* slot = a.self().handle_or_throw(handle);
  if (slot == nullptr) return nullptr;
  char text[32];
  const auto* bytes = reinterpret_cast<const uint8_t*>(&slot->id);
  for (int i = 0; i < 16; ++i) {
    text[2 * i] = kHex[bytes[i] >> 4];
    text[2 * i + 1] = kHex[bytes[i] & 15];
  }
  napi_value result = nullptr;
  napi_create_string_latin1(env, text, 32, &result);
  return result;
}

napi_value write_ids(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const auto handles = a.words(0);
  const auto target = a.bytes(1);
  const uint64_t offset = a.size(2);
  if (a.ok() && (offset > target.size() || (target.size() - offset) / 16 < handles.size()))
    a.wrong(1, "large enough");
  if (!a.ok()) return nullptr;
  uint8_t* at = target.data() + offset;
  for (uint32_t handle : handles) {
    HandleSlot* slot = a.self().handle_or_throw(handle);
    if (slot == nullptr) return nullptr;
    std::memcpy(at, &slot->id, sizeof(ObjectId));
    at += sizeof(ObjectId);
  }
  return nullptr;
}

napi_value handle_of_id(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  char text[34] = {};
  size_t length = 0;
  if (a.ok() && napi_get_value_string_latin1(env, a.raw(0), text, sizeof text, &length) != napi_ok)
    a.wrong(0, "a string");
  ObjectId id;
  auto* bytes = reinterpret_cast<uint8_t*>(&id);
  bool good = length == 32;
  for (int i = 0; good && i < 16; ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    good = high >= 0 && low >= 0;
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  if (!good) a.wrong(0, "an id of 32 hex digits");
  if (!a.ok() || a.self().client_or_throw() == nullptr) return nullptr;
  return make_u32(env, a.self().acquire(id));
}

napi_value import_ids(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const auto bytes = a.bytes(0);
  const uint64_t offset = a.size(1);
  const uint32_t count = a.u32(2);
  if (a.ok() &&
      (count > kOutWords || offset > bytes.size() || (bytes.size() - offset) / 16 < count))
    a.wrong(2, "at most 64 ids in the bytes");
  if (!a.ok() || a.self().client_or_throw() == nullptr) return nullptr;
  for (uint32_t i = 0; i < count; ++i) {
    ObjectId id;
    std::memcpy(&id, bytes.data() + offset + size_t{i} * 16, sizeof id);
    a.self().out[i] = a.self().acquire(id);
  }
  return nullptr;
}

napi_value create_actor_object(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  auto client = a.self().client_or_throw();
  if (client == nullptr) return nullptr;
  auto id = client->create_actor_object();
  if (!id.is_ok()) return throw_status(env, id.status());
  const uint32_t handle = a.self().adopt(id.value());
  return handle == 0 ? nullptr : make_u32(env, handle);
}

}  // namespace polyray::node_api
