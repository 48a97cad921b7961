// SPDX-License-Identifier: Apache-2.0
// Messages to and from the node service (see service_relay.h).
#include "raylet/service_relay.h"

namespace polyray::raylet {

namespace {
constexpr uint32_t kEverybody = 0xffffffff;
}

void ServiceRelay::forward(Peer& service, const Waiting& waiting) {
  RingSlot slot{static_cast<uint32_t>(Rec::kServiceCall), waiting.request, 0, 0, waiting.peer_id};
  peers_.send_payload(service, slot, waiting.payload, waiting.more);
}

void ServiceRelay::call(Peer& from, const RingSlot& slot) {
  auto payload = peers_.take_payload(from, slot.b, slot.c & ~kMorePieces);
  if (!payload) return;
  Waiting waiting{from.peer_id(), slot.a, slot.c & kMorePieces, std::move(*payload)};
  if (Peer* service = peers_.service())
    forward(*service, waiting);
  else
    waiting_.push_back(std::move(waiting));
}

void ServiceRelay::reply(Peer& from, const RingSlot& slot) {
  const auto payload = peers_.take_payload(from, slot.b, slot.c & ~kMorePieces);
  if (!payload || peers_.service() != &from) return;
  if (Peer* to = peers_.find(slot.d))
    peers_.send_payload(*to, RingSlot{static_cast<uint32_t>(Rec::kServiceAnswer), slot.a, 0, 0, 0},
                        *payload, slot.c & kMorePieces);
}

void ServiceRelay::push(Peer& from, const RingSlot& slot) {
  const auto payload = peers_.take_payload(from, slot.b, slot.c & ~kMorePieces);
  if (!payload || peers_.service() != &from) return;
  const uint64_t more = slot.c & kMorePieces;
  const RingSlot out{static_cast<uint32_t>(Rec::kPush), slot.a, 0, 0, 0};
  if (static_cast<uint32_t>(slot.d) != kEverybody) {
    if (Peer* to = peers_.find(slot.d)) peers_.send_payload(*to, out, *payload, more);
    return;
  }
  for (auto& [number, peer] : peers_.all())
    if (&peer != &from) peers_.send_payload(peer, out, *payload, more);
}

void ServiceRelay::service_attached() {
  peers_.event("");  // events that came too early
  Peer* service = peers_.service();
  for (; service != nullptr && !waiting_.empty(); waiting_.pop_front())
    forward(*service, waiting_.front());
}

void ServiceRelay::client_gone(uint64_t peer_id) {
  std::erase_if(waiting_, [peer_id](const Waiting& waiting) { return waiting.peer_id == peer_id; });
}

}  // namespace polyray::raylet
