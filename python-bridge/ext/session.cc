// SPDX-License-Identifier: Apache-2.0
// Draining and waiting of a Session: see session.h for the thread rules.
#include "session.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "actor_state.h"
#include "os/env.h"
#include "store/error_envelope.h"
#include "store/segment.h"

namespace polyray::py {

namespace {

// A credit for any number of items: nobody takes them.
constexpr uint32_t kAllItems = 0xffffffff;

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;
constexpr size_t kBatch = 256;
// The main thread looks for signals this often unless it is told of them.
constexpr int64_t kSignalSliceMs = 100;
// While results keep coming, since each return costs a look at all the ids of a wait.
constexpr int64_t kBusyLookMs = 500;
// The first sleep of a wait: what was sent without a bell is told after it.
constexpr int64_t kFirstSliceMs = 500;
// Later ones. Nothing depends on it: whoever rests is woken.
constexpr int64_t kRestSliceMs = 60'000;
constexpr uint32_t kActorTopic = 1;

int64_t since(Clock::time_point start) {
  return std::chrono::duration_cast<Millis>(Clock::now() - start).count();
}

}  // namespace

Session::Session(std::unique_ptr<Client> client)
    : owner_pid_(getpid()), client_(std::move(client)) {}

Session::~Session() {
  if (getpid() != owner_pid_) {  // the parent's threads and locks are not here: leave all as it is
    static_cast<void>(client_.release());
    static_cast<void>(signal_read_.release());  // Python may write signals there
    static_cast<void>(signal_write_.release());
    return;
  }
  close();
}

// --- events ------------------------------------------------------------------------------------------------------

// `taker`: the caller takes a call next.
void Session::drain(bool taker) {
  for (;;) {
    batch_.clear();
    const size_t count = client_->poll(batch_, kBatch);
    for (Event& event : batch_) on_event(event);
    if (count < kBatch) break;
  }
  // The runtime was killed: the poll after the detachment brings kShutdown, which tells those who wait.
  if (!ended_ && client_->is_detached()) {
    batch_.clear();
    client_->poll(batch_, kBatch);
    for (Event& event : batch_) on_event(event);
  }
  if (calls_.size() > (taker ? 1 : 0) || has_chores()) rouse();
  if (has_chores()) resting_.notify_all();
}

// Somebody who waits for calls shall look: the event loop, or one thread; others follow while calls are left.
void Session::rouse() {
  if (hosted_) {
    if (!calls_told_) os::signal_event(calls_fd_.get());
    calls_told_ = true;
  } else if (idle_threads_ > 0 && !roused_) {
    roused_ = true;
    idle_.notify_one();
  }
}

void Session::on_event(Event& event) {
  switch (event.kind) {
    case EventKind::kObjectReady:
    case EventKind::kObjectGone:
      settle(event.id);
      break;
    case EventKind::kCall:
      calls_.push_back(std::move(event.call));
      break;
    case EventKind::kServiceAnswer:
      if (auto asked = watch_requests_.find(event.a); asked != watch_requests_.end()) {
        const ObjectId actor = asked->second;
        watch_requests_.erase(asked);
        on_actor_state(event.payload, &actor);
      } else {
        answers_.emplace(event.a, std::move(event.payload));
      }
      break;
    case EventKind::kPush:
      if (event.a == kActorTopic) on_actor_state(event.payload, nullptr);
      break;
    case EventKind::kStreamItem:
      if (auto stream = streams_.find(event.id.unique); stream != streams_.end()) {
        stream->second.items.push_back(event.id2);
        settle_stream(event.id);
      } else {
        client_->release_ref(event.id2);
        client_->stream_consumed(event.id, kAllItems);  // dropped before its call was sent
      }
      break;
    case EventKind::kStreamEnd:
      if (auto stream = streams_.find(event.id.unique); stream != streams_.end())
        stream->second.ended = true;
      settle(event.id);
      settle_stream(event.id);
      break;
    case EventKind::kStreamCredit: {
      uint32_t& consumed = consumed_[event.id.unique];
      consumed = std::max(consumed, event.a);
      break;
    }
    case EventKind::kCancel:
      if (event.a & kCancelForce) _exit(137);  // the caller settles the call
      cancelled_[event.id.unique] = {event.a, event.payload};
      chores_.cancelled.push_back({event.id, event.a});
      if (interrupts_) pthread_kill(interrupt_thread_, SIGINT);
      break;
    case EventKind::kGcRequest:
      chores_.collect = true;
      break;
    case EventKind::kShutdown:
      ended_ = true;
      tell_all();
      idle_.notify_all();
      resting_.notify_all();
      if (hosted_) os::signal_event(calls_fd_.get());
      break;
    default:
      break;
  }
}

void Session::settle(const ObjectId& id) {
  settle_in(waits_, id);
  tell(notifiers_, id);
}

// Whoever waits for the next item of a stream; its task's own ref is not settled by that.
void Session::settle_stream(const ObjectId& id) {
  settle_in(stream_waits_, id);
  tell(stream_notifiers_, id);
}

void Session::settle_in(Waits& waits, const ObjectId& id) {
  auto [first, last] = waits.equal_range(id.unique);
  for (auto it = first; it != last; ++it) {
    it->second->pending -= 1;
    it->second->settled += 1;
    if (it->second->any_error) it->second->failed |= has_failed(id);
  }
  waits.erase(first, last);
}

void Session::tell(Notifiers& notifiers, const ObjectId& id) {
  if (auto found = notifiers.find(id.unique); found != notifiers.end()) {
    for (auto& notifier : found->second.who) notifier->add(found->second.id);
    notifiers.erase(found);
  }
}

// The runtime has ended: whoever waits asks, and gets the error.
void Session::tell_all() {
  for (Notifiers* notifiers : {&notifiers_, &stream_notifiers_}) {
    for (auto& [unique, told] : *notifiers) {
      for (auto& notifier : told.who) notifier->add(told.id);
    }
    notifiers->clear();
  }
}

bool Session::has_failed(const ObjectId& id) {
  const ObjectStatus status = client_->status(id);
  return status == ObjectStatus::kError || status == ObjectStatus::kGone;
}

void Session::on_actor_state(std::span<const uint8_t> payload, const ObjectId* asked) {
  ActorStateMap state;
  if (!read_actor_state(payload, state)) return;
  if (!state.ok && asked != nullptr) {
    const auto error =
        error_envelope({.code = StatusCode::kActorDied, .message = state.message, .actor = asked});
    client_->set_actor_state(*asked, ActorPhase::kDead, 0, 0, 0, error);
    return;
  }
  client_->set_actor_state(state.actor, static_cast<ActorPhase>(state.phase),
                           state.endpoint | state.serial << 32, state.incarnation,
                           state.max_task_retries, state.error);
  if (state.phase == static_cast<uint32_t>(ActorPhase::kDead))
    watched_actors_.erase(state.actor.unique);
}

void Session::watch_actor(const ObjectId& actor) {
  if (client_->actor_phase(actor) != ActorPhase::kUnknown ||
      !watched_actors_.insert(actor.unique).second)
    return;
  watch_requests_.emplace(client_->service_request(actor_watch_request(actor)), actor);
}

// --- waiting -----------------------------------------------------------------------------------------------------

template <class Done>
WaitOutcome Session::run_until(std::unique_lock<std::mutex>& lock, Done&& done, int64_t timeout_ms,
                               bool main_thread, bool blocked, bool taker) {
  if (!usable()) return WaitOutcome::kClosed;
  if (done()) return WaitOutcome::kReady;
  const auto start = Clock::now();
  bool told = false;
  bool watched = false;
  bool quiet = false;  // a whole slice went by
  ++inside_;
  ++entries_;
  const auto loop = [&]() -> WaitOutcome {
    for (;;) {
      if (!draining_) drain(taker);
      if (done()) return WaitOutcome::kReady;
      if (ended_ || !usable()) return WaitOutcome::kClosed;
      if (has_chores()) return WaitOutcome::kEvents;
      if (main_thread && take_interrupt()) return WaitOutcome::kInterrupted;
      const int64_t left =
          timeout_ms < 0 ? kRestSliceMs : std::max<int64_t>(0, timeout_ms - since(start));
      if (left == 0) return WaitOutcome::kTimeout;
      if (blocked && !told) {
        told = true;
        client_->set_blocked(true);
      }
      if (quiet) ensure_pump();
      const bool rests = quiet && pump_ != nullptr;
      const bool looks = main_thread && !signals_told_;
      const int64_t wanted = looks ? kSignalSliceMs : rests ? kRestSliceMs : kFirstSliceMs;
      const int64_t slice = std::min(left, wanted);
      const auto slept_from = Clock::now();
      if (draining_) {
        hand_over();
        wake_.wait_for(lock, Millis(slice));
      } else if (!watched) {
        watched = true;  // and what changed meanwhile is looked at before the sleep
        draining_ = true;
        lock.unlock();
        client_->watch();
        lock.lock();
        draining_ = false;
        wake_.notify_all();
        continue;
      } else if (client_->arm(kArmedFutex)) {
        watched = false;
        draining_ = true;
        lock.unlock();
        sleep_at_doorbell(slice);
        lock.lock();
        draining_ = false;
        if (usable()) drain(taker);
        wake_.notify_all();
      }
      quiet = since(slept_from) >= wanted;
      // Perhaps there is a signal. The caller looks, with the GIL, and comes back.
      if (looks && (quiet || since(start) >= kBusyLookMs) && !done())
        return WaitOutcome::kInterrupted;
    }
  };
  const WaitOutcome outcome = loop();
  if (told && usable()) client_->set_blocked(false);
  --inside_;
  if (inside_ == 0)
    leave();
  else if (!draining_)
    wake_.notify_all();
  return outcome;
}

// This thread is about to sleep, or to run its own code, while another sleeps on the doorbell.
void Session::hand_over() {
  client_->flush();
  if (client_->has_work()) wake_sleeper();
}

bool Session::take_interrupt() {
  const bool taken = interrupted_;
  interrupted_ = false;
  return taken;
}

// The last foreground thread goes back to its own code: from now on bells are for the pump.
void Session::leave() {
  if (!usable() || (!hosted_ && (pump_ == nullptr || !pump_asleep_))) return;
  if (!client_->arm(kArmedEventFd)) os::signal_event(client_->doorbell_fd());
}

WaitOutcome Session::wait(const std::vector<ObjectId>& ids, size_t needed, int64_t timeout_ms,
                          bool blocked, bool main_thread, bool any_error, bool streams) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!usable()) return WaitOutcome::kClosed;
  ObjectWait mine;
  mine.any_error = any_error;
  for (const ObjectId& id : ids) {
    if (auto stream = streams_.find(id.unique); streams && stream != streams_.end()) {
      if (!stream->second.has_next()) {
        stream_waits_.emplace(id.unique, &mine);
        mine.pending += 1;
      } else {
        mine.settled += 1;
      }
    } else if (client_->subscribe(id) == ObjectStatus::kPending) {
      waits_.emplace(id.unique, &mine);
      mine.pending += 1;
    } else {
      mine.settled += 1;
      if (any_error) mine.failed |= has_failed(id);
    }
  }
  const auto done = [&] { return mine.settled >= needed || mine.failed; };
  const auto outcome = run_until(lock, done, timeout_ms, main_thread, blocked);
  if (mine.pending > 0) {
    for (const ObjectId& id : ids) {
      for (Waits* waits : {&waits_, &stream_waits_}) {
        auto [first, last] = waits->equal_range(id.unique);
        for (auto it = first; it != last;)
          it = it->second == &mine ? waits->erase(it) : std::next(it);
      }
    }
  }
  return outcome;
}

