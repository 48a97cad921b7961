// SPDX-License-Identifier: Apache-2.0
// Single-producer single-consumer rings of 32-byte records, ready bitmaps and doorbells.
//
// RingProducer keeps what does not fit in an ordered overflow queue in its own memory and flushes it at each drain, so
// push never fails and never waits. mark_ready + ring_bell follow publish/arm of protocols.h.
// Thread rules: a RingProducer has one thread at a time; so has an InboundRings (the consumer side of one endpoint).
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "store/protocols.h"
#include "store/segment.h"

namespace polyray {

inline constexpr uint32_t kRingSlots = 128;        // first ring of a pair: 4 KiB + header
inline constexpr uint32_t kRingSlotsGrown = 1024;  // after the first overflow (kRingSwitch)
uint64_t ring_bytes(uint32_t slots);

// Lays out a ring at a zeroed offset.
void ring_init(Segment& segment, uint64_t offset, uint32_t slots, uint32_t producer, uint32_t consumer, uint64_t reply);
// Takes a free inbound slot of the consumer by CAS and stores the ring there. Error kLimitExceeded when all are taken.
Result<uint32_t> ring_register(Segment& segment, uint64_t ring_offset);

// Wakes whoever armed `endpoint`: futex word or eventfd.
void bell_ring(Endpoint& endpoint, uint32_t armed_bits, int event_fd);

class RingProducer {
 public:
  RingProducer(Segment& segment, uint64_t ring_offset, int consumer_event_fd);
  // Publishes (or queues) one record, without the bell.
  void push(const RingSlot& slot);
  // Ready bit, fence, take armed, bell. Call once after a batch of pushes; does nothing when nothing was pushed.
  void bell();
  // Moves overflow into the ring. Returns true when none is left. The consumer rings us (starved) when there is room.
  bool flush();
  bool has_overflow() const { return !overflow_.empty(); }
  size_t overflow_size() const { return overflow_.size(); }
  bool above_half() const;  // ring is at least half full: worth a bell
  uint64_t offset() const { return offset_; }
  int event_fd() const { return event_fd_; }

 private:
  bool try_push(const RingSlot& slot);
  Segment& segment_;
  uint64_t offset_;
  int event_fd_;
  uint64_t cached_head_ = 0;
  bool dirty_ = false;
  std::deque<RingSlot> overflow_;
};

// All inbound rings of one endpoint.
class InboundRings {
 public:
  InboundRings(Segment& segment, uint32_t endpoint) : segment_(segment), endpoint_(endpoint) {}
  // Calls handler(ring_offset, slot) for every ready record, at most `limit`; clears ready bits first, then reads.
  // After draining a ring whose producer is starved, on_starved(ring_offset) is called (the owner rings that producer).
  size_t drain(size_t limit, const std::function<void(uint64_t, const RingSlot&)>& handler,
               const std::function<void(uint64_t)>& on_starved);
  bool has_ready() const;
  // Arms the endpoint's wake word (protocols.h). True: it may sleep.
  bool arm(uint32_t bits);
  // Sleeps on the futex word armed with kArmedFutex until rung or timeout_ms (-1 for ever). No lock is held.
  void wait(int timeout_ms);
  // Frees the inbound slot of a ring whose producer is gone.
  void remove(uint64_t ring_offset);

 private:
  Segment& segment_;
  uint32_t endpoint_;
};

}  // namespace polyray
