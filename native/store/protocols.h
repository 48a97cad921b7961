// SPDX-License-Identifier: Apache-2.0
// The lock-free steps between two processes, each small enough to be explored exhaustively.
//
// Every function is a template over the atomic word (and the fence), so that the explorer in
// test/native/explorer/ runs this very code with scheduled atomics and store buffers, and the product with std::atomic.
// The pairs: publish/arm, overflow/starved and close/unpin (Dekker with two words, need the seq_cst fences), seal/wait,
// pin/evict, claim/retract and reference/close (one word each, ordered by CAS), ring put/take and the row's steps.
//
// Invariants:
//  1. publish/arm: after the producer published and the consumer armed, the consumer sees the record or the producer
//     sees the armed word: never neither.
//  2. seal/wait: a waiter that subscribed before the seal is reported to the sealer, or it sees SEALED itself.
//  3. pin/evict: bytes are evicted only when no pin exists; a pin that returned true keeps them in place.
//  4. claim/retract: exactly one of worker and retractor wins a queued call.
//  5. reference/close: an entry is freed only at zero references, and nobody gets a reference after that.
//  6. overflow/starved: while a producer holds overflow, the ring is full or its `starved` word or kick is on the way.
//  7. close/unpin: when the last reference and the last pin go, the raylet sees no pin or the unpinner sees `closed`.
//  8. row: a process that stops between any two steps leaves at most one count too many, never one too few.
//  9. event: a row that was read is of one use of its slot, and what is marked read was shown.
#pragma once
#include <atomic>
#include <cstdint>

#include "store/layout.h"

namespace polyray {

struct RealSync {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer does not know fences: a read-modify-write of one word orders at least as much.
  static inline std::atomic<uint32_t> word{0};
  static void fence() { word.fetch_add(1, std::memory_order_seq_cst); }
  static void acquire_fence() { fence(); }
  static void release_fence() { fence(); }
#else
  static void fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
  static void acquire_fence() { std::atomic_thread_fence(std::memory_order_acquire); }
  static void release_fence() { std::atomic_thread_fence(std::memory_order_release); }
#endif
};

// --- ring --------------------------------------------------------------------------------------------------------
// `Ring` has atomics tail and head, slots(), write(position, slot) and read(position, slot).
template <class Ring, class Slot>
bool ring_put(Ring& ring, uint64_t& cached_head, const Slot& slot) {
  const uint64_t tail = ring.tail().load(std::memory_order_relaxed);
  if (tail - cached_head >= ring.slots()) {
    cached_head = ring.head().load(std::memory_order_acquire);
    if (tail - cached_head >= ring.slots()) return false;
  }
  ring.write(tail, slot);
  ring.tail().store(tail + 1, std::memory_order_release);
  return true;
}

// How many records wait at `head`. More than slots(): the producer wrote garbage.
template <class Ring>
uint64_t ring_waiting(Ring& ring, uint64_t head) {
  return ring.tail().load(std::memory_order_acquire) - head;
}

// The consumer is done with the record before `next`: the producer may write there again.
template <class Ring>
void ring_advance(Ring& ring, uint64_t next) {
  ring.head().store(next, std::memory_order_release);
}

// --- overflow / starved ------------------------------------------------------------------------------------------
// Producer with overflow: `move` puts what fits into the ring and says whether nothing is left. False: the consumer will
// kick us. It either sees `starved` after its drain, or its drain came first, and then our last look at the ring, which
// came after `starved` was set, found room.
template <class Sync = RealSync, class A32, class Move>
bool overflow_flush(A32& starved, Move&& move) {
  starved.store(1, std::memory_order_relaxed);
  Sync::fence();
  if (!move()) return false;
  starved.store(0, std::memory_order_relaxed);  // or else one kick too many, which is harmless
  return true;
}

// Consumer: after it moved head. True: kick the producer (exactly once per request).
template <class Sync = RealSync, class A32>
bool starved_take(A32& starved) {
  Sync::fence();
  if (starved.load(std::memory_order_relaxed) == 0) return false;
  return starved.exchange(0, std::memory_order_acq_rel) != 0;
}

// --- ready bits --------------------------------------------------------------------------------------------------
// Producer: after the record is in the ring, marks ring (bit of word, bit of the word's summary) ready, then takes armed.
//
// Why no record is lost. The consumer clears the summary word, then the word, then reads the rings; we set the word, then
// the summary.
//  a. We set our bit before the consumer's exchange of the word: it reads our ring after that, and sees the record.
//  b. We set it after that exchange: our summary bit comes later still, after its exchange of the summary, so it stays
//     set for the next drain or for has_ready() of arm_and_check (publish/arm makes the last step safe).
//  c. The bit is set already: whoever set it sets the summary next (only we and nobody else sets our bit), or the consumer
//     is between its two exchanges. Either way a later exchange of the word takes the bit, and it reads our ring after
//     that. Both sides have a seq_cst fence between their two steps (tail | word and word | tail), so it sees the record.
template <class Sync = RealSync, class A64, class A32>
uint32_t publish_ready(A64& word, uint64_t bit, A64& summary, uint64_t summary_bit, A32& armed) {
  Sync::fence();
  if ((word.load(std::memory_order_relaxed) & bit) == 0) {
    word.fetch_or(bit, std::memory_order_acq_rel);
    summary.fetch_or(summary_bit, std::memory_order_acq_rel);
    Sync::fence();
  }
  if (armed.load(std::memory_order_relaxed) == 0) return 0;
  return armed.exchange(0, std::memory_order_acq_rel);
}

// Consumer: takes the bits of a summary word or of a word. The summary must be taken before its words.
template <class Sync = RealSync, class A64>
uint64_t take_ready(A64& word) {
  if (word.load(std::memory_order_relaxed) == 0) return 0;
  const uint64_t bits = word.exchange(0, std::memory_order_acq_rel);
  Sync::fence();
  return bits;
}

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
    if (state.compare_exchange_weak(s, s | kEntryWaiters, std::memory_order_acq_rel,
                                    std::memory_order_acquire))
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
  return sealer.compare_exchange_strong(none, me, std::memory_order_acq_rel,
                                        std::memory_order_acquire);
}

