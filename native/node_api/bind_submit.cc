// SPDX-License-Identifier: Apache-2.0
// registerSpec to streamConsumed: calls from here. The hot path of the product: one crossing per
// submission.

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"
#include "os/env.h"

namespace polyray::node_api {

namespace {

constexpr uint32_t kMaxReturns = 1000;

// One class per (language, job, flags, resources, key): FNV-1a over all of it.
uint64_t class_hash(const SpecInfo& spec) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  const auto mix = [&hash](const void* data, size_t size) {
    for (size_t i = 0; i < size; ++i)
      hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3ULL;
  };
  mix(&spec.lease.language, sizeof spec.lease.language);
  mix(&spec.lease.job, sizeof spec.lease.job);
  mix(&spec.lease.flags, sizeof spec.lease.flags);
  for (const ResourceItem& item : spec.resources) mix(&item, sizeof item);
  mix(spec.worker_key.data(), spec.worker_key.size());
  return hash;
}

napi_value make_handles(napi_env env, Environment& self, const ObjectId* returns, uint32_t count) {
  if (count == 1) {
    const uint32_t handle = self.adopt(returns[0]);
    return handle == 0 ? nullptr : make_u32(env, handle);
  }
  napi_value array = nullptr;
  napi_create_array_with_length(env, count, &array);
  for (uint32_t i = 0; i < count; ++i)
    napi_set_element(env, array, i, make_u32(env, self.adopt(returns[i])));
  return array;
}

// Arguments from `at` on: args, argsLength, refs, topRefs, returnCount, flags, maxRetries,
// timeoutMs. Args of length 0 may be the handle of an object that they were put as.
template <size_t N>
bool read_call(Arguments<N>& a, size_t at, CallArguments& call) {
  const bool stored = a.u32(at + 1) == 0 && a.is_number(at);
  if (stored) {
    const HandleSlot* args = a.ok() ? a.self().handle_or_throw(a.u32(at)) : nullptr;
    if (args == nullptr) return false;
    call.stored = args->id;
  } else {
    call.envelope = a.prefix(at);
  }
  call.top_refs = a.u32(at + 3);
  call.return_count = a.u32(at + 4);
  call.flags = static_cast<uint16_t>(a.u32(at + 5));
  call.max_retries = a.i32(at + 6);
  const uint64_t timeout_ms = a.size(at + 7);
  call.deadline_ms = timeout_ms == 0 ? 0 : os::now_ms() + timeout_ms;
  if (a.ok() && (call.return_count < 1 || call.return_count > kMaxReturns))
    a.wrong(at + 4, "from 1 to 1000");
  if (a.ok() && stored) return true;
  if (!a.ok() ||
      !a.self().read_refs(a.raw(at + 2), call.envelope, a.self().scratch_refs, call.top_refs))
    return false;
  call.refs = a.self().scratch_refs;
  return true;
}

}  // namespace

napi_value register_spec(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  if (client == nullptr) return nullptr;
  SpecInfo spec;
  uint32_t handle = 0;
  std::vector<std::pair<std::string, uint64_t>> resources;
  napi_value from = a.raw(0);
  spec.lease = LeaseSpec{};
  if (!read_property(env, from, "spec", handle) ||
      !read_property(env, from, "language", spec.lease.language) ||
      !read_property(env, from, "leaseFlags", spec.lease.flags) ||
      !read_property(env, from, "priority", spec.lease.priority) ||
      !read_amounts(env, from, "resources", resources) ||
      !read_property(env, from, "workerKey", spec.worker_key) ||
      !read_property(env, from, "maxRetries", spec.max_retries)) {
    return nullptr;
  }
  HandleSlot* slot = a.self().handle_or_throw(handle);
  if (slot == nullptr) return nullptr;
  spec.spec = slot->id;
  spec.lease.job = client->job();
  for (const auto& [name, amount] : resources) {
    ResourceItem item{};
    if (name.size() >= sizeof item.name)
      return throw_code(env, StatusCode::kInvalidOption,
                        "[invalid option] resource name too long: " + name);
    item.amount = amount;
    std::memcpy(item.name, name.data(), name.size());
    spec.resources.push_back(item);
  }
  spec.lease.resource_count = static_cast<uint32_t>(spec.resources.size());
  spec.lease.key_bytes = static_cast<uint32_t>(spec.worker_key.size());
  spec.lease.class_hash = class_hash(spec);
  a.self().intern(spec.spec);
  SpecInfo copy = spec;
  const uint32_t number = client->register_spec(std::move(spec));
  if (a.self().specs.size() <= number) a.self().specs.resize(number + 1);
  a.self().specs[number] = std::move(copy);
  return make_u32(env, number);
}