WaitOutcome Session::wait_few(const std::vector<ObjectId>& fresh, const std::vector<ObjectId>& ids,
                              size_t needed, int64_t timeout_ms, bool blocked, bool main_thread) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!usable()) return WaitOutcome::kClosed;
  for (const ObjectId& id : fresh) client_->subscribe(id);
  const auto done = [&] {
    size_t settled = 0;
    for (const ObjectId& id : ids) {
      if (client_->status(id) != ObjectStatus::kPending && ++settled >= needed) return true;
    }
    return false;
  };
  return run_until(lock, done, timeout_ms, main_thread, blocked);
}

// --- incoming calls ----------------------------------------------------------------------------------------------

WaitOutcome Session::wait_call(int64_t timeout_ms, bool main_thread) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto there = [&] { return !calls_.empty() || stopped_; };
  if (main_thread || !draining_)
    return run_until(lock, there, timeout_ms, main_thread, false, true);
  if (!usable() || ended_) return WaitOutcome::kClosed;
  if (there()) return WaitOutcome::kReady;
  if (has_chores()) return WaitOutcome::kEvents;
  ensure_pump();
  const int64_t most = pump_ != nullptr ? kRestSliceMs : kFirstSliceMs;
  const int64_t slice = timeout_ms < 0 ? most : std::min(timeout_ms, most);
  ++idle_threads_;
  idle_.wait_for(lock, Millis(slice));
  --idle_threads_;
  if (!usable() || ended_) return WaitOutcome::kClosed;
  return there() || timeout_ms < 0 || timeout_ms > slice ? WaitOutcome::kReady
                                                         : WaitOutcome::kTimeout;
}

