// SPDX-License-Identifier: Apache-2.0
// The session socket: who may come in, how an endpoint is attached, and the small questions asked over the socket.
//
// Owns: the listening socket and every accepted one. A connection is: new (no hello yet), an endpoint's, or the control
// connection of an endpoint's process.
// Checks: same user (SO_PEERCRED), frame magic and version, session token (constant time), protocol range, package version,
// startup token of workers, job of joining drivers. A refusal carries a StatusCode and a sentence.
// Thread rules: raylet thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "os/env.h"
#include "raylet/peers.h"
#include "raylet/worker_table.h"

namespace polyray::raylet {

class Door {
 public:
  static constexpr size_t kMaxConnections = 3 * kMaxEndpoints;
  // What a token of the poller means.
  enum class Token : uint64_t {
    kListener = 1,
    kConnection = 2,
    kPidfd = 3,
    kBell = 4,
    kGuardian = 5
  };
  static uint64_t token(Token kind, uint64_t value) {
    return static_cast<uint64_t>(kind) << 56 | value;
  }

  struct Options {
    std::string session_token;
    std::string package_version;
    uint32_t node_tag = 0;
  };
  struct Events {
    std::function<void(Peer&, std::vector<os::Fd>& stdio)> attached;  // after kWelcome was sent
    std::function<void(uint32_t endpoint)> gone;                      // its socket ended
  };
  Door(Segment& segment, Peers& peers, WorkerTable& workers, os::Poller& poller, Options options,
       Events events)
      : segment_(segment),
        peers_(peers),
        workers_(workers),
        poller_(poller),
        options_(std::move(options)),
        events_(std::move(events)) {}
  Status open(const std::string& name, int raylet_bell);
  void accept_all();
  void readable(uint64_t connection, uint32_t events);
  // kControl to every control connection of the endpoint. False: it has none.
  bool control(const Peer& peer, ControlOp op);
  void close_peer(const Peer& peer);

 private:
  struct Connection {
    os::Fd socket;
    os::PeerInfo who;
    uint32_t endpoint = 0;  // 0: no hello yet
    uint32_t serial = 0;
    bool control = false;
  };
  void packet(uint64_t id, Connection& connection, os::Packet& packet);
  void hello(uint64_t id, Connection& connection, os::Packet& packet);
  Status check(const HelloBody& hello) const;
  Status attach(uint64_t id, Connection& connection, const HelloBody& hello, os::Packet& packet);
  Status attach_control(uint64_t id, Connection& connection, const HelloBody& hello);
  void doorbell(Connection& connection, const FrameHeader& header);
  Status welcome(const Connection& connection, const Peer& peer, bool with_fds);
  void refuse(uint64_t id, Connection& connection, const Status& status);
  void close(uint64_t id);

  Segment& segment_;
  Peers& peers_;
  WorkerTable& workers_;
  os::Poller& poller_;
  Options options_;
  Events events_;
  os::Fd listener_;
  int raylet_bell_ = -1;
  std::map<uint64_t, Connection> connections_;
  uint64_t next_connection_ = 1;
};

}  // namespace polyray::raylet
