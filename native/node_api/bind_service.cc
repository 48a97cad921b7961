// SPDX-License-Identifier: Apache-2.0
// serviceRequest to rayletCommand: the control service's side and requests to it.

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"

namespace polyray::node_api {

namespace {

template <size_t N>
uint64_t peer_of(Arguments<N>& a, size_t at) {
  return uint64_t{a.u32(at)} | uint64_t{a.u32(at + 1)} << 32;
}

}  // namespace

napi_value service_request(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto payload = a.bytes(0);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  return client == nullptr ? nullptr : make_u32(env, client->service_request(payload));
}

napi_value service_call(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const auto payload = a.bytes(0);
  const double timeout_ms = a.f64(1);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  std::vector<uint8_t> answer;
  if (!a.self().service_call(payload, timeout_ms, answer)) return make_null(env);
  return copy_bytes(env, answer.data(), answer.size());
}

napi_value service_reply(napi_env env, napi_callback_info info) {
  Arguments<4> a(env, info);
  const uint64_t peer = peer_of(a, 0);
  const uint32_t request = a.u32(2);
  const auto payload = a.bytes(3);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client != nullptr) client->service_reply(peer, request, payload);
  return nullptr;
}

napi_value service_push(napi_env env, napi_callback_info info) {
  Arguments<4> a(env, info);
  const uint64_t peer = peer_of(a, 0);
  const uint32_t topic = a.u32(2);
  const auto payload = a.bytes(3);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client != nullptr) client->service_push(peer, topic, payload);
  return nullptr;
}

napi_value request_dedicated(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t spec = a.u32(0);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  if (spec >= a.self().specs.size() || a.self().specs[spec].spec.unique == 0) {
    return throw_code(env, StatusCode::kInvalidArgument, "[invalid argument] no such spec number");
  }
  return make_u32(env, client->request_dedicated(a.self().specs[spec]));
}

napi_value observe(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t what = a.u32(0);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  const std::vector<uint8_t> rows = client->observe(what);
  return copy_bytes(env, rows.data(), rows.size());
}

napi_value return_lease(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const uint32_t lease = a.u32(0);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client != nullptr) client->return_lease(lease);
  return nullptr;
}

napi_value submit_actor_create(napi_env env, napi_callback_info info) {
  Arguments<9> a(env, info);
  const uint64_t peer = peer_of(a, 0);
  const uint32_t actor = a.u32(2);
  const uint32_t incarnation = a.u32(3);
  const uint32_t spec = a.u32(4);
  CallArguments call;
  call.envelope = a.prefix(5);
  call.top_refs = a.u32(8);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr ||
      !a.self().read_refs(a.raw(7), call.envelope, a.self().scratch_refs, call.top_refs))
    return nullptr;
  call.refs = a.self().scratch_refs;
  HandleSlot* slot = a.self().handle_or_throw(actor);
  if (slot == nullptr) return nullptr;
  if (spec >= a.self().specs.size() || a.self().specs[spec].spec.unique == 0) {
    return throw_code(env, StatusCode::kInvalidArgument, "[invalid argument] no such spec number");
  }
  ObjectId result;
  const Status status =
      client->submit_actor_create(peer, slot->id, incarnation, spec, call, &result);
  if (!status.is_ok()) return throw_status(env, status);
  const uint32_t handle = a.self().adopt(result);
  return handle == 0 ? nullptr : make_u32(env, handle);
}

napi_value raylet_command(napi_env env, napi_callback_info info) {
  Arguments<5> a(env, info);
  const uint32_t op = a.u32(0);
  const uint64_t b = a.u64(1);
  const uint64_t c = a.u64(2);
  const uint64_t d = a.u64(3);
  const auto payload = a.bytes_or_null(4);
  if (a.ok() && (op < 1 || (op > 7 && op != 20 && op != 21 && op != 45))) a.wrong(0, "a RayletOp");
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client != nullptr) client->raylet_command(static_cast<RayletOp>(op), b, c, d, payload);
  return nullptr;
}

}  // namespace polyray::node_api