// --- pin / evict -------------------------------------------------------------------------------------------------
template <class A32>
bool pin_acquire(A32& pins) {
  uint32_t p = pins.load(std::memory_order_acquire);
  do {
    if (p & kPinsClosed) return false;
  } while (
      !pins.compare_exchange_weak(p, p + 1, std::memory_order_acq_rel, std::memory_order_acquire));
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
  return pins.compare_exchange_strong(none, kPinsClosed, std::memory_order_acq_rel,
                                      std::memory_order_acquire);
}

template <class A32>
void evict_reopen(A32& pins) {
  pins.store(0, std::memory_order_release);
}

// --- claim / retract ---------------------------------------------------------------------------------------------
template <class A32>
bool claim_running(A32& claim) {
  uint32_t want = static_cast<uint32_t>(Claim::kQueued);
  return claim.compare_exchange_strong(want, static_cast<uint32_t>(Claim::kRunning),
                                       std::memory_order_acq_rel, std::memory_order_acquire);
}

template <class A32>
bool claim_retract(A32& claim) {
  uint32_t want = static_cast<uint32_t>(Claim::kQueued);
  return claim.compare_exchange_strong(want, static_cast<uint32_t>(Claim::kRetracted),
                                       std::memory_order_acq_rel, std::memory_order_acquire);
}

// --- reference / close -------------------------------------------------------------------------------------------
// Takes one more reference to an entry that somebody already holds (or is pending): fails once it was closed.
template <class A32>
bool ref_acquire(A32& refs) {
  uint32_t r = refs.load(std::memory_order_acquire);
  do {
    if (r == 0 || (r & kRefsClosed)) return false;
  } while (
      !refs.compare_exchange_weak(r, r + 1, std::memory_order_acq_rel, std::memory_order_acquire));
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
  return refs.compare_exchange_strong(none, kRefsClosed, std::memory_order_acq_rel,
                                      std::memory_order_acquire);
}

