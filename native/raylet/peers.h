// SPDX-License-Identifier: Apache-2.0
// The endpoints that are attached now, as the raylet knows them, and the way out to each: its ring and its doorbell.
//
// Owns: sockets, pidfds and doorbells of the endpoints, both raylet rings of each, the record slots with payloads that
// were sent and not taken yet, the jobs.
// Invariants:
//  1. A Peer exists from kWelcome until its death was handled; its Endpoint in the segment is kAttached as long.
//  2. `contacts` is symmetric: who may share a ring, or hold a lease, with whom.
//  3. Nothing waits: what does not fit in a ring stays in the producer's overflow queue and goes out at flush().
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "os/env.h"
#include "store/ring.h"
#include "store/slots.h"
#include "wire/messages.h"

namespace polyray::raylet {

struct Peer {
  uint32_t endpoint = 0;
  uint32_t serial = 0;
  uint32_t pid = 0;
  uint32_t job = 0;
  uint32_t language = 0;
  EndpointKind kind = EndpointKind::kNone;
  uint64_t startup_token = 0;
  uint64_t connection = 0;
  os::Fd bell;
  os::Fd pidfd;  // closed for endpoints of the raylet's own process
  std::vector<uint64_t> control_connections;
  uint64_t in_ring = 0;   // to_raylet
  uint64_t out_ring = 0;  // from_raylet
  std::unique_ptr<RingProducer> out;
  std::set<uint32_t> contacts;
  bool dirty = false;         // `out` has records without a bell
  bool reap_awaited = false;  // it ended; its parent is given a moment to say how
  uint64_t peer_id() const { return uint64_t{endpoint} | uint64_t{serial} << 32; }
};

// An id as it travels in a ring slot: b and c.
inline ObjectId id_of(const RingSlot& slot) {
  return ObjectId{static_cast<uint32_t>(slot.b), static_cast<uint32_t>(slot.b >> 32), slot.c};
}
inline RingSlot id_slot(Rec kind, const ObjectId& id) {
  return RingSlot{static_cast<uint32_t>(kind), 0, uint64_t{id.node_tag} | uint64_t{id.index} << 32,
                  id.unique, 0};
}

class Peers {
 public:
  explicit Peers(Segment& segment);
  // Makes a new endpoint in the segment with both raylet rings. Errors: kTableFull, kOutOfMemory.
  Result<Peer*> create(EndpointKind kind, uint32_t pid, uint32_t job, uint32_t language);
  Peer* find(uint32_t endpoint);
  Peer* find(uint64_t peer_id);            // endpoint | serial << 32; null when the serial differs
  Peer* by_in_ring(uint64_t ring_offset);  // who writes into this ring
  Peer* service() { return service_ == 0 ? nullptr : find(service_); }
  void set_service(uint32_t endpoint) { service_ = endpoint; }
  std::map<uint32_t, Peer>& all() { return peers_; }
  void contact(uint32_t a, uint32_t b);
  // Takes the peer out of the table (its death is being handled) and frees what only it used.
  Peer take(uint32_t endpoint);
  // The endpoint's number may be used again: clears its tables in the segment and frees the raylet's rings.
  void recycle(uint32_t endpoint, uint64_t in_ring, uint64_t out_ring);

  // --- out
  void send(uint32_t endpoint, const RingSlot& slot);
  void send(Peer& peer, const RingSlot& slot);
  // Copies `bytes` into record slots of the raylet and sends `slot` with b = offset, c = size | more, in pieces when they are
  // many. False: no room.
  bool send_payload(Peer& peer, RingSlot slot, std::span<const uint8_t> bytes, uint64_t more = 0);
  bool send_text(Peer& peer, RingSlot slot, std::string_view text);
  // The offset of a record slot with a copy of `bytes` for `endpoint`; 0: no room.
  uint64_t store_payload(uint32_t endpoint, std::span<const uint8_t> bytes);
  void event(std::string_view json);  // kRayletEvent to the service; kept until one attaches
  void broadcast(const RingSlot& slot);
  // Overflow into rings, then one bell each.
  void flush();
  // --- in
  // Copies a payload that `from` put into a record slot of its own, and frees the slot. Empty when the slot is bad.
  std::optional<std::vector<uint8_t>> take_payload(const Peer& from, uint64_t offset,
                                                   uint64_t bytes);
  void ring_bell(uint32_t endpoint);  // for a producer that waits for room

  // --- jobs
  uint32_t new_job() { return next_job_++; }
  bool job_alive(uint32_t job) const { return drivers_of_job_.contains(job); }
  void driver_attached(uint32_t job) { drivers_of_job_[job] += 1; }
  bool driver_gone(uint32_t job);  // true: it was the job's last
  void end_job(uint32_t job) { drivers_of_job_.erase(job); }
  // Which job an id was made in.
  uint32_t job_of_serial(uint32_t serial) const;
  InboundRings& inbound() { return inbound_; }

 private:
  Result<uint64_t> make_ring(uint32_t producer, uint32_t consumer, uint64_t reply, int event_fd);

  Segment& segment_;
  SlotPool rings_;
  SlotPool records_;
  InboundRings inbound_;
  std::map<uint32_t, Peer> peers_;
  std::set<uint32_t> used_;  // endpoint numbers that are attached or not recycled yet
  std::unordered_map<uint64_t, uint32_t> by_in_ring_;
  std::unordered_map<uint64_t, uint32_t> payload_to_;  // record slot -> receiver
  std::map<uint32_t, uint32_t> drivers_of_job_;
  std::unordered_map<uint32_t, uint32_t> job_of_serial_;
  std::vector<std::string> early_events_;
  uint32_t service_ = 0;
  uint32_t next_serial_ = 2;  // 1 is the raylet
  uint32_t next_job_ = 1;
};

}  // namespace polyray::raylet
