// SPDX-License-Identifier: Apache-2.0
// A small model checker: runs the real templates of store/protocols.h over scheduled atomics, in every order.
//
// Each thread of a scenario is a coroutine that stops before every operation on an XAtomic. A depth-first search tries
// every choice at every point: which thread goes on, which buffered store becomes visible, which killable thread dies.
// Memory model: each thread has a store buffer. Relaxed and release stores enter it; a thread sees its own newest entry;
// fences, read-modify-writes and seq_cst stores empty it first. A buffered store may overtake older ones to other words
// unless it is a release store (weaker than x86). Loads are not reordered.
// A state (memory, buffers, what each thread has read so far) that was seen before is not explored again; schedules
// through it are still counted, so `schedules` is the exact number of different runs.
// Rules for scenarios: threads share XAtomics only and own no heap memory (an abandoned run does not unwind them).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <atomic>

namespace explorer {

struct Outcome {
  std::string failure;  // empty: the invariant held in every schedule
  uint64_t states = 0;
  double schedules = 0;
  size_t longest = 0;  // operations of the longest schedule
};

// One set-up, made anew for every run.
struct Scenario {
  std::vector<std::function<void()>> threads;
  std::vector<size_t> killable;        // threads that may die before any of their operations
  std::function<std::string()> check;  // after every thread ended: empty, or what is wrong
};

// Explores everything that `make` sets up.
Outcome explore(const std::function<void(Scenario&)>& make);

// --- for code inside a scenario
// Stops this thread until `ready` (which may only peek) holds. A run where nobody can go on is a failure.
void await(const std::function<bool()>& ready);
void fail(const char* message);  // the invariant is broken
bool has_ended(size_t thread);   // ended or died, and its stores are visible

namespace detail {
uint32_t new_word(uint64_t initial);
uint64_t load(uint32_t word);
void store(uint32_t word, uint64_t value, std::memory_order order);
// Replaces the value by change(old); returns old. Nothing is written when change returns the same value.
uint64_t modify(uint32_t word, const std::function<uint64_t(uint64_t)>& change);
uint64_t peek(uint32_t word);
void fence();
}  // namespace detail

struct Sync {
  static void fence() { detail::fence(); }
};

// Mutation: the fence is forgotten.
struct NoFence {
  static void fence() {}
};

// std::atomic's interface over a scheduled word.
template <class T>
class XAtomic {
 public:
  explicit XAtomic(T initial = 0) : word_(detail::new_word(initial)) {}
  XAtomic(const XAtomic&) = delete;
  T load(std::memory_order) const { return static_cast<T>(detail::load(word_)); }
  void store(T value, std::memory_order order) { detail::store(word_, value, order); }
  T exchange(T value, std::memory_order) {
    return static_cast<T>(detail::modify(word_, [&](uint64_t) { return uint64_t{value}; }));
  }
  T fetch_add(T value, std::memory_order) {
    return change([&](T old) { return old + value; });
  }
  T fetch_sub(T value, std::memory_order) {
    return change([&](T old) { return old - value; });
  }
  T fetch_or(T value, std::memory_order) {
    return change([&](T old) { return old | value; });
  }
  T fetch_and(T value, std::memory_order) {
    return change([&](T old) { return old & value; });
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) {
    const T old = change([&](T seen) { return seen == expected ? desired : seen; });
    const bool done = old == expected;
    expected = old;
    return done;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order a, std::memory_order b) {
    return compare_exchange_strong(expected, desired, a, b);
  }
  // The value in memory, without being an operation: for await and check.
  T peek() const { return static_cast<T>(detail::peek(word_)); }

 private:
  template <class F>
  T change(F&& f) {
    return static_cast<T>(detail::modify(
        word_, [&](uint64_t old) { return uint64_t{static_cast<T>(f(static_cast<T>(old)))}; }));
  }
  uint32_t word_;
};

}  // namespace explorer
