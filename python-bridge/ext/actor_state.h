// SPDX-License-Identifier: Apache-2.0
// Reading an actor's state as the node service sends it (a flat MessagePack map), and asking for it.
//
// The one message that the pump must understand without Python. Pure functions; unknown keys are skipped.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/layout.h"

namespace polyray::py {

struct ActorStateMap {
  bool ok = true;       // of an answer; pushes have none
  std::string message;  // when not ok
  ObjectId actor;
  uint32_t phase = 0;
  uint64_t endpoint = 0;
  uint64_t serial = 0;
  uint32_t incarnation = 0;
  int32_t max_task_retries = 0;
  std::vector<uint8_t> error;
};

// False for bytes that are no such map.
bool read_actor_state(std::span<const uint8_t> bytes, ActorStateMap& state);
std::vector<uint8_t> actor_watch_request(const ObjectId& actor);

}  // namespace polyray::py
