// SPDX-License-Identifier: Apache-2.0
// Whether looking at the rings for some microseconds is likely to be cheaper than sleeping.
//
// The answer to a lone call comes within microseconds, while a sleep costs both sides: a write to the bell there, a turn of
// the event loop and a wake-up of the scheduler here. So who was woken soon after falling asleep, several times in a row,
// looks for a bounded time first. A look in vain doubles the number of short sleeps that the next look takes, looks that
// found something bring it down again: an idle process never looks, one whose peer waits for a processor hardly ever.
// Never with one processor.
// Thread rules: one thread at a time; the look itself reads atomics only.
#pragma once
#include <cstdint>

namespace polyray {

class BriefWatch {
 public:
  static constexpr uint64_t kShortNs = 40'000;  // a sleep this short would better have been a look
  static constexpr uint64_t kLookNs = 30'000;
  static constexpr uint32_t kFewSleeps = 4;  // short ones in a row before a look, at first
  static constexpr uint32_t kManySleeps = 4096;
  static constexpr uint32_t kFinds = 16;  // in a row, that halve the number

  explicit BriefWatch(uint32_t processors) : useful_(processors > 1) {}
  bool due() const { return short_sleeps_ >= needed_; }
  bool asleep() const { return asleep_ns_ != 0; }
  void sleeps(uint64_t now_ns) { asleep_ns_ = useful_ ? now_ns : 0; }
  // Something was there at the first poll after a sleep.
  void woken(uint64_t now_ns) {
    short_sleeps_ = now_ns - asleep_ns_ < kShortNs ? short_sleeps_ + 1 : 0;
    asleep_ns_ = 0;
  }
  void found() {
    if (++finds_ % kFinds == 0 && needed_ > kFewSleeps) needed_ /= 2;
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
