// SPDX-License-Identifier: Apache-2.0
// Who gets Python's signals while the main thread sleeps: see signal_guard.h.
#include "signal_guard.h"

#include <fcntl.h>
#include <nanobind/nanobind.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "os/env.h"
#include "session.h"

namespace polyray::py {

namespace nb = nanobind;

namespace {

constexpr int kNone = -1;
// A program with a descriptor of its own is left alone so long.
constexpr uint64_t kAgainMs = 60'000;

int set_fd = kNone;  // what a guard has set, while it holds
uint64_t again_ms = 0;
os::Fd probe_read, probe_write;

// Gives what was set before. Whether the program wants to be warned of a full buffer cannot be known: it is not, then.
int set_wakeup_fd(int fd) {
  nb::object before = nb::module_::import_("signal").attr("set_wakeup_fd")(
      fd, nb::arg("warn_on_full_buffer") = false);
  return nb::cast<int>(before);
}

ssize_t take_probed(char (&numbers)[64]) {
  return ::read(probe_read.get(), numbers, sizeof(numbers));
}

// What is set. Python tells only who sets another, for which a pipe is kept: asyncio acts on nothing but the byte that a
// signal leaves, so those that came meanwhile are passed on. False: there is no pipe.
bool look_at_wakeup_fd(int& found) {
  int ends[2];
  if (!probe_read.is_open() && ::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
    probe_read.reset(ends[0]);
    probe_write.reset(ends[1]);
  }
  if (!probe_read.is_open()) return false;
  char numbers[64];
  while (take_probed(numbers) > 0) {
  }
  found = set_wakeup_fd(probe_write.get());
  try {
    set_wakeup_fd(found);
  } catch (nb::python_error&) {  // the program closed it
    set_wakeup_fd(kNone);
    throw;
  }
  for (;;) {
    const ssize_t came = take_probed(numbers);
    if (came <= 0) return true;
    // As in Python's own handler, what finds no room is lost.
    if (found != kNone && ::write(found, numbers, static_cast<size_t>(came)) < 0) return true;
  }
}

void unset() {
  int now = kNone;
  if (look_at_wakeup_fd(now) && now == set_fd) set_wakeup_fd(kNone);
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
  if (!on_main_thread() || session->signals_told() || os::now_ms() < again_ms) return;
  const int fd = session->signal_fd();
  if (fd < 0) return;
  try {
    register_at_fork();
    const SignalsHeld held;
    int before = kNone;
    if (!look_at_wakeup_fd(before)) return;
    if (before != kNone) {
      again_ms = os::now_ms() + kAgainMs;
      return;
    }
    set_wakeup_fd(fd);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("polyray: signals of a wait");
    return;
  }
  session_ = session;
  set_fd = fd;
  session->tell_signals(true);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // before the look for signals that follows
}

void SignalGuard::verify(Session& session) {
  if (set_fd == kNone || !on_main_thread() || !session.signals_told()) return;
  try {
    const SignalsHeld held;
    int now = kNone;
    if (look_at_wakeup_fd(now) && now == set_fd) return;
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("polyray: signals of a wait");
  }
  session.tell_signals(false);
  set_fd = kNone;
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
