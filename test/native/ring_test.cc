// SPDX-License-Identifier: Apache-2.0
// Goal: records arrive in order and once, over full rings, many producers, sleeping consumers and garbage.
// Method: one endpoint per thread (or process) over one segment; a watchdog is ctest's timeout. The orderings themselves
// are proved by explorer/wake_pairs_test.cc.
#include "store/ring.h"

#include <cstring>
#include <thread>

#include "store_support.h"

namespace polyray {
namespace {

using namespace support;

// A ring from producer to consumer, registered.
uint64_t make_ring(Segment& segment, uint32_t producer, uint32_t consumer, uint32_t slots,
                   uint64_t reply = 0) {
  SlotPool pool(segment, ChunkKind::kRings, producer);
  const uint64_t offset = pool.allocate(ring_bytes(slots)).value();
  ring_init(segment, offset, slots, producer, consumer, reply);
  EXPECT_TRUE(ring_register(segment, offset).is_ok());
  return offset;
}

RingSlot record(uint64_t number) {
  return {1, 2, number, number * 3, ~number};
}

void expect_record(const RingSlot& slot, uint64_t number) {
  ASSERT_EQ(slot.b, number);
  ASSERT_EQ(slot.c, number * 3);
  ASSERT_EQ(slot.d, ~number);
}

class RingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    segment_ = make_segment();
    attach(*segment_, 1);
    attach(*segment_, 2);
  }
  size_t drain(InboundRings& in, size_t limit = 1 << 20) {
    return in.drain(
        limit, [&](uint64_t, const RingSlot& slot) { got_.push_back(slot.b); },
        [&](uint64_t ring) { starved_.push_back(ring); });
  }
  std::unique_ptr<Segment> segment_;
  std::vector<uint64_t> got_;
  std::vector<uint64_t> starved_;
};

TEST_F(RingTest, NothingIsReadBeforeTheReadyBit) {
  InboundRings in(*segment_, 2);
  RingProducer out(*segment_, make_ring(*segment_, 1, 2, 8), -1);
  out.push(record(1));
  EXPECT_FALSE(in.has_ready());
  EXPECT_EQ(drain(in), 0u);
  out.bell();
  EXPECT_TRUE(in.has_ready());
  EXPECT_EQ(drain(in), 1u);
  EXPECT_FALSE(in.has_ready());
}

TEST_F(RingTest, OverflowKeepsOrderAndKicksOnce) {
  InboundRings in(*segment_, 2);
  const uint64_t ring = make_ring(*segment_, 1, 2, 8);
  RingProducer out(*segment_, ring, -1);
  for (uint64_t i = 0; i < 30; ++i) out.push(record(i));
  EXPECT_EQ(out.overflow_size(), 22u);
  EXPECT_TRUE(out.above_half());
  out.bell();
  uint64_t kicks = 0;
  while (got_.size() < 30) {
    drain(in);
    kicks += starved_.size();
    const bool starved = !starved_.empty();
    starved_.clear();
    if (!starved) continue;
    out.flush();
    out.bell();
  }
  EXPECT_EQ(kicks, 3u);
  for (uint64_t i = 0; i < 30; ++i) EXPECT_EQ(got_[i], i);
  EXPECT_FALSE(out.has_overflow());
}

TEST_F(RingTest, AKickWakesTheOtherSideWithoutARecord) {
  InboundRings in(*segment_, 2);
  RingProducer out(*segment_, make_ring(*segment_, 1, 2, 8), -1);
  EXPECT_TRUE(in.arm(kArmedFutex));
  out.kick();
  EXPECT_FALSE(in.arm(kArmedFutex)) << "a kick is something to look at";
  EXPECT_EQ(drain(in), 0u);
  EXPECT_TRUE(in.arm(kArmedFutex));
}