napi_value submit_task(napi_env env, napi_callback_info info) {
  Arguments<9> a(env, info);
  const uint32_t spec = a.u32(0);
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  CallArguments call;
  if (client == nullptr || !read_call(a, 1, call)) return nullptr;
  if (spec >= a.self().specs.size() || a.self().specs[spec].spec.unique == 0) {
    return throw_code(env, StatusCode::kInvalidArgument, "[invalid argument] no such spec number");
  }
  ObjectId single;
  std::vector<ObjectId> many(call.return_count > 1 ? call.return_count : 0);
  ObjectId* returns = call.return_count > 1 ? many.data() : &single;
  const Status status = client->submit_task(spec, call, returns);
  if (!status.is_ok()) return throw_status(env, status);
  return make_handles(env, a.self(), returns, call.return_count);
}

napi_value submit_actor_call(napi_env env, napi_callback_info info) {
  Arguments<10> a(env, info);
  const uint32_t actor = a.u32(0);
  char method[256];
  size_t method_bytes = 0;
  if (a.ok() &&
      napi_get_value_string_utf8(env, a.raw(1), method, sizeof method, &method_bytes) != napi_ok)
    a.wrong(1, "a string");
  if (method_bytes >= sizeof method - 1) a.wrong(1, "a name below 255 bytes");
  auto client = a.ok() ? a.self().client_or_throw() : nullptr;
  CallArguments call;
  if (client == nullptr || !read_call(a, 2, call)) return nullptr;
  call.method = std::string_view(method, method_bytes);
  HandleSlot* slot = a.self().handle_or_throw(actor);
  if (slot == nullptr) return nullptr;
  ObjectId single;
  std::vector<ObjectId> many(call.return_count > 1 ? call.return_count : 0);
  ObjectId* returns = call.return_count > 1 ? many.data() : &single;
  const Status status = client->submit_actor_call(slot->id, call, returns);
  if (!status.is_ok()) return throw_status(env, status);
  return make_handles(env, a.self(), returns, call.return_count);
}

napi_value set_actor_state(napi_env env, napi_callback_info info) {
  Arguments<7> a(env, info);
  const uint32_t phase = a.u32(1);
  const uint64_t peer = uint64_t{a.u32(2)} | uint64_t{a.u32(3)} << 32;
  const uint32_t incarnation = a.u32(4);
  const int32_t max_task_retries = a.i32(5);
  const auto error = a.bytes_or_null(6);
  if (phase > 4) a.wrong(1, "an ActorPhase");
  const auto [client, slot] = a.object(0);
  if (slot == nullptr) return nullptr;
  client->set_actor_state(slot->id, static_cast<ActorPhase>(phase), peer, incarnation,
                          max_task_retries, error);
  return nullptr;
}

napi_value actor_phase(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto [client, slot] = a.object(0);
  return slot == nullptr ? nullptr
                         : make_u32(env, static_cast<uint32_t>(client->actor_phase(slot->id)));
}

napi_value actor_pending_calls(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto [client, slot] = a.object(0);
  return slot == nullptr
             ? nullptr
             : make_number(env, static_cast<double>(client->actor_pending_calls(slot->id)));
}

napi_value cancel(napi_env env, napi_callback_info info) {
  Arguments<4> a(env, info);
  const bool force = a.boolean(1);
  const bool recursive = a.boolean(2);
  const auto error = a.bytes(3);
  const auto [client, slot] = a.object(0);
  return slot == nullptr ? nullptr
                         : make_bool(env, client->cancel(slot->id, force, recursive, error));
}

napi_value call_peer(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const auto [client, slot] = a.object(0);
  if (slot == nullptr) return nullptr;
  const uint64_t peer = client->call_peer(slot->id);
  a.self().out[0] = static_cast<uint32_t>(peer >> 32);
  return make_u32(env, static_cast<uint32_t>(peer));
}

napi_value stream_consumed(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const uint32_t items = a.u32(1);
  const auto [client, slot] = a.object(0);
  if (slot != nullptr) client->stream_consumed(slot->id, items);
  return nullptr;
}

}  // namespace polyray::node_api
