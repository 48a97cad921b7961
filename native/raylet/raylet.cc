// SPDX-License-Identifier: Apache-2.0
// The raylet's thread: runs the core, takes questions from other threads (see raylet.h).
#include "raylet/raylet.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "raylet/core.h"

namespace polyray {

namespace {

class RayletThread final : public Raylet {
 public:
  explicit RayletThread(std::unique_ptr<raylet::RayletCore> core)
      : core_(std::move(core)), socket_name_(core_->socket_name()), node_tag_(core_->node_tag()) {
    thread_ = std::thread([this] { run(); });
  }
  ~RayletThread() override { stop(0); }

  std::string socket_name() const override { return socket_name_; }
  uint32_t node_tag() const override { return node_tag_; }

  RayletStats stats() override {
    std::unique_lock lock(mutex_);
    if (ended_) return last_;
    bool answered = false;
    RayletStats answer;
    questions_.push_back([&] {
      answer = core_->stats();
      answered = true;
    });
    os::signal_event(core_->bell_fd());
    changed_.wait(lock, [&] { return answered; });
    return answer;
  }

  void stop(uint32_t grace_ms) override {
    {
      std::lock_guard lock(mutex_);
      if (!ended_) {
        questions_.push_back([this, grace_ms] { core_->begin_stop(grace_ms); });
        os::signal_event(core_->bell_fd());
      }
    }
    std::lock_guard joining(join_mutex_);
    if (!thread_.joinable()) return;
    thread_.join();
    core_->finish();
    core_.reset();
  }

 private:
  void run() {
    os::block_all_signals();
    os::name_thread("polyray-raylet");
    while (!core_->stopped()) {
      core_->turn();
      answer();
    }
    std::lock_guard lock(mutex_);
    while (!questions_.empty()) {
      questions_.front()();
      questions_.pop_front();
    }
    last_ = core_->stats();
    ended_ = true;
    changed_.notify_all();
  }

  void answer() {
    std::lock_guard lock(mutex_);
    if (questions_.empty()) return;
    for (const auto& question : questions_) question();
    questions_.clear();
    changed_.notify_all();
  }

  std::unique_ptr<raylet::RayletCore> core_;
  const std::string socket_name_;
  const uint32_t node_tag_;
  std::mutex mutex_;  // guards the four below
  std::condition_variable changed_;
  std::deque<std::function<void()>> questions_;
  RayletStats last_;
  bool ended_ = false;
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Raylet>> Raylet::start(const RayletOptions& options) {
  Result<std::unique_ptr<raylet::RayletCore>> core = raylet::RayletCore::open(options);
  if (!core.is_ok()) return core.status();
  return std::unique_ptr<Raylet>(std::make_unique<RayletThread>(std::move(core.value())));
}

}  // namespace polyray
