// SPDX-License-Identifier: Apache-2.0
// The lock-free steps between two processes, each small enough to be explored exhaustively.
//
// Every function is a template over the atomic word (and the fence), so that the explorer in
// test/native/explorer/ runs this very code with scheduled atomics and store buffers, and the product with std::atomic.
// The pairs: publish/arm (Dekker with two words, needs the seq_cst fences), seal/wait, pin/evict, claim/retract and
// reference/close (one word each, ordered by CAS).
//
// Invariants:
//  1. publish/arm: after the producer published and the consumer armed, the consumer sees the record or the producer
//     sees the armed word: never neither.
//  2. seal/wait: a waiter that subscribed before the seal is reported to the sealer, or it sees SEALED itself.
//  3. pin/evict: bytes are evicted only when no pin exists; a pin that returned true keeps them in place.
//  4. claim/retract: exactly one of worker and retractor wins a queued call.
//  5. reference/close: an entry is freed only at zero references, and nobody gets a reference after that.
#pragma once
#include <atomic>
#include <cstdint>

#include "store/layout.h"

namespace polyray {

struct RealSync {
  static void fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
};

// --- publish / arm -----------------------------------------------------------------------------------------------
// Producer: call after the record and the ready bit were stored. Returns the armed bits to ring (0: nothing to do).
template <class Sync = RealSync, class A32>
uint32_t publish_take_armed(A32& armed) {
  Sync::fence();
  if (armed.load(std::memory_order_relaxed) == 0) return 0;
  return armed.exchange(0, std::memory_order_acq_rel);
}

// Consumer: arm, then look again. `has_work` reads the ready words. Returns true when it may sleep.
template <class Sync = RealSync, class A32, class HasWork>
bool arm_and_check(A32& armed, uint32_t bits, HasWork&& has_work) {
  armed.store(bits, std::memory_order_relaxed);
  Sync::fence();
  if (!has_work()) return true;
  armed.exchange(0, std::memory_order_acq_rel);
  return false;
}

// --- seal / wait -------------------------------------------------------------------------------------------------
enum class WaitResult { kSubscribed, kSealed, kGone };

// Waiter: sets the waiters flag while the object is pending.
template <class A32>
WaitResult wait_subscribe(A32& state) {
  uint32_t s = state.load(std::memory_order_acquire);
  for (;;) {
    const auto kind = static_cast<EntryState>(s & kEntryStateMask);
    if (kind == EntryState::kSealed) return WaitResult::kSealed;
    if (kind != EntryState::kPending) return WaitResult::kGone;
    if (s & kEntryWaiters) return WaitResult::kSubscribed;
    if (state.compare_exchange_weak(s, s | kEntryWaiters, std::memory_order_acq_rel, std::memory_order_acquire))
      return WaitResult::kSubscribed;
  }
}

struct SealResult {
  bool sealed;   // false: the entry was not pending any more
  bool waiters;  // tell the raylet
};

// Sealer (owns the `sealer` word): publishes bytes written before. `flags` are kEntryError, kEntryInline, ...
template <class A32>
SealResult seal_publish(A32& state, uint32_t flags) {
  uint32_t s = state.load(std::memory_order_acquire);
  for (;;) {
    if (static_cast<EntryState>(s & kEntryStateMask) != EntryState::kPending) return {false, false};
    const uint32_t keep = s & ~(kEntryStateMask | kEntryWaiters);
    const uint32_t next = keep | flags | static_cast<uint32_t>(EntryState::kSealed);
    if (state.compare_exchange_weak(s, next, std::memory_order_acq_rel, std::memory_order_acquire))
      return {true, (s & kEntryWaiters) != 0};
  }
}

// Only one process writes the bytes of an entry: the first seal wins. `me` is endpoint + 1.
template <class A32>
bool seal_begin(A32& sealer, uint32_t me) {
  uint32_t none = 0;
  return sealer.compare_exchange_strong(none, me, std::memory_order_acq_rel, std::memory_order_acquire);
}

// --- pin / evict -------------------------------------------------------------------------------------------------
template <class A32>
bool pin_acquire(A32& pins) {
  uint32_t p = pins.load(std::memory_order_acquire);
  do {
    if (p & kPinsClosed) return false;
  } while (!pins.compare_exchange_weak(p, p + 1, std::memory_order_acq_rel, std::memory_order_acquire));
  return true;
}

// Returns true when this was the last pin.
template <class A32>
bool pin_release(A32& pins) {
  return pins.fetch_sub(1, std::memory_order_acq_rel) == 1;
}

template <class A32>
bool evict_close(A32& pins) {
  uint32_t none = 0;
  return pins.compare_exchange_strong(none, kPinsClosed, std::memory_order_acq_rel, std::memory_order_acquire);
}

template <class A32>
void evict_reopen(A32& pins) {
  pins.store(0, std::memory_order_release);
}

// --- claim / retract ---------------------------------------------------------------------------------------------
template <class A32>
bool claim_running(A32& claim) {
  uint32_t want = static_cast<uint32_t>(Claim::kQueued);
  return claim.compare_exchange_strong(want, static_cast<uint32_t>(Claim::kRunning), std::memory_order_acq_rel,
                                       std::memory_order_acquire);
}

template <class A32>
bool claim_retract(A32& claim) {
  uint32_t want = static_cast<uint32_t>(Claim::kQueued);
  return claim.compare_exchange_strong(want, static_cast<uint32_t>(Claim::kRetracted), std::memory_order_acq_rel,
                                       std::memory_order_acquire);
}

// --- reference / close -------------------------------------------------------------------------------------------
// Takes one more reference to an entry that somebody already holds (or is pending): fails once it was closed.
template <class A32>
bool ref_acquire(A32& refs) {
  uint32_t r = refs.load(std::memory_order_acquire);
  do {
    if (r == 0 || (r & kRefsClosed)) return false;
  } while (!refs.compare_exchange_weak(r, r + 1, std::memory_order_acq_rel, std::memory_order_acquire));
  return true;
}

// Returns true when this was the last reference: tell the raylet (no bell needed).
template <class A32>
bool ref_release(A32& refs) {
  return refs.fetch_sub(1, std::memory_order_acq_rel) == 1;
}

// Raylet only.
template <class A32>
bool ref_close(A32& refs) {
  uint32_t none = 0;
  return refs.compare_exchange_strong(none, kRefsClosed, std::memory_order_acq_rel, std::memory_order_acquire);
}

}  // namespace polyray
