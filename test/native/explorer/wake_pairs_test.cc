// SPDX-License-Identifier: Apache-2.0
// Goal: no schedule of producers and a consumer loses a record, a wake-up or a kick.
// Method: protocols.h (ring_put, publish_ready, take_ready, arm_and_check, overflow_flush, starved_take) on scheduled
// atomics, all interleavings; then the same with one step broken, which must fail.
#include <array>

#include "explorer/expectation.h"
#include "store/protocols.h"

namespace explorer {
namespace {

using polyray::arm_and_check;
using polyray::overflow_flush;
using polyray::publish_ready;
using polyray::publish_take_armed;
using polyray::ring_advance;
using polyray::ring_put;
using polyray::ring_waiting;
using polyray::starved_take;
using polyray::take_ready;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcqRel = std::memory_order_acq_rel;

// The ring of ring.cc over scheduled words; records are numbers from 1.
template <uint64_t kSlots>
struct XRing {
  XAtomic<uint64_t> tail_, head_;
  std::array<XAtomic<uint64_t>, kSlots> records;
  XAtomic<uint64_t>& tail() { return tail_; }
  XAtomic<uint64_t>& head() { return head_; }
  uint64_t slots() const { return kSlots; }
  void write(uint64_t position, uint64_t value) {
    records[position % kSlots].store(value, kRelaxed);
  }
  uint64_t read(uint64_t position) { return records[position % kSlots].load(kRelaxed); }
};

// Takes everything that is there; complains about a record that is not the next one.
template <class Ring>
void take_all(Ring& ring, uint64_t& head) {
  while (const uint64_t waiting = ring_waiting(ring, head)) {
    if (waiting > ring.slots()) return fail("more records than slots");
    if (ring.read(head) != head + 1)
      return fail("a record was read before it was written, or twice");
    ring_advance(ring, ++head);
  }
}

// --- publish / arm with one word of work ---------------------------------------------------------------------------

struct Plain {
  XAtomic<uint32_t> armed;
  XAtomic<uint32_t> work;  // how much was published: a plain store, as a ring's tail
  XAtomic<uint32_t> bells;
};

// A lost wake-up ends as "nobody can go on".
template <class ProducerSync, class Arm>
void plain_scenario(Scenario& scenario, Arm arm) {
  auto shared = std::make_shared<Plain>();
  Plain* s = shared.get();
  scenario.threads = {[s] {
                        for (uint32_t i = 1; i <= 2; ++i) {
                          s->work.store(i, std::memory_order_release);
                          if (publish_take_armed<ProducerSync>(s->armed))
                            s->bells.fetch_add(1, kAcqRel);
                        }
                      },
                      [s, arm] {
                        uint32_t seen = 0;
                        uint32_t heard = 0;
                        while ((seen = s->work.load(std::memory_order_acquire)) < 2) {
                          struct Sleep {
                            Plain* s;
                            uint32_t heard;
                          } sleep{s, heard};
                          if (!arm(*s, seen)) continue;
                          await([&sleep] { return sleep.s->bells.peek() != sleep.heard; });
                          heard = s->bells.load(kRelaxed);
                        }
                      }};
  scenario.check = [shared] { return std::string(); };
}

template <class Sync>
bool plain_arm(Plain& s, uint32_t seen) {
  return arm_and_check<Sync>(s.armed, 1u, [&s, seen] { return s.work.load(kRelaxed) != seen; });
}

TEST(WakePairs, PublishAndArmNeverSleepOverWork) {
  expect_holds("publish/arm", [](Scenario& s) { plain_scenario<Sync>(s, plain_arm<Sync>); });
}

TEST(WakePairs, ArmWithoutFenceIsCaught) {
  expect_caught("arm without fence",
                [](Scenario& s) { plain_scenario<Sync>(s, plain_arm<NoFence>); });
}

TEST(WakePairs, PublishWithoutFenceIsCaught) {
  expect_caught("publish without fence",
                [](Scenario& s) { plain_scenario<NoFence>(s, plain_arm<Sync>); });
}

TEST(WakePairs, CheckBeforeArmIsCaught) {
  expect_caught("check before arm", [](Scenario& s) {
    plain_scenario<Sync>(s, [](Plain& p, uint32_t seen) {
      const bool idle = p.work.load(kRelaxed) == seen;
      p.armed.store(1, kRelaxed);
      Sync::fence();
      return idle;
    });
  });
}

// --- rings with ready bits -----------------------------------------------------------------------------------------

struct Inbound {
  XRing<2> rings[2];
  XAtomic<uint64_t> word, summary;
  XAtomic<uint32_t> armed, bells;
};

using PublishFn = uint32_t (*)(Inbound&, uint64_t);
using TakeFn = uint64_t (*)(Inbound&);  // bits of ready rings
using ArmFn = bool (*)(Inbound&);

template <class S>
uint32_t real_publish(Inbound& in, uint64_t bit) {
  return publish_ready<S>(in.word, bit, in.summary, uint64_t{1}, in.armed);
}
uint64_t real_take(Inbound& in) {
  return take_ready<Sync>(in.summary) != 0 ? take_ready<Sync>(in.word) : 0;
}
template <class S>
bool real_arm(Inbound& in) {
  return arm_and_check<S>(in.armed, 1u, [&in] { return in.summary.load(kRelaxed) != 0; });
}

// counts[i]: records of producer i; a second one meets a ready bit that may still be set.
void ready_scenario(Scenario& scenario, std::vector<uint64_t> counts, PublishFn publish,
                    TakeFn take, ArmFn arm) {
  auto shared = std::make_shared<Inbound>();
  Inbound* in = shared.get();
  uint64_t total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const uint64_t count = counts[i];
    total += count;
    scenario.threads.push_back([in, i, count, publish] {
      uint64_t cached_head = 0;
      for (uint64_t number = 1; number <= count; ++number) {
        ring_put(in->rings[i], cached_head, number);
        if (publish(*in, uint64_t{1} << i)) in->bells.fetch_add(1, kAcqRel);
      }
    });
  }
  scenario.threads.push_back([in, total, take, arm] {
    uint64_t heads[2] = {0, 0};
    uint32_t heard = 0;
    while (heads[0] + heads[1] < total) {
      const uint64_t bits = take(*in);
      for (size_t i = 0; i < 2; ++i)
        if (bits >> i & 1) take_all(in->rings[i], heads[i]);
      if (heads[0] + heads[1] == total || !arm(*in)) continue;
      struct Sleep {
        Inbound* in;
        uint32_t heard;
      } sleep{in, heard};
      await([&sleep] { return sleep.in->bells.peek() != sleep.heard; });
      heard = in->bells.load(kRelaxed);
    }
  });
  scenario.check = [shared] { return std::string(); };
}

TEST(WakePairs, ReadyBitsLoseNoRecordOfOneProducer) {
  expect_holds("ring + ready + arm, 1 producer x 2", [](Scenario& s) {
    ready_scenario(s, {2}, real_publish<Sync>, real_take, real_arm<Sync>);
  });
}

TEST(WakePairs, ReadyBitsLoseNoRecordOfTwoProducers) {
  expect_holds("ring + ready + arm, 2 producers x 1", [](Scenario& s) {
    ready_scenario(s, {1, 1}, real_publish<Sync>, real_take, real_arm<Sync>);
  });
}

void ready_mutant(const char* name, PublishFn publish, TakeFn take, ArmFn arm) {
  const Outcome one = explore([&](Scenario& s) { ready_scenario(s, {2}, publish, take, arm); });
  if (!one.failure.empty()) return;
  expect_caught(name, [&](Scenario& s) { ready_scenario(s, {1, 1}, publish, take, arm); });
}

TEST(WakePairs, BrokenReadyStepsAreCaught) {
  ready_mutant("publish without fences", real_publish<NoFence>, real_take, real_arm<Sync>);
  ready_mutant("arm without fence", real_publish<Sync>, real_take, real_arm<NoFence>);
  ready_mutant(
      "word taken before summary", real_publish<Sync>,
      [](Inbound& in) {
        const uint64_t bits = take_ready<Sync>(in.word);
        take_ready<Sync>(in.summary);
        return bits;
      },
      real_arm<Sync>);
  ready_mutant(
      "summary set before word",
      [](Inbound& in, uint64_t bit) {
        return publish_ready<Sync>(in.summary, uint64_t{1}, in.word, bit, in.armed);
      },
      real_take, real_arm<Sync>);
  ready_mutant(
      "ready bit by load and store",
      [](Inbound& in, uint64_t bit) {
        in.word.store(in.word.load(kRelaxed) | bit, std::memory_order_release);
        in.summary.store(1, std::memory_order_release);
        return publish_take_armed<Sync>(in.armed);
      },
      real_take, real_arm<Sync>);
  ready_mutant(
      "words taken by load and store", real_publish<Sync>,
      [](Inbound& in) {
        const auto take = [](XAtomic<uint64_t>& word) {
          const uint64_t bits = word.load(kRelaxed);
          if (bits != 0) word.store(0, std::memory_order_release);
          Sync::fence();
          return bits;
        };
        return take(in.summary) != 0 ? take(in.word) : 0;
      },
      real_arm<Sync>);
  ready_mutant(
      "armed read before the bits are set",
      [](Inbound& in, uint64_t bit) {
        const uint32_t bits = publish_take_armed<Sync>(in.armed);
        in.word.fetch_or(bit, kAcqRel);
        in.summary.fetch_or(1, kAcqRel);
        return bits;
      },
      real_take, real_arm<Sync>);
}

// --- ring alone ----------------------------------------------------------------------------------------------------

template <class Put>
void ring_scenario(Scenario& scenario, Put put) {
  auto shared = std::make_shared<XRing<2>>();
  XRing<2>* ring = shared.get();
  scenario.threads = {[ring, put] {
                        uint64_t cached_head = 0;
                        for (uint64_t next = 1; next <= 4;) {
                          if (put(*ring, cached_head, next)) {
                            ++next;
                          } else {
                            struct Full {
                              XRing<2>* ring;
                              uint64_t head;
                            } full{ring, cached_head};
                            await([&full] { return full.ring->head_.peek() != full.head; });
                          }
                        }
                      },
                      [ring] {
                        uint64_t head = 0;
                        while (head < 4) {
                          take_all(*ring, head);
                          struct Empty {
                            XRing<2>* ring;
                            uint64_t head;
                          } empty{ring, head};
                          if (head < 4)
                            await([&empty] { return empty.ring->tail_.peek() != empty.head; });
                        }
                      }};
  scenario.check = [shared] { return std::string(); };
}

TEST(WakePairs, ARingKeepsOrderAndOverwritesNothing) {
  expect_holds("ring, 4 records in 2 slots", [](Scenario& s) {
    ring_scenario(s, [](XRing<2>& ring, uint64_t& cached, uint64_t value) {
      return ring_put(ring, cached, value);
    });
  });
}

TEST(WakePairs, BrokenRingStepsAreCaught) {
  expect_caught("tail before record", [](Scenario& s) {
    ring_scenario(s, [](XRing<2>& ring, uint64_t& cached, uint64_t value) {
      const uint64_t tail = ring.tail_.load(kRelaxed);
      if (tail - cached >= 2 && tail - (cached = ring.head_.load(kRelaxed)) >= 2) return false;
      ring.tail_.store(tail + 1, std::memory_order_release);
      ring.write(tail, value);
      return true;
    });
  });
  expect_caught("tail without release", [](Scenario& s) {
    ring_scenario(s, [](XRing<2>& ring, uint64_t& cached, uint64_t value) {
      const uint64_t tail = ring.tail_.load(kRelaxed);
      if (tail - cached >= 2 && tail - (cached = ring.head_.load(kRelaxed)) >= 2) return false;
      ring.write(tail, value);
      ring.tail_.store(tail + 1, kRelaxed);
      return true;
    });
  });
  expect_caught("one slot too many", [](Scenario& s) {
    ring_scenario(s, [](XRing<2>& ring, uint64_t& cached, uint64_t value) {
      const uint64_t tail = ring.tail_.load(kRelaxed);
      if (tail - cached > 2 && tail - (cached = ring.head_.load(kRelaxed)) > 2) return false;
      ring.write(tail, value);
      ring.tail_.store(tail + 1, std::memory_order_release);
      return true;
    });
  });
}

// --- overflow / starved --------------------------------------------------------------------------------------------

struct Pipe {
  XRing<2> ring;
  XAtomic<uint32_t> starved, kicks;
};

constexpr uint64_t kPiped = 4;

// The consumer sees records as they come (its own wake-ups are the scenario above); the producer sleeps until kicked.
template <class Flush, class Starved>
void starved_scenario(Scenario& scenario, Flush flush, Starved starved) {
  auto shared = std::make_shared<Pipe>();
  Pipe* pipe = shared.get();
  scenario.threads = {[pipe, flush] {
                        uint64_t cached_head = 0;
                        uint64_t next = 1;
                        uint32_t heard = 0;
                        const auto move = [&] {
                          while (next <= kPiped && ring_put(pipe->ring, cached_head, next)) ++next;
                          return next > kPiped;
                        };
                        if (move()) return;
                        while (!flush(pipe->starved, move)) {
                          struct Sleep {
                            Pipe* pipe;
                            uint32_t heard;
                          } sleep{pipe, heard};
                          await([&sleep] { return sleep.pipe->kicks.peek() != sleep.heard; });
                          heard = pipe->kicks.load(kRelaxed);
                        }
                      },
                      [pipe, starved] {
                        uint64_t head = 0;
                        while (head < kPiped) {
                          take_all(pipe->ring, head);
                          if (starved(pipe->starved)) pipe->kicks.fetch_add(1, kAcqRel);
                          struct Empty {
                            Pipe* pipe;
                            uint64_t head;
                          } empty{pipe, head};
                          if (head < kPiped)
                            await([&empty] { return empty.pipe->ring.tail_.peek() != empty.head; });
                        }
                      }};
  scenario.check = [shared] { return std::string(); };
}

const auto kRealFlush = [](auto& starved, auto& move) {
  return overflow_flush<Sync>(starved, move);
};
const auto kRealStarved = [](auto& starved) { return starved_take<Sync>(starved); };

TEST(WakePairs, AStarvedProducerIsAlwaysKicked) {
  expect_holds("overflow/starved, 4 records in 2 slots",
               [](Scenario& s) { starved_scenario(s, kRealFlush, kRealStarved); });
}

TEST(WakePairs, BrokenStarvedStepsAreCaught) {
  expect_caught("overflow without fence", [](Scenario& s) {
    starved_scenario(
        s, [](auto& starved, auto& move) { return overflow_flush<NoFence>(starved, move); },
        kRealStarved);
  });
  expect_caught("drain without fence", [](Scenario& s) {
    starved_scenario(s, kRealFlush, [](auto& starved) { return starved_take<NoFence>(starved); });
  });
  expect_caught("no look after starved was set", [](Scenario& s) {
    starved_scenario(
        s,
        [](auto& starved, auto& move) {
          if (move()) return true;
          starved.store(1, std::memory_order_seq_cst);
          return false;
        },
        kRealStarved);
  });
  expect_caught("starved cleared although something is left", [](Scenario& s) {
    starved_scenario(
        s,
        [](auto& starved, auto& move) {
          starved.store(1, std::memory_order_seq_cst);
          const bool all = move();
          starved.store(0, std::memory_order_relaxed);
          return all;
        },
        kRealStarved);
  });
}

}  // namespace
}  // namespace explorer
