// SPDX-License-Identifier: Apache-2.0
// One attached endpoint as Python sees it: the native Client behind an in-process lock.
//
// Threads that wait (the *foreground*) drain the rings themselves: one sleeps on the doorbell, the others on `wake_`.
// While every thread runs Python code, the *pump* (a native thread, started with the first call) keeps leases, actor
// states and cancellations moving; it never touches Python and yields to a busy foreground (one look a millisecond).
// Calls are taken by whoever asks for the next one (take_call). Threads that only wait for a call sleep apart from those
// that wait for objects: one of them on the doorbell, the others on `idle_`, of which one at a time is roused while calls
// are left. An event loop that takes calls (host_calls) watches the doorbell itself; the pump then sleeps in ticks until
// this process submits something.
//
// Nobody polls. Who sleeps, on what, and who wakes it:
// | who | sleeps on | woken by |
// |---|---|---|
// | one of the foreground (`draining_`) | futex of the doorbell, armed with kArmedFutex | bells; wake_sleeper(); the client for what it settles by itself |
// | the others of the foreground | `wake_` | whoever stops draining, always after it; the pump |
// | threads that only wait for calls | `idle_` | rouse(), by whoever drains |
// | an event loop that takes calls | doorbell's eventfd, `calls_fd_` | bells, while nobody is in the foreground; rouse() |
// | the main thread, when others take the calls | `resting_` | chores, signals, end_rest() |
// | the pump | eventfd, session socket, signal pipe | bells, while nobody is in the foreground; the raylet's end; signals |
// So the raylet's end and signals have one watchman, the pump, who wakes the others; a signal reaches its pipe only while
// the main thread waits for long (signal_guard.h): before, that looks for itself, ten times a second. A thread that changes
// something while another sleeps hands it over (hand_over): bells that are due are rung, and the sleeper is woken for work
// that no bell tells. Whoever rests looks once a minute all the same.
// Thread rules: every method locks `mutex_`; none touches a Python object while it is held (a collection could run a
// Ref's destructor, which locks again). The waiting methods are called without the GIL.
// Invariants:
//  1. At most one foreground thread sleeps on the futex; when the last one leaves, the eventfd is armed for the pump.
//  2. `draining_` ends with a notify_all() of `wake_` under the mutex: who sleeps there never misses its turn to drain.
//  3. Only the pump and the event loop read the eventfd empty; each looks at the rings after that.
//  4. A forked child never touches the parent's client or locks: usable() is false there, and nothing is destroyed.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "client/client.h"
#include "notifier.h"
#include "os/env.h"

namespace polyray::py {

// One thread's wait for objects.
struct ObjectWait {
  size_t pending = 0;
  size_t settled = 0;
  bool any_error = false;  // the first that is settled with an error ends the wait
  bool failed = false;
};

enum class WaitOutcome { kReady = 0, kTimeout = 1, kEvents = 2, kInterrupted = 3, kClosed = 4 };

// Things that only Python can do; taken by whoever waits next.
struct Chores {
  bool collect = false;  // memory is short: collect garbage, then gc_done()
  struct Cancelled {
    ObjectId task;
    uint32_t how;  // kCancelForce | kCancelNotRecursive
  };
  std::vector<Cancelled> cancelled;  // tasks that run here and shall stop
};

class Session {
 public:
  explicit Session(std::unique_ptr<Client> client);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool usable() const { return !closed_ && !client_->is_detached(); }
  // The raylet said that the runtime ends, or it died.
  bool ended() const { return ended_; }
  // Runs `use(client)` under the lock.
  template <class Use>
  auto with(Use&& use) {
    std::lock_guard<std::mutex> lock(mutex_);
    return use(*client_);
  }
  std::mutex& mutex() { return mutex_; }
  Client& client() { return *client_; }

  // --- waiting (without the GIL)
  // Until `needed` of the ids are settled; `any_error`: or one of them with an error. `blocked`: a task that waits tells the raylet, which uses its resources meanwhile.
  WaitOutcome wait(const std::vector<ObjectId>& ids, size_t needed, int64_t timeout_ms,
                   bool blocked, bool main_thread, bool any_error = false, bool streams = false);
  // The same for a few of many: `fresh` are those of `ids` that the client does not watch yet; all are looked at after
  // each wake-up.
  WaitOutcome wait_few(const std::vector<ObjectId>& fresh, const std::vector<ObjectId>& ids,
                       size_t needed, int64_t timeout_ms, bool blocked, bool main_thread);
  // Until there is a call to take, or stop_calls().
  WaitOutcome wait_call(int64_t timeout_ms, bool main_thread);
  // An answer of the node service.
  WaitOutcome wait_answer(uint32_t request, std::vector<uint8_t>& payload, int64_t timeout_ms,
                          bool main_thread);
  // Item `index` of a stream (its reference goes to the caller), or kReady with a nil id: the stream has ended.
  WaitOutcome next_item(const ObjectId& task, ObjectId& item, int64_t timeout_ms, bool main_thread);

  // Until the caller of a stream that is produced here has taken `needed` items (or cancelled it).
  WaitOutcome wait_consumed(const ObjectId& task, uint32_t needed, int64_t timeout_ms,
                            bool main_thread);
  void end_producing(const ObjectId& task);

