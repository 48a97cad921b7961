// SPDX-License-Identifier: Apache-2.0
// The functions of the addon: one declaration per name of ts/native/binding.ts. addon.cc registers
// them in that order.
// Each reads its arguments, calls the Environment or the Client, and converts the answer: no
// policy.
#pragma once
#include <node_api.h>

namespace polyray::node_api {

using Function = napi_value(napi_env, napi_callback_info);

// convert.cc
Function set_error_factory;
// process.cc
Function start_raylet, stop_raylet, raylet_stats, set_runtime_note, runtime_note;
// bind_endpoint.cc
Function attach, detach, is_attached, set_ref, flush, pump, start_control_thread, counters;
// bind_handles.cc
Function release_handle, release_handles, retain_handle, id_of, write_ids, handle_of_id, import_ids,
    create_actor_object;
// bind_objects.cc
Function put_small, put_parts, put_begin, put_seal, put_abort, status_of, subscribe, unsubscribe,
    read_object, read_small, read_many, release_view, object_size, object_info, free_object,
    wait_sync, address_of;
// bind_submit.cc
Function register_spec, submit_task, submit_actor_call, set_actor_state, actor_phase,
    actor_pending_calls, cancel, call_peer, stream_consumed;
// bind_service.cc
Function service_request, service_call, service_reply, service_push, request_dedicated, observe,
    return_lease, submit_actor_create, raylet_command;
// bind_execute.cc
Function worker_ready, worker_exit, return_small, return_parts, return_begin, return_seal, reply,
    return_and_reply, stream_item, set_blocked, set_actor_identity, devices, gc_done;

}  // namespace polyray::node_api
