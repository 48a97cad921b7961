// SPDX-License-Identifier: Apache-2.0
// The pump of a Session, and its end: see session.h for the thread rules.
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <chrono>

#include "os/env.h"
#include "session.h"
#include "store/segment.h"

namespace polyray::py {

namespace {
using Millis = std::chrono::milliseconds;
constexpr Millis kPumpTick{1};
// While an event loop watches the doorbell: how long what it does not look at may wait.
constexpr Millis kHostedTick{100};
// Longer than a wait on the doorbell without a look at the session.
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
  if (pump_ != nullptr || !usable()) return;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pump_ = new std::thread([this] { pump_main(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Session::pump_main() {
  pthread_setname_np(pthread_self(), "polyray-pump");
  std::unique_lock<std::mutex> lock(mutex_);
  uint64_t seen = entries_ - 1;
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
    const int bell = client_->doorbell_fd();
    pollfd fds[2] = {{bell, POLLIN, 0}, {client_->socket_fd(), POLLIN, 0}};
    lock.unlock();
    ::poll(fds, 2, -1);
    lock.lock();
    pump_asleep_ = false;
    if (!usable()) break;
    os::drain_event(bell);
    if (inside_ == 0) {
      drain();
      wake_.notify_all();
    } else {
      wake_sleeper();
    }
    seen = entries_ - 1;  // one tick awake
  }
}

// The event loop takes what comes. What it leaves, since its thread is busy, is taken here.
void Session::rest_while_hosted(std::unique_lock<std::mutex>& lock) {
  const uint64_t seen = looks_;
  pump_wake_.wait_for(lock, kHostedTick);
  if (!usable() || looks_ != seen) return;
  if (inside_ == 0) drain();
  client_->flush();
  wake_.notify_all();
}

// Whoever sleeps on the futex looks again.
void Session::wake_sleeper() {
  auto& armed = client_->segment().endpoint(client_->endpoint()).armed;
  armed.store(0, std::memory_order_release);
  os::futex_wake_all(armed);
}

void Session::close() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (closed_) return;
  closed_ = true;
  tell_all();
  if (!client_->is_detached()) {
    wake_sleeper();
    os::signal_event(client_->doorbell_fd());
  }
  wake_.notify_all();
  idle_.notify_all();
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
