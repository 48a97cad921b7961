// SPDX-License-Identifier: Apache-2.0
// Python's signals for a main thread that sleeps for long: while a guard holds, they are written to the pipe of its session,
// whose pump wakes the main thread. Without one that thread has to look for them itself.
//
// A signal does not reliably end a sleep by itself: another thread may get it, or it may come just before the sleep begins.
// Python's wakeup descriptor covers both, and it belongs to the program (asyncio puts its own there): where there is one,
// begin() does nothing and the waits go on in slices. The program's own choice during a wait (a handler) is left as it is, and
// verify(), before each sleep, finds it.
// Order: first the descriptor, then a look for signals (PyErr_CheckSignals), then the sleep; Python's handler marks the
// signal, then reads the descriptor. So one of the two sees what the other did.
// Thread rules: made, begun and dropped with the GIL.
#pragma once
#include <memory>

namespace polyray::py {

class Session;

bool on_main_thread();

class SignalGuard {
 public:
  SignalGuard() = default;
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  // Tries once. Does nothing in other threads than the main thread, and inside of another guard of the session.
  void begin(const std::shared_ptr<Session>& session);
  // Ends what a guard (of this wait, or of one around it) holds, if the program has set another descriptor meanwhile.
  static void verify(Session& session);

 private:
  bool tried_ = false;
  std::shared_ptr<Session> session_;  // while it holds
};

}  // namespace polyray::py
