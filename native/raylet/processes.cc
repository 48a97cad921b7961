// SPDX-License-Identifier: Apache-2.0
// Signals to workers and their groups (see processes.h).
#include "raylet/processes.h"

#include <signal.h>

#include <algorithm>

namespace polyray::raylet {

void Processes::started(uint64_t token, uint32_t group) {
  if (group <= 1 || group == os::own_pid()) return;
  groups_[token] = group;
  guardian_.add_group(group);
}

void Processes::gone(uint64_t token) {
  const auto it = groups_.find(token);
  if (it == groups_.end()) return;
  os::signal_group(it->second, SIGKILL).is_ok();  // a subprocess that outlives its worker
  guardian_.remove_group(it->second);
  groups_.erase(it);
  std::erase_if(endings_, [token](const Ending& ending) { return ending.token == token; });
}

void Processes::signal(uint64_t peer_id, uint64_t token, int signal_number) {
  const auto group = groups_.find(token);
  if (group != groups_.end()) os::signal_group(group->second, signal_number).is_ok();
  const Peer* peer = peers_.find(peer_id);
  if (peer != nullptr && peer->pidfd.is_open() &&
      (group == groups_.end() || group->second != peer->pid))
    os::signal_pidfd(peer->pidfd.get(), signal_number).is_ok();
}

void Processes::end(uint64_t peer_id, uint64_t token, uint64_t grace_ms, uint64_t now_ms) {
  if (grace_ms == 0) {
    signal(peer_id, token, SIGKILL);
    return;
  }
  signal(peer_id, token, SIGTERM);
  endings_.push_back({peer_id, token, now_ms + grace_ms});
}

void Processes::step(uint64_t now_ms) {
  std::vector<Ending> due;
  std::erase_if(endings_, [&](const Ending& ending) {
    if (ending.deadline_ms > now_ms) return false;
    due.push_back(ending);
    return true;
  });
  for (const Ending& ending : due) signal(ending.peer_id, ending.token, SIGKILL);
}

std::optional<uint64_t> Processes::next_deadline_ms() const {
  std::optional<uint64_t> next;
  for (const Ending& ending : endings_)
    next = std::min(next.value_or(ending.deadline_ms), ending.deadline_ms);
  return next;
}

std::vector<uint64_t> Processes::tokens() const {
  std::vector<uint64_t> out;
  for (const auto& [token, group] : groups_) out.push_back(token);
  return out;
}

}  // namespace polyray::raylet
