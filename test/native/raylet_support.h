// SPDX-License-Identifier: Apache-2.0
// What the raylet's tests share: a raylet without service and workers, attach options, forked clients that get killed.
#pragma once
#include "client_support.h"
#include "wire/messages.h"

namespace polyray::testing {

// Waits (a watchdog, not an expectation of speed).
inline bool soon(const std::function<bool()>& done, uint32_t timeout_ms = 20'000) {
  const uint64_t deadline_ms = os::now_ms() + timeout_ms;
  while (!done()) {
    if (os::now_ms() > deadline_ms) return false;
    os::sleep_ms(2);
  }
  return true;
}

inline AttachOptions options_for(const Raylet& raylet, EndpointKind kind = EndpointKind::kDriver) {
  AttachOptions options;
  options.socket_name = raylet.socket_name();
  options.token = kToken;
  options.kind = kind;
  return options;
}

inline std::unique_ptr<Raylet> bare_raylet(uint64_t store_bytes = 16 << 20, uint64_t cpus = 2,
                                           uint32_t start_timeout_ms = 30'000) {
  static int number = 0;
  RayletOptions options;
  options.session_name = "raylet-test-" + std::to_string(getpid()) + "-" + std::to_string(++number);
  options.session_token = kToken;
  options.object_store_bytes = store_bytes;
  options.package_version = "1.2.3";
  options.worker_start_timeout_ms = start_timeout_ms;
  options.resources = {{"CPU", cpus * kResourceUnit}};
  Result<std::unique_ptr<Raylet>> started = Raylet::start(options);
  EXPECT_TRUE(started.is_ok()) << started.status().message;
  return std::move(started.value());
}

inline std::vector<uint8_t> bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}
inline std::string plain_text(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

// Forks a client that runs `body` until it is killed. The parent goes on with the pid.
inline pid_t fork_client(const Raylet& raylet, const std::function<void(Client&)>& body,
                         EndpointKind kind = EndpointKind::kDriver) {
  const AttachOptions options = options_for(raylet, kind);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  Result<std::unique_ptr<Client>> client = Client::attach(options);
  if (!client.is_ok()) _exit(9);
  body(*client.value());
  _exit(0);
}

inline void end_child(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

}  // namespace polyray::testing
