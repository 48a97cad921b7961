// SPDX-License-Identifier: Apache-2.0
// Which devices (GPUs) of the node a lease has: whole ones, or a part of one that several leases share.
//
// Pure: no clock, no I/O. At most kMaxDevices are told apart; a node with more gives amounts without numbers.
// Invariant: the sum of what is taken of a device is at most one unit.
// Thread rules: plain values; the raylet's are used on the raylet thread.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace polyray::raylet {

class Devices {
 public:
  static constexpr uint64_t kMaxDevices = 64;
  explicit Devices(uint64_t total);
  // The devices that `amount` would get (a bit each): the fullest one that has room for a part, the lowest free ones
  // otherwise; none when they are not there.
  std::optional<uint64_t> choose(uint64_t amount) const;
  void take(uint64_t devices, uint64_t amount);
  void release(uint64_t devices, uint64_t amount);

 private:
  std::vector<uint64_t> free_;
};

}  // namespace polyray::raylet
