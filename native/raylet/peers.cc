// SPDX-License-Identifier: Apache-2.0
// Table of attached endpoints and the records that go out to them (see peers.h).
#include "raylet/peers.h"

#include <cstring>

namespace polyray::raylet {

Peers::Peers(Segment& segment)
    : segment_(segment),
      rings_(segment, ChunkKind::kRings, kRayletEndpoint),
      records_(segment, ChunkKind::kRecords, kRayletEndpoint),
      inbound_(segment, kRayletEndpoint) {}

Result<Peer*> Peers::create(EndpointKind kind, uint32_t pid, uint32_t job, uint32_t language) {
  uint32_t number = 1;
  for (const uint32_t used : used_) {
    if (used != number) break;
    ++number;
  }
  if (number >= kMaxEndpoints) {
    return Status::error(StatusCode::kTableFull, "all " + std::to_string(kMaxEndpoints) +
                                                     " endpoints (maxEndpoints) are taken");
  }
  Status populated = segment_.populate_endpoint(number);
  if (!populated.is_ok()) return populated;
  Result<os::Fd> bell = os::open_event();
  if (!bell.is_ok()) return bell.status();
  const Result<uint64_t> in = rings_.allocate(ring_bytes(kRingSlots));
  if (!in.is_ok()) return in.status();
  const Result<uint64_t> out = rings_.allocate(ring_bytes(kRingSlots));
  if (!out.is_ok()) {
    slot_free(segment_, in.value());
    return out.status();
  }
  ring_init(segment_, in.value(), kRingSlots, number, kRayletEndpoint, out.value());
  ring_init(segment_, out.value(), kRingSlots, kRayletEndpoint, number, in.value());
  Result<uint32_t> registered = ring_register(segment_, in.value());
  if (registered.is_ok()) registered = ring_register(segment_, out.value());
  if (!registered.is_ok()) {
    inbound_.remove(in.value());
    slot_free(segment_, in.value());
    slot_free(segment_, out.value());
    return registered.status();
  }

  Endpoint& shared = segment_.endpoint(number);
  Peer& peer = peers_[number];
  peer.endpoint = number;
  peer.serial = next_serial_++;
  peer.pid = pid;
  peer.job = job;
  peer.language = language;
  peer.kind = kind;
  peer.bell = std::move(bell.value());
  peer.in_ring = in.value();
  peer.out_ring = out.value();
  peer.out = std::make_unique<RingProducer>(segment_, out.value(), peer.bell.get());
  for (auto& count : shared.counters.values) count.store(0, std::memory_order_relaxed);
  shared.kind = static_cast<uint32_t>(kind);
  shared.pid = pid;
  shared.serial = peer.serial;
  shared.job = job;
  shared.language = language;
  shared.devices.store(0, std::memory_order_relaxed);
  shared.to_raylet = in.value();
  shared.from_raylet = out.value();
  shared.state.store(static_cast<uint32_t>(EndpointState::kAttached), std::memory_order_release);
  used_.insert(number);
  by_in_ring_[in.value()] = number;
  job_of_serial_[peer.serial] = job;
  return &peer;
}

Peer* Peers::find(uint32_t endpoint) {
  const auto it = peers_.find(endpoint);
  return it == peers_.end() ? nullptr : &it->second;
}

Peer* Peers::find(uint64_t peer_id) {
  Peer* peer = find(static_cast<uint32_t>(peer_id));
  return peer != nullptr && peer->serial == static_cast<uint32_t>(peer_id >> 32) ? peer : nullptr;
}

Peer* Peers::by_in_ring(uint64_t ring_offset) {
  const auto it = by_in_ring_.find(ring_offset);
  if (it != by_in_ring_.end()) return find(it->second);
  return find(segment_.ring(ring_offset).producer);  // a bigger ring that continues the first one
}

void Peers::contact(uint32_t a, uint32_t b) {
  Peer* first = find(a);
  Peer* second = find(b);
  if (first == nullptr || second == nullptr || a == b) return;
  first->contacts.insert(b);
  second->contacts.insert(a);
}

Peer Peers::take(uint32_t endpoint) {
  const auto it = peers_.find(endpoint);
  Peer peer = std::move(it->second);
  peers_.erase(it);
  by_in_ring_.erase(peer.in_ring);
  if (service_ == endpoint) service_ = 0;
  for (const uint32_t other : peer.contacts)
    if (Peer* known = find(other)) known->contacts.erase(endpoint);
  for (auto payload = payload_to_.begin(); payload != payload_to_.end();) {
    if (payload->second != endpoint) {
      ++payload;
      continue;
    }
    if (slot_is_used(segment_, payload->first)) slot_free(segment_, payload->first);
    payload = payload_to_.erase(payload);
  }
  return peer;
}

void Peers::recycle(uint32_t endpoint, uint64_t in_ring, uint64_t out_ring) {
  inbound_.remove(in_ring);
  slot_free(segment_, in_ring);
  slot_free(segment_, out_ring);
  rings_.trim(1);
  Endpoint& shared = segment_.endpoint(endpoint);
  const uint32_t high =
      std::min(shared.inbound_high.load(std::memory_order_relaxed), kMaxInboundRings);
  for (uint32_t i = 0; i < high; ++i) shared.inbound[i].store(0, std::memory_order_relaxed);
  for (uint32_t i = 0; i * 64 < high; ++i) {
    shared.ready[i].store(0, std::memory_order_relaxed);
    shared.inbound_used[i].store(0, std::memory_order_relaxed);
  }
  for (auto& word : shared.ready_summary) word.store(0, std::memory_order_relaxed);
  for (auto& chunk : shared.row_chunks) chunk.store(0, std::memory_order_relaxed);
  shared.armed.store(0, std::memory_order_relaxed);
  shared.sealing.store(0, std::memory_order_relaxed);
  shared.seal_progress.store(0, std::memory_order_relaxed);
  shared.row_chunk_count.store(0, std::memory_order_relaxed);
  shared.inbound_high.store(0, std::memory_order_relaxed);
  shared.to_raylet = 0;
  shared.from_raylet = 0;
  shared.kind = static_cast<uint32_t>(EndpointKind::kNone);
  shared.pid = 0;
  shared.state.store(static_cast<uint32_t>(EndpointState::kFree), std::memory_order_release);
  used_.erase(endpoint);
}

void Peers::send(Peer& peer, const RingSlot& slot) {
  peer.out->push(slot);
  peer.dirty = true;
}

void Peers::send(uint32_t endpoint, const RingSlot& slot) {
  if (Peer* peer = find(endpoint)) send(*peer, slot);
}

uint64_t Peers::store_payload(uint32_t endpoint, std::span<const uint8_t> bytes) {
  if (bytes.size() > kChunkBytes) return 0;
  const Result<uint64_t> offset = records_.allocate(bytes.size());
  if (!offset.is_ok()) return 0;
  if (!bytes.empty()) std::memcpy(segment_.at(offset.value()), bytes.data(), bytes.size());
  payload_to_[offset.value()] = endpoint;
  return offset.value();
}

bool Peers::send_payload(Peer& peer, RingSlot slot, std::span<const uint8_t> bytes, uint64_t more) {
  while (bytes.size() > kChunkBytes) {
    const auto piece = bytes.first(kPieceBytes);
    if (!send_payload(peer, slot, piece, kMorePieces)) return false;
    bytes = bytes.subspan(kPieceBytes);
  }
  slot.b = store_payload(peer.endpoint, bytes);
  if (slot.b == 0) return false;
  slot.c = bytes.size() | more;
  send(peer, slot);
  return true;
}

bool Peers::send_text(Peer& peer, RingSlot slot, std::string_view text) {
  return send_payload(peer, slot, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void Peers::event(std::string_view json) {
  Peer* service = this->service();
  if (service == nullptr) {
    early_events_.emplace_back(json);
    return;
  }
  const RingSlot slot{static_cast<uint32_t>(Rec::kRayletEvent), 0, 0, 0, 0};
  for (const std::string& early : early_events_) send_text(*service, slot, early);
  early_events_.clear();
  if (!json.empty()) send_text(*service, slot, json);
}

void Peers::broadcast(const RingSlot& slot) {
  for (auto& [number, peer] : peers_) send(peer, slot);
}

void Peers::flush() {
  for (auto& [number, peer] : peers_) {
    if (peer.out->has_overflow()) {
      peer.out->flush();
      peer.dirty = true;
    }
    if (!peer.dirty) continue;
    peer.dirty = false;
    peer.out->bell();
  }
}

std::optional<std::vector<uint8_t>> Peers::take_payload(const Peer& from, uint64_t offset,
                                                        uint64_t bytes) {
  if (!segment_.valid_payload(offset, bytes)) return std::nullopt;
  const ChunkHeader& chunk = segment_.chunk(segment_.chunk_of(offset));
  if (chunk.owner.load(std::memory_order_acquire) != from.endpoint + 1) return std::nullopt;
  const uint8_t* start = segment_.at(offset);
  std::vector<uint8_t> copy(start, start + bytes);
  slot_free(segment_, offset);
  return copy;
}

void Peers::ring_bell(uint32_t endpoint) {
  Peer* peer = find(endpoint);
  if (peer == nullptr) return;
  Endpoint& shared = segment_.endpoint(endpoint);
  bell_ring(shared, publish_take_armed(shared.armed), peer->bell.get());
}

bool Peers::driver_gone(uint32_t job) {
  const auto it = drivers_of_job_.find(job);
  if (it == drivers_of_job_.end() || --it->second > 0) return false;
  drivers_of_job_.erase(it);
  return true;
}

uint32_t Peers::job_of_serial(uint32_t serial) const {
  const auto it = job_of_serial_.find(serial);
  return it == job_of_serial_.end() ? 0 : it->second;
}

}  // namespace polyray::raylet
