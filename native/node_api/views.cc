// SPDX-License-Identifier: Apache-2.0
// Object bytes as ArrayBuffers: private copy-on-write maps for big sealed objects (of the segment,
// or of the file that a spilled object lies in), writable views
// for open puts, copies for the rest.
//
// A view's map is MAP_PRIVATE over the segment's memfd: a stray JS write stays in this process.
// Order at the end of a view: the map goes
// first (its touched pages with it), then the pin.

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "node_api/convert.h"
#include "node_api/environment.h"
#include "os/env.h"

namespace polyray::node_api {

namespace {

constexpr size_t kPage = 4096;
// Each view is one mapping and the kernel allows 65,530 a process: small views beyond this are
// copied.
constexpr size_t kManyViews = 16384;

void unpin(View& view) {
  if (!view.pinned) return;
  view.pinned = false;
  Environment& environment = *view.environment;
  if (environment.client() != nullptr && environment.epoch() == view.epoch)
    environment.client()->unpin(view.id);
}

// Its contents become private memory of this process.
bool privatize(View& view) {
  void* copy = mmap(nullptr, view.map_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (copy == MAP_FAILED) return false;
  std::memcpy(copy, view.map, view.map_bytes);
  if (mremap(copy, view.map_bytes, view.map_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, view.map) ==
      MAP_FAILED) {
    munmap(copy, view.map_bytes);
    return false;
  }
  unpin(view);
  return true;
}

void finalize_view(napi_env env, void*, void* hint) {
  View* view = static_cast<View*>(hint);
  if (view->buffer != nullptr) napi_delete_reference(env, view->buffer);
  munmap(view->map, view->map_bytes);
  Environment& environment = *view->environment;
  environment.views.erase(view->data);
  environment.view_bytes -= view->size;
  unpin(*view);
  delete view;
}

// Open puts: the bytes belong to the store; the ArrayBuffer is detached at the seal.
void finalize_nothing(napi_env, void*, void*) {}

}  // namespace

void Environment::probe_external_buffers() {
  static uint8_t byte;
  napi_value buffer = nullptr;
  external_buffers = napi_create_external_arraybuffer(env_, &byte, 1, finalize_nothing, nullptr,
                                                      &buffer) == napi_ok;
  bool pending = false;
  napi_is_exception_pending(env_, &pending);
  if (pending) {
    napi_value error = nullptr;
    napi_get_and_clear_last_exception(env_, &error);
  }
}

napi_value Environment::map_view(const ObjectId& id, const ObjectView& object) {
  if (!external_buffers || !object.pinned) return nullptr;
  if (object.offset == 0 && !object.spilled) return nullptr;
  if (views.size() > kManyViews && object.size < 1024 * 1024) return nullptr;
  int file = client_->segment().fd();
  uint64_t offset = object.offset;
  os::Fd spilled;
  if (object.spilled) {
    const auto opened = client_->open_spilled(id);
    if (!opened.is_ok()) return nullptr;
    spilled.reset(opened.value().fd);
    file = spilled.get();
    offset = opened.value().offset;
  }
  const uint64_t start = offset & ~uint64_t{kPage - 1};
  const size_t lead = offset - start;
  const size_t bytes = (lead + object.size + kPage - 1) & ~(kPage - 1);
  void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file,
                   static_cast<off_t>(start));
  if (map == MAP_FAILED) return nullptr;
  auto view = std::make_unique<View>();
  view->environment = shared_from_this();
  view->id = id;
  view->epoch = epoch_;
  view->map = static_cast<uint8_t*>(map);
  view->map_bytes = bytes;
  view->data = view->map + lead;
  view->size = object.size;
  view->pinned = true;
  view->in_store = !object.spilled;
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env_, view->data, view->size, finalize_view, view.get(),
                                       &buffer) != napi_ok) {
    munmap(map, bytes);
    return nullptr;
  }
  views.emplace(view->data, view.get());
  view_bytes += view->size;
  const size_t size = view->size;
  napi_create_reference(env_, buffer, 0, &view->buffer);
  view.release();
  return make_uint8_array(env_, buffer, 0, size);
}

