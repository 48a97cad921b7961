// SPDX-License-Identifier: Apache-2.0
// Whether looking at the rings for some microseconds is likely to be cheaper than sleeping.
//
// The answer to a lone call comes within microseconds, while a sleep costs both sides: a write to the bell there, a turn of
// the event loop, a wake-up of the scheduler and of the processor here. So who often was woken soon after falling asleep
// looks for a bounded time first. A look in vain doubles the number of short sleeps that the next look takes, some looks
// that found something bring it down again: an idle process never looks, one whose peer is slow or waits for a processor
// hardly ever. Who looks yields the processor, so that a peer that was put on the same one gets on. Never with one.
// Thread rules: one thread at a time; the look itself reads atomics only.
#pragma once
#include <algorithm>
#include <cstdint>

namespace polyray {

class BriefWatch {
 public:
  static constexpr uint64_t kShortNs = 100'000;  // a sleep this short would better have been a look
  static constexpr uint64_t kLookNs = 60'000;
  // A yield that took so long gave the processor to somebody. Unless that was who answers, the look ends there.
  static constexpr uint64_t kContendedNs = 4'000;
  static constexpr uint32_t kFewSleeps = 4;  // short ones before a look, at first
  static constexpr uint32_t kManySleeps = 256;
  static constexpr uint32_t kLongSleep = 8;  // so many short ones count a long one off
  static constexpr uint32_t kFinds = 4;      // in a row, that make few sleeps enough again

  explicit BriefWatch(uint32_t processors) : useful_(processors > 1) {}
  bool due() const { return short_sleeps_ >= needed_; }
  bool asleep() const { return asleep_ns_ != 0; }
  void sleeps(uint64_t now_ns) { asleep_ns_ = useful_ ? now_ns : 0; }
  // Something was there at the first poll after a sleep.
  void woken(uint64_t now_ns) {
    const bool is_short = now_ns - asleep_ns_ < kShortNs;
    short_sleeps_ = is_short ? std::min(short_sleeps_ + 1, kManySleeps)
                             : short_sleeps_ - std::min(short_sleeps_, kLongSleep);
    asleep_ns_ = 0;
  }
  void found() {
    if (++finds_ >= kFinds) needed_ = kFewSleeps;
  }
  void in_vain() {
    short_sleeps_ = finds_ = 0;
    if (needed_ < kManySleeps) needed_ *= 2;
  }

 private:
  uint64_t asleep_ns_ = 0;
  uint32_t short_sleeps_ = 0;
  uint32_t needed_ = kFewSleeps;
  uint32_t finds_ = 0;
  bool useful_;
};

}  // namespace polyray
