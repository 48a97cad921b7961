// SPDX-License-Identifier: Apache-2.0
// Attach and detach of one environment, its uv handles, and the control thread of workers.
//
// The doorbell is watched by uv_poll on the eventfd; uv_async serves what comes from elsewhere (the
// control thread, a blocking wait that
// left events behind). Only the doorbell's handle keeps the event loop alive, and only while JS
// asks for it (set_ref).

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "node_api/convert.h"
#include "node_api/environment.h"

namespace polyray::node_api {

namespace {

napi_value make_attach_info(napi_env env, Client& client, napi_value events, napi_value out_words,
                            napi_value reads, bool external_buffers) {
  napi_value info = nullptr;
  napi_create_object(env, &info);
  set_number(env, info, "endpoint", client.endpoint());
  set_number(env, info, "serial", client.serial());
  set_number(env, info, "nodeTag", client.node_tag());
  set_number(env, info, "job", client.job());
  set_property(env, info, "events", events);
  set_property(env, info, "out", out_words);
  set_property(env, info, "reads", reads);
  set_number(env, info, "smallValueBytes", kSmallValueBytes);
  set_number(env, info, "zeroCopyBytes", kZeroCopyBytes);
  set_property(env, info, "externalBuffers", make_bool(env, external_buffers));
  return info;
}

}  // namespace

// The end of the environment: waits (the loop runs) until the uv handles are closed.
struct EnvironmentHooks {
  static void cleanup(napi_async_cleanup_hook_handle handle, void* data) {
    auto self = static_cast<Environment*>(data)->shared_from_this();
    self->cleaning_ = true;
    if (self->client_ != nullptr) self->detach();
    stop_raylet_of(*self);
    if (*self->closing_ == 0) {
      napi_remove_async_cleanup_hook(handle);
      self->cleanup_ = nullptr;
    }
  }
  struct Closing {
    std::shared_ptr<Environment> environment;
    std::shared_ptr<uint32_t> count;
  };
  template <class Handle>
  static void close(Environment& self, Handle*& handle) {
    if (handle == nullptr) return;
    ++*self.closing_;
    handle->data = new Closing{self.shared_from_this(), self.closing_};
    uv_close(reinterpret_cast<uv_handle_t*>(handle), [](uv_handle_t* closed) {
      auto* closing = static_cast<Closing*>(closed->data);
      Environment& environment = *closing->environment;
      if (--*closing->count == 0 && environment.cleaning_ && environment.cleanup_ != nullptr) {
        napi_remove_async_cleanup_hook(environment.cleanup_);
        environment.cleanup_ = nullptr;
      }
      delete closing;
      delete reinterpret_cast<Handle*>(closed);
    });
    handle = nullptr;
  }
};

std::shared_ptr<Environment> Environment::create(napi_env env) {
  auto self = std::make_shared<Environment>(env);
  napi_get_uv_event_loop(env, &self->loop_);
  napi_add_async_cleanup_hook(env, EnvironmentHooks::cleanup, self.get(), &self->cleanup_);
  return self;
}

napi_value Environment::attach(const AttachOptions& options, napi_value sink, napi_value collect) {
  if (client_ != nullptr) {
    return throw_code(env_, StatusCode::kAlreadyExists,
                      "[already exists] This environment is attached. Call detach first.");
  }
  probe_external_buffers();
  auto attached = Client::attach(options);
  if (!attached.is_ok()) return throw_status(env_, attached.status());
  options_ = options;
  client_ = std::move(attached.value());
  ++epoch_;
  void* data = nullptr;
  napi_value events = nullptr;
  napi_create_arraybuffer(env_, kEventBufferBytes, &data, &events);
  buffer_ = static_cast<uint8_t*>(data);
  buffer_used_ = 0;
  napi_create_reference(env_, events, 1, &event_buffer_);
  napi_value out_memory = nullptr;
  napi_value out_words = nullptr;
  napi_create_arraybuffer(env_, kOutWords * 4, &data, &out_memory);
  out = static_cast<uint32_t*>(data);
  napi_create_typedarray(env_, napi_uint32_array, kOutWords, out_memory, 0, &out_words);
  napi_create_reference(env_, out_memory, 1, &out_buffer_);
  napi_value read_buffer = nullptr;
  napi_create_arraybuffer(env_, kReadBufferBytes, &data, &read_buffer);
  reads = static_cast<uint8_t*>(data);
  napi_create_reference(env_, read_buffer, 1, &read_buffer_);
  napi_create_reference(env_, sink, 1, &sink_);
  napi_valuetype type = napi_undefined;
  if (collect != nullptr) napi_typeof(env_, collect, &type);
  if (type == napi_function) napi_create_reference(env_, collect, 1, &collect_);
  napi_async_init(env_, nullptr, make_string(env_, "polyray"), &async_context_);

  poll_ = new uv_poll_t;
  socket_poll_ = new uv_poll_t;
  async_ = new uv_async_t;
  uv_poll_init(loop_, poll_, client_->doorbell_fd());
  uv_poll_init(loop_, socket_poll_, client_->socket_fd());
  uv_async_init(loop_, async_, on_async);
  poll_->data = socket_poll_->data = async_->data = this;
  uv_poll_start(poll_, UV_READABLE, on_doorbell);
  uv_poll_start(socket_poll_, UV_READABLE | UV_DISCONNECT, on_socket);
  uv_unref(reinterpret_cast<uv_handle_t*>(poll_));
  uv_unref(reinterpret_cast<uv_handle_t*>(socket_poll_));
  uv_unref(reinterpret_cast<uv_handle_t*>(async_));
  keep_alive_ = false;
  if (!client_->arm(kArmedEventFd)) wake_later();
  return make_attach_info(env_, *client_, events, out_words, read_buffer, external_buffers);
}

void Environment::detach() {
  // Also called while an environment is torn down, where no scope is open.
  HandleScope scope(env_);
  // Calls in progress and open puts first: their memory belongs to the segment.
  std::vector<uint32_t> open;
  puts.each([&](uint32_t number, OpenPut&) { open.push_back(number); });
  for (uint32_t number : open) {
    OpenPut put = *puts.find(number);
    puts.remove(number);
    put.copies = false;
    close_put_view(put);
    client_->put_abort(put.put);
  }
  open.clear();
  calls.each([&](uint32_t number, OpenCall&) { open.push_back(number); });
  for (uint32_t number : open) calls.remove(number);
  if (!cleaning_) privatize_views();
  client_->flush();
  client_->detach();
  close_handles();
  handles.clear();
  specs.clear();
  deferred_.clear();
  client_.reset();
}

void Environment::close_handles() {
  if (control_ != nullptr) {
    std::lock_guard lock(control_->mutex);
    control_->wake = nullptr;
  }
  control_.reset();
  EnvironmentHooks::close(*this, poll_);
  EnvironmentHooks::close(*this, socket_poll_);
  EnvironmentHooks::close(*this, async_);
  for (napi_ref* reference : {&sink_, &collect_, &event_buffer_, &out_buffer_, &read_buffer_}) {
    if (*reference != nullptr) napi_delete_reference(env_, *reference);
    *reference = nullptr;
  }
  if (async_context_ != nullptr) napi_async_destroy(env_, async_context_);
  async_context_ = nullptr;
  buffer_ = nullptr;
  out = nullptr;
  reads = nullptr;
}

void Environment::set_ref(bool keep_alive) {
  if (poll_ == nullptr || keep_alive == keep_alive_) return;
  keep_alive_ = keep_alive;
  if (keep_alive) {
    uv_ref(reinterpret_cast<uv_handle_t*>(poll_));
  } else {
    uv_unref(reinterpret_cast<uv_handle_t*>(poll_));
  }
}

namespace {

void on_control(ControlOp operation, void* context) {
  if (operation == ControlOp::kKill) {
    // A worker leads a group of its own (setsid): whatever it started ends with it.
    if (getpgrp() == getpid()) kill(0, SIGKILL);
    _exit(137);
  }
  auto& state = *static_cast<ControlState*>(context);
  std::lock_guard lock(state.mutex);
  state.operations.push_back(static_cast<uint32_t>(operation));
  if (state.wake != nullptr) uv_async_send(state.wake);
}

}  // namespace

Status Environment::start_control_thread() {
  if (control_ != nullptr)
    return Status::error(StatusCode::kAlreadyExists, "[already exists] The control thread runs.");
  control_ = std::make_shared<ControlState>();
  control_->wake = async_;
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  std::thread([options = options_, endpoint = client_->endpoint(), state = control_] {
    // The end of the socket means that the raylet is gone; the client's own socket tells JS, the
    // guardian tells the rest.
    (void)run_control_thread(options, endpoint, on_control, state.get());
  }).detach();
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return Status::ok();
}

}  // namespace polyray::node_api
