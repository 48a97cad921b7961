// SPDX-License-Identifier: Apache-2.0
// The search behind explorer.h: coroutines by ucontext, runs repeated from the start along a path of choices.
#undef _FORTIFY_SOURCE  // its longjmp refuses to change stacks
#include "explorer/explorer.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <unordered_map>

namespace explorer {

namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kMaxSteps = 500;

struct Buffered {
  uint32_t word;
  uint64_t value;
  bool release;
};

struct Thread {
  ucontext_t context{};
  jmp_buf place{};
  bool started = false;
  std::unique_ptr<char[]> stack;
  std::vector<Buffered> buffer;
  std::function<bool()> ready;  // set while it waits in await()
  bool waiting = false;
  bool ended = false;
  bool killable = false;
  uint64_t history[2] = {1, 2};  // hash of every value read: stands for the thread's local state
};

struct Key {
  uint64_t a, b;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const { return key.a; }
};

enum class Move : uint8_t { kStep, kFlush, kKill };
struct Choice {
  Move move;
  uint8_t thread;
  uint8_t entry;
};

struct World {
  std::vector<uint64_t> memory;
  std::vector<Thread> threads;
  Scenario scenario;
  ucontext_t scheduler{};
  jmp_buf scheduler_place{};
  int current = -1;  // -1: the scheduler, operations act on memory at once
  std::string failure;
};

World* world = nullptr;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ULL + (hash << 6) + (hash >> 2);
  hash *= 0xff51afd7ed558ccdULL;
  return hash ^ (hash >> 32);
}

void note(Thread& thread, uint64_t value) {
  thread.history[0] = mix(thread.history[0], value + 1);
  thread.history[1] = mix(thread.history[1], value * 31 + 7);
}

Thread& self() {
  return world->threads[static_cast<size_t>(world->current)];
}

// swapcontext makes two system calls a switch; jumps need none. The sanitizers only know the former.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kJump = false;
#else
constexpr bool kJump = true;
#endif

void to_scheduler(Thread& thread) {
  if (!kJump) {
    swapcontext(&thread.context, &world->scheduler);
  } else if (_setjmp(thread.place) == 0) {
    _longjmp(world->scheduler_place, 1);
  }
}

// Stops before an operation; the scheduler resumes when it is this thread's turn.
void pause() {
  to_scheduler(self());
}

void flush_all(Thread& thread) {
  for (const Buffered& entry : thread.buffer) world->memory[entry.word] = entry.value;
  thread.buffer.clear();
}

void trampoline(unsigned number) {
  world->scenario.threads[number]();
  world->threads[number].ended = true;
  to_scheduler(world->threads[number]);
}

void resume(size_t number) {
  Thread& thread = world->threads[number];
  world->current = static_cast<int>(number);
  if (!kJump) {
    swapcontext(&world->scheduler, &thread.context);
  } else if (_setjmp(world->scheduler_place) == 0) {
    if (thread.started) _longjmp(thread.place, 1);
    thread.started = true;
    setcontext(&thread.context);
  }
  world->current = -1;
}

void start(const std::function<void(Scenario&)>& make,
           std::vector<std::unique_ptr<char[]>>& stacks) {
  make(world->scenario);
  world->threads.resize(world->scenario.threads.size());
  stacks.resize(world->threads.size());
  for (size_t i = 0; i < world->threads.size(); ++i) {
    Thread& thread = world->threads[i];
    if (stacks[i] == nullptr) stacks[i] = std::make_unique<char[]>(kStackBytes);
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = stacks[i].get();
    thread.context.uc_stack.ss_size = kStackBytes;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, reinterpret_cast<void (*)()>(trampoline), 1,
                static_cast<unsigned>(i));
  }
  for (size_t i : world->scenario.killable) world->threads[i].killable = true;
  for (size_t i = 0; i < world->threads.size(); ++i) resume(i);  // up to its first operation
}

// A buffered store may become visible before older ones to other words, unless it is a release store.
bool may_flush(const std::vector<Buffered>& buffer, size_t entry) {
  if (entry == 0) return true;
  if (buffer[entry].release) return false;
  for (size_t i = 0; i < entry; ++i)
    if (buffer[i].word == buffer[entry].word) return false;
  return true;
}

void list_choices(std::vector<Choice>& choices) {
  choices.clear();
  for (size_t i = 0; i < world->threads.size(); ++i) {
    const Thread& thread = world->threads[i];
    const auto number = static_cast<uint8_t>(i);
    if (!thread.ended) {
      if (!thread.waiting || thread.ready()) choices.push_back({Move::kStep, number, 0});
      if (thread.killable) choices.push_back({Move::kKill, number, 0});
    }
    for (size_t entry = 0; entry < thread.buffer.size(); ++entry)
      if (may_flush(thread.buffer, entry))
        choices.push_back({Move::kFlush, number, static_cast<uint8_t>(entry)});
  }
}

void take(const Choice& choice) {
  Thread& thread = world->threads[choice.thread];
  switch (choice.move) {
    case Move::kStep:
      resume(choice.thread);
      break;
    case Move::kKill:
      thread.ended = true;  // what it had stored still becomes visible
      break;
    case Move::kFlush:
      world->memory[thread.buffer[choice.entry].word] = thread.buffer[choice.entry].value;
      thread.buffer.erase(thread.buffer.begin() + choice.entry);
      break;
  }
}

