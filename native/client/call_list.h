// SPDX-License-Identifier: Apache-2.0
// Intrusive lists of pending calls by slot number: a call is in at most one list (queued, in flight at a worker, ...).
//
// CallLinks holds the links of all slots; a CallList is head, tail and count. No allocation per call.
// Thread rules: one thread at a time.
#pragma once
#include <cstdint>
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

}  // namespace polyray
