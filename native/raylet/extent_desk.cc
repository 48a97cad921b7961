// SPDX-License-Identifier: Apache-2.0
// Extents of the data region: grants, returns, waiting requests (see extent_desk.h).
#include "raylet/extent_desk.h"

#include <algorithm>

#include "store/slab.h"
#include "store/spill_place.h"

namespace polyray::raylet {

namespace {
constexpr uint64_t kPageBytes = 4096;
constexpr size_t kNamedHolders = 8;
constexpr uint64_t kMaxWaitMs = 3600 * 1000;
constexpr uint64_t kLookAgainMs = 100;
constexpr uint64_t kHoldersMs = 10;  // a text about all extents serves so long
}  // namespace

Result<uint64_t> ExtentDesk::allocate(uint64_t bytes, uint64_t alignment, uint32_t client) {
  Result<uint64_t> offset = allocator_.allocate(bytes, alignment, client);
  if (offset.is_ok()) {
    extents_[offset.value()] = Extent{(bytes + kPageBytes - 1) / kPageBytes * kPageBytes, client};
    ++granted_;
  }
  return offset;
}

Result<uint64_t> ExtentDesk::take(uint64_t bytes, uint64_t alignment) {
  return allocate(bytes, alignment, kRayletEndpoint);
}

Result<uint64_t> ExtentDesk::take_small(uint64_t bytes) {
  if (bytes > kMaxSlabObject) return take(bytes, kPageBytes);
  if (const uint64_t offset = slabs_.allocate(bytes)) return offset;
  const Result<uint64_t> granule = take(kGranuleBytes, kGranuleBytes);
  if (!granule.is_ok()) return granule.status();
  Status added = slabs_.add_granule(segment_.granule_of(granule.value()), bytes);
  if (!added.is_ok()) {
    free_extent(granule.value());
    return added;
  }
  return slabs_.allocate(bytes);
}

void ExtentDesk::grant(Peer& peer, uint32_t number, uint64_t offset) {
  peers_.send(peer, RingSlot{static_cast<uint32_t>(Rec::kExtentGrant), number, offset,
                             extents_.at(offset).bytes, allocator_.newly_backed_bytes() != 0});
}

void ExtentDesk::refuse(Peer& peer, const Waiting& waiting) {
  std::string text = waiting.why.message;
  if (waiting.why.code == StatusCode::kObjectStoreFull)
    text += "; " + who_holds_what() + " Release refs, or start with a larger objectStoreMemory.";
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.c_str());
  const uint64_t payload = peers_.store_payload(peer.endpoint, {bytes, text.size() + 1});
  peers_.send(peer, RingSlot{static_cast<uint32_t>(Rec::kExtentGrant), waiting.number, 0,
                             static_cast<uint64_t>(waiting.why.code), payload});
}

void ExtentDesk::request(Peer& peer, const RingSlot& slot, uint64_t now_ms) {
  const Result<uint64_t> offset = allocate(slot.b, slot.c, peer.endpoint);
  if (offset.is_ok()) {
    grant(peer, slot.a, offset.value());
    return;
  }
  const StatusCode code = offset.status().code;
  const bool can_come =
      (code == StatusCode::kObjectStoreFull || code == StatusCode::kOutOfMemory) &&
      slot.b <= allocator_.capacity_bytes();
  const uint64_t wait_ms = can_come ? std::min(slot.d, kMaxWaitMs) : 0;
  const uint64_t deadline_ms = now_ms + wait_ms;
  const uint64_t patience_ms = wait_ms == 0 ? deadline_ms : deadline_ms + kSpillPatienceMs;
  waiting_.push_back(
      {peer.peer_id(), slot.a, slot.b, slot.c, deadline_ms, patience_ms, offset.status()});
  short_ = short_ || can_come;
}

void ExtentDesk::free_extent(uint64_t offset) {
  const auto it = extents_.find(offset);
  if (it == extents_.end()) return;
  if (is_slab(segment_, offset) && !slab_retire(segment_, segment_.granule_of(offset))) return;
  allocator_.free(offset, it->second.bytes, it->second.client);
  extents_.erase(it);
  freed_ = true;
  last_free_ms_ = os::now_ms();
}

void ExtentDesk::give_back(const Peer& peer, uint64_t offset) {
  const auto it = extents_.find(offset);
  if (it != extents_.end() && it->second.client == peer.endpoint) free_extent(offset);
}

void ExtentDesk::free_object_bytes(uint64_t offset) {
  if (!segment_.valid_data(offset, 1)) return;
  if (!is_slab(segment_, offset)) {
    free_extent(offset);
    return;
  }
  if (slab_free(segment_, offset))
    free_extent(segment_.granule_offset(segment_.granule_of(offset)));
}

bool ExtentDesk::holds_any(uint32_t client) const {
  return std::any_of(extents_.begin(), extents_.end(),
                     [client](const auto& item) { return item.second.client == client; });
}