TEST_F(RingTest, ALimitLeavesTheRestReady) {
  InboundRings in(*segment_, 2);
  RingProducer out(*segment_, make_ring(*segment_, 1, 2, 128), -1);
  for (uint64_t i = 0; i < 100; ++i) out.push(record(i));
  out.bell();
  EXPECT_EQ(drain(in, 7), 7u);
  EXPECT_TRUE(in.has_ready());
  EXPECT_FALSE(in.arm(kArmedFutex));
  while (in.has_ready()) drain(in, 7);
  ASSERT_EQ(got_.size(), 100u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(got_[i], i);
}

TEST_F(RingTest, ABusyRingDoesNotStarveAnother) {
  InboundRings in(*segment_, 2);
  attach(*segment_, 3);
  RingProducer busy(*segment_, make_ring(*segment_, 1, 2, 1024), -1);
  RingProducer quiet(*segment_, make_ring(*segment_, 3, 2, 8), -1);
  for (uint64_t i = 0; i < 1000; ++i) busy.push(record(i));
  quiet.push(record(5000));
  busy.bell();
  quiet.bell();
  drain(in, 200);
  EXPECT_NE(std::find(got_.begin(), got_.end(), 5000u), got_.end());
}

TEST_F(RingTest, TheBellRingsOnlyWhenArmed) {
  InboundRings in(*segment_, 2);
  os::Fd event = std::move(os::open_event().value());
  RingProducer out(*segment_, make_ring(*segment_, 1, 2, 8), event.get());
  out.push(record(1));
  out.bell();
  EXPECT_EQ(os::drain_event(event.get()), 0u) << "nobody sleeps";
  drain(in);
  EXPECT_TRUE(in.arm(kArmedEventFd));
  out.push(record(2));
  out.bell();
  out.push(record(3));
  out.bell();
  EXPECT_EQ(os::drain_event(event.get()), 1u) << "one bell for one sleep";
  EXPECT_EQ(drain(in), 2u);
  EXPECT_EQ(segment_->endpoint(1).counters.get(Count::kBellsRung), 1u);
  EXPECT_EQ(segment_->endpoint(1).counters.get(Count::kRecordsSent), 3u);
}

TEST_F(RingTest, AHandlerMayRemoveTheRingItReads) {
  InboundRings in(*segment_, 2);
  const uint64_t ring = make_ring(*segment_, 1, 2, 8);
  RingProducer out(*segment_, ring, -1);
  for (uint64_t i = 0; i < 4; ++i) out.push(record(i));
  out.bell();
  size_t calls = 0;
  in.drain(
      100,
      [&](uint64_t offset, const RingSlot&) {
        ++calls;
        in.remove(offset);
        slot_free(*segment_, offset);
      },
      [](uint64_t) {});
  EXPECT_EQ(calls, 1u);
  out.bell();
  EXPECT_EQ(drain(in), 0u);
}

TEST_F(RingTest, InboundSlotsAreReusedAndRunOut) {
  InboundRings in(*segment_, 2);
  const uint64_t first = make_ring(*segment_, 1, 2, 8);
  const uint64_t second = make_ring(*segment_, 1, 2, 8);
  EXPECT_EQ(segment_->ring(second).inbound, 1u);
  in.remove(first);
  EXPECT_EQ(segment_->ring(make_ring(*segment_, 1, 2, 8)).inbound, 0u);
  const uint64_t ring = make_ring(*segment_, 1, 2, 8);
  for (uint32_t i = 3; i < kMaxInboundRings; ++i)
    ASSERT_EQ(ring_register(*segment_, ring).value(), i);
  EXPECT_EQ(ring_register(*segment_, ring).status().code, StatusCode::kTableFull);
  size_t seen = 0;
  for_each_ring_of(*segment_, 1,
                   [&](uint32_t consumer, uint32_t, uint64_t) { seen += consumer == 2; });
  EXPECT_EQ(seen, kMaxInboundRings);
}

TEST_F(RingTest, GarbageOfAProducerIsDroppedNotFollowed) {
  const auto breaks = [&](const std::function<void(RingHeader&)>& garble) {
    InboundRings in(*segment_, 2);
    const uint64_t ring = make_ring(*segment_, 1, 2, 8);
    RingProducer out(*segment_, ring, -1);
    out.push(record(1));
    garble(segment_->ring(ring));
    out.bell();
    const size_t before = got_.size();
    drain(in);
    EXPECT_EQ(got_.size(), before);
    EXPECT_EQ(in.broken_rings(), 1u);
    EXPECT_FALSE(in.has_ready());
  };
  breaks([](RingHeader& ring) { ring.tail.store(1000); });
  breaks([](RingHeader& ring) { ring.tail.store(~uint64_t{0}); });
  breaks([](RingHeader& ring) { ring.capacity = 1 << 30; });
  breaks([](RingHeader& ring) { ring.capacity = 0; });
  breaks([](RingHeader& ring) { ring.capacity = 7; });
  breaks([](RingHeader& ring) { ring.producer = kMaxEndpoints; });
  InboundRings in(*segment_, 2);
  Endpoint& self = segment_->endpoint(2);
  for (uint64_t wild : {uint64_t{8}, segment_->control_bytes(), ~uint64_t{0}}) {
    self.inbound[9].store(wild);
    self.ready[0].store(uint64_t{1} << 9);
    self.ready_summary[0].store(1);
    EXPECT_EQ(drain(in), 0u);
  }
  EXPECT_EQ(in.broken_rings(), 3u);
}

TEST_F(RingTest, AGoneConsumerIsNotWaitedFor) {
  const uint64_t ring = make_ring(*segment_, 1, 2, 8);
  RingProducer out(*segment_, ring, -1);
  segment_->ring(ring).closed.store(2);
  for (uint64_t i = 0; i < 100; ++i) out.push(record(i));
  EXPECT_TRUE(out.is_closed());
  EXPECT_FALSE(out.has_overflow());
}

// Sleeping consumer and producers in threads: futex, small rings, overflow with kicks over reply rings.
TEST_F(RingTest, ManyProducersAndASleepingConsumerLoseNothing) {
  constexpr uint32_t kProducers = 3;
  constexpr uint64_t kRecords = 20000;
  const uint32_t consumer = 50;
  attach(*segment_, consumer);
  struct Lane {
    uint64_t there, back;
  };
  std::vector<Lane> lanes;
  for (uint32_t p = 0; p < kProducers; ++p) {
    attach(*segment_, 10 + p);
    const uint64_t back = make_ring(*segment_, consumer, 10 + p, 8);
    lanes.push_back({make_ring(*segment_, 10 + p, consumer, 8, back), back});
  }
  std::vector<std::thread> threads;
  for (uint32_t p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      InboundRings in(*segment_, 10 + p);
      RingProducer out(*segment_, lanes[p].there, -1);
      for (uint64_t i = 0; i < kRecords;) {
        for (uint64_t batch = 0; batch < 1 + i % 13 && i < kRecords; ++batch) out.push(record(i++));
        out.bell();
        while (out.overflow_size() > 20) {
          in.drain(100, [](uint64_t, const RingSlot&) {}, [](uint64_t) {});
          out.flush();
          out.bell();
          if (out.overflow_size() > 20 && in.arm(kArmedFutex)) in.wait(-1);
        }
      }
      while (!out.flush()) {
        out.bell();
        if (in.arm(kArmedFutex)) in.wait(-1);
        in.drain(100, [](uint64_t, const RingSlot&) {}, [](uint64_t) {});
      }
      out.bell();
    });
  }
  InboundRings in(*segment_, consumer);
  std::vector<RingProducer> backs;
  for (const Lane& lane : lanes) backs.emplace_back(*segment_, lane.back, -1);
  std::vector<uint64_t> next(kProducers);
  for (uint64_t total = 0; total < kProducers * kRecords;) {
    total += in.drain(
        50,
        [&](uint64_t ring, const RingSlot& slot) {
          const uint32_t producer = segment_->ring(ring).producer - 10;
          expect_record(slot, next[producer]++);
        },
        [&](uint64_t ring) { backs[segment_->ring(ring).producer - 10].kick(); });
    if (total < kProducers * kRecords && in.arm(kArmedFutex)) in.wait(-1);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(next, std::vector<uint64_t>(kProducers, kRecords));
}