bool Session::take_call(IncomingCall& call, bool arrived) {
  if (!usable()) return false;
  if (arrived) roused_ = false;
  ++entries_;
  if (draining_)
    hand_over();
  else
    drain(true);  // replies go out in the client's own batches
  if (calls_.empty()) return false;
  call = std::move(calls_.front());
  calls_.pop_front();
  if (!calls_.empty()) rouse();
  return true;
}

int Session::host_calls() {
  std::lock_guard<std::mutex> lock(mutex_);
  Result<os::Fd> made = os::open_event();
  if (!made.is_ok() || !usable()) return -1;
  calls_fd_ = std::move(made.value());
  hosted_ = true;
  os::signal_event(client_->doorbell_fd());  // the pump changes over
  return calls_fd_.get();
}

void Session::look() {
  if (!usable() || draining_) return;
  drain();
  client_->flush();
  wake_.notify_all();
}

void Session::take_calls(std::deque<IncomingCall>& calls) {
  if (!usable()) return;  // the bell of close() is for the pump
  ++looks_;
  if (calls_told_) os::drain_event(calls_fd_.get());
  calls_told_ = false;
  os::drain_event(client_->doorbell_fd());
  if (!draining_) {
    drain(true);
    if (inside_ == 0 && !client_->arm(kArmedEventFd)) os::signal_event(client_->doorbell_fd());
  }
  if (!stopped_) calls.swap(calls_);
}