void ExtentDesk::slots_came_free(uint32_t client) {
  bool waits = false;
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    Peer* peer = peers_.find(waiting.peer_id);
    if (peer == nullptr || peer->endpoint != client) return false;
    waits = true;
    peers_.send(*peer, RingSlot{static_cast<uint32_t>(Rec::kExtentGrant), waiting.number, 0,
                                static_cast<uint64_t>(StatusCode::kWouldBlock), 0});
    return true;
  });
  if (!waits) peers_.send(client, RingSlot{static_cast<uint32_t>(Rec::kGcRequest), 0, 0, 0, 0});
}

void ExtentDesk::grant_waiting() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    Peer* peer = peers_.find(it->peer_id);
    Result<uint64_t> offset =
        peer != nullptr ? allocate(it->bytes, it->alignment, peer->endpoint) : uint64_t{0};
    if (!offset.is_ok()) {
      it->why = offset.status();
      ++it;
      continue;
    }
    if (peer != nullptr) grant(*peer, it->number, offset.value());
    it = waiting_.erase(it);
  }
}

void ExtentDesk::fail_spill() {
  const bool full = spill_fault_.sys_errno != 0 && spill_fault_.code == StatusCode::kOutOfMemory;
  Status why = Status::error(
      full ? StatusCode::kOutOfDisk : StatusCode::kSystem,
      std::string(full ? "[out of disk]" : "[system]") +
          " the object store is full and values cannot be spilled: " + spill_fault_.message +
          ". Free disk space or set objectSpillingDirectory.");
  for (Waiting& waiting : waiting_) {
    waiting.why = why;
    if (Peer* peer = peers_.find(waiting.peer_id)) refuse(*peer, waiting);
  }
  waiting_.clear();
  spill_fault_ = {};
}

void ExtentDesk::step(uint64_t now_ms) {
  if (freed_) {
    freed_ = false;
    if (release_at_ms_ == 0) release_at_ms_ = last_free_ms_ + kIdleMs;
    grant_waiting();
  }
  uint64_t wanted = 0;
  for (const Waiting& waiting : waiting_)
    if (waiting.bytes <= allocator_.capacity_bytes()) wanted += waiting.bytes;
  const bool coming = make_room_ && make_room_(wanted, now_ms);
  coming_ = coming;
  if (!spill_fault_.is_ok() && !coming) fail_spill();
  if (!waiting_.empty() && !coming && now_ms >= gc_again_ms_) {
    gc_again_ms_ = now_ms + kCollectEveryMs;
    peers_.broadcast(RingSlot{static_cast<uint32_t>(Rec::kGcRequest), 0, 0, 0, 0});
  }
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    // What is being written to disk will be room: a slow disk is no reason to refuse.
    if (coming && it->deadline_ms <= now_ms && now_ms < it->patience_ms)
      it->deadline_ms = now_ms + kLookAgainMs;
    if (it->deadline_ms > now_ms) {
      ++it;
      continue;
    }
    if (Peer* peer = peers_.find(it->peer_id)) refuse(*peer, *it);
    it = waiting_.erase(it);
  }
  if (release_at_ms_ != 0 && release_at_ms_ <= now_ms) {
    allocator_.release_idle(now_ms, kIdleMs);
    const uint64_t last_due_ms = last_free_ms_ + kIdleMs;
    release_at_ms_ = last_due_ms > now_ms ? last_due_ms : 0;
  }
}

std::optional<uint64_t> ExtentDesk::next_deadline_ms() const {
  std::optional<uint64_t> next;
  if (release_at_ms_ != 0) next = release_at_ms_;
  if (!waiting_.empty() && !coming_ && gc_again_ms_ != 0)
    next = std::min(next.value_or(gc_again_ms_), gc_again_ms_);
  for (const Waiting& waiting : waiting_)
    next = std::min(next.value_or(waiting.deadline_ms), waiting.deadline_ms);
  return next;
}

const std::string& ExtentDesk::who_holds_what() {
  const uint64_t now_ms = os::now_ms();
  if (now_ms < holders_at_ms_ + kHoldersMs) return holders_;
  holders_at_ms_ = now_ms;
  std::map<uint32_t, uint64_t> bytes_of;
  for (const auto& [offset, extent] : extents_) bytes_of[extent.client] += extent.bytes;
  std::vector<std::pair<uint64_t, uint32_t>> order;
  for (const auto& [client, bytes] : bytes_of) order.emplace_back(bytes, client);
  std::sort(order.rbegin(), order.rend());
  std::string text = "the store has " + std::to_string(capacity_bytes()) + " bytes, " +
                     std::to_string(used_bytes()) + " are taken. Holders:";
  if (order.size() > kNamedHolders) order.resize(kNamedHolders);
  for (const auto& [bytes, client] : order) {
    const Peer* peer = peers_.find(client);
    text += peer != nullptr
                ? " pid " + std::to_string(peer->pid) + " (endpoint " + std::to_string(client) + ")"
            : client == kRayletEndpoint ? std::string(" the raylet")
                                        : std::string(" ended processes");
    text += " " + std::to_string(bytes) + " bytes;";
  }
  text.back() = '.';
  return holders_ = text;
}

}  // namespace polyray::raylet
