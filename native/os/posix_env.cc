// SPDX-License-Identifier: Apache-2.0
// Descriptors, errno, clocks and random bytes: the small pieces of env.h.
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "os/env.h"

namespace polyray::os {

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

namespace {

StatusCode code_of(int error_number) {
  switch (error_number) {
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
      return StatusCode::kOutOfMemory;
    case EAGAIN:
      return StatusCode::kWouldBlock;
    case ENOENT:
    case ESRCH:
    case ECONNREFUSED:
      return StatusCode::kNotFound;
    case EPIPE:
    case ECONNRESET:
      return StatusCode::kDisconnected;
    case EADDRINUSE:
    case EEXIST:
      return StatusCode::kAlreadyExists;
    default:
      return StatusCode::kSystemCall;
  }
}

}  // namespace

Status errno_status(const char* what, int error_number) {
  std::string text = what;
  text += ": ";
  char buffer[128];
  text += ::strerror_r(error_number, buffer, sizeof(buffer));
  return Status::error(code_of(error_number), std::move(text), error_number);
}

uint64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

uint64_t now_ms() {
  return now_ns() / 1'000'000u;
}

void fill_random(std::span<uint8_t> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (n > 0) done += static_cast<size_t>(n);
    // getrandom without flags fails only by EINTR once the system is up.
  }
}

uint32_t processors() {
  return std::max(1u, std::thread::hardware_concurrency());
}

void sleep_ms(uint32_t ms) {
  timespec left{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
  while (::nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

}  // namespace polyray::os
