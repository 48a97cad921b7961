// SPDX-License-Identifier: Apache-2.0
// Producers and the inbound table (see ring.h); the ordering rules are those of protocols.h.
#include "store/ring.h"

#include <algorithm>
#include <bit>

#include "os/env.h"

namespace polyray {

namespace {

constexpr size_t kTurnRecords = 64;  // records of one ring before the next ready ring has its turn

// A ring with its capacity read once: another process cannot change it under a running loop.
class RingView {
 public:
  RingView(Segment& segment, uint64_t offset, uint64_t slots)
      : header_(segment.ring(offset)),
        records_(reinterpret_cast<RingSlot*>(&header_ + 1)),
        slots_(slots) {}
  std::atomic<uint64_t>& tail() { return header_.tail; }
  std::atomic<uint64_t>& head() { return header_.head; }
  std::atomic<uint32_t>& starved() { return header_.starved; }
  uint64_t slots() const { return slots_; }
  void write(uint64_t position, const RingSlot& slot) { records_[position & (slots_ - 1)] = slot; }
  void read(uint64_t position, RingSlot& slot) const { slot = records_[position & (slots_ - 1)]; }

 private:
  RingHeader& header_;
  RingSlot* records_;
  uint64_t slots_;
};

}  // namespace

uint64_t ring_bytes(uint32_t slots) {
  return sizeof(RingHeader) + uint64_t{slots} * sizeof(RingSlot);
}

void ring_init(Segment& segment, uint64_t offset, uint32_t slots, uint32_t producer,
               uint32_t consumer, uint64_t reply) {
  RingHeader& ring = segment.ring(offset);
  ring.tail.store(0, std::memory_order_relaxed);
  ring.head.store(0, std::memory_order_relaxed);
  ring.capacity = slots;
  ring.producer = producer;
  ring.consumer = consumer;
  ring.inbound = 0;
  ring.reply = reply;
  ring.starved.store(0, std::memory_order_relaxed);
  ring.closed.store(0, std::memory_order_release);
}

Result<uint32_t> ring_register(Segment& segment, uint64_t ring_offset) {
  RingHeader& ring = segment.ring(ring_offset);
  if (ring.consumer >= kMaxEndpoints)
    return Status::error(StatusCode::kInvalidArgument, "no such consumer");
  Endpoint& consumer = segment.endpoint(ring.consumer);
  for (uint32_t word = 0; word < kMaxInboundRings / 64; ++word) {
    uint64_t used = consumer.inbound_used[word].load(std::memory_order_relaxed);
    while (used != ~uint64_t{0}) {
      const auto bit = static_cast<uint32_t>(std::countr_one(used));
      if (!consumer.inbound_used[word].compare_exchange_weak(used, used | uint64_t{1} << bit,
                                                             std::memory_order_acq_rel))
        continue;
      const uint32_t number = word * 64 + bit;
      uint32_t high = consumer.inbound_high.load(std::memory_order_relaxed);
      if (number >= high) {
        Status populated =
            segment.populate(segment.offset_of(&consumer.inbound[number]), sizeof(uint64_t));
        if (!populated.is_ok()) {
          consumer.inbound_used[word].fetch_and(~(uint64_t{1} << bit), std::memory_order_acq_rel);
          return populated;
        }
        while (high < number + 1 && !consumer.inbound_high.compare_exchange_weak(
                                        high, number + 1, std::memory_order_acq_rel)) {
        }
      }
      ring.inbound = number;
      consumer.inbound[number].store(ring_offset, std::memory_order_release);
      return number;
    }
  }
  return Status::error(StatusCode::kTableFull, "all inbound rings of endpoint " +
                                                   std::to_string(ring.consumer) + " are taken");
}

void bell_ring(Endpoint& endpoint, uint32_t armed_bits, int event_fd) {
  if (armed_bits & kArmedFutex) os::futex_wake_all(endpoint.armed);
  if ((armed_bits & kArmedEventFd) && event_fd >= 0) os::signal_event(event_fd);
}

// --- producer ----------------------------------------------------------------------------------------------------

RingProducer::RingProducer(Segment& segment, uint64_t ring_offset, int consumer_event_fd)
    : segment_(segment),
      offset_(ring_offset),
      slots_(segment.ring(ring_offset).capacity),
      counters_(&segment.endpoint(segment.ring(ring_offset).producer % kMaxEndpoints).counters),
      event_fd_(consumer_event_fd) {
  cached_head_ = segment.ring(ring_offset).head.load(std::memory_order_acquire);
}

bool RingProducer::is_closed() const {
  return segment_.ring(offset_).closed.load(std::memory_order_relaxed) == 2;
}

void RingProducer::push(const RingSlot& slot) {
  RingView ring(segment_, offset_, slots_);
  counters_->add(Count::kRecordsSent);
  if (overflow_.empty() && ring_put(ring, cached_head_, slot)) {
    dirty_ = true;
    return;
  }
  if (is_closed()) return;
  overflow_.push_back(slot);
  // Behind older overflow the request to be kicked is already out.
  if (overflow_.size() == 1) flush();
}

// Moves what fits; true when nothing is left.
bool RingProducer::move_overflow() {
  RingView ring(segment_, offset_, slots_);
  while (!overflow_.empty() && ring_put(ring, cached_head_, overflow_.front())) {
    overflow_.pop_front();
    dirty_ = true;
  }
  return overflow_.empty();
}

bool RingProducer::flush() {
  if (overflow_.empty()) return true;
  if (is_closed()) {
    overflow_.clear();
    return true;
  }
  return overflow_flush(segment_.ring(offset_).starved, [this] { return move_overflow(); });
}

void RingProducer::bell() {
  if (dirty_) kick();
}

void RingProducer::kick() {
  dirty_ = false;
  const RingHeader& ring = segment_.ring(offset_);
  Endpoint& consumer = segment_.endpoint(ring.consumer % kMaxEndpoints);
  const uint32_t inbound = ring.inbound % kMaxInboundRings;
  const uint32_t word = inbound / 64;
  const uint32_t bits =
      publish_ready(consumer.ready[word], uint64_t{1} << (inbound % 64),
                    consumer.ready_summary[word / 64], uint64_t{1} << (word % 64), consumer.armed);
  if (bits == 0) return;
  counters_->add(Count::kBellsRung);
  bell_ring(consumer, bits, event_fd_);
}

bool RingProducer::above_half() const {
  return segment_.ring(offset_).tail.load(std::memory_order_relaxed) - cached_head_ >= slots_ / 2;
}

// --- consumer ----------------------------------------------------------------------------------------------------

InboundRings::InboundRings(Segment& segment, uint32_t endpoint)
    : segment_(segment), endpoint_(endpoint), queued_(kMaxInboundRings) {}

void InboundRings::queue(uint32_t inbound) {
  if (queued_[inbound]) return;
  queued_[inbound] = true;
  queue_.push_back(inbound);
}

// Summary first, then its words, then (later) the rings: see publish_ready.
void InboundRings::collect() {
  Endpoint& self = segment_.endpoint(endpoint_);
  for (uint32_t summary = 0; summary < kMaxInboundRings / 64 / 64; ++summary) {
    for (uint64_t words = take_ready(self.ready_summary[summary]); words != 0; words &= words - 1) {
      const uint32_t word = summary * 64 + static_cast<uint32_t>(std::countr_zero(words));
      for (uint64_t bits = take_ready(self.ready[word]); bits != 0; bits &= bits - 1)
        queue(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
    }
  }
}

size_t InboundRings::drain(size_t limit,
                           const std::function<void(uint64_t, const RingSlot&)>& handler,
                           const std::function<void(uint64_t)>& on_starved) {
  collect();
  size_t handled = 0;
  while (handled < limit && !queue_.empty()) {
    const uint32_t inbound = queue_.front();
    queue_.pop_front();
    queued_[inbound] = false;
    const size_t turn = std::min(limit - handled, kTurnRecords);
    const size_t count = drain_ring(inbound, turn, handler, on_starved);
    handled += count;
    if (count == turn) queue(inbound);  // there may be more
  }
  return handled;
}

size_t InboundRings::drain_ring(uint32_t inbound, size_t limit,
                                const std::function<void(uint64_t, const RingSlot&)>& handler,
                                const std::function<void(uint64_t)>& on_starved) {
  std::atomic<uint64_t>& place = segment_.endpoint(endpoint_).inbound[inbound];
  const uint64_t offset = place.load(std::memory_order_acquire);
  if (offset == 0) return 0;  // removed, or a late bit of a former ring
  if (!segment_.valid_ring(offset) || segment_.ring(offset).consumer != endpoint_) {
    ++broken_;
    place.store(0, std::memory_order_release);
    return 0;
  }
  const uint64_t slots = segment_.ring(offset).capacity;
  if (!std::has_single_bit(slots) || ring_bytes(static_cast<uint32_t>(slots)) > kChunkBytes)
    return 0;
  RingView ring(segment_, offset, slots);
  uint64_t head = ring.head().load(std::memory_order_relaxed);
  size_t count = 0;
  while (count < limit) {
    const uint64_t waiting = ring_waiting(ring, head);
    if (waiting == 0) break;
    if (waiting > slots) {
      ++broken_;
      segment_.ring(offset).closed.store(2, std::memory_order_release);
      place.store(0, std::memory_order_release);
      return count;
    }
    RingSlot slot;
    ring.read(head, slot);
    handler(offset, slot);
    ++count;
    if (place.load(std::memory_order_relaxed) != offset)
      return count;  // the handler removed this ring
    ring_advance(ring, ++head);
  }
  if (starved_take(ring.starved())) on_starved(offset);
  return count;
}

bool InboundRings::has_ready() const {
  return !queue_.empty() || rung();
}

bool InboundRings::rung() const {
  for (const auto& word : segment_.endpoint(endpoint_).ready_summary)
    if (word.load(std::memory_order_acquire) != 0) return true;
  return false;
}

bool InboundRings::arm(uint32_t bits) {
  return arm_and_check(segment_.endpoint(endpoint_).armed, bits, [this] { return has_ready(); });
}

void InboundRings::wait(int timeout_ms) {
  const std::atomic<uint32_t>& armed = segment_.endpoint(endpoint_).armed;
  const uint32_t value = armed.load(std::memory_order_acquire);
  if (value & kArmedFutex) os::futex_wait(armed, value, timeout_ms);
}

void InboundRings::remove(uint64_t ring_offset) {
  Endpoint& self = segment_.endpoint(endpoint_);
  const uint32_t high =
      std::min(self.inbound_high.load(std::memory_order_acquire), kMaxInboundRings);
  for (uint32_t number = 0; number < high; ++number) {
    if (self.inbound[number].load(std::memory_order_relaxed) != ring_offset) continue;
    self.inbound[number].store(0, std::memory_order_release);
    self.ready[number / 64].fetch_and(~(uint64_t{1} << (number % 64)), std::memory_order_acq_rel);
    self.inbound_used[number / 64].fetch_and(~(uint64_t{1} << (number % 64)),
                                             std::memory_order_acq_rel);
    return;
  }
}

void for_each_inbound(Segment& segment, uint32_t consumer,
                      const std::function<void(uint32_t, uint64_t)>& visit) {
  Endpoint& endpoint = segment.endpoint(consumer);
  const uint32_t high =
      std::min(endpoint.inbound_high.load(std::memory_order_acquire), kMaxInboundRings);
  for (uint32_t number = 0; number < high; ++number) {
    const uint64_t offset = endpoint.inbound[number].load(std::memory_order_acquire);
    if (offset != 0 && segment.valid_ring(offset)) visit(number, offset);
  }
}

void for_each_ring_of(Segment& segment, uint32_t producer,
                      const std::function<void(uint32_t, uint32_t, uint64_t)>& visit) {
  for (uint32_t consumer = 0; consumer < kMaxEndpoints; ++consumer) {
    if (segment.endpoint(consumer).state.load(std::memory_order_acquire) ==
        static_cast<uint32_t>(EndpointState::kFree))
      continue;
    for_each_inbound(segment, consumer, [&](uint32_t inbound, uint64_t offset) {
      if (segment.ring(offset).producer == producer) visit(consumer, inbound, offset);
    });
  }
}

}  // namespace polyray
