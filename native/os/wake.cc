// SPDX-License-Identifier: Apache-2.0
// Doorbells: eventfd for event loops, futex words (shared between processes, so never PRIVATE) for blocked threads.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/env.h"

namespace polyray::os {

static_assert(sizeof(std::atomic<uint32_t>) == 4, "a futex word is four bytes");

Result<Fd> open_event() {
  Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.is_open()) return errno_status("eventfd", errno);
  return fd;
}

void signal_event(int fd) {
  const uint64_t one = 1;
  // EAGAIN: the counter is at its maximum, so the reader is about to wake anyway.
  while (::write(fd, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

uint64_t drain_event(int fd) {
  uint64_t count = 0;
  ssize_t n = 0;
  do {
    n = ::read(fd, &count, sizeof(count));
  } while (n < 0 && errno == EINTR);
  return n == sizeof(count) ? count : 0;
}

WaitOutcome futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, int timeout_ms) {
  timespec timeout{static_cast<time_t>(timeout_ms / 1000),
                   static_cast<long>(timeout_ms % 1000) * 1'000'000};
  const long result = ::syscall(SYS_futex, &word, FUTEX_WAIT, expected,
                                timeout_ms < 0 ? nullptr : &timeout, nullptr, 0);
  if (result == 0) return WaitOutcome::kWoken;
  if (errno == EAGAIN) return WaitOutcome::kChanged;
  return errno == ETIMEDOUT ? WaitOutcome::kTimedOut
                            : WaitOutcome::kWoken;  // EINTR: a spurious wake
}

int futex_wake_all(std::atomic<uint32_t>& word) {
  const long woken = ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  return woken < 0 ? 0 : static_cast<int>(woken);
}

}  // namespace polyray::os