WaitOutcome Session::rest() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (!usable() || ended_) return WaitOutcome::kClosed;
    if (rest_over_) return WaitOutcome::kReady;
    if (has_chores()) return WaitOutcome::kEvents;
    if (take_interrupt()) return WaitOutcome::kInterrupted;
    const bool looks = !signals_told_;
    resting_.wait_for(lock, Millis(looks ? kSignalSliceMs : kRestSliceMs));
    if (looks) return WaitOutcome::kInterrupted;
  }
}

void Session::end_rest() {
  if (!usable()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  rest_over_ = true;
  resting_.notify_all();
}

void Session::stop_calls() {
  stopped_ = true;
  if (!usable()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  idle_.notify_all();
  wake_.notify_all();
  wake_sleeper();
}

WaitOutcome Session::wait_answer(uint32_t request, std::vector<uint8_t>& payload,
                                 int64_t timeout_ms, bool main_thread) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto outcome =
      run_until(lock, [&] { return answers_.contains(request); }, timeout_ms, main_thread);
  if (outcome == WaitOutcome::kReady) {
    auto found = answers_.find(request);
    payload = std::move(found->second);
    answers_.erase(found);
  }
  return outcome;
}

// --- streams -----------------------------------------------------------------------------------------------------

void Session::open_stream(const ObjectId& task) {
  streams_[task.unique];
}

bool Session::stream_has_item(const ObjectId& task, bool unknown) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (usable() && !draining_) drain();
  auto stream = streams_.find(task.unique);
  return ended_ || (stream == streams_.end() ? unknown : stream->second.has_next());
}

