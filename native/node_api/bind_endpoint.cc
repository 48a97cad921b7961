// SPDX-License-Identifier: Apache-2.0
// attach to counters: the endpoint's own functions.

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"

namespace polyray::node_api {

napi_value attach(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  AttachOptions options;
  uint32_t kind = 0;
  std::string startup_token;
  napi_value from = a.raw(0);
  if (!a.ok() || !read_property(env, from, "socketName", options.socket_name) ||
      !read_property(env, from, "token", options.token) ||
      !read_property(env, from, "kind", kind) ||
      !read_property(env, from, "startupToken", startup_token) ||
      !read_property(env, from, "job", options.job) ||
      !read_property(env, from, "sendStdio", options.send_stdio)) {
    return nullptr;
  }
  napi_valuetype type = napi_undefined;
  napi_typeof(env, a.raw(1), &type);
  if (type != napi_function) a.wrong(1, "a function");
  if (kind < 2 || kind > 5) a.wrong(0, "options with an endpoint kind");
  if (!a.ok()) return nullptr;
  options.kind = static_cast<EndpointKind>(kind);
  options.language = 1;
  options.startup_token = strtoull(startup_token.c_str(), nullptr, 10);
  options.package_version = POLYRAY_VERSION;
  napi_value collect = nullptr;
  napi_get_named_property(env, from, "collect", &collect);
  return a.self().attach(options, a.raw(1), collect);
}

napi_value detach(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  if (a.self().client() == nullptr)
    return throw_code(env, StatusCode::kClosed, "[closed] This environment is not attached.");
  a.self().detach();
  return nullptr;
}

napi_value is_attached(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  return make_bool(env, a.self().is_attached());
}

napi_value set_ref(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const bool keep_alive = a.boolean(0);
  if (a.ok()) a.self().set_ref(keep_alive);
  return nullptr;
}

napi_value flush(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  if (a.self().is_attached()) a.self().client()->flush();
  return nullptr;
}

napi_value pump(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  if (a.self().client_or_throw() == nullptr) return nullptr;
  const auto keep = a.self().shared_from_this();
  return make_u32(env, static_cast<uint32_t>(keep->drain()));
}

napi_value start_control_thread(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  if (a.self().client_or_throw() == nullptr) return nullptr;
  const Status status = a.self().start_control_thread();
  return status.is_ok() ? nullptr : throw_status(env, status);
}

napi_value counters(napi_env env, napi_callback_info info) {
  Arguments<0> a(env, info);
  auto client = a.self().client_or_throw();
  if (client == nullptr) return nullptr;
  Environment& self = a.self();
  const Client::Counters& c = client->counters();
  uint64_t live_views = 0;
  uint64_t view_bytes = 0;
  for (const auto& [data, view] : self.views) {
    if (!view->pinned) continue;
    ++live_views;
    view_bytes += view->size;
  }
  const std::pair<const char*, uint64_t> numbers[] = {{"callsSubmitted", c.calls_submitted},
                                                      {"callsExecuted", c.calls_executed},
                                                      {"bellsRung", c.bells_rung},
                                                      {"bellsSaved", c.bells_saved},
                                                      {"puts", c.puts},
                                                      {"putBytes", c.put_bytes},
                                                      {"zeroCopyBytes", c.zero_copy_bytes},
                                                      {"retries", c.retries},
                                                      {"retracted", c.retracted},
                                                      {"liveHandles", self.handles.live()},
                                                      {"liveViews", live_views},
                                                      {"liveViewBytes", view_bytes},
                                                      {"openPuts", self.puts.live()},
                                                      {"openCalls", self.calls.live()},
                                                      {"eventBatches", self.event_batches},
                                                      {"eventRecords", self.event_records}};
  napi_value result = nullptr;
  napi_create_object(env, &result);
  for (const auto& [name, value] : numbers)
    set_number(env, result, name, static_cast<double>(value));
  return result;
}

}  // namespace polyray::node_api
