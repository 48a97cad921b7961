// SPDX-License-Identifier: Apache-2.0
// Intrusive lists of pending calls by slot number: a call is in at most one list (queued, in flight at a worker, ...).
//
// CallLinks holds the links of all slots; a CallList is head, tail and count. No allocation per call. CallBands is a list
// per priority: the highest first, each in order; calls without a priority (0) never touch the map. RankedList is one list
// that knows how many of its calls have which priority.
// Thread rules: one thread at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

namespace polyray {

using CallSlot = uint32_t;
inline constexpr CallSlot kNoCall = 0xffffffff;

class CallLinks {
 public:
  struct Link {
    CallSlot prev = kNoCall;
    CallSlot next = kNoCall;
    uint32_t owner = 0;  // what the list's user wants to know of the call (a worker, a class)
    uint32_t group = 0;
    int32_t priority = 0;  // CallBands: higher goes first
  };
  Link& operator[](CallSlot call) {
    if (call >= links_.size()) links_.resize(call + 1 + call / 2);
    return links_[call];
  }

 private:
  std::vector<Link> links_;
};

class CallList {
 public:
  CallSlot head() const { return head_; }
  CallSlot tail() const { return tail_; }
  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void push_back(CallLinks& links, CallSlot call) { insert_before(links, call, kNoCall); }
  void push_front(CallLinks& links, CallSlot call) { insert_before(links, call, head_); }

  // before == kNoCall: at the end.
  void insert_before(CallLinks& links, CallSlot call, CallSlot before) {
    auto& link = links[call];
    link.next = before;
    link.prev = before == kNoCall ? tail_ : links[before].prev;
    (link.prev == kNoCall ? head_ : links[link.prev].next) = call;
    (before == kNoCall ? tail_ : links[before].prev) = call;
    ++size_;
  }

  void remove(CallLinks& links, CallSlot call) {
    auto& link = links[call];
    (link.prev == kNoCall ? head_ : links[link.prev].next) = link.next;
    (link.next == kNoCall ? tail_ : links[link.next].prev) = link.prev;
    link.prev = link.next = kNoCall;
    --size_;
  }

 private:
  CallSlot head_ = kNoCall;
  CallSlot tail_ = kNoCall;
  uint32_t size_ = 0;
};

class RankedList {
 public:
  CallSlot head() const { return list_.head(); }
  CallSlot tail() const { return list_.tail(); }
  uint32_t size() const { return list_.size(); }
  bool empty() const { return list_.empty(); }
  void push_back(CallLinks& links, CallSlot call) {
    const int32_t priority = links[call].priority;
    list_.push_back(links, call);
    for (auto& [known, count] : counts_)
      if (known == priority) return static_cast<void>(++count);
    counts_.emplace_back(priority, 1);
  }
  void remove(CallLinks& links, CallSlot call) {
    const int32_t priority = links[call].priority;
    list_.remove(links, call);
    for (auto it = counts_.begin(); it != counts_.end(); ++it) {
      if (it->first != priority) continue;
      if (--it->second == 0) counts_.erase(it);
      return;
    }
  }
  // Calls of this priority or a higher one.
  uint32_t at_least(int32_t priority) const {
    uint32_t sum = 0;
    for (const auto& [known, count] : counts_) sum += known >= priority ? count : 0;
    return sum;
  }

 private:
  CallList list_;
  std::vector<std::pair<int32_t, uint32_t>> counts_;  // none is 0; few
};

class CallBands {
 public:
  // The first call of the highest priority; kNoCall when there is none.
  CallSlot head() const {
    if (others_.empty()) return plain_.head();
    const auto& [priority, calls] = *others_.begin();
    return priority > 0 || plain_.empty() ? calls.head() : plain_.head();
  }
  uint32_t size() const { return plain_.size() + others_size_; }
  bool empty() const { return size() == 0; }
  void push_back(CallLinks& links, CallSlot call) { band(links[call]).push_back(links, call); }
  void push_front(CallLinks& links, CallSlot call) { band(links[call]).push_front(links, call); }
  void remove(CallLinks& links, CallSlot call) {
    const int32_t priority = links[call].priority;
    if (priority == 0) return plain_.remove(links, call);
    const auto found = others_.find(priority);
    found->second.remove(links, call);
    --others_size_;
    if (found->second.empty()) others_.erase(found);
  }
  // Runs `see` for each call.
  template <typename See>
  void each(CallLinks& links, See&& see) const {
    const auto walk = [&](const CallList& calls) {
      for (CallSlot call = calls.head(); call != kNoCall; call = links[call].next) see(call);
    };
    for (const auto& [priority, calls] : others_) walk(calls);
    walk(plain_);
  }

 private:
  CallList& band(const CallLinks::Link& link) {
    if (link.priority == 0) return plain_;
    ++others_size_;
    return others_[link.priority];
  }
  CallList plain_;
  std::map<int32_t, CallList, std::greater<>> others_;  // none is empty
  uint32_t others_size_ = 0;
};

}  // namespace polyray
