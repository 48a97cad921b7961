// SPDX-License-Identifier: Apache-2.0
// Starting and talking to the guardian (see guardian_link.h).
#include "raylet/guardian_link.h"

namespace polyray::raylet {

Status GuardianLink::start(const std::string& path, const std::string& session,
                           const std::string& session_dir) {
  path_ = path;
  session_ = session;
  session_dir_ = session_dir;
  return path.empty() ? Status::ok() : restart();
}

Status GuardianLink::restart() {
  if (pid_ != 0) os::reap(pid_, false).is_ok();
  pid_ = 0;
  pidfd_.reset();
  Result<std::pair<os::Fd, os::Fd>> pair = os::socket_pair();
  if (!pair.is_ok()) return pair.status();
  os::SpawnOptions options;
  options.path = path_;
  options.arguments = {session_, session_dir_};
  options.descriptors = {{pair.value().second.get(), 0}};
  const Result<uint32_t> pid = os::spawn(options);
  if (!pid.is_ok()) return pid.status();
  pid_ = pid.value();
  line_ = std::move(pair.value().first);
  Result<os::Fd> pidfd = os::open_pidfd(pid_);
  if (!pidfd.is_ok()) return pidfd.status();
  pidfd_ = std::move(pidfd.value());
  for (const uint32_t group : groups_) say("+" + std::to_string(group) + "\n");
  for (const std::string& path : kept_) say("keep " + path + "\n");
  for (const std::string& path : removed_) say("remove " + path + "\n");
  return Status::ok();
}

void GuardianLink::say(const std::string& line) {
  if (!line_.is_open()) return;
  // A dead guardian is noticed by its pidfd and told everything again.
  os::send_packet(line_.get(), {reinterpret_cast<const uint8_t*>(line.data()), line.size()}, {}, {})
      .is_ok();
}

void GuardianLink::add_group(uint32_t group) {
  if (groups_.insert(group).second) say("+" + std::to_string(group) + "\n");
}

void GuardianLink::remove_group(uint32_t group) {
  if (groups_.erase(group) != 0) say("-" + std::to_string(group) + "\n");
}

void GuardianLink::keep(const std::string& path) {
  if (path.find('\n') == std::string::npos && kept_.insert(path).second) say("keep " + path + "\n");
}

void GuardianLink::remove(const std::string& path) {
  if (path.find('\n') == std::string::npos && removed_.insert(path).second)
    say("remove " + path + "\n");
}

void GuardianLink::finish(uint32_t timeout_ms) {
  line_.reset();
  if (pid_ == 0) return;
  os::wait_readable(pidfd_.get(), static_cast<int>(timeout_ms));
  os::reap(pid_, false).is_ok();
  pid_ = 0;
  pidfd_.reset();
}

}  // namespace polyray::raylet
