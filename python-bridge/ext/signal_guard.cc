// SPDX-License-Identifier: Apache-2.0
// Who gets Python's signals while the main thread sleeps: see signal_guard.h.
#include "signal_guard.h"

#include <nanobind/nanobind.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "session.h"

namespace polyray::py {

namespace nb = nanobind;

namespace {

constexpr int kNone = -1;

int set_fd = kNone;  // what a guard has set, while it holds

// Gives what was set before. Who set that did not want to be warned, or is not any more.
int set_wakeup_fd(int fd) {
  nb::object before = nb::module_::import_("signal").attr("set_wakeup_fd")(
      fd, nb::arg("warn_on_full_buffer") = false);
  return nb::cast<int>(before);
}

void unset() {
  const int last = set_wakeup_fd(kNone);
  if (last != set_fd) set_wakeup_fd(last);
  set_fd = kNone;
}

// A child that is forked by another thread during a wait: the pipe is its parent's.
void register_at_fork() {
  static bool registered = false;
  if (registered) return;
  nb::module_::import_("os").attr("register_at_fork")(nb::arg("after_in_child") =
                                                          nb::cpp_function([] {
                                                            if (set_fd != kNone) unset();
                                                          }));
  registered = true;
}

// While the descriptor is looked at, no signal comes to this thread.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

bool on_main_thread() {
  thread_local const bool main = syscall(SYS_gettid) == getpid();
  return main && syscall(SYS_gettid) == getpid();
}

void SignalGuard::begin(const std::shared_ptr<Session>& session) {
  if (tried_) return;
  tried_ = true;
  if (!on_main_thread() || session->signals_told()) return;
  const int fd = session->signal_fd();
  if (fd < 0) return;
  try {
    register_at_fork();
    const SignalsHeld held;
    const int before = set_wakeup_fd(fd);
    if (before != kNone) {
      set_wakeup_fd(before);
      return;
    }
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("polyray: signals of a wait");
    return;
  }
  session_ = session;
  set_fd = fd;
  session->tell_signals(true);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // before the look for signals that follows
}

SignalGuard::~SignalGuard() {
  if (session_ == nullptr) return;
  session_->tell_signals(false);
  if (set_fd == kNone) return;  // a child that a signal's handler forked
  try {
    const SignalsHeld held;
    unset();
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("polyray: signals of a wait");
  }
}

}  // namespace polyray::py