// The same between processes and over an eventfd: a request and an answer, both sides sleep each time.
TEST_F(RingTest, PingPongBetweenProcesses) {
  os::Fd mine = std::move(os::open_event().value());
  os::Fd theirs = std::move(os::open_event().value());
  const uint64_t back = make_ring(*segment_, 2, 1, 8);
  const uint64_t there = make_ring(*segment_, 1, 2, 8, back);
  constexpr uint64_t kRounds = 2000;
  const auto play = [&](Segment& segment, uint32_t me, uint64_t out_ring, int my_event,
                        int their_event, bool first) {
    InboundRings in(segment, me);
    RingProducer out(segment, out_ring, their_event);
    uint64_t round = 0;
    if (first) {
      out.push(record(0));
      out.bell();
    }
    while (round < kRounds) {
      in.drain(
          10,
          [&](uint64_t, const RingSlot& slot) {
            if (slot.b != round) ::_exit(7);
            ++round;
            const uint64_t answer = first ? round : slot.b;
            if (answer < kRounds) out.push(record(answer));
          },
          [](uint64_t) {});
      out.bell();
      if (round < kRounds && in.arm(kArmedEventFd)) {
        os::wait_readable(my_event, -1);
        os::drain_event(my_event);
      }
    }
  };
  const pid_t child =
      fork_child(*segment_, [&](Segment& s) { play(s, 2, back, theirs.get(), mine.get(), false); });
  play(*segment_, 1, there, mine.get(), theirs.get(), true);
  EXPECT_EQ(wait_child(child).code, 0);
}

}  // namespace
}  // namespace polyray
