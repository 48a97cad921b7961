// SPDX-License-Identifier: Apache-2.0
// Turning the crank: draining rings, handling records, events for the binding, bells, arming, waiting.
#include <algorithm>
#include <thread>

#include "client/core.h"

namespace polyray {

namespace {
constexpr size_t kDrainLimit = 65536;
constexpr uint32_t kPeerGoneNow =
    0xffff0001;  // internal: what the peer wrote before its death is handled
constexpr uint64_t kRayletCheckNs = 200'000'000;
constexpr uint64_t kLazyReleaseNs =
    50'000'000;  // records without a bell wait at most so long (while we poll)
constexpr int kWaitSliceMs = 500;
constexpr uint32_t kDedicatedClass = 0xfffffffe;
}  // namespace

Event& ClientCore::emit(EventKind kind) {
  // What a submit or a cancel settles at once: whoever sleeps hears of it from nobody else.
  if (sink_ == nullptr && early_.empty() && !detached_) self_wake();
  Event& event = sink_ != nullptr && sink_->size() < sink_limit_ ? sink_->emplace_back()
                                                                 : early_.emplace_back();
  event.kind = kind;
  return event;
}

size_t ClientCore::poll(std::vector<Event>& events, size_t limit) {
  const size_t before = events.size();
  if (forked_) return 0;
  const size_t most = before + limit;
  while (early_at_ < early_.size() && events.size() < most)
    events.push_back(std::move(early_[early_at_++]));
  if (early_at_ == early_.size()) {
    early_.clear();
    early_at_ = 0;
  }
  if (!early_.empty()) return events.size() - before;
  if (detached_) {
    if (raylet_gone_ && !shutdown_told_ && events.size() < most) {
      shutdown_told_ = true;
      events.emplace_back().kind = EventKind::kShutdown;
    }
    return events.size() - before;
  }
  sink_ = &events;
  sink_limit_ = most;
  drain();
  if (brief_watch_.asleep() && !inbox_.empty()) brief_watch_.woken(os::now_ns());
  flush_overflow();
  while (inbox_at_ < inbox_.size() && events.size() < most) {
    const Inbox item = inbox_[inbox_at_++];
    handle(item);
    if (!ready_.empty()) run_ready();
  }
  if (inbox_at_ == inbox_.size()) {
    inbox_.clear();
    inbox_at_ = 0;
  }
  if (events.size() < most) deliver_calls(most - events.size());
  sink_ = nullptr;
  flush();
  if (events.size() == before) check_raylet();
  return events.size() - before;
}

void ClientCore::drain() {
  inbound_.drain(
      kDrainLimit, [this](uint64_t ring, const RingSlot& slot) { inbox_.push_back({ring, slot}); },
      [this](uint64_t ring) { on_starved(ring); });
}

void ClientCore::handle(const Inbox& item) {
  if (item.slot.kind == kPeerGoneNow) return peer_gone(item.slot);
  if (item.ring == segment_->endpoint(endpoint_).from_raylet) return handle_raylet(item.slot);
  if (item.ring != last_ring_) {
    const Peer* peer = peer_of_ring(item.ring);
    if (peer == nullptr) return;
    last_ring_ = item.ring;
    last_ring_peer_ = peer->key;
  }
  const uint64_t peer = last_ring_peer_;
  switch (static_cast<Rec>(item.slot.kind)) {
    case Rec::kCall:
      return incoming_call(peer, item.slot);
    case Rec::kReply:
      return on_reply(item.slot, peer);
    case Rec::kCancel:
      return on_cancel(item.slot);
    case Rec::kStreamItem:
      return on_stream_item(peer, item.slot);
    case Rec::kStreamCredit:
      return on_stream_credit(item.slot);
    default:
      return;
  }
}

void ClientCore::peer_gone_received(const RingSlot& slot) {
  if (const Peer* peer = find_peer(slot.a | slot.d << 32)) {
    mark_ring_ready(peer->own_reply_ring);
    mark_ring_ready(peer->their_call_ring);
    drain();
  }
  RingSlot later = slot;
  later.kind = kPeerGoneNow;
  inbox_.push_back({0, later});
}

void ClientCore::handle_raylet(const RingSlot& slot) {
  const auto with_payload = [&](EventKind kind) {
    std::optional<std::vector<uint8_t>> payload = whole_payload(slot);
    if (!payload) return;
    Event& event = emit(kind);
    event.a = slot.a;
    event.peer = slot.d;
    event.payload = std::move(*payload);
  };
  switch (static_cast<Rec>(slot.kind)) {
    case Rec::kObjectReady:
      return object_ready(id_from(slot.b, slot.c), false);
    case Rec::kObjectGone:
      return object_ready(id_from(slot.b, slot.c), true);
    case Rec::kExtentGrant:  // nobody waits any more
      if (slot.b != 0)
        free_bytes(slot.b, slot.c);
      else if (slot.d != 0)
        slot_free(*segment_, slot.d);
      return;
    case Rec::kLeaseGrant: {
      const uint32_t* number = request_class_.find(slot.a);
      const auto lease = static_cast<uint32_t>(slot.c);
      if (number == nullptr) return lease_return(lease);
      count(Count::kLeasesGranted);
      if (*number != kDedicatedClass) return tasks_.granted(*number, slot.b, lease);
      request_class_.erase(slot.a);
      Event& event = emit(EventKind::kLeaseGranted);
      event.a = slot.a;
      event.peer = slot.b;
      event.b = lease;
      return;
    }
    case Rec::kLeaseFailed: {
      const uint32_t* number = request_class_.find(slot.a);
      if (number == nullptr) return static_cast<void>(take_payload(slot.b, slot.c));
      const uint32_t class_number = *number;
      request_class_.erase(slot.a);
      if (class_number == kDedicatedClass) return with_payload(EventKind::kLeaseFailed);
      return class_request_failed(class_number, take_payload(slot.b, slot.c));
    }
    case Rec::kServiceAnswer:
      return with_payload(EventKind::kServiceAnswer);
    case Rec::kServiceCall:
      return with_payload(EventKind::kServiceCall);
    case Rec::kPush:
      return with_payload(EventKind::kPush);
    case Rec::kRayletEvent:
      return with_payload(EventKind::kRayletEvent);
    case Rec::kPeerGone:
      return peer_gone_received(slot);
    case Rec::kGcRequest:
      emit(EventKind::kGcRequest);
      return;
    case Rec::kActorGone:
      emit(EventKind::kActorGone).id = id_from(slot.b, slot.c);
      return;
    case Rec::kAlarm:
      return on_alarm();
    case Rec::kShutdown:
      shutdown_told_ = true;
      emit(EventKind::kShutdown);
      return;
    default:
      return;
  }
}

// --- bells -------------------------------------------------------------------------------------------------------

void ClientCore::flush() {
  if (detached_) return;
  for (const ObjectId& stray : row_.take_strays()) send_release(stray);
  for (Peer* peer : dirty_peers_) {
    // What did not fit goes out in a long turn, too, so that the other side does not run dry meanwhile.
    for (RingProducer* ring : {peer->replies_dirty ? peer->replies.get() : nullptr,
                               peer->calls_dirty ? peer->calls.get() : nullptr}) {
      if (ring == nullptr) continue;
      ring->flush();
      ring->bell();
    }
    peer->calls_dirty = peer->replies_dirty = false;
  }
  dirty_peers_.clear();
  if (!raylet_waiting_) return;
  if (!raylet_bell_due_ && !raylet_.above_half()) {
    const uint64_t now = os::now_ns();
    if (now - raylet_belled_ns_ < kLazyReleaseNs) return;
  }
  raylet_.bell();
  raylet_belled_ns_ = os::now_ns();
  raylet_bell_due_ = raylet_waiting_ = false;
}

// What did not fit goes out as the other side makes room. Always after a drain, never only before: the other side's kick
// ("there is room") is a ready bit of ours, which the drain takes.
void ClientCore::flush_overflow() {
  if (raylet_.has_overflow()) {
    raylet_.flush();
    raylet_waiting_ = raylet_bell_due_ = true;
  }
  for (auto& peer : peers_) {
    if (peer == nullptr) continue;
    if (peer->calls != nullptr && peer->calls->has_overflow()) {
      peer->calls->flush();
      mark_dirty(*peer, false);
    }
    if (peer->replies != nullptr && peer->replies->has_overflow()) {
      peer->replies->flush();
      mark_dirty(*peer, true);
    }
  }
}

bool ClientCore::watch() {
  if (!brief_watch_.due() || detached_ || forked_) return false;
  uint64_t now_ns = os::now_ns();
  const uint64_t until_ns = now_ns + BriefWatch::kLookNs;
  for (bool alone = true; alone && now_ns < until_ns;) {
    for (int i = 0; i < 16 && !inbound_.rung(); ++i) os::relax();
    const uint64_t before_ns = os::now_ns();
    if (!inbound_.rung()) std::this_thread::yield();
    now_ns = os::now_ns();
    alone = now_ns - before_ns < BriefWatch::kContendedNs;
    if (inbound_.rung()) {
      brief_watch_.found();
      return true;
    }
  }
  brief_watch_.in_vain();
  return false;
}

bool ClientCore::has_work() const {
  return !early_.empty() || inbox_at_ < inbox_.size() || !ready_.empty() || can_deliver();
}

bool ClientCore::arm(uint32_t bits) {
  if (forked_) return true;
  if (detached_) return early_.empty() && (!raylet_gone_ || shutdown_told_);
  flush();
  if (has_work()) return false;
  armed_bits_ = bits;
  if (!inbound_.arm(bits)) return false;
  brief_watch_.sleeps(os::now_ns());
  return true;
}

// A wait inside this client took the armed word over: whoever sleeps gets the wake-up back. `took`: what that wait has
// taken out of the rings besides its own is the sleeper's. `woken`: the word was taken by a waker before; a sleeper that has
// not come to its sleep yet would find the word armed again, and sleep.
void ClientCore::give_back_doorbell(bool took, bool woken) {
  const bool armed = armed_bits_ != 0;
  if (took || (armed && (woken || has_work() || !inbound_.arm(armed_bits_)))) self_wake();
}

// Somebody else may sleep, and nobody will ring for what there is now.
void ClientCore::self_wake() {
  os::signal_event(own_bell_.get());
  Endpoint& self = segment_->endpoint(endpoint_);
  self.armed.store(0, std::memory_order_release);
  os::futex_wake_all(self.armed);
}

void ClientCore::wait_doorbell(int timeout_ms) {
  if (detached_ || timeout_ms == 0) return;
  inbound_.wait(timeout_ms < 0 || timeout_ms > kWaitSliceMs ? kWaitSliceMs : timeout_ms);
}

// A dead raylet rings no bell: looked at when there was nothing to do, now and then.
void ClientCore::check_raylet() {
  const uint64_t now = os::now_ns();
  if (now < next_raylet_check_ns_) return;
  next_raylet_check_ns_ = now + kRayletCheckNs;
  if (raylet_lives()) return;
  raylet_gone_ = true;  // the next poll says kShutdown
  close_session();
}

}  // namespace polyray
