// SPDX-License-Identifier: Apache-2.0
// Freeing objects and telling their waiters (see frees.h, docs/states/object.md).
#include "raylet/frees.h"

#include <algorithm>
#include <cstring>

#include "store/error_envelope.h"
#include "store/slots.h"

namespace polyray::raylet {

namespace {

EntryState kind_of(uint32_t state) {
  return static_cast<EntryState>(state & kEntryStateMask);
}

}  // namespace

std::vector<ObjectId> Frees::nested_of(const ObjectEntry& entry) const {
  const uint32_t state = entry.state.load(std::memory_order_acquire);
  const uint64_t size = entry.size;
  const uint8_t* start = entry.inline_data;
  if (entry.offset != 0) {
    if (!segment_.valid_data(entry.offset, size)) return {};
    start = segment_.read(entry.offset);
  } else if (size > kInlineBytes) {
    return {};
  }
  if (kind_of(state) == EntryState::kSealed && (state & kEntryHasRefs) == 0) return {};
  const std::span<const ObjectId> refs = envelope_refs({start, size});
  return {refs.begin(), refs.end()};
}

void Frees::tell(const ObjectId& id, Rec kind) {
  const auto it = subscribers_.find(id.unique);
  if (it == subscribers_.end()) return;
  for (const uint64_t peer_id : it->second.peers)
    if (Peer* peer = peers_.find(peer_id)) peers_.send(*peer, id_slot(kind, id));
  subscribers_.erase(it);
}

std::vector<ObjectId> Frees::nested_of(const ObjectId& id) const {
  if (const std::vector<ObjectId>* spilled = spilled_.nested_of(id)) return *spilled;
  const ObjectEntry* entry = segment_.find(id);
  return entry == nullptr ? std::vector<ObjectId>{} : nested_of(*entry);
}

void Frees::drop_nested(const ObjectEntry& entry, const ObjectId& id, std::vector<ObjectId>& next) {
  const bool is_spilled = (entry.state.load(std::memory_order_acquire) & kEntrySpilled) != 0;
  for (const ObjectId& nested : is_spilled ? nested_of(id) : nested_of(entry)) {
    ObjectEntry* inner = segment_.find(nested);
    if (inner != nullptr && (inner->refs.load(std::memory_order_acquire) & ~kRefsClosed) != 0 &&
        ref_release(inner->refs))
      next.push_back(nested);
  }
}

void Frees::free_bytes(const ObjectId& id) {
  ObjectEntry* entry = segment_.find(id);
  if (entry == nullptr) return;
  const uint32_t state = entry->state.load(std::memory_order_acquire);
  if (kind_of(state) != EntryState::kSealed || (state & kEntryFreed) == 0) return;
  std::vector<ObjectId> next;
  if ((state & kEntrySpilled) != 0) {
    drop_nested(*entry, id, next);
    spilled_.forget(id);
  } else if ((state & kEntryInline) != 0) {
    return;  // a reader may be in the middle of it, without a pin
  } else if (entry->offset != 0 && evict_close(entry->pins)) {
    drop_nested(*entry, id, next);
    extents_.free_object_bytes(entry->offset);
    entry->offset = 0;
    entry->capacity = 0;
  } else {
    return;
  }
  entry->state.fetch_and(~kEntryHasRefs, std::memory_order_acq_rel);
  released(std::move(next));
}

void Frees::free_entry(ObjectEntry& entry, const ObjectId& id, std::vector<ObjectId>& next) {
  const uint32_t state = entry.state.load(std::memory_order_acquire);
  if (kind_of(state) == EntryState::kSealed) drop_nested(entry, id, next);
  spilled_.forget(id);
  entry.state.store(static_cast<uint32_t>(EntryState::kDead), std::memory_order_release);
  tell(id, Rec::kObjectGone);
  // Bytes of an entry that was never sealed still belong to whoever writes them.
  if (kind_of(state) == EntryState::kSealed && entry.offset != 0)
    extents_.free_object_bytes(entry.offset);
  entry.offset = 0;
  entry.size = 0;
  entry.capacity = 0;
  entry.touched_ms.store(0, std::memory_order_relaxed);
  entry.sealer.store(0, std::memory_order_relaxed);
  entry.pins.store(0, std::memory_order_relaxed);
  entry.refs.store(0, std::memory_order_relaxed);
  entry.state.store(static_cast<uint32_t>(EntryState::kFree), std::memory_order_release);
  entry.unique.store(0, std::memory_order_release);
  const uint64_t offset = uint64_t{id.index} * kEntryBytes;
  const uint32_t number = segment_.chunk_of(offset);
  slot_free(segment_, offset);
  ChunkHeader& chunk = segment_.chunk(number);
  if (chunk.owner.load(std::memory_order_acquire) == kOwnerOrphan && none_used(chunk.used))
    chunk_release(segment_, number);
}

void Frees::released(const ObjectId& first) {
  released(std::vector<ObjectId>{first});
}

void Frees::released(std::vector<ObjectId> next) {
  while (!next.empty()) {
    const ObjectId id = next.back();
    next.pop_back();
    ObjectEntry* entry = segment_.find(id);
    if (entry == nullptr) continue;
    const uint32_t refs = entry->refs.load(std::memory_order_acquire);
    const uint32_t state = entry->state.load(std::memory_order_acquire);
    if (refs == 0 && (state & kEntryKeep) != 0) {
      const uint32_t job = peers_.job_of_serial(static_cast<uint32_t>(id.unique >> 40));
      if (peers_.job_alive(job)) {
        kept_[job][id.unique] = id;
        continue;
      }
    }
    if (refs == 0 && (state & kEntryActor) != 0) {
      if (Peer* service = peers_.service()) peers_.send(*service, id_slot(Rec::kActorGone, id));
    }
    if (entry_close(entry->refs, entry->pins) == CloseResult::kFree) free_entry(*entry, id, next);
  }
}

void Frees::sealed(const ObjectId& id) {
  const ObjectEntry* entry = segment_.find(id);
  if (entry == nullptr) {
    tell(id, Rec::kObjectGone);
  } else if (kind_of(entry->state.load(std::memory_order_acquire)) == EntryState::kSealed) {
    tell(id, Rec::kObjectReady);
  }
}

void Frees::subscribe(Peer& peer, const ObjectId& id) {
  ObjectEntry* entry = segment_.find(id);
  const WaitResult result = entry == nullptr ? WaitResult::kGone : wait_subscribe(entry->state);
  if (result != WaitResult::kSubscribed) {
    const Rec kind = result == WaitResult::kSealed ? Rec::kObjectReady : Rec::kObjectGone;
    peers_.send(peer, id_slot(kind, id));
    return;
  }
  Subscription& subscription = subscribers_[id.unique];
  subscription.id = id;
  if (std::find(subscription.peers.begin(), subscription.peers.end(), peer.peer_id()) ==
      subscription.peers.end())
    subscription.peers.push_back(peer.peer_id());
}

void Frees::recheck_subscriptions() {
  std::vector<ObjectId> ids;
  for (const auto& [unique, subscription] : subscribers_) ids.push_back(subscription.id);
  for (const ObjectId& id : ids) sealed(id);
}

void Frees::client_gone(uint32_t endpoint) {
  for (auto it = subscribers_.begin(); it != subscribers_.end();) {
    std::erase_if(it->second.peers,
                  [endpoint](uint64_t peer) { return static_cast<uint32_t>(peer) == endpoint; });
    it = it->second.peers.empty() ? subscribers_.erase(it) : std::next(it);
  }
}

void Frees::end_job(uint32_t job) {
  const auto it = kept_.find(job);
  if (it == kept_.end()) return;
  const std::map<uint64_t, ObjectId> ids = std::move(it->second);
  kept_.erase(it);
  for (const auto& [unique, id] : ids) released(id);
}

bool Frees::hold(const ObjectId& id) {
  ObjectEntry* entry = segment_.find(id);
  return entry != nullptr && ref_acquire(entry->refs);
}

void Frees::drop(const ObjectId& id) {
  ObjectEntry* entry = segment_.find(id);
  if (entry != nullptr && ref_release(entry->refs)) released(id);
}

void Frees::undo_nested(const ObjectEntry& entry, uint32_t count) {
  std::vector<ObjectId> nested = nested_of(entry);
  nested.resize(std::min<size_t>(nested.size(), count));
  for (const ObjectId& id : nested) drop(id);
}

bool Frees::seal_error(const ObjectId& id, StatusCode code, const std::string& message) {
  ObjectEntry* entry = segment_.find(id);
  if (entry == nullptr ||
      kind_of(entry->state.load(std::memory_order_acquire)) != EntryState::kPending)
    return false;
  if (!seal_begin(entry->sealer, kRayletEndpoint + 1)) return false;
  ErrorFields fields;
  fields.code = code;
  fields.message = message;
  fields.task = &id;
  fields.node_tag = id.node_tag;
  std::vector<uint8_t> bytes = error_envelope(fields);
  uint32_t flags = kEntryError;
  const Result<uint64_t> offset =
      bytes.size() <= kInlineBytes ? uint64_t{0} : extents_.take_small(bytes.size());
  if (!offset.is_ok()) {  // the store is full: the shortest error there is, in the entry itself
    fields = ErrorFields{};
    fields.code = code;
    bytes = error_envelope(fields);
    bytes.resize(std::min<size_t>(bytes.size(), kInlineBytes));
  }
  if (offset.is_ok() && offset.value() != 0) {
    std::memcpy(segment_.at(offset.value()), bytes.data(), bytes.size());
    entry->offset = offset.value();
    entry->capacity = bytes.size();
  } else {
    std::memcpy(entry->inline_data, bytes.data(), bytes.size());
    entry->offset = 0;
    flags |= kEntryInline;
  }
  entry->size = bytes.size();
  const SealResult result = seal_publish(entry->state, flags);
  if (result.sealed && result.waiters) tell(id, Rec::kObjectReady);
  return result.sealed;
}

}  // namespace polyray::raylet
