// SPDX-License-Identifier: Apache-2.0
// The raylet's end of the life line: starts the guardian, tells it the workers' process groups, starts it again when it
// dies. At end of file the guardian ends the groups and removes the session folder (native/guardian/main.cc).
//
// Owns: the guardian process and the socket that is its stdin (one line per packet).
// Thread rules: raylet thread, except start() and finish().
#pragma once
#include <cstdint>
#include <set>
#include <string>

#include "os/env.h"

namespace polyray::raylet {

class GuardianLink {
 public:
  // An empty path: no guardian (tests).
  Status start(const std::string& path, const std::string& session, const std::string& session_dir);
  void add_group(uint32_t group);
  void remove_group(uint32_t group);
  void keep(const std::string& path);
  void remove(const std::string& path);  // one more folder to remove at the end
  // Readable when the guardian died; -1: none.
  int pidfd() const { return pidfd_.get(); }
  Status restart();
  // Closes the line and waits until the guardian has cleaned up, at most timeout_ms.
  void finish(uint32_t timeout_ms);

 private:
  void say(const std::string& line);
  std::string path_, session_, session_dir_;
  uint32_t pid_ = 0;
  os::Fd line_;
  os::Fd pidfd_;
  std::set<uint32_t> groups_;
  std::set<std::string> kept_;
  std::set<std::string> removed_;
};

}  // namespace polyray::raylet
