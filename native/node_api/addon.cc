// SPDX-License-Identifier: Apache-2.0
// Entry of polyray.node: makes the environment's state and registers the functions, in the order of
// ts/native/binding.ts (a test
// compares). Loads in any number of environments at once; nothing static belongs to one of them.

#include <iterator>

#include "node_api/bind.h"
#include "node_api/convert.h"
#include "node_api/environment.h"

namespace polyray::node_api {
namespace {

struct Entry {
  const char* name;
  Function* function;
};

const Entry kEntries[] = {
    {"setErrorFactory", set_error_factory},
    {"startRaylet", start_raylet},
    {"stopRaylet", stop_raylet},
    {"rayletStats", raylet_stats},
    {"setRuntimeNote", set_runtime_note},
    {"runtimeNote", runtime_note},
    {"attach", attach},
    {"detach", detach},
    {"isAttached", is_attached},
    {"setRef", set_ref},
    {"flush", flush},
    {"pump", pump},
    {"startControlThread", start_control_thread},
    {"counters", counters},
    {"releaseHandle", release_handle},
    {"releaseHandles", release_handles},
    {"retainHandle", retain_handle},
    {"idOf", id_of},
    {"writeIds", write_ids},
    {"handleOfId", handle_of_id},
    {"importIds", import_ids},
    {"createActorObject", create_actor_object},
    {"putSmall", put_small},
    {"putParts", put_parts},
    {"putBegin", put_begin},
    {"putSeal", put_seal},
    {"putAbort", put_abort},
    {"status", status_of},
    {"subscribe", subscribe},
    {"unsubscribe", unsubscribe},
    {"read", read_object},
    {"readSmall", read_small},
    {"readMany", read_many},
    {"releaseView", release_view},
    {"objectSize", object_size},
    {"objectInfo", object_info},
    {"freeObject", free_object},
    {"waitSync", wait_sync},
    {"addressOf", address_of},
    {"registerSpec", register_spec},
    {"submitTask", submit_task},
    {"submitActorCall", submit_actor_call},
    {"setActorState", set_actor_state},
    {"actorPhase", actor_phase},
    {"actorPendingCalls", actor_pending_calls},
    {"cancel", cancel},
    {"callPeer", call_peer},
    {"streamConsumed", stream_consumed},
    {"serviceRequest", service_request},
    {"serviceCall", service_call},
    {"serviceReply", service_reply},
    {"servicePush", service_push},
    {"requestDedicated", request_dedicated},
    {"observe", observe},
    {"returnLease", return_lease},
    {"submitActorCreate", submit_actor_create},
    {"rayletCommand", raylet_command},
    {"workerReady", worker_ready},
    {"workerExit", worker_exit},
    {"returnSmall", return_small},
    {"returnParts", return_parts},
    {"returnBegin", return_begin},
    {"returnSeal", return_seal},
    {"reply", reply},
    {"returnAndReply", return_and_reply},
    {"streamItem", stream_item},
    {"setBlocked", set_blocked},
    {"setActorIdentity", set_actor_identity},
    {"devices", devices},
    {"gcDone", gc_done},
};

void drop_environment(napi_env, void* data, void*) {
  delete static_cast<std::shared_ptr<Environment>*>(data);
}

napi_value init(napi_env env, napi_value exports) {
  auto* state = new std::shared_ptr<Environment>(Environment::create(env));
  napi_set_instance_data(env, state, drop_environment, nullptr);
  set_property(env, exports, "version", make_string(env, POLYRAY_VERSION));
  for (const Entry& entry : kEntries) {
    napi_value function = nullptr;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, state->get(),
                         &function);
    set_property(env, exports, entry.name, function);
  }
  return exports;
}

}  // namespace
}  // namespace polyray::node_api

NAPI_MODULE_INIT() {
  return polyray::node_api::init(env, exports);
}
