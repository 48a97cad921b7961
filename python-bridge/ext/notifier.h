// SPDX-License-Identifier: Apache-2.0
// A list of objects that got ready, behind an eventfd that an event loop can watch.
//
// Whoever tells holds it by a pointer of C++: a pointer that nanobind made of a Python object takes the GIL when it is
// dropped, which must not be under the session's lock.
//
// Thread rules: add() from whichever thread drains, take() from the loop's thread; its own lock orders them.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "os/env.h"
#include "store/layout.h"

namespace polyray::py {

class Notifier {
 public:
  Notifier() {
    auto event = os::open_event();
    if (event.is_ok()) event_ = std::move(event.value());
  }
  bool ok() const { return event_.is_open(); }
  int fd() const { return event_.get(); }
  void add(const ObjectId& id) {
    bool first;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      first = ready_.empty();
      ready_.push_back(id);
    }
    if (first) os::signal_event(event_.get());
  }
  std::vector<ObjectId> take() {
    os::drain_event(event_.get());
    std::vector<ObjectId> taken;
    std::lock_guard<std::mutex> lock(mutex_);
    taken.swap(ready_);
    return taken;
  }

 private:
  os::Fd event_;
  std::mutex mutex_;
  std::vector<ObjectId> ready_;
};

// What Python holds.
struct NotifierHandle {
  std::shared_ptr<Notifier> notifier = std::make_shared<Notifier>();
};

}  // namespace polyray::py
