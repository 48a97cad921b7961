// SPDX-License-Identifier: Apache-2.0
// Handles against the client's references: one reference per slot, counts of JS inside.

#include <cstring>

#include "node_api/convert.h"
#include "node_api/environment.h"

namespace polyray::node_api {

std::shared_ptr<Client> Environment::client_or_throw() {
  if (client_ == nullptr) {
    throw_code(env_, StatusCode::kClosed,
               "[closed] This environment is not attached to a runtime. Call init() first.");
    return nullptr;
  }
  if (client_->is_detached()) {
    throw_code(env_, StatusCode::kLocalRayletDied,
               "[raylet died] The node service of this machine ended. Start the runtime again.");
    return nullptr;
  }
  return client_;
}

HandleSlot* Environment::handle_or_throw(uint32_t handle) {
  HandleSlot* slot = handles.find(handle);
  if (slot == nullptr) {
    throw_code(env_, StatusCode::kObjectFreed,
               "[object freed] The ref was released or belongs to another runtime. Do not release "
               "a ref that is still needed.");
  }
  return slot;
}

uint32_t Environment::adopt(const ObjectId& id) {
  if (const uint32_t known = handles.lookup(id); known != 0) {
    handles.find(known)->count++;
    client_->release_ref(id);
    return known;
  }
  const uint32_t handle = handles.insert(id);
  if (handle == 0) {
    client_->release_ref(id);
    throw_code(env_, StatusCode::kTableFull,
               "[table full] This environment holds 8388608 refs. Release some.");
  }
  return handle;
}

uint32_t Environment::acquire(const ObjectId& id) {
  if (id.unique == 0) return 0;
  if (const uint32_t known = handles.lookup(id); known != 0) {
    handles.find(known)->count++;
    return known;
  }
  if (!client_->add_ref(id)) return 0;
  return adopt(id);
}

bool Environment::release(uint32_t handle, HandleSlot& slot) {
  if (--slot.count > 0) return false;
  const ObjectId id = slot.id;
  handles.remove(handle);
  if (client_ != nullptr) client_->release_ref(id);
  return true;
}

uint32_t Environment::intern(const ObjectId& id) {
  uint32_t handle = handles.lookup(id);
  if (handle != 0 && handles.find(handle)->interned) return handle;
  handle = acquire(id);
  if (handle != 0) handles.find(handle)->interned = true;
  return handle;
}

ObjectStatus Environment::subscribe(HandleSlot& slot, bool with_value) {
  if (slot.wanted) {
    slot.with_value = slot.with_value || with_value;
    return ObjectStatus::kPending;
  }
  const ObjectStatus status = client_->subscribe(slot.id);
  if (status == ObjectStatus::kPending) {
    slot.wanted = true;
    slot.with_value = with_value;
  }
  return status;
}

uint32_t Environment::read_small(HandleSlot& slot, bool wait, size_t at, ReadRecord& record) {
  ObjectStatus status = client_->status(slot.id);
  if (status == ObjectStatus::kPending && wait) status = subscribe(slot, true);
  uint32_t bytes = kNotRead;
  if ((status == ObjectStatus::kSealed || status == ObjectStatus::kError) &&
      client_->object_size(slot.id) <= kSmallValueBytes) {
    if (auto pinned = client_->pin(slot.id); pinned.is_ok()) {
      const ObjectView& object = pinned.value();
      if (object.is_error) status = ObjectStatus::kError;
      bytes = static_cast<uint32_t>(object.size);
      if (bytes > 0) std::memcpy(reads + at, object.data, bytes);
      if (object.pinned) client_->unpin(slot.id);
    }
  }
  record.status = static_cast<uint32_t>(status);
  return bytes;
}

namespace {

// The table of an envelope (ts/object/envelope.ts): version, flags, u16 argRefs, u32 body, u32
// buffers, u32 refs, 16 bytes per
// buffer, then the ids.
bool envelope_ids(std::span<const uint8_t> envelope, std::vector<ObjectId>& refs,
                  uint32_t& top_refs) {
  if (envelope.size() < 16) return false;
  uint16_t top = 0;
  uint32_t buffers = 0;
  uint32_t count = 0;
  std::memcpy(&top, envelope.data() + 2, 2);
  std::memcpy(&buffers, envelope.data() + 8, 4);
  std::memcpy(&count, envelope.data() + 12, 4);
  const uint64_t start = 16 + uint64_t{buffers} * 16;
  if (envelope[0] != 1 || top > count || start + uint64_t{count} * 16 > envelope.size())
    return false;
  refs.resize(count);
  if (count > 0)
    std::memcpy(refs.data(), envelope.data() + start, uint64_t{count} * sizeof(ObjectId));
  top_refs = top;
  return true;
}

}  // namespace

bool Environment::read_refs(napi_value value, std::span<const uint8_t> envelope,
                            std::vector<ObjectId>& refs, uint32_t& top_refs) {
  refs.clear();
  napi_valuetype type = napi_undefined;
  napi_typeof(env_, value, &type);
  if (type == napi_null || type == napi_undefined) {
    top_refs = 0;
    return true;
  }
  if (type == napi_number) {
    if (!envelope_ids(envelope, refs, top_refs)) {
      throw_code(env_, StatusCode::kInvalidArgument,
                 "[invalid argument] refs say envelope, but the bytes are none");
      return false;
    }
    for (const ObjectId& id : refs) {
      if (handles.lookup(id) == 0) {
        throw_code(env_, StatusCode::kObjectFreed,
                   "[object freed] A ref inside the value was released. Do not release a ref that "
                   "is still needed.");
        return false;
      }
    }
    return true;
  }
  napi_typedarray_type kind;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env_, value, &kind, &length, &data, nullptr, nullptr) != napi_ok ||
      kind != napi_uint32_array) {
    throw_code(env_, StatusCode::kInvalidArgument,
               "[invalid argument] refs must be a Uint32Array, null or envelopeRefs");
    return false;
  }
  if (top_refs > length) {
    throw_code(env_, StatusCode::kInvalidArgument,
               "[invalid argument] more top-level refs than refs");
    return false;
  }
  refs.reserve(length);
  for (size_t i = 0; i < length; ++i) {
    HandleSlot* slot = handle_or_throw(static_cast<uint32_t*>(data)[i]);
    if (slot == nullptr) return false;
    refs.push_back(slot->id);
  }
  return true;
}

}  // namespace polyray::node_api