  // --- without waiting. REQUIRES: mutex_ held for those that say so.
  // The next incoming call, if there is one; the caller owns it until reply. `arrived`: after wait_call.
  bool take_call(IncomingCall& call, bool arrived);  // held
  // From now on an event loop takes the calls, whenever doorbell_fd() or this descriptor is readable. -1: no descriptor.
  int host_calls();
  // All incoming calls, for that loop; arms the doorbell.
  void take_calls(std::deque<IncomingCall>& calls);  // held
  void look();                                       // held: takes in what has come
  // Nobody waits for calls any more.
  void stop_calls();
  // What the main thread does while others take the calls: sleeps until there are chores or signals, or end_rest().
  WaitOutcome rest();
  void end_rest();
  bool calls_stopped() const { return stopped_; }
  bool has_chores() const { return chores_.collect || !chores_.cancelled.empty(); }  // held
  void open_stream(const ObjectId& task);                                            // held
  bool stream_has_item(const ObjectId& task, bool unknown = true);
  bool stream_at_end(const ObjectId& task);  // it has ended and every item was taken
  void close_stream(const ObjectId& task);   // drops what was not taken
  void watch_actor(const ObjectId& actor);   // held; once per actor, answers are handled here
  // False: settled already. `next_item`: the id names a stream, whose next item (or end) is meant.
  bool notify(const ObjectId& id, const std::shared_ptr<Notifier>& notifier, bool next_item);
  Chores take_chores();
  // How a call that runs here was cancelled (Chores::Cancelled::how), or nothing.
  std::optional<uint32_t> cancelled(const ObjectId& task);
  // The error that its caller gave for it, as an envelope; empty when none came.
  std::vector<uint8_t> cancel_error(const ObjectId& task);
  void forget_cancelled(const ObjectId& task);
  // Starts the pump unless it runs. `interrupt`: a cancelled call signals SIGINT to the calling thread.
  void start_pump(bool interrupt);  // held
  // The end of a pipe: whatever is written there ends the main thread's wait with kInterrupted. -1: there is none.
  int signal_fd();
  // Signals are written there: the main thread need not look for them.
  void tell_signals(bool told) { signals_told_ = told; }
  bool signals_told() const { return signals_told_; }
  void close();

 private:
  template <class Done>
  WaitOutcome run_until(std::unique_lock<std::mutex>& lock, Done&& done, int64_t timeout_ms,
                        bool main_thread, bool blocked = false, bool taker = false);
  void drain(bool taker = false);
  void rouse();
  void rest_while_hosted(std::unique_lock<std::mutex>& lock);
  void on_event(Event& event);
  void on_actor_state(std::span<const uint8_t> payload, const ObjectId* asked);
  void settle(const ObjectId& id);
  void settle_stream(const ObjectId& id);
  void tell_all();
  bool has_failed(const ObjectId& id);
  void leave();
  void hand_over();
  void sleep_at_doorbell(int64_t timeout_ms);
  void wake_sleeper();
  bool take_interrupt();
  void ensure_pump();
  void pump_main();
  int watch(std::unique_lock<std::mutex>& lock, int timeout_ms);
  void signal_came();

  struct Stream {
    std::deque<ObjectId> items;
    bool ended = false;
    bool has_next() const { return ended || !items.empty(); }
  };
  struct Told {
    ObjectId id;
    std::vector<std::shared_ptr<Notifier>> who;
  };
  struct IdHash {
    size_t operator()(const ObjectId& id) const { return id.unique * 0x9e3779b97f4a7c15ull; }
  };

  using Waits = std::unordered_multimap<uint64_t, ObjectWait*>;
  using Notifiers = std::unordered_map<uint64_t, Told>;
  void settle_in(Waits& waits, const ObjectId& id);
  static void tell(Notifiers& notifiers, const ObjectId& id);

  const int owner_pid_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::unique_ptr<Client> client_;
  bool draining_ = false;  // a foreground thread sleeps on the futex
  std::atomic<bool> closed_{false};
  std::atomic<bool> ended_{false};
  size_t inside_ = 0;     // foreground threads that wait
  uint64_t entries_ = 0;  // how often one began to wait

  std::vector<Event> batch_;
  std::deque<IncomingCall> calls_;
  std::condition_variable
      idle_;  // threads that only wait for calls, while another sleeps on the doorbell
  size_t idle_threads_ = 0;
  bool roused_ = false;  // one of them is on its way
  std::atomic<bool> stopped_{false};
  os::Fd calls_fd_;          // tells the event loop that takes calls
  bool hosted_ = false;      // there is one
  bool calls_told_ = false;  // calls_fd_ is signalled
  bool submitted_ = false;   // this process has calls of its own
  uint64_t looks_ = 0;       // how often the loop looked
  std::unordered_map<uint32_t, std::vector<uint8_t>> answers_;
  Waits waits_;
  Waits stream_waits_;
  Notifiers notifiers_;
  Notifiers stream_notifiers_;
  std::unordered_map<uint64_t, uint32_t> consumed_;  // of streams that are produced here
  std::unordered_map<uint64_t, Stream> streams_;
  std::unordered_set<uint64_t> watched_actors_;
  std::unordered_map<uint32_t, ObjectId> watch_requests_;
  Chores chores_;
  struct Cancel {
    uint32_t how = 0;
    std::vector<uint8_t> error;
  };
  std::unordered_map<uint64_t, Cancel> cancelled_;

  std::condition_variable resting_;
  bool rest_over_ = false;
  os::Fd signal_read_, signal_write_;
  std::atomic<bool> signals_told_{false};
  bool interrupted_ = false;  // a signal came

  std::thread* pump_ = nullptr;  // leaked in a forked child
  std::condition_variable pump_wake_;
  bool pump_asleep_ = false;
  uint32_t quiet_ticks_ = 0;  // of the pump, since the event loop looked
  pthread_t interrupt_thread_{};
  bool interrupts_ = false;
};

}  // namespace polyray::py
