// SPDX-License-Identifier: Apache-2.0
// Waiting for descriptors: a level-triggered epoll set with tokens, and one descriptor at a time.
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "os/env.h"

namespace polyray::os {

namespace {

epoll_event to_epoll(uint32_t events, uint64_t token) {
  epoll_event event{};
  event.events = EPOLLRDHUP;
  if (events & kReadable) event.events |= EPOLLIN;
  if (events & kWritable) event.events |= EPOLLOUT;
  event.data.u64 = token;
  return event;
}

}  // namespace

Result<Poller> Poller::open() {
  Poller poller;
  poller.fd_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!poller.fd_.is_open()) return errno_status("epoll_create1", errno);
  return poller;
}

Status Poller::add(int fd, uint32_t events, uint64_t token) {
  epoll_event event = to_epoll(events, token);
  if (::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return errno_status("epoll_ctl", errno);
  return Status::ok();
}

Status Poller::modify(int fd, uint32_t events, uint64_t token) {
  epoll_event event = to_epoll(events, token);
  if (::epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event) != 0)
    return errno_status("epoll_ctl", errno);
  return Status::ok();
}

void Poller::remove(int fd) {
  ::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Status Poller::wait(int timeout_ms, std::vector<Ready>& ready) {
  ready.clear();
  epoll_event events[64];
  const int count = ::epoll_wait(fd_.get(), events, 64, timeout_ms);
  if (count < 0) return errno == EINTR ? Status::ok() : errno_status("epoll_wait", errno);
  for (int i = 0; i < count; ++i) {
    uint32_t bits = 0;
    if (events[i].events & EPOLLIN) bits |= kReadable;
    if (events[i].events & EPOLLOUT) bits |= kWritable;
    if (events[i].events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) bits |= kHungUp;
    ready.push_back({events[i].data.u64, bits});
  }
  return Status::ok();
}

bool wait_readable(int fd, int timeout_ms) {
  pollfd item{fd, POLLIN, 0};
  const uint64_t deadline_ms = timeout_ms < 0 ? 0 : now_ms() + static_cast<uint64_t>(timeout_ms);
  for (;;) {
    const int count = ::poll(&item, 1, timeout_ms);
    if (count > 0) return true;
    if (count == 0 || errno != EINTR) return false;
    if (timeout_ms >= 0) {
      const uint64_t now = now_ms();
      timeout_ms = now >= deadline_ms ? 0 : static_cast<int>(deadline_ms - now);
    }
  }
}

}  // namespace polyray::os
