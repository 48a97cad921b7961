// SPDX-License-Identifier: Apache-2.0
// Everything of one JS environment (main thread or worker_thread): its client endpoint, its
// numbered handles, its event pump and its
// zero-copy views.
//
// Owns: the Client (shared with calls in progress, so that a detach inside a callback is safe), the
// uv handles, the event buffer.
// Thread rules: the environment's thread only, except ControlState (locked).
// Invariants:
//  1. Each slot of `handles` stands for exactly one client reference; slots and references end
//     together.
//  2. The sink runs only from drain(), never nested; what arrives during a blocking wait is kept in
//     `deferred_`.
//  3. After every drain and every blocking wait the endpoint is armed for its eventfd, or an async
//     wake-up is on its way.
//  4. A view is unmapped only when its ArrayBuffer cannot be read any more; its pin ends with it or
//     by releaseView.
#pragma once
#include <node_api.h>
#include <uv.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/client.h"
#include "node_api/handles.h"
#include "os/env.h"
#include "store/segment.h"

namespace polyray::node_api {

// Handles made in a block end with it.
class HandleScope {
 public:
  explicit HandleScope(napi_env env) : env_(env) { napi_open_handle_scope(env_, &scope_); }
  ~HandleScope() { napi_close_handle_scope(env_, scope_); }
  HandleScope(const HandleScope&) = delete;
  HandleScope& operator=(const HandleScope&) = delete;

 private:
  napi_env env_;
  napi_handle_scope scope_ = nullptr;
};

class Environment;

inline constexpr uint32_t kEventBufferBytes = 512 * 1024;
inline constexpr uint32_t kSmallValueBytes = 8 * 1024;  // envelopes that ride in the ready event
inline constexpr uint32_t kReadBufferBytes = 64 * 1024;
inline constexpr uint32_t kNotRead = ~0u;
inline constexpr uint32_t kInlinePayloadBytes =
    32 * 1024;  // payloads of other events that ride in the buffer
inline constexpr uint32_t kZeroCopyBytes = 64 * 1024;
inline constexpr uint32_t kOutWords = 64;
inline constexpr uint32_t kBeforeCollectMs =
    100;  // of waiting for room; spilling takes no longer, as a rule
inline constexpr uint32_t kControlEventKind = 64;

// Before each envelope of `readMany`, in the layout of Read in ts/native/binding.ts.
struct ReadRecord {
  uint32_t status = 0;
  uint32_t bytes = kNotRead;  // the envelope follows, padded to 8; kNotRead: it is not here
};

// A put or return being written. `buffer` is a strong reference to the ArrayBuffer that JS writes.
struct OpenPut {
  PutBuffer put;
  napi_ref buffer = nullptr;
  bool copies = false;  // the ArrayBuffer is ordinary memory, copied at the seal
  bool is_return = false;
  uint64_t call = 0;
  uint32_t index = 0;
};

struct OpenCall {
  uint64_t handle = 0;
  ObjectId task;
  uint32_t returns = 0;
  bool is_task = false;
};

// One zero-copy ArrayBuffer over a private map of an object's bytes. Lives until its finalizer ran.
struct View {
  std::shared_ptr<Environment> environment;
  ObjectId id;
  uint64_t epoch = 0;  // of the attach that pinned
  uint8_t* map = nullptr;
  size_t map_bytes = 0;
  uint8_t* data = nullptr;
  size_t size = 0;
  bool pinned = false;
  bool in_store = false;  // else it is a map of a file, which takes no room
  napi_ref buffer =
      nullptr;  // weak: says when JS cannot reach it any more, before the finalizer runs
};

// What the control thread and the environment share.
struct ControlState {
  std::mutex mutex;
  std::vector<uint32_t> operations;
  uv_async_t* wake = nullptr;  // null after detach
};

class Environment : public std::enable_shared_from_this<Environment> {
 public:
  explicit Environment(napi_env env) : env_(env) {}
  static std::shared_ptr<Environment> create(napi_env env);

  napi_env env() const { return env_; }
  // Throws CLOSED in JS and returns null when there is no living endpoint.
  std::shared_ptr<Client> client_or_throw();
  // No check for a lost raylet: for releasing things.
  Client* client() const { return client_.get(); }
  uint64_t epoch() const { return epoch_; }

  // --- endpoint (endpoint.cc)
  // `collect`: a function that collects garbage, or undefined.
  napi_value attach(const AttachOptions& options, napi_value sink, napi_value collect);
  void detach();
  bool is_attached() const { return client_ != nullptr && !client_->is_detached(); }
  void set_ref(bool keep_alive);
  Status start_control_thread();

  // --- pump (pump.cc)
  size_t drain();
  // The answer of a service request made now, blocking at most timeout_ms. False: it did not come.
  bool service_call(std::span<const uint8_t> payload, double timeout_ms,
                    std::vector<uint8_t>& answer);
  uint32_t wait_sync(std::span<const uint32_t> handles, uint32_t needed, double timeout_ms,
                     bool& failed);
  void wake_later() { uv_async_send(async_); }
  // The next task is handed out by a drain only. A reply from outside of one (an async function)
  // must bring it about: nobody rings for calls that arrived before.
  void replied(bool is_task) {
    if (is_task && !draining_) wake_later();
  }