bool Environment::release_view(void* data) {
  const auto found = views.find(data);
  if (found == views.end() || !found->second->pinned) return false;
  View& view = *found->second;
  // Whoever still has the address (a write in flight in a thread pool) now sees private zeros
  // instead of another object's bytes.
  void* map = mmap(view.map, view.map_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (map == MAP_FAILED) return false;
  unpin(view);
  return true;
}

// Before the pins end with the endpoint: views that live on keep their contents as private memory.
void Environment::privatize_views() {
  for (auto& [data, view] : views)
    if (view->pinned && view->epoch == epoch_) privatize(*view);
}

// Collected, although its finalizer has not run yet.
bool Environment::is_dead(const View& view) {
  if (view.buffer == nullptr) return false;
  const HandleScope scope(env_);
  napi_value buffer = nullptr;
  return napi_get_reference_value(env_, view.buffer, &buffer) == napi_ok && buffer == nullptr;
}

// Copies rather than drops: a job in a thread pool, or a buffer it was transferred to (`ArrayBuffer.prototype.transfer`),
// may have the bytes still. What another thread writes into the latter during the copy is lost.
uint64_t Environment::privatize_dead(uint64_t bytes) {
  uint64_t done = 0;
  for (auto& [data, view] : views) {
    if (done >= bytes) break;
    if (view->pinned && view->in_store && view->epoch == epoch_ && is_dead(*view) &&
        privatize(*view))
      done += view->size;
  }
  return done;
}

uint64_t Environment::give_up_views(uint64_t bytes) {
  const uint64_t done = privatize_dead(bytes);
  if (done >= bytes || collect_ == nullptr) return done;
  const HandleScope scope(env_);
  napi_value collect = nullptr;
  napi_value receiver = nullptr;
  napi_get_reference_value(env_, collect_, &collect);
  napi_get_undefined(env_, &receiver);
  if (napi_call_function(env_, receiver, collect, 0, nullptr, nullptr) == napi_pending_exception) {
    napi_value error = nullptr;
    napi_get_and_clear_last_exception(env_, &error);  // no memory for it: then it stays as it is
  }
  return done + privatize_dead(bytes - done);
}

napi_value Environment::read(const ObjectId& id, uint32_t status) {
  auto pinned = client_->pin(id);
  if (!pinned.is_ok()) return throw_status(env_, pinned.status());
  const ObjectView& object = pinned.value();
  if (object.is_error) status = static_cast<uint32_t>(ObjectStatus::kError);
  out[0] = status;
  out[1] = 0;
  if (object.size >= kZeroCopyBytes) {
    if (napi_value view = map_view(id, object); view != nullptr) {
      out[1] = 1;
      return view;
    }
  }
  napi_value result = copy_bytes(env_, object.data, object.size);
  if (object.pinned) client_->unpin(id);
  if (result == nullptr)
    throw_code(env_, StatusCode::kOutOfMemory,
               "[out of memory] No memory for a copy of the object.");
  return result;
}

napi_value Environment::open_put(OpenPut open, uint64_t size) {
  void* data = nullptr;
  napi_value buffer = nullptr;
  const bool direct = external_buffers && open.put.offset != 0 && size >= kZeroCopyBytes;
  napi_status status;
  if (direct) {
    status = napi_create_external_arraybuffer(env_, open.put.data, size, finalize_nothing, nullptr,
                                              &buffer);
  } else {
    status = napi_create_arraybuffer(env_, size, &data, &buffer);
  }
  if (status != napi_ok) {
    client_->put_abort(open.put);
    return throw_code(env_, StatusCode::kOutOfMemory,
                      "[out of memory] No ArrayBuffer of this size can be made.");
  }
  open.copies = !direct;
  napi_create_reference(env_, buffer, 1, &open.buffer);
  const uint32_t number = puts.add(std::move(open));
  if (number == 0)
    return throw_code(env_, StatusCode::kTableFull,
                      "[table full] 65536 puts are open in this environment.");
  out[0] = number;
  return make_uint8_array(env_, buffer, 0, size);
}

void Environment::close_put_view(OpenPut& open) {
  if (open.buffer == nullptr) return;
  napi_value buffer = nullptr;
  napi_get_reference_value(env_, open.buffer, &buffer);
  if (open.copies && open.put.data != nullptr) {
    void* data = nullptr;
    size_t size = 0;
    napi_get_arraybuffer_info(env_, buffer, &data, &size);
    if (data != nullptr && size > 0)
      std::memcpy(open.put.data, data, std::min<size_t>(size, open.put.size));
  }
  napi_detach_arraybuffer(env_, buffer);
  napi_delete_reference(env_, open.buffer);
  open.buffer = nullptr;
}

}  // namespace polyray::node_api