Key state_key() {
  Key key{11, 13};
  const auto add = [&](uint64_t value) {
    key.a = mix(key.a, value);
    key.b = mix(key.b, value ^ 0x5bd1e995);
  };
  for (uint64_t value : world->memory) add(value);
  for (const Thread& thread : world->threads) {
    add(thread.ended);
    add(thread.history[0]);
    add(thread.history[1]);
    add(thread.buffer.size());
    for (const Buffered& entry : thread.buffer) {
      add(entry.word);
      add(entry.value);
    }
  }
  return key;
}

std::string describe(const std::vector<Choice>& path) {
  std::string text = " [schedule:";
  for (size_t i = 0; i < std::min<size_t>(path.size(), 150); ++i) {
    const Choice& choice = path[i];
    text += choice.move == Move::kStep ? " t" : choice.move == Move::kFlush ? " f" : " k";
    text += std::to_string(choice.thread);
  }
  return text + "]";
}

// A point of the current path.
struct Point {
  Key key;
  std::vector<Choice> choices;
  size_t taken;
  double schedules;  // found below the choices tried so far
};

class Search {
 public:
  explicit Search(const std::function<void(Scenario&)>& make) : make_(make) {}

  Outcome run() {
    do {
      run_once();
    } while (outcome_.failure.empty() && next_path());
    return outcome_;
  }

 private:
  void run_once() {
    World fresh;
    world = &fresh;
    start(make_, stacks_);
    for (size_t depth = 0;; ++depth) {
      if (!fresh.failure.empty() || depth > kMaxSteps) {
        stop(fresh.failure.empty() ? "a schedule does not end" : fresh.failure);
        break;
      }
      if (depth == path_.size() && !extend(fresh)) break;
      take(path_[depth].choices[path_[depth].taken]);
    }
    world = nullptr;
  }

  // A new point at the end of the path. False: this run is over.
  bool extend(World& fresh) {
    std::vector<Choice> choices;
    list_choices(choices);
    if (choices.empty()) {
      for (const Thread& thread : fresh.threads)
        if (!thread.ended) return stop("nobody can go on"), false;
      outcome_.longest = std::max(outcome_.longest, path_.size());
      const std::string wrong = fresh.scenario.check ? fresh.scenario.check() : "";
      if (!wrong.empty()) return stop(wrong), false;
      count(1);
      return false;
    }
    const Key key = state_key();
    const auto [place, is_new] = seen_.try_emplace(key, 0.0);
    if (!is_new) {
      count(place->second);
      return false;
    }
    ++outcome_.states;
    path_.push_back({key, std::move(choices), 0, 0});
    return true;
  }

  void count(double schedules) {
    if (path_.empty()) {
      outcome_.schedules += schedules;
    } else {
      path_.back().schedules += schedules;
    }
  }

  bool next_path() {
    while (!path_.empty()) {
      Point& point = path_.back();
      if (++point.taken < point.choices.size()) return true;
      const double schedules = point.schedules;
      seen_[point.key] = schedules;
      path_.pop_back();
      count(schedules);
    }
    return false;
  }

  void stop(const std::string& failure) {
    std::vector<Choice> taken;
    for (const Point& point : path_) taken.push_back(point.choices[point.taken]);
    outcome_.failure = failure + describe(taken);
  }

  const std::function<void(Scenario&)>& make_;
  Outcome outcome_;
  std::vector<Point> path_;
  std::unordered_map<Key, double, KeyHash> seen_;
  std::vector<std::unique_ptr<char[]>> stacks_;
};

}  // namespace

Outcome explore(const std::function<void(Scenario&)>& make) {
  return Search(make).run();
}

void await(const std::function<bool()>& ready) {
  Thread& thread = self();
  thread.ready = ready;
  thread.waiting = true;
  pause();
  thread.waiting = false;
  note(thread, 3);
}

void fail(const char* message) {
  if (world->failure.empty()) world->failure = message;
}

bool has_ended(size_t thread) {
  return world->threads[thread].ended && world->threads[thread].buffer.empty();
}

namespace detail {

uint32_t new_word(uint64_t initial) {
  world->memory.push_back(initial);
  return static_cast<uint32_t>(world->memory.size() - 1);
}

uint64_t peek(uint32_t word) {
  return world->memory[word];
}

uint64_t load(uint32_t word) {
  if (world->current < 0) return world->memory[word];
  pause();
  Thread& thread = self();
  uint64_t value = world->memory[word];
  for (const Buffered& entry : thread.buffer)
    if (entry.word == word) value = entry.value;
  note(thread, value);
  return value;
}

void store(uint32_t word, uint64_t value, std::memory_order order) {
  if (world->current < 0) {
    world->memory[word] = value;
    return;
  }
  pause();
  Thread& thread = self();
  thread.buffer.push_back({word, value, order != std::memory_order_relaxed});
  if (order == std::memory_order_seq_cst) flush_all(thread);
  note(thread, 1);
}

uint64_t modify(uint32_t word, const std::function<uint64_t(uint64_t)>& change) {
  if (world->current < 0) {
    const uint64_t old = world->memory[word];
    world->memory[word] = change(old);
    return old;
  }
  pause();
  Thread& thread = self();
  flush_all(thread);
  const uint64_t old = world->memory[word];
  world->memory[word] = change(old);
  note(thread, old);
  return old;
}

void fence() {
  if (world->current < 0) return;
  pause();
  flush_all(self());
  note(self(), 2);
}

}  // namespace detail
}  // namespace explorer
