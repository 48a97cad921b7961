// SPDX-License-Identifier: Apache-2.0
// workerReady to gcDone: what a worker says about the calls that run in it.

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"
#include "node_api/parts.h"

namespace polyray::node_api {

namespace {

OpenCall* call_or_throw(Environment& self, uint32_t number) {
  OpenCall* call = self.calls.find(number);
  if (call == nullptr)
    throw_code(self.env(), StatusCode::kClosed,
               "[closed] This call was replied to, or is not of this worker.");
  return call;
}

// The call, with a return of that index; null after throwing.
template <size_t N>
OpenCall* return_or_throw(Arguments<N>& a, uint32_t number, uint32_t index) {
  OpenCall* call = call_or_throw(a.self(), number);
  if (call == nullptr || index < call->returns) return call;
  a.wrong(1, "the index of a return");
  return nullptr;
}

// A status of a seal as a boolean: false when somebody sealed before.
napi_value sealed_first(napi_env env, const Status& status) {
  if (status.is_ok()) return make_bool(env, true);
  if (status.code == StatusCode::kAlreadyExists) return make_bool(env, false);
  return throw_status(env, status);
}

Result<PutBuffer> begin_return(Environment& self, Client& client, uint64_t handle, uint32_t index,
                               uint64_t size) {
  return self.with_room(size, kReturnWaitMs, [&](uint32_t wait_ms) {
    return client.return_begin(handle, index, size, wait_ms);
  });
}

// With the refs in scratch_refs.
Status seal_small(Environment& self, Client& client, uint64_t handle, uint32_t index,
                  std::span<const uint8_t> bytes, bool is_error) {
  return self.with_room(bytes.size(), kReturnWaitMs, [&](uint32_t wait_ms) {
    return client.return_small(handle, index, bytes, self.scratch_refs, is_error, wait_ms);
  });
}

}  // namespace

napi_value worker_ready(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  if (auto client = a.self().client_or_throw(); client != nullptr) client->worker_ready();
  return nullptr;
}

napi_value worker_exit(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  if (auto client = a.self().client_or_throw(); client != nullptr) client->worker_exit();
  return nullptr;
}

napi_value return_small(napi_env env, napi_callback_info info) {
  Arguments<6> a(env, info);
  const uint32_t number = a.u32(0);
  const uint32_t index = a.u32(1);
  const auto bytes = a.prefix(2);
  const bool is_error = a.boolean(5);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  uint32_t top = 0;
  if (client == nullptr || !a.self().read_refs(a.raw(4), bytes, a.self().scratch_refs, top))
    return nullptr;
  OpenCall* call = return_or_throw(a, number, index);
  if (call == nullptr) return nullptr;
  return sealed_first(env, seal_small(a.self(), *client, call->handle, index, bytes, is_error));
}

napi_value return_parts(napi_env env, napi_callback_info info) {
  Arguments<7> a(env, info);
  const uint32_t number = a.u32(0);
  const uint32_t index = a.u32(1);
  const uint64_t size = a.size(2);
  Parts parts;
  if (a.ok()) parts.read(a, 3, size);
  const bool is_error = a.boolean(6);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  OpenCall* call = client == nullptr ? nullptr : return_or_throw(a, number, index);
  if (call == nullptr) return nullptr;
  auto put = begin_return(a.self(), *client, call->handle, index, size);
  if (!put.is_ok()) return sealed_first(env, put.status());
  parts.write(put.value().data, size);
  uint32_t top = 0;
  if (!a.self().read_refs(a.raw(5), {put.value().data, size}, a.self().scratch_refs, top)) {
    client->put_abort(put.value());
    return nullptr;
  }
  return sealed_first(
      env, client->return_seal(call->handle, index, put.value(), a.self().scratch_refs, is_error));
}

napi_value return_begin(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const uint32_t number = a.u32(0);
  const uint32_t index = a.u32(1);
  const uint64_t size = a.size(2);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  OpenCall* call = client == nullptr ? nullptr : return_or_throw(a, number, index);
  if (call == nullptr) return nullptr;
  auto put = begin_return(a.self(), *client, call->handle, index, size);
  if (!put.is_ok()) return throw_status(env, put.status());
  OpenPut open;
  open.put = put.value();
  open.is_return = true;
  open.call = number;
  open.index = index;
  return a.self().open_put(std::move(open), size);
}

napi_value return_seal(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const uint32_t number = a.u32(0);
  const bool is_error = a.boolean(2);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  OpenPut* open = a.self().puts.find(number);
  if (open == nullptr || !open->is_return)
    return throw_code(env, StatusCode::kClosed, "[closed] This return is sealed already.");
  a.self().close_put_view(*open);
  OpenPut put = *open;
  a.self().puts.remove(number);
  OpenCall* call = call_or_throw(a.self(), static_cast<uint32_t>(put.call));
  uint32_t top = 0;
  if (call == nullptr ||
      !a.self().read_refs(a.raw(1), {put.put.data, put.put.size}, a.self().scratch_refs, top)) {
    client->put_abort(put.put);
    return nullptr;
  }
  return sealed_first(
      env, client->return_seal(call->handle, put.index, put.put, a.self().scratch_refs, is_error));
}

napi_value reply(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const uint32_t number = a.u32(0);
  const uint32_t status = a.u32(1);
  if (a.ok() && status > 4) a.wrong(1, "a ReplyStatus");
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  OpenCall* call = client == nullptr ? nullptr : call_or_throw(a.self(), number);
  if (call == nullptr) return nullptr;
  const uint64_t handle = call->handle;
  const bool is_task = call->is_task;
  a.self().calls.remove(number);
  client->reply(handle, static_cast<ReplyStatus>(status));
  a.self().replied(is_task);
  return nullptr;
}

napi_value return_and_reply(napi_env env, napi_callback_info info) {
  Arguments<5> a(env, info);
  const uint32_t number = a.u32(0);
  const auto bytes = a.prefix(1);
  const uint32_t status = a.u32(4);
  if (a.ok() && (status > 4 || status == 2 || status == 3)) a.wrong(4, "a ReplyStatus that seals");
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  uint32_t top = 0;
  if (client == nullptr || !a.self().read_refs(a.raw(3), bytes, a.self().scratch_refs, top))
    return nullptr;
  OpenCall* call = call_or_throw(a.self(), number);
  if (call == nullptr) return nullptr;
  const uint64_t handle = call->handle;
  const bool is_task = call->is_task;
  const Status sealed = seal_small(a.self(), *client, handle, 0, bytes, status != 0);
  if (!sealed.is_ok() && sealed.code != StatusCode::kAlreadyExists)
    return throw_status(env, sealed);
  a.self().calls.remove(number);
  client->reply(handle, static_cast<ReplyStatus>(status));
  a.self().replied(is_task);
  return make_bool(env, sealed.is_ok());
}

napi_value stream_item(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const uint32_t number = a.u32(0);
  const uint32_t item_number = a.u32(1);
  const uint32_t item = a.u32(2);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  OpenCall* call = client == nullptr ? nullptr : call_or_throw(a.self(), number);
  HandleSlot* slot = call == nullptr ? nullptr : a.self().handle_or_throw(item);
  if (slot == nullptr) return nullptr;
  const Status status = client->stream_item(call->handle, item_number, slot->id);
  return status.is_ok() ? nullptr : throw_status(env, status);
}

napi_value set_blocked(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const bool blocked = a.boolean(0);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client != nullptr) client->set_blocked(blocked);
  return nullptr;
}

napi_value set_actor_identity(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const uint32_t actor = a.u32(0);
  const uint32_t incarnation = a.u32(1);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  HandleSlot* slot = client == nullptr ? nullptr : a.self().handle_or_throw(actor);
  if (slot != nullptr) client->set_actor_identity(slot->id, incarnation);
  return nullptr;
}

napi_value devices(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  auto client = a.self().client_or_throw();
  napi_value found = nullptr;
  if (client != nullptr) napi_create_bigint_uint64(env, client->devices(), &found);
  return found;
}

napi_value gc_done(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  if (auto client = a.self().client_or_throw(); client != nullptr) client->gc_done();
  return nullptr;
}

}  // namespace polyray::node_api