  // --- handles (references.cc)
  HandleTable handles;
  // The slot, or null after throwing OBJECT_FREED.
  HandleSlot* handle_or_throw(uint32_t handle);
  // Takes over one client reference that the caller has. 0 after throwing TABLE_FULL.
  uint32_t adopt(const ObjectId& id);
  // A count on the object's handle, made when needed. 0: the object is gone.
  uint32_t acquire(const ObjectId& id);
  // True when that was the last count: the number names nothing any more.
  bool release(uint32_t handle, HandleSlot& slot);
  uint32_t intern(const ObjectId& id);
  // Subscribes the environment to the object, when it is pending.
  ObjectStatus subscribe(HandleSlot& slot, bool with_value);
  // Copies the envelope of a settled object to reads + at, when it is small; its bytes, or kNotRead. `wait`: a pending one
  // is subscribed. REQUIRES: room for kSmallValueBytes.
  uint32_t read_small(HandleSlot& slot, bool wait, size_t at, ReadRecord& record);
  // Reads a RefList argument. False after throwing.
  bool read_refs(napi_value value, std::span<const uint8_t> envelope, std::vector<ObjectId>& refs,
                 uint32_t& top_refs);

  // --- views (views.cc)
  // Null without an exception: copy instead.
  napi_value map_view(const ObjectId& id, const ObjectView& object);
  bool release_view(void* data);
  napi_value read(const ObjectId& id, uint32_t status);
  void privatize_views();
  // begin(wait_ms) -> Result or Status. When the store stays full, memory of views that JS dropped is given up before the
  // rest of the time is waited: their finalizers run in later turns of the event loop, which this call keeps from coming.
  template <class Begin>
  auto with_room(uint64_t size, uint32_t wait_ms, Begin&& begin) {
    if (views.empty()) return begin(wait_ms);
    // First what is wanted; then more, as the pieces that came free may lie apart.
    const uint64_t end_ms = os::now_ms() + wait_ms;
    for (uint64_t bytes = std::max(size, kGranuleBytes); !views.empty(); bytes *= 4) {
      if (wait_ms <= kBeforeCollectMs) break;
      auto begun = begin(kBeforeCollectMs);
      const StatusCode code = status_of(begun).code;
      if (code != StatusCode::kObjectStoreFull && code != StatusCode::kOutOfMemory) return begun;
      const uint64_t done = give_up_views(bytes);
      const uint64_t now_ms = os::now_ms();
      wait_ms = now_ms < end_ms ? static_cast<uint32_t>(end_ms - now_ms) : 0;
      if (done == 0) break;
    }
    return begin(wait_ms);
  }
  void probe_external_buffers();
  // The Uint8Array over an open put; null after throwing.
  napi_value open_put(OpenPut open, uint64_t size);
  // Ends the view of an open put and, for copies, moves the bytes.
  void close_put_view(OpenPut& open);

  std::vector<SpecInfo> specs;  // by spec number
  Slots<OpenPut, 16> puts;
  Slots<OpenCall, 20> calls;
  uint32_t* out = nullptr;
  uint8_t* reads = nullptr;
  bool external_buffers = false;
  std::unordered_map<void*, View*> views;
  uint64_t view_bytes = 0;
  uint64_t event_batches = 0, event_records = 0;
  bool starts_raylet = false;
  std::vector<ObjectId> scratch_refs;
  napi_ref error_factory = nullptr;

 private:
  friend struct EnvironmentHooks;
  static const Status& status_of(const Status& status) { return status; }
  template <class T>
  static const Status& status_of(const Result<T>& result) {
    return result.status();
  }
  // views.cc
  bool is_dead(const View& view);
  uint64_t privatize_dead(uint64_t bytes);
  uint64_t give_up_views(uint64_t bytes);
  // pump.cc
  bool encode(Event& event, napi_value& extras, uint32_t& extra_count);
  bool encode_call(Event& event, napi_value& extras, uint32_t& extra_count);
  bool encode_value(uint32_t* record, const ObjectId& id);
  uint32_t* begin_record(const Event& event, size_t bytes);
  void add_extra(uint32_t* record, std::span<const uint8_t> payload, const ObjectId& object,
                 napi_value& extras, uint32_t& extra_count);
  void deliver(napi_value extras);
  void close_handles();
  static void on_doorbell(uv_poll_t* poll, int status, int events);
  static void on_socket(uv_poll_t* poll, int status, int events);
  static void on_async(uv_async_t* async);

  napi_env env_;
  std::shared_ptr<Client> client_;
  AttachOptions options_;
  uint64_t epoch_ = 0;
  napi_ref sink_ = nullptr;
  napi_ref collect_ = nullptr;
  napi_ref event_buffer_ = nullptr;
  napi_ref out_buffer_ = nullptr;
  napi_ref read_buffer_ = nullptr;
  napi_async_context async_context_ = nullptr;
  uint8_t* buffer_ = nullptr;
  size_t buffer_used_ = 0;
  bool draining_ = false;
  std::vector<Event> events_;
  std::deque<Event> deferred_;
  uv_loop_t* loop_ = nullptr;
  uv_poll_t* poll_ = nullptr;         // the doorbell
  uv_poll_t* socket_poll_ = nullptr;  // readable: the raylet is gone; never keeps the loop alive
  uv_async_t* async_ = nullptr;
  bool keep_alive_ = false;
  std::shared_ptr<ControlState> control_;
  std::shared_ptr<uint32_t> closing_ =
      std::make_shared<uint32_t>(0);  // uv handles whose close callback is due
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  bool cleaning_ = false;
};

// Process-wide parts (process.cc).
void stop_raylet_of(Environment& environment);

}  // namespace polyray::node_api
