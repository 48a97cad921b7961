// SPDX-License-Identifier: Apache-2.0
// Choice of devices for leases (see devices.h).
#include "raylet/devices.h"

#include <algorithm>

#include "wire/messages.h"

namespace polyray::raylet {

Devices::Devices(uint64_t total) {
  const uint64_t count = total / kResourceUnit;
  if (count <= kMaxDevices) free_.assign(count, kResourceUnit);
}

std::optional<uint64_t> Devices::choose(uint64_t amount) const {
  if (amount == 0 || free_.empty()) return 0;
  if (amount < kResourceUnit) {
    size_t best = free_.size();
    for (size_t i = 0; i < free_.size(); ++i)
      if (free_[i] >= amount && (best == free_.size() || free_[i] < free_[best])) best = i;
    if (best == free_.size()) return std::nullopt;
    return uint64_t{1} << best;
  }
  uint64_t wanted = (amount + kResourceUnit - 1) / kResourceUnit;
  uint64_t devices = 0;
  for (size_t i = 0; i < free_.size() && wanted > 0; ++i) {
    if (free_[i] != kResourceUnit) continue;
    devices |= uint64_t{1} << i;
    wanted -= 1;
  }
  if (wanted > 0) return std::nullopt;
  return devices;
}

void Devices::take(uint64_t devices, uint64_t amount) {
  for (size_t i = 0; i < free_.size(); ++i)
    if ((devices >> i & 1) != 0) free_[i] -= std::min(free_[i], std::min(amount, kResourceUnit));
}

void Devices::release(uint64_t devices, uint64_t amount) {
  for (size_t i = 0; i < free_.size(); ++i)
    if ((devices >> i & 1) != 0)
      free_[i] = std::min(kResourceUnit, free_[i] + std::min(amount, kResourceUnit));
}

}  // namespace polyray::raylet