bool Session::stream_at_end(const ObjectId& task) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto stream = streams_.find(task.unique);
  return stream == streams_.end() || (stream->second.ended && stream->second.items.empty());
}

WaitOutcome Session::next_item(const ObjectId& task, ObjectId& item, int64_t timeout_ms,
                               bool main_thread) {
  std::unique_lock<std::mutex> lock(mutex_);
  item = {};
  if (!streams_.contains(task.unique)) return WaitOutcome::kReady;
  // Only kStreamEnd ends a stream: the task's own ref may be sealed while items still wait in the producer's queue.
  const auto ready = [&] {
    auto stream = streams_.find(task.unique);
    return stream == streams_.end() || stream->second.has_next();
  };
  const auto outcome = run_until(lock, ready, timeout_ms, main_thread);
  if (outcome != WaitOutcome::kReady) return outcome;
  auto stream = streams_.find(task.unique);
  if (stream != streams_.end() && !stream->second.items.empty()) {
    item = stream->second.items.front();
    stream->second.items.pop_front();
  }
  return outcome;
}

// The producer waits until the caller has taken `needed` items, or the call is cancelled.
WaitOutcome Session::wait_consumed(const ObjectId& task, uint32_t needed, int64_t timeout_ms,
                                   bool main_thread) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto ready = [&] {
    const auto found = consumed_.find(task.unique);
    return (found != consumed_.end() && found->second >= needed) ||
           cancelled_.contains(task.unique);
  };
  return run_until(lock, ready, timeout_ms, main_thread);
}

void Session::end_producing(const ObjectId& task) {
  std::lock_guard<std::mutex> lock(mutex_);
  consumed_.erase(task.unique);
}

void Session::close_stream(const ObjectId& task) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto stream = streams_.find(task.unique);
  if (stream == streams_.end()) return;
  if (usable()) {
    for (const ObjectId& item : stream->second.items) client_->release_ref(item);
    wake_sleeper();
  }
  streams_.erase(stream);
  wake_.notify_all();  // who waits for its next item
}

// --- without waiting ---------------------------------------------------------------------------------------------

bool Session::notify(const ObjectId& id, const std::shared_ptr<Notifier>& notifier,
                     bool next_item) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!usable() || ended_) return false;
  if (auto stream = streams_.find(id.unique); next_item && stream != streams_.end()) {
    if (stream->second.has_next()) return false;
  } else if (client_->subscribe(id) != ObjectStatus::kPending) {
    return false;
  } else {
    next_item = false;
  }
  Told& told = (next_item ? stream_notifiers_ : notifiers_)[id.unique];
  told.id = id;
  told.who.push_back(notifier);
  start_pump(false);
  client_->flush();
  return true;
}

Chores Session::take_chores() {
  std::lock_guard<std::mutex> lock(mutex_);
  Chores taken = std::move(chores_);
  chores_ = {};
  return taken;
}

std::optional<uint32_t> Session::cancelled(const ObjectId& task) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = cancelled_.find(task.unique);
  return found == cancelled_.end() ? std::nullopt : std::optional(found->second.how);
}

std::vector<uint8_t> Session::cancel_error(const ObjectId& task) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = cancelled_.find(task.unique);
  return found == cancelled_.end() ? std::vector<uint8_t>() : found->second.error;
}

void Session::forget_cancelled(const ObjectId& task) {
  std::lock_guard<std::mutex> lock(mutex_);
  cancelled_.erase(task.unique);
}

}  // namespace polyray::py
