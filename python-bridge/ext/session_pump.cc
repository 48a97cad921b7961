// SPDX-License-Identifier: Apache-2.0
// The pump of a Session, and its end: see session.h for the thread rules.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <system_error>

#include "os/env.h"
#include "session.h"
#include "store/segment.h"

namespace polyray::py {

namespace {
using Millis = std::chrono::milliseconds;
constexpr Millis kPumpTick{1};
// While an event loop watches the doorbell: how long what it does not look at may wait.
constexpr Millis kHostedTick{100};
constexpr uint32_t kQuietTicks = 10;
// The first sleep after something was done: what was sent without a bell is told after it.
constexpr int kFirstSleepMs = 100;
constexpr Millis kLastWait{2000};
}  // namespace

// --- the pump ----------------------------------------------------------------------------------------------------

void Session::start_pump(bool interrupt) {
  if (interrupt) {
    interrupt_thread_ = pthread_self();
    interrupts_ = true;
  } else if (!submitted_) {
    submitted_ = true;
    pump_wake_.notify_all();
  }
  ensure_pump();
}

// When the system gives no thread it is tried again: submits go on without, nobody rests without.
void Session::ensure_pump() {
  if (pump_ != nullptr || !usable()) return;
  int ends[2];
  if (!signal_read_.is_open() && ::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
    signal_read_.reset(ends[0]);
    signal_write_.reset(ends[1]);
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    pump_ = new std::thread([this] { pump_main(); });
  } catch (const std::system_error&) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Session::pump_main() {
  pthread_setname_np(pthread_self(), "polyray-pump");
  std::unique_lock<std::mutex> lock(mutex_);
  uint64_t seen = entries_ - 1;
  bool settled = false;  // nothing was done since the first sleep
  while (usable()) {
    if (hosted_ && !submitted_) {
      rest_while_hosted(lock);
      if (ended_) break;
      continue;
    }
    pump_wake_.wait_for(lock, kPumpTick);
    if (!usable()) break;
    if (entries_ != seen) {  // the foreground is busy with us: it drains
      seen = entries_;
      settled = false;
      if (signals_told_) signal_came();
      continue;
    }
    if (inside_ == 0) {
      drain();
      wake_.notify_all();
      if (ended_ || !client_->arm(kArmedEventFd)) {
        if (ended_) break;
        continue;
      }
    }
    pump_asleep_ = true;
    const int ready = watch(lock, settled ? -1 : kFirstSleepMs);
    pump_asleep_ = false;
    if (!usable()) break;
    settled = ready == 0;
    if (ready > 0) os::drain_event(client_->doorbell_fd());
    if (inside_ == 0) {
      drain();
      wake_.notify_all();
    } else if (ready > 0) {
      wake_sleeper();
    } else {
      client_->flush();
    }
    seen = settled ? entries_ : entries_ - 1;  // one tick awake, when something came
  }
}

// Sleeps until a bell (which is left to the caller), the raylet's end or a signal; how many of them came.
int Session::watch(std::unique_lock<std::mutex>& lock, int timeout_ms) {
  pollfd fds[3] = {{client_->doorbell_fd(), POLLIN, 0},
                   {client_->socket_fd(), POLLIN, 0},
                   {signal_read_.get(), POLLIN, 0}};
  lock.unlock();
  const int ready = ::poll(fds, 3, timeout_ms);
  lock.lock();
  if (ready <= 0 || !usable()) return ready;
  if (fds[1].revents != 0) client_->socket_readable();
  if (fds[2].revents != 0) signal_came();
  return ready;
}

// The main thread, wherever it sleeps, goes and looks for signals, if there are any in the pipe.
void Session::signal_came() {
  char numbers[64];
  bool some = false;
  while (::read(signal_read_.get(), numbers, sizeof(numbers)) > 0) some = true;
  if (!some) return;
  interrupted_ = true;
  wake_.notify_all();
  resting_.notify_all();
  wake_sleeper();
}

int Session::signal_fd() {
  std::lock_guard<std::mutex> lock(mutex_);
  ensure_pump();
  return pump_ != nullptr && signal_write_.is_open() ? signal_write_.get() : -1;
}

// The event loop takes what comes. What it leaves, since its thread is busy, is taken here. When nothing comes this sleeps
// until the bell that wakes the loop, too; whoever of the two comes late finds it read empty, and that is well.
void Session::rest_while_hosted(std::unique_lock<std::mutex>& lock) {
  const uint64_t seen = looks_;
  if (quiet_ticks_ < kQuietTicks) {
    pump_wake_.wait_for(lock, kHostedTick);
  } else {
    watch(lock, -1);
    quiet_ticks_ = 0;
    if (usable()) wake_sleeper();
  }
  if (!usable()) return;
  if (signals_told_) signal_came();  // the loop never looks for them, however busy it is
  if (looks_ != seen) {
    quiet_ticks_ = 0;
    return;
  }
  ++quiet_ticks_;
  if (inside_ == 0) drain();
  client_->flush();
  wake_.notify_all();
}

// REQUIRES: armed with kArmedFutex and `draining_`, both by this thread; mutex_ not held.
void Session::sleep_at_doorbell(int64_t timeout_ms) {
  const auto& armed = client_->segment().endpoint(client_->endpoint()).armed;
  const uint32_t bits = armed.load(std::memory_order_acquire);
  if (bits & kArmedFutex) os::futex_wait(armed, bits, static_cast<int>(timeout_ms));
}

// Whoever sleeps on the futex looks again. What is armed for an eventfd stays so. REQUIRES: mutex_ held.
void Session::wake_sleeper() {
  if (!draining_) return;
  auto& armed = client_->segment().endpoint(client_->endpoint()).armed;
  armed.store(0, std::memory_order_release);
  os::futex_wake_all(armed);
}

void Session::close() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (closed_) return;
  closed_ = true;
  tell_all();
  if (!client_->is_detached()) wake_sleeper();
  os::signal_event(client_->doorbell_fd());  // the pump sleeps there, detached or not
  wake_.notify_all();
  idle_.notify_all();
  resting_.notify_all();
  if (hosted_) os::signal_event(calls_fd_.get());
  pump_wake_.notify_all();
  std::thread* pump = pump_;
  pump_ = nullptr;
  // A thread that sleeps on the doorbell still reads the segment.
  wake_.wait_for(lock, kLastWait, [&] { return !draining_; });
  lock.unlock();
  if (pump != nullptr) {
    pump->join();
    delete pump;
  }
  lock.lock();
  if (!client_->is_detached()) client_->detach();
}

}  // namespace polyray::py
