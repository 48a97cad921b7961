// SPDX-License-Identifier: Apache-2.0
// Rings to other processes: opening them at the first call, finding the way back, and dropping them when the peer is gone.
//
// Both rings of a direction lie in the caller's chunks: it registers the call ring at the callee and the reply ring at
// itself. The callee finds the reply ring in the header of the call ring.
#include <algorithm>
#include <cstring>

#include "client/core.h"

namespace polyray {

namespace {
constexpr int kDoorbellTimeoutMs = 10'000;
constexpr uint32_t kGoneEndpoint = 0xffffffff;
}  // namespace

Peer* ClientCore::find_peer(uint64_t key) {
  const uint32_t* number = peer_by_key_.find(key);
  return number == nullptr ? nullptr : peers_[*number].get();
}

// Synchronous and short: the raylet answers from its loop.
Result<os::Fd> ClientCore::fetch_doorbell(uint64_t key) {
  const auto endpoint = static_cast<uint32_t>(key);
  if (endpoint == endpoint_) return os::duplicate(own_bell_.get());
  const FrameHeader head{
      kFrameMagic, kFrameVersion, static_cast<uint16_t>(Frame::kGetDoorbell), endpoint,
      0,           key >> 32};
  Status sent = os::send_packet(socket_.get(),
                                {reinterpret_cast<const uint8_t*>(&head), sizeof(head)}, {}, {});
  if (!sent.is_ok()) return sent;
  Result<os::Packet> packet = os::receive_packet(socket_.get(), kDoorbellTimeoutMs);
  if (!packet.is_ok()) return packet.status();
  FrameHeader answer{};
  if (packet.value().bytes.size() < sizeof(answer))
    return Status::error(StatusCode::kBadRecord, "a cut-off frame");
  std::memcpy(&answer, packet.value().bytes.data(), sizeof(answer));
  if (answer.kind != static_cast<uint16_t>(Frame::kDoorbell))
    return Status::error(StatusCode::kBadRecord, "an unexpected frame");
  if (answer.a == kGoneEndpoint || packet.value().fds.empty())
    return Status::error(StatusCode::kNotFound, "the process is gone");
  return std::move(packet.value().fds[0]);
}

Result<Peer*> ClientCore::add_peer(uint64_t key) {
  if (static_cast<uint32_t>(key) >= kMaxEndpoints)
    return Status::error(StatusCode::kNotFound, "no such endpoint");
  Result<os::Fd> bell = fetch_doorbell(key);
  if (!bell.is_ok()) return bell.status();
  auto peer = std::make_unique<Peer>();
  peer->key = key;
  peer->bell = std::move(bell.value());
  uint32_t number = static_cast<uint32_t>(peers_.size());
  if (free_peers_.empty()) {
    peers_.push_back(std::move(peer));
  } else {
    number = free_peers_.back();
    free_peers_.pop_back();
    peers_[number] = std::move(peer);
  }
  peer_by_key_[key] = number;
  return peers_[number].get();
}

Peer* ClientCore::peer_for_calls(uint64_t key) {
  Peer* peer = find_peer(key);
  if (peer != nullptr && peer->gone) return nullptr;
  if (peer != nullptr && peer->calls != nullptr) return peer;
  if (peer == nullptr) {
    Result<Peer*> added = add_peer(key);
    if (!added.is_ok()) return nullptr;
    peer = added.value();
  }
  Result<uint64_t> calls = rings_.allocate(ring_bytes(kRingSlots));
  if (!calls.is_ok()) return nullptr;
  Result<uint64_t> replies = rings_.allocate(ring_bytes(kRingSlots));
  if (!replies.is_ok()) {
    slot_free(*segment_, calls.value());
    return nullptr;
  }
  ring_init(*segment_, replies.value(), kRingSlots, peer->endpoint(), endpoint_, 0);
  ring_init(*segment_, calls.value(), kRingSlots, endpoint_, peer->endpoint(), replies.value());
  if (!ring_register(*segment_, replies.value()).is_ok() ||
      !ring_register(*segment_, calls.value()).is_ok()) {
    inbound_.remove(replies.value());
    slot_free(*segment_, calls.value());
    slot_free(*segment_, replies.value());
    return nullptr;
  }
  peer->own_call_ring = calls.value();
  peer->own_reply_ring = replies.value();
  peer->calls = std::make_unique<RingProducer>(*segment_, calls.value(), peer->bell.get());
  peer_by_ring_[replies.value()] = *peer_by_key_.find(key);
  return peer;
}

// Whose ring a record came on. A ring seen for the first time is the call ring of a new caller.
Peer* ClientCore::peer_of_ring(uint64_t ring_offset) {
  if (const uint32_t* number = peer_by_ring_.find(ring_offset)) return peers_[*number].get();
  if (!segment_->valid_ring(ring_offset)) return nullptr;
  const RingHeader& ring = segment_->ring(ring_offset);
  const uint32_t producer = ring.producer;
  const uint64_t reply = ring.reply;
  if (ring.consumer != endpoint_ || producer >= kMaxEndpoints || !segment_->valid_ring(reply))
    return nullptr;
  if (segment_->ring(reply).producer != endpoint_ || segment_->ring(reply).consumer != producer)
    return nullptr;
  const uint64_t key = producer | uint64_t{segment_->endpoint(producer).serial} << 32;
  Peer* peer = find_peer(key);
  if (peer == nullptr) {
    Result<Peer*> added = add_peer(key);
    if (!added.is_ok()) return nullptr;  // it is gone: the raylet settles what it sent
    peer = added.value();
  }
  peer->their_call_ring = ring_offset;
  peer->replies = std::make_unique<RingProducer>(*segment_, reply, peer->bell.get());
  peer_by_ring_[ring_offset] = *peer_by_key_.find(key);
  return peer;
}

void ClientCore::mark_dirty(Peer& peer, bool reply) {
  if (!peer.calls_dirty && !peer.replies_dirty) dirty_peers_.push_back(&peer);
  (reply ? peer.replies_dirty : peer.calls_dirty) = true;
}

// A producer waits for room in a ring that we have drained.
void ClientCore::on_starved(uint64_t ring_offset) {
  if (ring_offset == segment_->endpoint(endpoint_).from_raylet) return raylet_.kick();
  const uint32_t* number = peer_by_ring_.find(ring_offset);
  if (number == nullptr) return;
  Peer& peer = *peers_[*number];
  RingProducer* back = ring_offset == peer.own_reply_ring ? peer.calls.get() : peer.replies.get();
  if (back != nullptr) back->kick();
}

// --- deaths ------------------------------------------------------------------------------------------------------

// A record may lie in a ring whose ready bit its producer did not live to set.
void ClientCore::mark_ring_ready(uint64_t ring_offset) {
  if (ring_offset == 0) return;
  const uint32_t inbound = segment_->ring(ring_offset).inbound % kMaxInboundRings;
  Endpoint& self = segment_->endpoint(endpoint_);
  self.ready[inbound / 64].fetch_or(uint64_t{1} << (inbound % 64), std::memory_order_acq_rel);
  self.ready_summary[inbound / 64 / 64].fetch_or(uint64_t{1} << (inbound / 64 % 64),
                                                 std::memory_order_acq_rel);
}

void ClientCore::drop_rings(Peer& peer) {
  for (const uint64_t ring : {peer.own_reply_ring, peer.their_call_ring}) {
    if (ring == 0) continue;
    inbound_.remove(ring);
    peer_by_ring_.erase(ring);
  }
  if (peer.own_call_ring != 0) {
    slot_free(*segment_, peer.own_call_ring);
    slot_free(*segment_, peer.own_reply_ring);
  }
  peer.calls.reset();
  peer.replies.reset();
  rings_.trim(1);
  last_ring_ = 0;
}

ClientCore::MemoryEnd ClientCore::memory_end(uint64_t word) {
  const uint64_t offset = word & ~uint64_t{1};
  if (offset == 0) return {};
  const uint32_t room = slot_bytes_at(*segment_, offset);
  if (room == 0) return {};
  const auto* chars = reinterpret_cast<const char*>(segment_->at(offset));
  MemoryEnd end{std::string(chars, strnlen(chars, room)), (word & 1) != 0};
  slot_free(*segment_, offset);
  return end;
}

// Everything the peer wrote before its death has been handled.
void ClientCore::peer_gone(const RingSlot& slot) {
  const uint64_t key = slot.a | slot.d << 32;
  const auto code = static_cast<uint32_t>(slot.b);
  const auto signal = static_cast<uint32_t>(slot.b >> 32);
  const std::string how = signal != 0         ? "was killed by signal " + std::to_string(signal)
                          : code == kNoNumber ? std::string("ended")
                                              : "exited with code " + std::to_string(code);

  const MemoryEnd memory = memory_end(slot.c);
  std::erase_if(incoming_, [&](const Incoming& call) { return call.peer == key; });
  for (auto stream = streams_.begin(); stream != streams_.end();) {
    if (stream->second.peer != key) {
      ++stream;
      continue;
    }
    release_items(stream->second, kNoNumber);
    stream = streams_.erase(stream);
  }
  std::vector<uint64_t> dead_records;
  zombies_.for_each([&](uint64_t record, uint64_t owner) {
    if (owner == key) dead_records.push_back(record);
  });
  if (Peer* peer = find_peer(key)) {
    peer->gone = true;
    drop_rings(*peer);
  }
  std::vector<CallSlot> lost;
  tasks_.worker_gone(key, lost);
  std::vector<uint32_t> classes;
  for (auto call = lost.rbegin(); call != lost.rend(); ++call) {
    const uint32_t number = calls_[*call].number;
    if (std::find(classes.begin(), classes.end(), number) == classes.end())
      classes.push_back(number);
    task_lost(*call, slot.a, how, memory);
  }
  for (auto& actor : actors_) actor.queue->peer_gone(key);
  for (CallSlot call = 0; call < calls_.size(); ++call) {
    PendingCall& pending = calls_[call];
    if (pending.kind != CallKind::kActorCreate || pending.state != PendingCall::State::kSent ||
        pending.peer != key)
      continue;
    if (all_sealed(pending))
      complete(call);
    else
      settle_with(call, StatusCode::kWorkerCrashed,
                  "[worker crashed] the actor's process " + how + " in its constructor.");
  }
  for (const uint64_t record : dead_records) {
    zombies_.erase(record);
    slot_free(*segment_, record);
  }
  if (const uint32_t* number = peer_by_key_.find(key)) {
    const uint32_t place = *number;
    std::erase(dirty_peers_, peers_[place].get());
    peers_[place].reset();
    free_peers_.push_back(place);
    peer_by_key_.erase(key);
  }
  to_raylet({static_cast<uint32_t>(Rec::kPeerGoneAck), slot.a, 0, 0, slot.d}, true);
  for (const uint32_t number : classes) tasks_.pump_class(number);
  Event& event = emit(EventKind::kPeerGone);
  event.peer = key;
  event.a = code;
  event.b = signal;
}

}  // namespace polyray
