// SPDX-License-Identifier: Apache-2.0
// Carries opaque messages between clients and the node service: requests, answers, pushes.
//
// Requests that come before a service is attached wait here. Payloads are copied, never looked at.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "raylet/peers.h"

namespace polyray::raylet {

class ServiceRelay {
 public:
  explicit ServiceRelay(Peers& peers) : peers_(peers) {}
  void call(Peer& from, const RingSlot& slot);   // kService
  void reply(Peer& from, const RingSlot& slot);  // kServiceReply
  void push(Peer& from, const RingSlot& slot);   // kServicePush
  void service_attached();
  void client_gone(uint64_t peer_id);

 private:
  struct Waiting {
    uint64_t peer_id;
    uint32_t request;
    uint64_t more;  // kMorePieces, or 0
    std::vector<uint8_t> payload;
  };
  void forward(Peer& service, const Waiting& waiting);
  Peers& peers_;
  std::deque<Waiting> waiting_;
};

}  // namespace polyray::raylet
