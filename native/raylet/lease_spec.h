// SPDX-License-Identifier: Apache-2.0
// Reads the payload of kLeaseRequest (LeaseSpec of wire/messages.h) into a LeaseClass, checking every size.
//
// Thread rules: pure function.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "raylet/lease_queue.h"

namespace polyray::raylet {

inline constexpr uint32_t kLeaseDedicated = 1;  // LeaseSpec.flags
inline constexpr uint32_t kMaxClassResources = 256;
inline constexpr uint32_t kMaxGroupResources = 8192;

std::optional<LeaseClass> read_lease_class(std::span<const uint8_t> payload);
// Payload of kGroupAdd and kGroupRemove.
std::optional<GroupClass> read_group(std::span<const uint8_t> payload);

}  // namespace polyray::raylet
