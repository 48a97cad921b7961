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
void ring_init(Segment& segment, uint64_t offset, uint32_t slots, uint32_t producer,
               uint32_t consumer, uint64_t reply);
// Takes a free inbound slot of the consumer by CAS and stores the ring there. Errors: kTableFull when all are taken,
// kInvalidArgument, kOutOfMemory.
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
  // The same with nothing pushed: wakes the other side, which drains and then flushes its overflow towards us.
  // What a consumer does with its own producer to `ring.producer` in on_starved.
  void kick();
  // Moves overflow into the ring. Returns true when none is left. The consumer rings us (starved) when there is room.
  bool flush();
  bool has_overflow() const { return !overflow_.empty(); }
  bool is_closed() const;  // the consumer is gone: what is pushed is dropped
  size_t overflow_size() const { return overflow_.size(); }
  bool above_half() const;  // ring is at least half full: worth a bell
  uint64_t offset() const { return offset_; }
  int event_fd() const { return event_fd_; }

 private:
  bool move_overflow();
  Segment& segment_;
  uint64_t offset_;
  uint64_t slots_;
  EndpointCounters* counters_;  // of the producer, which is this process
  int event_fd_;
  uint64_t cached_head_ = 0;
  bool dirty_ = false;
  std::deque<RingSlot> overflow_;
};

// All inbound rings of one endpoint.
class InboundRings {
 public:
  InboundRings(Segment& segment, uint32_t endpoint);
  // Calls handler(ring_offset, slot) for every ready record, at most `limit`; clears ready bits first, then reads.
  // After draining a ring whose producer is starved, on_starved(ring_offset) is called: the owner kick()s that producer,
  // which flushes its overflow after each drain of its own.
  // The record counts as read (head moves) after handler returned. handler may push, ring bells and remove() any ring.
  size_t drain(size_t limit, const std::function<void(uint64_t, const RingSlot&)>& handler,
               const std::function<void(uint64_t)>& on_starved);
  bool has_ready() const;
  // The same of what was not collected yet: reads atomics only.
  bool rung() const;
  // Arms the endpoint's wake word (protocols.h). True: it may sleep.
  bool arm(uint32_t bits);
  // Sleeps on the futex word armed with kArmedFutex until rung or timeout_ms (-1 for ever). No lock is held.
  void wait(int timeout_ms);
  // Frees the inbound slot of a ring whose producer is gone (not the ring's bytes: slot_free).
  void remove(uint64_t ring_offset);
  // Rings that broke their format (offset outside, tail beyond capacity): not read any more.
  uint64_t broken_rings() const { return broken_; }

 private:
  void collect();
  size_t drain_ring(uint32_t inbound, size_t limit,
                    const std::function<void(uint64_t, const RingSlot&)>& handler,
                    const std::function<void(uint64_t)>& on_starved);
  void queue(uint32_t inbound);
  Segment& segment_;
  uint32_t endpoint_;
  std::deque<uint32_t> queue_;  // inbound numbers known to be ready, in turn
  std::vector<bool> queued_;    // by inbound number
  uint64_t broken_ = 0;
};

// Raylet, after an endpoint died: calls visit(consumer endpoint, inbound number, ring_offset) for every registered ring
// that it produces, over all endpoints. Also finds rings made for it by others: compare ring.consumer.
void for_each_ring_of(Segment& segment, uint32_t producer,
                      const std::function<void(uint32_t, uint32_t, uint64_t)>& visit);
// Registered rings of one consumer (dead or alive).
void for_each_inbound(Segment& segment, uint32_t consumer,
                      const std::function<void(uint32_t, uint64_t)>& visit);

}  // namespace polyray
