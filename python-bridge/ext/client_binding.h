// SPDX-License-Identifier: Apache-2.0
// The Python class Client: a session, and the waiting that every blocking method shares.
//
// Every waiting method runs without the GIL. It comes back for signals (Ctrl-C raises KeyboardInterrupt from the wait) and
// for chores: in slices first, and only when it is told once it waits for long (signal_guard.h). Errors are exceptions of polyray.exceptions.
#pragma once
#include <algorithm>
#include <chrono>
#include <memory>

#include "errors.h"
#include "objects.h"
#include "os/env.h"
#include "session.h"
#include "signal_guard.h"

namespace polyray::py {

struct Endpoint {
  std::shared_ptr<Session> session;
  nb::object on_cancel;  // called with a task id and whether its children go too, or None
  size_t takers = 0;     // threads that wait for calls; with the GIL

  Session& open() const {
    if (!session || !session->usable()) {
      raise_code(
          StatusCode::kNotInitialized,
          "[not initialized] this process is not attached to a runtime. Call polyray.init().");
    }
    return *session;
  }
};

// The deadline of the call that this thread took last (os::now_ms(), 0 none): what it submits ends by then, too.
extern thread_local uint64_t running_deadline_ms;
// The mutex of a session. The GIL is never waited for with it held (a Ref's destructor takes it with the GIL): when it is
// taken, this waits for it without the GIL, lets it go and tries again.
class Locked {
 public:
  explicit Locked(Session& session) : lock_(session.mutex(), std::try_to_lock) {
    while (!lock_.owns_lock()) {
      {
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> wait(session.mutex());
      }
      static_cast<void>(lock_.try_lock());
    }
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

void do_chores(Endpoint& endpoint);
[[noreturn]] void raise_ended();

// Calls wait(milliseconds left) until it is ready (true) or the time is over (false). Signals are looked for for `look_ms`,
// then the main thread is told of them.
inline constexpr int64_t kLookMs = 1000;
template <class Wait>
bool wait_with_signals(Endpoint& endpoint, int64_t timeout_ms, Wait&& wait,
                       int64_t look_ms = kLookMs) {
  const auto start = std::chrono::steady_clock::now();
  const auto waited_ms = [&] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 start)
        .count();
  };
  SignalGuard guard;
  for (;;) {
    SignalGuard::verify(*endpoint.session);
    int64_t left = timeout_ms;
    if (timeout_ms >= 0) left = std::max<int64_t>(0, left - waited_ms());
    WaitOutcome outcome;
    {
      nb::gil_scoped_release release;
      outcome = wait(left);
    }
    switch (outcome) {
      case WaitOutcome::kReady:
        return true;
      case WaitOutcome::kTimeout:
        return false;
      case WaitOutcome::kClosed:
        if (endpoint.session->ended()) raise_ended();
        raise_code(StatusCode::kNotInitialized,
                   "[not initialized] the runtime was shut down while this call waited.");
      case WaitOutcome::kInterrupted:
        if (waited_ms() >= look_ms) guard.begin(endpoint.session);
        [[fallthrough]];
      case WaitOutcome::kEvents:
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        do_chores(endpoint);
    }
  }
}

// begin(client, wait_ms) waits that long for memory, with the lock; -> Result or Status. Waits for timeout_ms in all: the lock
// and the GIL are free between the slices, and what this process holds as garbage is collected when memory is short.
inline constexpr uint32_t kRoomSliceMs = 20;
inline constexpr uint32_t kRoomPauseMs = 2;  // between slices, for the others of this process
inline bool is_full(const Status& status) {
  return status.code == StatusCode::kObjectStoreFull || status.code == StatusCode::kOutOfMemory;
}
template <class T>
bool is_full(const Result<T>& result) {
  return is_full(result.status());
}
template <class Begin>
auto wait_for_room(Endpoint& endpoint, int64_t timeout_ms, Begin&& begin) {
  Session& session = endpoint.open();
  decltype(begin(session.client(), 0)) begun = Status{};
  wait_with_signals(endpoint, timeout_ms, [&](int64_t left) {
    const WaitOutcome outcome = session.with([&](Client& client) {
      if (!session.usable()) return WaitOutcome::kClosed;
      begun = begin(client, kRoomSliceMs);
      if (!is_full(begun)) return WaitOutcome::kReady;
      session.look();
      if (session.ended()) return WaitOutcome::kClosed;
      return left == 0 ? WaitOutcome::kTimeout : WaitOutcome::kInterrupted;
    });
    if (outcome == WaitOutcome::kInterrupted) os::sleep_ms(kRoomPauseMs);
    return outcome;
  });
  return begun;
}
// The same, begun with the GIL and without waiting: what is small finds room at once.
template <class Begin>
auto with_room(Endpoint& endpoint, int64_t timeout_ms, Begin&& begin) {
  Session& session = endpoint.open();
  auto begun = [&] {
    const Locked lock(session);
    return begin(session.client(), 0);
  }();
  return is_full(begun) ? wait_for_room(endpoint, timeout_ms, begin) : begun;
}

void bind_client(nb::module_& module);
void bind_client_objects(nb::class_<Endpoint>& client);
void bind_client_calls(nb::class_<Endpoint>& client);
void bind_client_worker(nb::class_<Endpoint>& client);
void bind_client_wait(nb::class_<Endpoint>& client);

}  // namespace polyray::py