// --- close / unpin -----------------------------------------------------------------------------------------------
enum class CloseResult {
  kReferenced,  // somebody holds it (again): nothing was done
  kPinned,      // references are closed; the last unpin tells the raylet, which calls this again
  kFree,        // nobody can reach it: free it
};

// Raylet only; may be repeated.
template <class Sync = RealSync, class A32>
CloseResult entry_close(A32& refs, A32& pins) {
  if (!ref_close(refs) && refs.load(std::memory_order_acquire) != kRefsClosed)
    return CloseResult::kReferenced;
  Sync::fence();
  if (evict_close(pins)) return CloseResult::kFree;
  // Closed pins: the raylet itself evicted the bytes before.
  return pins.load(std::memory_order_acquire) == kPinsClosed ? CloseResult::kFree
                                                             : CloseResult::kPinned;
}

// True: it was the last pin of an entry without references: tell the raylet (kRelease).
template <class Sync = RealSync, class A32>
bool unpin_last(A32& pins, A32& refs) {
  if (!pin_release(pins)) return false;
  Sync::fence();
  return (refs.load(std::memory_order_acquire) & kRefsClosed) != 0;
}

// --- reference row -----------------------------------------------------------------------------------------------
// Slot value of an object in a state.
constexpr uint64_t row_word(uint32_t index, uint64_t unique, RowState state) {
  return uint64_t{index} | (unique & 0xffffff) << 32 | static_cast<uint64_t>(state) << 56;
}

// take() adds to the shared counter and says whether it did. A stop before the last store leaves ACQUIRING, which the
// sweep does not undo: one count too many if take() had happened.
template <class A64, class Take>
bool row_take(A64& slot, uint32_t index, uint64_t unique, RowState held, Take&& take) {
  slot.store(row_word(index, unique, RowState::kAcquiring), std::memory_order_release);
  if (!take()) {
    slot.store(0, std::memory_order_release);
    return false;
  }
  slot.store(row_word(index, unique, held), std::memory_order_release);
  return true;
}

// drop() subtracts (a read-modify-write with release order, so the empty slot is visible before it).
template <class A64, class Drop>
bool row_drop(A64& slot, Drop&& drop) {
  slot.store(0, std::memory_order_release);
  return drop();
}

// --- event -------------------------------------------------------------------------------------------------------
// `word` counts the uses of the slot, so that what a reader saw before its copy does not come back.
constexpr EventOutcome event_outcome(uint32_t word) {
  return static_cast<EventOutcome>(word & kEventOutcomeMask);
}
constexpr uint32_t event_word(uint32_t word, EventOutcome outcome) {
  return (word & ~kEventOutcomeMask) | static_cast<uint32_t>(outcome);
}

// Writer: the slot is its own from here until event_tell. A reader in the middle of its copy finds the word changed.
template <class A32>
void event_begin(A32& word) {
  const uint32_t use = word.load(std::memory_order_relaxed) + kEventUse;
  word.exchange(event_word(use, EventOutcome::kRead), std::memory_order_acq_rel);
  RealSync::release_fence();
}

// REQUIRES: called by the writer, after event_begin.
template <class A32>
void event_tell(A32& word, EventOutcome outcome) {
  word.store(event_word(word.load(std::memory_order_relaxed), outcome), std::memory_order_release);
}

// Reader, after its copy. False: the copy may be of two uses. A finished one is marked read.
template <class A32>
bool event_take(A32& word, uint32_t seen) {
  RealSync::acquire_fence();
  if (event_outcome(seen) == EventOutcome::kRunning)
    return word.load(std::memory_order_acquire) == seen;
  return word.compare_exchange_strong(seen, event_word(seen, EventOutcome::kRead),
                                      std::memory_order_acq_rel, std::memory_order_acquire);
}

// Calls copy() until what it copied is of one use. kRead: there is nothing to show.
template <class A32, class Copy, class Take>
EventOutcome event_read(A32& word, Copy&& copy, Take&& take) {
  while (true) {
    const uint32_t seen = word.load(std::memory_order_acquire);
    if (event_outcome(seen) == EventOutcome::kRead) return EventOutcome::kRead;
    copy();
    if (take(word, seen)) return event_outcome(seen);
  }
}

}  // namespace polyray
