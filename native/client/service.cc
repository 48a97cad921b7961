// SPDX-License-Identifier: Apache-2.0
// Records to the raylet: leases, requests to the control service and its answers, commands of the service.
#include <cstring>

#include "client/core.h"

namespace polyray {

namespace {
constexpr uint32_t kDedicatedClass = 0xfffffffe;
constexpr uint32_t kRayletBatch = 64;
}  // namespace

void ClientCore::to_raylet(const RingSlot& slot, bool bell) {
  raylet_.push(slot);
  raylet_waiting_ = true;
  raylet_bell_due_ |= bell;
  // A program that only puts and releases never polls: the raylet must hear of it all the same.
  if (++raylet_pushes_ % kRayletBatch == 0) bell_raylet();
}

void ClientCore::bell_raylet() {
  if (raylet_.has_overflow()) raylet_.flush();
  raylet_.bell();
  raylet_belled_ns_ = os::now_ns();
  raylet_bell_due_ = raylet_waiting_ = false;
}

// --- payloads ----------------------------------------------------------------------------------------------------

Result<uint64_t> ClientCore::copy_payload(std::span<const uint8_t> payload) {
  Result<uint64_t> slot = records_.allocate(payload.size());
  if (slot.is_ok() && !payload.empty())
    std::memcpy(segment_->at(slot.value()), payload.data(), payload.size());
  return slot;
}

// The payload of a record, once its last piece has come; nothing while more follow.
std::optional<std::vector<uint8_t>> ClientCore::whole_payload(const RingSlot& slot) {
  std::vector<uint8_t> piece = take_payload(slot.b, slot.c & ~kMorePieces);
  const bool more = (slot.c & kMorePieces) != 0;
  if (!more && pieces_.empty()) return piece;
  const std::tuple key(slot.kind, slot.a, slot.d);
  if (more) {
    auto& before = pieces_[key];
    before.insert(before.end(), piece.begin(), piece.end());
    return std::nullopt;
  }
  const auto known = pieces_.find(key);
  if (known == pieces_.end()) return piece;
  std::vector<uint8_t> whole = std::move(known->second);
  pieces_.erase(known);
  whole.insert(whole.end(), piece.begin(), piece.end());
  return whole;
}

std::vector<uint8_t> ClientCore::take_payload(uint64_t offset, uint64_t bytes) {
  std::vector<uint8_t> payload;
  if (offset == 0 || !segment_->valid_slot(offset, ChunkKind::kRecords, bytes)) return payload;
  const uint8_t* from = segment_->at(offset);
  payload.assign(from, from + bytes);
  slot_free(*segment_, offset);
  return payload;
}

// --- control service ---------------------------------------------------------------------------------------------

// In pieces when it is larger than a slot. False: no memory for it.
bool ClientCore::send_payload(Rec kind, uint32_t a, uint64_t d, std::span<const uint8_t> payload) {
  do {
    const auto piece = payload.first(payload.size() > kChunkBytes ? kPieceBytes : payload.size());
    payload = payload.subspan(piece.size());
    Result<uint64_t> slot = copy_payload(piece);
    if (!slot.is_ok()) return false;
    const uint64_t bytes = piece.size() | (payload.empty() ? 0 : kMorePieces);
    to_raylet({static_cast<uint32_t>(kind), a, slot.value(), bytes, d}, true);
  } while (!payload.empty());
  return true;
}

uint32_t ClientCore::service_request(std::span<const uint8_t> payload) {
  if (detached_) return 0;
  const uint32_t request = ++next_request_;
  return send_payload(Rec::kService, request, 0, payload) ? request : 0;
}

void ClientCore::service_reply(uint64_t peer, uint32_t request, std::span<const uint8_t> payload) {
  if (detached_) return;
  send_payload(Rec::kServiceReply, request, peer, payload);
}

void ClientCore::service_push(uint64_t peer, uint32_t topic, std::span<const uint8_t> payload) {
  if (detached_) return;
  send_payload(Rec::kServicePush, topic, peer, payload);
}

void ClientCore::raylet_command(RayletOp op, uint64_t b, uint64_t c, uint64_t d,
                                std::span<const uint8_t> payload) {
  if (detached_) return;
  if (!payload.empty()) {
    Result<uint64_t> slot = copy_payload(payload);
    if (!slot.is_ok()) return;
    c = slot.value();
    d = payload.size();
  }
  to_raylet({static_cast<uint32_t>(Rec::kRayletCommand), static_cast<uint32_t>(op), b, c, d}, true);
}

void ClientCore::gc_done() {
  if (detached_) return;
  records_.trim(1);
  give_back_slabs();
  to_raylet({static_cast<uint32_t>(Rec::kGcDone), 0, 0, 0, 0}, true);
  flush();
}

// --- leases ------------------------------------------------------------------------------------------------------

uint64_t ClientCore::write_lease_spec(const SpecInfo& info, uint64_t* bytes) {
  *bytes =
      sizeof(LeaseSpec) + info.resources.size() * sizeof(ResourceItem) + info.worker_key.size();
  Result<uint64_t> slot = records_.allocate(*bytes);
  if (!slot.is_ok()) return 0;
  uint8_t* to = segment_->at(slot.value());
  LeaseSpec spec = info.lease;
  spec.resource_count = static_cast<uint32_t>(info.resources.size());
  spec.key_bytes = static_cast<uint32_t>(info.worker_key.size());
  std::memcpy(to, &spec, sizeof(spec));
  to += sizeof(spec);
  if (!info.resources.empty())
    std::memcpy(to, info.resources.data(), info.resources.size() * sizeof(ResourceItem));
  to += info.resources.size() * sizeof(ResourceItem);
  if (!info.worker_key.empty()) std::memcpy(to, info.worker_key.data(), info.worker_key.size());
  return slot.value();
}

uint32_t ClientCore::request_dedicated(const SpecInfo& info) {
  if (detached_) return 0;
  SpecInfo dedicated = info;
  dedicated.lease.flags |= 1;
  uint64_t bytes = 0;
  const uint64_t slot = write_lease_spec(dedicated, &bytes);
  if (slot == 0) return 0;
  const uint32_t request = ++next_request_;
  request_class_[request] = kDedicatedClass;
  to_raylet({static_cast<uint32_t>(Rec::kLeaseRequest), request, slot, bytes, 1}, true);
  return request;
}

void ClientCore::return_lease(uint32_t lease) {
  if (!detached_) lease_return(lease);
}

void ClientCore::lease_backlog(uint32_t class_number, uint32_t workers_wanted, int32_t priority) {
  ClassRequest& request = class_requests_[class_number];
  if (request.request != 0) {
    to_raylet({static_cast<uint32_t>(Rec::kLeaseBacklog), request.request,
               static_cast<uint32_t>(priority), 0, workers_wanted},
              workers_wanted > 0);
    return;
  }
  if (workers_wanted == 0) return;
  uint64_t bytes = 0;
  SpecInfo info = specs_[request.spec];
  info.lease.priority = priority;
  const uint64_t slot = write_lease_spec(info, &bytes);
  if (slot == 0) return;
  request.request = ++next_request_;
  request_class_[request.request] = class_number;
  to_raylet(
      {static_cast<uint32_t>(Rec::kLeaseRequest), request.request, slot, bytes, workers_wanted},
      true);
}

namespace {
constexpr uint32_t word_of(LeaseState state) {
  return static_cast<uint32_t>(state);
}
// Moves the state part of a lease word, keeping its flags. False: it was not in `from`.
bool move_lease(std::atomic<uint32_t>& word, LeaseState from, LeaseState to) {
  uint32_t seen = word.load(std::memory_order_acquire);
  while ((seen & kLeaseStateMask) == word_of(from))
    if (word.compare_exchange_weak(seen, (seen & ~kLeaseStateMask) | word_of(to),
                                   std::memory_order_acq_rel))
      return true;
  return false;
}
}  // namespace

bool ClientCore::lease_activate(uint32_t lease) {
  if (!move_lease(segment_->lease(lease % kMaxLeases).word, LeaseState::kIdle, LeaseState::kActive))
    return false;
  // Pairs with the fence in RayletCore::watch_leases(): one of the two sees what the other wrote.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (segment_->header().lease_watch.load(std::memory_order_relaxed) != 0)
    to_raylet({static_cast<uint32_t>(Rec::kLeaseActive), 0, 0, 0, 0}, true);
  return true;
}

bool ClientCore::lease_idle(uint32_t lease) {
  std::atomic<uint32_t>& word = segment_->lease(lease % kMaxLeases).word;
  uint32_t active =
      word_of(LeaseState::kActive);  // without the yield flag: somebody waits otherwise
  return word.compare_exchange_strong(active, word_of(LeaseState::kIdle),
                                      std::memory_order_acq_rel);
}

LeaseYield ClientCore::lease_yields(uint32_t lease) {
  const uint32_t word = segment_->lease(lease % kMaxLeases).word.load(std::memory_order_relaxed);
  if ((word & kLeaseYield) == 0) return LeaseYield::kNo;
  return (word & kLeaseUrgent) == 0 ? LeaseYield::kSoon : LeaseYield::kNow;
}

// Also for a lease found revoked: the raylet then reuses its number.
void ClientCore::lease_return(uint32_t lease) {
  std::atomic<uint32_t>& word = segment_->lease(lease % kMaxLeases).word;
  if (!move_lease(word, LeaseState::kActive, LeaseState::kReturned))
    move_lease(word, LeaseState::kIdle, LeaseState::kReturned);
  to_raylet({static_cast<uint32_t>(Rec::kLeaseReturn), lease, 0, 0, 0}, true);
}

// --- actors ------------------------------------------------------------------------------------------------------

ActorQueue& ClientCore::actor_queue(const ObjectId& actor, uint32_t* number) {
  uint32_t* known = actor_by_unique_.find(actor.unique);
  if (known == nullptr) {
    actors_.push_back(
        {std::make_unique<ActorQueue>(links_, static_cast<ActorPort&>(*this)), actor, {}});
    known = &(actor_by_unique_[actor.unique] = static_cast<uint32_t>(actors_.size() - 1));
  }
  if (number != nullptr) *number = *known;
  return *actors_[*known].queue;
}

void ClientCore::set_actor_state(const ObjectId& actor, ActorPhase phase, uint64_t peer,
                                 uint32_t incarnation, int32_t max_task_retries,
                                 std::span<const uint8_t> error) {
  if (detached_) return;
  uint32_t number = 0;
  ActorQueue& queue = actor_queue(actor, &number);
  if (!error.empty()) actors_[number].error.assign(error.begin(), error.end());
  queue.set_state(phase, peer, incarnation, max_task_retries);
  run_ready();
}

ActorPhase ClientCore::actor_phase(const ObjectId& actor) {
  const uint32_t* number = actor_by_unique_.find(actor.unique);
  return number == nullptr ? ActorPhase::kUnknown : actors_[*number].queue->phase();
}

size_t ClientCore::actor_pending_calls(const ObjectId& actor) {
  const uint32_t* number = actor_by_unique_.find(actor.unique);
  return number == nullptr ? 0 : actors_[*number].queue->pending();
}

}  // namespace polyray
