// SPDX-License-Identifier: Apache-2.0
// Goal: seal/wait, pin/evict, claim/retract, reference/close, close/unpin, slot bits, the reference row and events keep their
// invariants (protocols.h) in every schedule, also when a process dies between any two steps.
// Method: the product's templates on scheduled atomics, all interleavings; mutants must be caught.
#include "explorer/expectation.h"
#include "store/protocols.h"

namespace explorer {
namespace {

using namespace polyray;  // NOLINT: every function of protocols.h is under test here

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kAcqRel = std::memory_order_acq_rel;
constexpr uint32_t kPending = static_cast<uint32_t>(EntryState::kPending);
constexpr uint32_t kSealedState = static_cast<uint32_t>(EntryState::kSealed);

// --- seal / wait ---------------------------------------------------------------------------------------------------

struct Sealing {
  XAtomic<uint32_t> state{kPending};
  XAtomic<uint32_t> sealer, bytes, told, wins;
};

template <class Seal, class Wait>
void seal_scenario(Scenario& scenario, Seal seal, Wait wait, int waiters) {
  auto shared = std::make_shared<Sealing>();
  Sealing* s = shared.get();
  for (uint32_t me = 1; me <= 2; ++me) {
    scenario.threads.push_back([s, seal, me] {
      if (!seal_begin(s->sealer, me)) return;
      s->wins.fetch_add(1, kAcqRel);
      s->bytes.store(7, kRelaxed);
      if (seal(s->state).waiters) s->told.store(1, kRelease);
    });
  }
  for (int i = 0; i < waiters; ++i) {
    scenario.threads.push_back([s, wait] {
      const WaitResult result = wait(s->state);
      if (result == WaitResult::kSubscribed) await([s] { return s->told.peek() != 0; });
      if (result == WaitResult::kGone) fail("a pending object is gone");
      if (s->bytes.load(kRelaxed) != 7) fail("sealed without its bytes");
    });
  }
  scenario.check = [shared]() -> std::string {
    if (shared->wins.peek() != 1) return "not exactly one sealer";
    return (shared->state.peek() & kEntryStateMask) == kSealedState ? "" : "not sealed";
  };
}

const auto kRealSeal = [](auto& state) { return seal_publish(state, kEntryInline); };
const auto kRealWait = [](auto& state) { return wait_subscribe(state); };

TEST(WordPairs, ASealReachesEveryWaiter) {
  expect_holds("seal/wait, 2 sealers, 1 waiter",
               [](Scenario& s) { seal_scenario(s, kRealSeal, kRealWait, 1); });
  expect_holds("seal/wait, 2 sealers, 2 waiters",
               [](Scenario& s) { seal_scenario(s, kRealSeal, kRealWait, 2); });
}

TEST(WordPairs, BrokenSealStepsAreCaught) {
  expect_caught("seal by a store", [](Scenario& s) {
    seal_scenario(
        s,
        [](auto& state) {
          const uint32_t before = state.load(kAcquire);
          state.store(kSealedState, kRelease);
          return SealResult{true, (before & kEntryWaiters) != 0};
        },
        kRealWait, 1);
  });
  expect_caught("subscribe after a look", [](Scenario& s) {
    seal_scenario(
        s, kRealSeal,
        [](auto& state) {
          if ((state.load(kAcquire) & kEntryStateMask) == kSealedState) return WaitResult::kSealed;
          state.fetch_or(kEntryWaiters, kAcqRel);
          return WaitResult::kSubscribed;
        },
        1);
  });
  expect_caught("state visible before the bytes", [](Scenario& s) {
    seal_scenario(
        s,
        [](auto& state) {
          const uint32_t before = state.load(kAcquire);
          state.store(kSealedState, kRelaxed);
          return SealResult{true, (before & kEntryWaiters) != 0};
        },
        kRealWait, 1);
  });
}

// --- pin / evict ---------------------------------------------------------------------------------------------------

struct Pinned {
  XAtomic<uint32_t> pins, bytes{1};
};

template <class Acquire, class Evict>
void pin_scenario(Scenario& scenario, Acquire acquire, Evict evict) {
  auto shared = std::make_shared<Pinned>();
  Pinned* p = shared.get();
  for (int i = 0; i < 2; ++i) {
    scenario.threads.push_back([p, acquire] {
      if (!acquire(p->pins)) return;
      if (p->bytes.load(kAcquire) == 0) fail("pinned bytes were evicted");
      if (p->bytes.load(kAcquire) == 0) fail("pinned bytes were evicted");
      pin_release(p->pins);
    });
  }
  scenario.threads.push_back([p, evict] {
    if (!evict(p->pins)) return;
    p->bytes.store(0, kRelease);
    p->bytes.store(1, kRelease);
    evict_reopen(p->pins);
  });
  scenario.check = [shared]() -> std::string {
    return shared->pins.peek() == 0 ? "" : "a pin is left";
  };
}

const auto kRealPin = [](auto& pins) { return pin_acquire(pins); };
const auto kRealEvict = [](auto& pins) { return evict_close(pins); };

TEST(WordPairs, PinnedBytesStay) {
  expect_holds("pin/evict, 2 pinners", [](Scenario& s) { pin_scenario(s, kRealPin, kRealEvict); });
}

TEST(WordPairs, BrokenPinStepsAreCaught) {
  expect_caught("evict by load and store", [](Scenario& s) {
    pin_scenario(s, kRealPin, [](auto& pins) {
      if (pins.load(kAcquire) != 0) return false;
      pins.store(kPinsClosed, std::memory_order_seq_cst);
      return true;
    });
  });
  expect_caught("pin without looking again", [](Scenario& s) {
    pin_scenario(
        s,
        [](auto& pins) {
          if (pins.load(kAcquire) & kPinsClosed) return false;
          pins.fetch_add(1, kAcqRel);
          return true;
        },
        kRealEvict);
  });
}

// --- claim / retract -----------------------------------------------------------------------------------------------

struct Claimed {
  XAtomic<uint32_t> claim{static_cast<uint32_t>(Claim::kQueued)};
  XAtomic<uint32_t> wins;
};

template <class Run, class Retract>
void claim_scenario(Scenario& scenario, Run run, Retract retract) {
  auto shared = std::make_shared<Claimed>();
  Claimed* c = shared.get();
  scenario.threads = {[c, run] {
                        if (run(c->claim)) c->wins.fetch_add(1, kAcqRel);
                      },
                      [c, retract] {
                        if (retract(c->claim)) c->wins.fetch_add(1, kAcqRel);
                      },
                      [c, retract] {
                        if (retract(c->claim)) c->wins.fetch_add(1, kAcqRel);
                      }};
  scenario.check = [shared]() -> std::string {
    return shared->wins.peek() == 1
               ? ""
               : "a queued call had " + std::to_string(shared->wins.peek()) + " winners";
  };
}

const auto kRealRun = [](auto& claim) { return claim_running(claim); };
const auto kRealRetract = [](auto& claim) { return claim_retract(claim); };

TEST(WordPairs, AQueuedCallHasOneWinner) {
  expect_holds("claim/retract, 1 worker, 2 retractors",
               [](Scenario& s) { claim_scenario(s, kRealRun, kRealRetract); });
}

TEST(WordPairs, BrokenClaimStepsAreCaught) {
  const auto by_store = [](uint32_t next) {
    return [next](auto& claim) {
      if (claim.load(kAcquire) != static_cast<uint32_t>(Claim::kQueued)) return false;
      claim.store(next, std::memory_order_seq_cst);
      return true;
    };
  };
  expect_caught("run by load and store",
                [&](Scenario& s) { claim_scenario(s, by_store(2), kRealRetract); });
  expect_caught("retract by load and store",
                [&](Scenario& s) { claim_scenario(s, kRealRun, by_store(3)); });
}

// --- reference / close ---------------------------------------------------------------------------------------------

struct Counted {
  XAtomic<uint32_t> refs{1};  // one holder at the start
  XAtomic<uint32_t> pins, freed, told;
};

void told_raylet(Counted* c) {
  c->told.fetch_add(1, kAcqRel);
}

// A holder lets go, another takes one meanwhile, the raylet closes whenever somebody told it.
template <class Acquire, class Close>
void ref_scenario(Scenario& scenario, Acquire acquire, Close close) {
  auto shared = std::make_shared<Counted>();
  Counted* c = shared.get();
  scenario.threads = {[c] {
                        if (ref_release(c->refs)) told_raylet(c);
                      },
                      [c, acquire] {
                        if (!acquire(c->refs)) return;
                        if (c->freed.load(kAcquire) != 0) fail("freed under a reference");
                        if (ref_release(c->refs)) told_raylet(c);
                      },
                      [c, close] {
                        for (uint32_t heard = 0; c->freed.load(kRelaxed) == 0;) {
                          struct Sleep {
                            Counted* c;
                            uint32_t heard;
                          } sleep{c, heard};
                          await([&sleep] { return sleep.c->told.peek() != sleep.heard; });
                          heard = c->told.load(kRelaxed);
                          if (close(c->refs)) c->freed.store(1, kRelease);
                        }
                      }};
  scenario.check = [shared]() -> std::string {
    return shared->freed.peek() == 1 ? "" : "never freed";
  };
}

const auto kRealAcquire = [](auto& refs) { return ref_acquire(refs); };
const auto kRealClose = [](auto& refs) { return ref_close(refs); };

TEST(WordPairs, AnEntryIsFreedOnceAtZeroReferences) {
  expect_holds("reference/close", [](Scenario& s) { ref_scenario(s, kRealAcquire, kRealClose); });
}

TEST(WordPairs, BrokenReferenceStepsAreCaught) {
  expect_caught("acquire without a look", [](Scenario& s) {
    ref_scenario(
        s,
        [](auto& refs) {
          refs.fetch_add(1, kAcqRel);
          return true;
        },
        kRealClose);
  });
  expect_caught("acquire by load and add", [](Scenario& s) {
    ref_scenario(
        s,
        [](auto& refs) {
          const uint32_t r = refs.load(kAcquire);
          if (r == 0 || (r & kRefsClosed)) return false;
          refs.fetch_add(1, kAcqRel);
          return true;
        },
        kRealClose);
  });
  // ref_acquire refuses zero, so a close that does not look would do; each of the two is a second net for the other.
  expect_caught("acquire from zero, close without a look", [](Scenario& s) {
    ref_scenario(
        s, [](auto& refs) { return (refs.fetch_add(1, kAcqRel) & kRefsClosed) == 0; },
        [](auto& refs) {
          refs.fetch_or(kRefsClosed, kAcqRel);
          return true;
        });
  });
}

// --- close / unpin -------------------------------------------------------------------------------------------------

// The last reference goes while somebody still pins the bytes: one of raylet and unpinner must free the entry.
template <class RayletSync, class UnpinSync>
void unpin_scenario(Scenario& scenario) {
  auto shared = std::make_shared<Counted>();
  Counted* c = shared.get();
  c->pins.store(1, kRelaxed);
  scenario.threads = {[c] {
                        if (ref_release(c->refs)) told_raylet(c);
                      },
                      [c] {
                        if (c->freed.load(kAcquire) != 0) fail("freed under a pin");
                        if (unpin_last<UnpinSync>(c->pins, c->refs)) told_raylet(c);
                      },
                      [c] {
                        for (uint32_t heard = 0; c->freed.load(kRelaxed) == 0;) {
                          struct Sleep {
                            Counted* c;
                            uint32_t heard;
                          } sleep{c, heard};
                          await([&sleep] { return sleep.c->told.peek() != sleep.heard; });
                          heard = c->told.load(kRelaxed);
                          if (entry_close<RayletSync>(c->refs, c->pins) == CloseResult::kFree)
                            c->freed.store(1, kRelease);
                        }
                      }};
  scenario.check = [shared]() -> std::string {
    return shared->freed.peek() == 1 ? "" : "never freed";
  };
}

TEST(WordPairs, TheLastPinOfAClosedEntryIsSeen) {
  expect_holds("close/unpin", [](Scenario& s) { unpin_scenario<Sync, Sync>(s); });
}

TEST(WordPairs, BrokenUnpinStepsAreCaught) {
  expect_caught("unpin looks before it lets go", [](Scenario& scenario) {
    auto shared = std::make_shared<Counted>();
    Counted* c = shared.get();
    c->pins.store(1, kRelaxed);
    scenario.threads = {[c] {
                          const bool closed = (c->refs.load(kAcquire) & kRefsClosed) != 0;
                          if (pin_release(c->pins) && closed) told_raylet(c);
                        },
                        [c] {
                          if (ref_release(c->refs)) told_raylet(c);
                          if (entry_close<Sync>(c->refs, c->pins) == CloseResult::kFree)
                            c->freed.store(1, kRelease);
                          if (c->freed.load(kRelaxed) != 0) return;
                          await([c] { return c->told.peek() == 2; });
                        }};
    scenario.check = [shared] { return std::string(); };
  });
}

// --- slot bits -----------------------------------------------------------------------------------------------------

struct Bits {
  XAtomic<uint64_t> used{1};
};

template <class Set>
void bits_scenario(Scenario& scenario, Set set) {
  auto shared = std::make_shared<Bits>();
  Bits* b = shared.get();
  scenario.threads = {[b, set] { set(b->used, uint64_t{2}); },
                      [b] { b->used.fetch_and(~uint64_t{1}, kAcqRel); }};
  scenario.check = [shared]() -> std::string {
    return shared->used.peek() == 2 ? "" : "a slot bit was lost or came back";
  };
}

TEST(WordPairs, SettingAndClearingSlotBitsKeepsBoth) {
  expect_holds("slot bits", [](Scenario& s) {
    bits_scenario(s, [](auto& used, uint64_t bit) {
      if ((used.load(kAcquire) & bit) == 0) used.fetch_or(bit, kAcqRel);
    });
  });
  expect_caught("slot bit by load and store", [](Scenario& s) {
    bits_scenario(
        s, [](auto& used, uint64_t bit) { used.store(used.load(kAcquire) | bit, kRelease); });
  });
}

// --- reference row and death ---------------------------------------------------------------------------------------

struct Row {
  XAtomic<uint64_t> slot;
  XAtomic<uint32_t> refs{1};  // the reference of somebody who lives
};

// A process takes and drops a reference and may die anywhere; then the sweep undoes its slot.
template <class Take, class Drop>
void row_scenario(Scenario& scenario, Take take, Drop drop) {
  auto shared = std::make_shared<Row>();
  Row* row = shared.get();
  scenario.killable = {0};
  scenario.threads = {[row, take, drop] {
                        if (take(*row)) drop(*row);
                      },
                      [row] {
                        await([] { return has_ended(0); });
                        const uint64_t word = row->slot.exchange(0, kAcqRel);
                        if (static_cast<RowState>(word >> 56) == RowState::kRef)
                          ref_release(row->refs);
                      }};
  scenario.check = [shared]() -> std::string {
    const uint32_t refs = shared->refs.peek();
    if (refs == 0 || refs > 2) return "an early free: the living holder's count is gone";
    return "";  // 1: exact; 2: one leaked count
  };
}

const auto kRealTake = [](Row& row) {
  return row_take(row.slot, 5, 9, RowState::kRef, [&row] { return ref_acquire(row.refs); });
};
const auto kRealDrop = [](Row& row) {
  return row_drop(row.slot, [&row] { return ref_release(row.refs); });
};

TEST(WordPairs, ADeathInTheRowNeverFreesEarly) {
  expect_holds("row, killed anywhere", [](Scenario& s) { row_scenario(s, kRealTake, kRealDrop); });
}

TEST(WordPairs, BrokenRowStepsAreCaught) {
  expect_caught("slot says REF before the count", [](Scenario& s) {
    row_scenario(
        s,
        [](Row& row) {
          row.slot.store(row_word(5, 9, RowState::kRef), kRelease);
          return ref_acquire(row.refs);
        },
        kRealDrop);
  });
  expect_caught("count dropped before the slot", [](Scenario& s) {
    row_scenario(s, kRealTake, [](Row& row) {
      const bool zero = ref_release(row.refs);
      row.slot.store(0, kRelease);
      return zero;
    });
  });
}

// --- events --------------------------------------------------------------------------------------------------------

struct Told {
  XAtomic<uint32_t> word, task, time, finished[2];
};

// Two runs of one slot, while a reader looks twice.
template <class Begin, class Take>
void event_scenario(Scenario& scenario, Begin begin, Take take) {
  auto shared = std::make_shared<Told>();
  Told* told = shared.get();
  scenario.threads = {[told, begin] {
                        for (uint32_t run = 1; run <= 2; ++run) {
                          begin(told->word);
                          told->task.store(run, kRelaxed);
                          told->time.store(run, kRelaxed);
                          event_tell(told->word, EventOutcome::kRunning);
                          event_tell(told->word, EventOutcome::kFinished);
                        }
                      },
                      [told, take] {
                        for (int look = 0; look < 2; ++look) {
                          uint32_t task = 0, time = 0;
                          const EventOutcome outcome = event_read(
                              told->word,
                              [&] {
                                task = told->task.load(kRelaxed);
                                time = told->time.load(kRelaxed);
                              },
                              take);
                          if (outcome == EventOutcome::kRead) continue;
                          if (task != time) return fail("a row of two runs");
                          if (outcome == EventOutcome::kFinished)
                            told->finished[task - 1].fetch_add(1, kAcqRel);
                        }
                      }};
  scenario.check = [shared]() -> std::string {
    if (shared->finished[0].peek() > 1) return "told twice";
    const bool read = event_outcome(shared->word.peek()) == EventOutcome::kRead;
    return shared->finished[1].peek() == (read ? 1 : 0) ? "" : "marked read and never shown";
  };
}

const auto kRealBegin = [](auto& word) { event_begin(word); };
const auto kRealEventTake = [](auto& word, uint32_t seen) { return event_take(word, seen); };

TEST(WordPairs, AnEventIsShownWholeAndOnce) {
  expect_holds("event begin/read",
               [](Scenario& s) { event_scenario(s, kRealBegin, kRealEventTake); });
}

TEST(WordPairs, BrokenEventStepsAreCaught) {
  expect_caught("uses are not counted", [](Scenario& s) {
    event_scenario(
        s, [](auto& word) { word.exchange(static_cast<uint32_t>(EventOutcome::kRead), kAcqRel); },
        kRealEventTake);
  });
  expect_caught("a running one is not looked at again", [](Scenario& s) {
    event_scenario(s, kRealBegin, [](auto& word, uint32_t seen) {
      return event_outcome(seen) == EventOutcome::kRunning || event_take(word, seen);
    });
  });
  expect_caught("marked read by a store", [](Scenario& s) {
    event_scenario(s, kRealBegin, [](auto& word, uint32_t seen) {
      if (event_outcome(seen) == EventOutcome::kRunning) return event_take(word, seen);
      if (word.load(kAcquire) != seen) return false;
      word.store(event_word(seen, EventOutcome::kRead), kRelease);
      return true;
    });
  });
}

}  // namespace
}  // namespace explorer
