// SPDX-License-Identifier: Apache-2.0
// putSmall to addressOf: object bytes in and out.

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"
#include "node_api/parts.h"

namespace polyray::node_api {

namespace {

napi_value handle_of(napi_env env, Environment& self, const Result<ObjectId>& id) {
  if (!id.is_ok()) return throw_status(env, id.status());
  const uint32_t handle = self.adopt(id.value());
  return handle == 0 ? nullptr : make_u32(env, handle);
}

Result<PutBuffer> begin_put(Environment& self, Client& client, uint64_t size, uint32_t wait_ms) {
  return self.with_room(size, wait_ms, [&](uint32_t ms) { return client.put_begin(size, ms); });
}

}  // namespace

napi_value put_small(napi_env env, napi_callback_info info) {
  Arguments<4> a(env, info);
  const auto bytes = a.prefix(0);
  const uint32_t flags = a.u32(3);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  uint32_t top = 0;
  if (client == nullptr || !a.self().read_refs(a.raw(2), bytes, a.self().scratch_refs, top))
    return nullptr;
  const auto put = [&](uint32_t wait_ms) {
    return client->put(bytes, a.self().scratch_refs, flags, wait_ms);
  };
  return handle_of(env, a.self(), a.self().with_room(bytes.size(), kPutWaitMs, put));
}

napi_value put_parts(napi_env env, napi_callback_info info) {
  Arguments<6> a(env, info);
  const uint64_t size = a.size(0);
  Parts parts;
  if (a.ok()) parts.read(a, 1, size);
  const uint32_t flags = a.u32(4);
  const uint32_t wait_ms = a.u32(5);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  auto put = begin_put(a.self(), *client, size, wait_ms);
  if (!put.is_ok()) return throw_status(env, put.status());
  parts.write(put.value().data, size);
  uint32_t top = 0;
  const ObjectId id = put.value().id;
  if (!a.self().read_refs(a.raw(3), {put.value().data, size}, a.self().scratch_refs, top)) {
    client->put_abort(put.value());
    return nullptr;
  }
  const Status sealed = client->put_seal(put.value(), a.self().scratch_refs, flags);
  if (!sealed.is_ok()) return throw_status(env, sealed);
  const uint32_t handle = a.self().adopt(id);
  return handle == 0 ? nullptr : make_u32(env, handle);
}

napi_value put_begin(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const uint64_t size = a.size(0);
  const uint32_t wait_ms = a.u32(1);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  auto put = begin_put(a.self(), *client, size, wait_ms);
  if (!put.is_ok()) return throw_status(env, put.status());
  OpenPut open;
  open.put = put.value();
  return a.self().open_put(std::move(open), size);
}

napi_value put_seal(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const uint32_t number = a.u32(0);
  const uint32_t flags = a.u32(2);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  OpenPut* open = a.self().puts.find(number);
  if (open == nullptr || open->is_return)
    return throw_code(env, StatusCode::kClosed, "[closed] This put is sealed or given up already.");
  a.self().close_put_view(*open);
  OpenPut put = *open;
  uint32_t top = 0;
  if (!a.self().read_refs(a.raw(1), {put.put.data, put.put.size}, a.self().scratch_refs, top)) {
    a.self().puts.remove(number);
    client->put_abort(put.put);
    return nullptr;
  }
  a.self().puts.remove(number);
  const ObjectId id = put.put.id;
  const Status sealed = client->put_seal(put.put, a.self().scratch_refs, flags);
  if (!sealed.is_ok()) return throw_status(env, sealed);
  const uint32_t handle = a.self().adopt(id);
  return handle == 0 ? nullptr : make_u32(env, handle);
}

napi_value put_abort(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t number = a.u32(0);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  OpenPut* open = a.self().puts.find(number);
  if (open == nullptr)
    return throw_code(env, StatusCode::kClosed, "[closed] This put is sealed or given up already.");
  open->copies = false;
  a.self().close_put_view(*open);
  client->put_abort(open->put);
  a.self().puts.remove(number);
  return nullptr;
}

napi_value status_of(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto [client, slot] = a.object(0);
  return slot == nullptr ? nullptr : make_u32(env, static_cast<uint32_t>(client->status(slot->id)));
}

napi_value subscribe(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const bool with_value = a.boolean(1);
  const auto [client, slot] = a.object(0);
  return slot == nullptr
             ? nullptr
             : make_u32(env, static_cast<uint32_t>(a.self().subscribe(*slot, with_value)));
}

napi_value unsubscribe(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t handle = a.u32(0);
  if (!a.ok()) return nullptr;
  if (HandleSlot* slot = a.self().handles.find(handle); slot != nullptr)
    slot->wanted = slot->with_value = false;
  return nullptr;
}

napi_value read_object(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const bool wait = a.boolean(1);
  const auto [client, slot] = a.object(0);
  if (slot == nullptr) return nullptr;
  ObjectStatus status = client->status(slot->id);
  if (status == ObjectStatus::kPending && wait) status = a.self().subscribe(*slot, true);
  if (status != ObjectStatus::kSealed && status != ObjectStatus::kError) {
    a.self().out[0] = static_cast<uint32_t>(status);
    a.self().out[1] = 0;
    return make_null(env);
  }
  return a.self().read(slot->id, static_cast<uint32_t>(status));
}

napi_value read_small(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const bool wait = a.boolean(1);
  const auto [client, slot] = a.object(0);
  if (slot == nullptr) return nullptr;
  ReadRecord record;
  const uint32_t bytes = a.self().read_small(*slot, wait, 0, record);
  a.self().out[0] = record.status;
  a.self().out[1] = 0;
  napi_value result = nullptr;
  napi_create_int32(env, bytes == kNotRead ? -1 : static_cast<int32_t>(bytes), &result);
  return result;
}

napi_value read_many(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const auto handles = a.words(0);
  const uint32_t from = a.u32(1);
  if (a.ok() && from > handles.size()) a.wrong(1, "a place in the list");
  if (!a.ok() || a.self().client_or_throw() == nullptr) return nullptr;
  Environment& self = a.self();
  size_t next = from;
  for (size_t used = 0; next < handles.size(); ++next) {
    if (used + sizeof(ReadRecord) + kSmallValueBytes > kReadBufferBytes) break;
    HandleSlot* slot = self.handle_or_throw(handles[next]);
    if (slot == nullptr) return nullptr;
    ReadRecord record;
    record.bytes = self.read_small(*slot, true, used + sizeof record, record);
    std::memcpy(self.reads + used, &record, sizeof record);
    used +=
        sizeof record + (record.bytes == kNotRead ? 0 : (size_t{record.bytes} + 7) & ~size_t{7});
  }
  return make_u32(env, static_cast<uint32_t>(next));
}

napi_value release_view(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  void* data = nullptr;
  size_t size = 0;
  if (a.ok() && napi_get_arraybuffer_info(env, a.raw(0), &data, &size) != napi_ok)
    a.wrong(0, "an ArrayBuffer");
  if (!a.ok()) return nullptr;
  const auto found = a.self().views.find(data);
  if (data == nullptr || found == a.self().views.end() || !found->second->pinned)
    return make_bool(env, false);
  if (napi_detach_arraybuffer(env, a.raw(0)) != napi_ok) return make_bool(env, false);
  a.self().release_view(data);
  return make_bool(env, true);
}

napi_value object_size(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto [client, slot] = a.object(0);
  return slot == nullptr ? nullptr
                         : make_number(env, static_cast<double>(client->object_size(slot->id)));
}

napi_value object_info(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto [client, slot] = a.object(0);
  if (slot == nullptr) return nullptr;
  const ObjectInfo about = client->info(slot->id);
  napi_value result = nullptr;
  napi_create_object(env, &result);
  set_number(env, result, "status", static_cast<double>(about.status));
  set_number(env, result, "size", static_cast<double>(about.size));
  set_property(env, result, "inStore", make_bool(env, about.in_store));
  set_property(env, result, "spilled", make_bool(env, about.spilled));
  set_property(env, result, "freed", make_bool(env, about.freed));
  set_number(env, result, "refs", about.refs);
  set_number(env, result, "pins", about.pins);
  return result;
}

napi_value free_object(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto [client, slot] = a.object(0);
  return slot == nullptr ? nullptr : make_bool(env, client->free_object(slot->id));
}

napi_value wait_sync(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const auto handles = a.words(0);
  const uint32_t needed = a.u32(1);
  const double timeout_ms = a.f64(2);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  bool failed = false;
  const uint32_t settled = a.self().wait_sync(handles, needed, timeout_ms, failed);
  if (failed) return nullptr;
  for (size_t i = 0; i < handles.size() && i < kOutWords; ++i) {
    const HandleSlot* slot = a.self().handles.find(handles[i]);
    a.self().out[i] = slot == nullptr ? 3 : static_cast<uint32_t>(client->status(slot->id));
  }
  return make_u32(env, settled);
}

napi_value address_of(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto bytes = a.bytes(0);
  return a.ok() ? make_number(env, static_cast<double>(reinterpret_cast<uintptr_t>(bytes.data())))
                : nullptr;
}

}  // namespace polyray::node_api
