// SPDX-License-Identifier: Apache-2.0
// The attach handshake (see door.h, docs/states/endpoint.md).
#include "raylet/door.h"

#include <algorithm>
#include <cstring>

namespace polyray::raylet {

namespace {

constexpr uint32_t kHelloControl = 1;
constexpr uint32_t kHelloStdio = 2;

template <class T>
std::span<const uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

// Same time for every wrong token of the same length.
bool same_text(const char* given, size_t given_size, const std::string& expected) {
  uint8_t differ = given_size == expected.size() ? 0 : 1;
  for (size_t i = 0; i < given_size; ++i)
    differ |= static_cast<uint8_t>(given[i] ^ (i < expected.size() ? expected[i] : '\0'));
  return differ == 0;
}

FrameHeader header_of(Frame kind, uint32_t a, uint64_t b, size_t size) {
  return FrameHeader{
      kFrameMagic, kFrameVersion, static_cast<uint16_t>(kind), a, static_cast<uint32_t>(size), b};
}

}  // namespace

Status Door::open(const std::string& name, int raylet_bell) {
  raylet_bell_ = raylet_bell;
  Result<os::Fd> listener = os::listen_abstract(name, 512);
  if (!listener.is_ok()) return listener.status();
  listener_ = std::move(listener.value());
  return poller_.add(listener_.get(), os::kReadable, token(Token::kListener, 0));
}

void Door::accept_all() {
  for (;;) {
    os::PeerInfo who;
    Result<os::Fd> socket = os::accept_same_user(listener_.get(), &who);
    if (!socket.is_ok()) {
      if (socket.status().code == StatusCode::kAuthentication) continue;
      return;
    }
    if (connections_.size() >= kMaxConnections) continue;  // closes it
    const uint64_t id = next_connection_++;
    if (!poller_.add(socket.value().get(), os::kReadable, token(Token::kConnection, id)).is_ok())
      continue;
    connections_[id] = Connection{std::move(socket.value()), who, 0, 0, false};
  }
}

void Door::readable(uint64_t id, uint32_t) {
  for (;;) {
    const auto it = connections_.find(id);
    if (it == connections_.end()) return;
    Result<os::Packet> packet = os::receive_packet(it->second.socket.get(), 0);
    if (!packet.is_ok()) {
      const StatusCode code = packet.status().code;
      if (code == StatusCode::kWouldBlock || code == StatusCode::kTimedOut) return;
      const Connection& connection = it->second;
      const uint32_t endpoint = connection.control ? 0 : connection.endpoint;
      const uint32_t serial = connection.serial;
      close(id);
      const Peer* peer = endpoint != 0 ? peers_.find(endpoint) : nullptr;
      if (peer != nullptr && peer->serial == serial) events_.gone(endpoint);
      return;
    }
    this->packet(id, it->second, packet.value());
  }
}

void Door::packet(uint64_t id, Connection& connection, os::Packet& packet) {
  FrameHeader header;
  if (packet.bytes.size() < sizeof header) {
    refuse(id, connection,
           Status::error(StatusCode::kBadRecord, "a frame is shorter than its header"));
    return;
  }
  std::memcpy(&header, packet.bytes.data(), sizeof header);
  if (header.magic != kFrameMagic || header.size != packet.bytes.size() - sizeof header) {
    refuse(id, connection, Status::error(StatusCode::kBadRecord, "not a frame of polyray"));
    return;
  }
  if (header.version != kFrameVersion) {
    refuse(id, connection,
           Status::error(StatusCode::kVersionMismatch,
                         "frame version " + std::to_string(header.version) + ", the node has " +
                             std::to_string(kFrameVersion)));
    return;
  }
  switch (static_cast<Frame>(header.kind)) {
    case Frame::kHello:
    case Frame::kEndpoint:
      hello(id, connection, packet);
      return;
    case Frame::kGetDoorbell:
      doorbell(connection, header);
      return;
    default:
      refuse(id, connection, Status::error(StatusCode::kBadRecord, "an unknown frame"));
  }
}

Status Door::check(const HelloBody& hello) const {
  const size_t token_size = ::strnlen(hello.session_token, sizeof hello.session_token);
  if (token_size != options_.session_token.size() ||
      !same_text(hello.session_token, token_size, options_.session_token))
    return Status::error(StatusCode::kAuthentication, "the session token is missing or wrong");
  if (hello.protocol_min > kFrameVersion || hello.protocol_max < kFrameVersion) {
    return Status::error(StatusCode::kVersionMismatch,
                         "the client speaks protocol " + std::to_string(hello.protocol_min) +
                             " to " + std::to_string(hello.protocol_max) + ", the node " +
                             std::to_string(kFrameVersion));
  }
  const std::string version(hello.package_version,
                            ::strnlen(hello.package_version, sizeof hello.package_version));
  if (!version.empty() && !options_.package_version.empty() &&
      version != options_.package_version) {
    return Status::error(StatusCode::kVersionMismatch,
                         "the client is polyray " + version + ", the node is polyray " +
                             options_.package_version + ". Install the same version.");
  }
  return Status::ok();
}

void Door::hello(uint64_t id, Connection& connection, os::Packet& packet) {
  HelloBody hello;
  if (connection.endpoint != 0 || packet.bytes.size() != sizeof(FrameHeader) + sizeof hello) {
    refuse(id, connection, Status::error(StatusCode::kBadRecord, "a second or misshapen hello"));
    return;
  }
  std::memcpy(&hello, packet.bytes.data() + sizeof(FrameHeader), sizeof hello);
  Status status = check(hello);
  if (status.is_ok())
    status = (hello.flags & kHelloControl) != 0 ? attach_control(id, connection, hello)
                                                : attach(id, connection, hello, packet);
  if (!status.is_ok()) refuse(id, connection, status);
}

Status Door::attach_control(uint64_t id, Connection& connection, const HelloBody& hello) {
  Peer* peer = peers_.find(hello.endpoint);
  if (peer == nullptr || peer->pid != connection.who.pid)
    return Status::error(StatusCode::kNotFound,
                         "no endpoint " + std::to_string(hello.endpoint) + " of this process");
  connection.endpoint = peer->endpoint;
  connection.serial = peer->serial;
  connection.control = true;
  peer->control_connections.push_back(id);
  return welcome(connection, *peer, false);
}

Status Door::attach(uint64_t id, Connection& connection, const HelloBody& hello,
                    os::Packet& packet) {
  const auto kind = static_cast<EndpointKind>(hello.kind);
  uint32_t job = hello.job;
  const Worker* worker = nullptr;
  if (kind == EndpointKind::kWorker) {
    worker = workers_.by_token(hello.startup_token);
    if (worker == nullptr || worker->endpoint != 0 || worker->state != WorkerState::kStarting)
      return Status::error(StatusCode::kNotFound, "nobody asked for this worker (any more)");
    job = worker->pool.job;
  } else if (kind == EndpointKind::kService) {
    if (peers_.service() != nullptr)
      return Status::error(StatusCode::kAlreadyExists, "the node has its service already");
  } else if (kind != EndpointKind::kDriver && kind != EndpointKind::kClient) {
    return Status::error(StatusCode::kInvalidArgument, "no such kind of endpoint");
  } else if (job != 0 && !peers_.job_alive(job)) {
    return Status::error(StatusCode::kNotFound, "job " + std::to_string(job) + " has ended");
  }
  // Death is noticed by a pidfd, against reuse of the pid; not for endpoints inside the raylet's own process.
  os::Fd pidfd;
  if (connection.who.pid != os::own_pid()) {
    Result<os::Fd> opened = os::peer_pidfd(connection.socket.get());
    if (!opened.is_ok()) return opened.status();
    pidfd = std::move(opened.value());
  }
  if (kind == EndpointKind::kDriver && job == 0) job = peers_.new_job();
  Result<Peer*> made = peers_.create(kind, connection.who.pid, job, hello.language);
  if (!made.is_ok()) return made.status();
  Peer& peer = *made.value();
  peer.connection = id;
  peer.pidfd = std::move(pidfd);
  peer.startup_token = worker != nullptr ? hello.startup_token : 0;
  connection.endpoint = peer.endpoint;
  connection.serial = peer.serial;
  if (kind == EndpointKind::kDriver) peers_.driver_attached(job);
  if (kind == EndpointKind::kService) peers_.set_service(peer.endpoint);
  if (worker != nullptr) workers_.attach(hello.startup_token, peer.endpoint, peer.serial);
  if (peer.pidfd.is_open())
    poller_.add(peer.pidfd.get(), os::kReadable, token(Token::kPidfd, peer.endpoint)).is_ok();
  std::vector<os::Fd> stdio;
  if ((hello.flags & kHelloStdio) != 0) stdio = std::move(packet.fds);
  Status sent = welcome(connection, peer, true);
  events_.attached(peer, stdio);
  // A client that is gone already ends like every other one.
  if (!sent.is_ok()) events_.gone(peer.endpoint);
  return Status::ok();
}

Status Door::welcome(const Connection& connection, const Peer& peer, bool with_fds) {
  WelcomeBody body{};
  body.endpoint = peer.endpoint;
  body.serial = peer.serial;
  body.node_tag = options_.node_tag;
  body.job = peer.job;
  body.control_bytes = segment_.control_bytes();
  body.data_bytes = segment_.data_bytes();
  std::memcpy(body.package_version, options_.package_version.data(),
              std::min(options_.package_version.size(), sizeof body.package_version - 1));
  uint8_t packet[sizeof(FrameHeader) + sizeof body];
  const FrameHeader header = header_of(Frame::kWelcome, 0, 0, sizeof body);
  std::memcpy(packet, &header, sizeof header);
  std::memcpy(packet + sizeof header, &body, sizeof body);
  const int fds[] = {segment_.fd(), peer.bell.get(), raylet_bell_};
  return os::send_packet(connection.socket.get(), packet, {},
                         with_fds ? std::span<const int>(fds) : std::span<const int>());
}

void Door::doorbell(Connection& connection, const FrameHeader& header) {
  const Peer* asked = peers_.find(uint64_t{header.a} | header.b << 32);
  if (connection.endpoint == 0 || connection.control) return;
  if (asked == nullptr) {
    const FrameHeader gone = header_of(Frame::kDoorbell, 0xffffffff, header.a, 0);
    os::send_packet(connection.socket.get(), bytes_of(gone), {}, {}).is_ok();
    return;
  }
  peers_.contact(connection.endpoint, asked->endpoint);
  const FrameHeader answer = header_of(Frame::kDoorbell, asked->endpoint, asked->serial, 0);
  const int fds[] = {asked->bell.get()};
  os::send_packet(connection.socket.get(), bytes_of(answer), {}, fds).is_ok();
}

void Door::refuse(uint64_t id, Connection& connection, const Status& status) {
  const FrameHeader header =
      header_of(Frame::kRefused, static_cast<uint32_t>(status.code), 0, status.message.size());
  os::send_packet(connection.socket.get(), bytes_of(header),
                  {reinterpret_cast<const uint8_t*>(status.message.data()), status.message.size()},
                  {})
      .is_ok();
  const uint32_t endpoint = connection.control ? 0 : connection.endpoint;
  close(id);
  if (endpoint != 0 && peers_.find(endpoint) != nullptr) events_.gone(endpoint);
}

void Door::close(uint64_t id) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  poller_.remove(it->second.socket.get());
  if (it->second.control) {
    if (Peer* peer = peers_.find(it->second.endpoint)) std::erase(peer->control_connections, id);
  }
  connections_.erase(it);
}

bool Door::control(const Peer& peer, ControlOp op) {
  const FrameHeader header = header_of(Frame::kControl, static_cast<uint32_t>(op), 0, 0);
  bool any = false;
  for (const uint64_t id : peer.control_connections) {
    const auto it = connections_.find(id);
    if (it != connections_.end())
      any = os::send_packet(it->second.socket.get(), bytes_of(header), {}, {}).is_ok() || any;
  }
  return any;
}

void Door::close_peer(const Peer& peer) {
  if (peer.pidfd.is_open()) poller_.remove(peer.pidfd.get());
  close(peer.connection);
  for (const uint64_t id : std::vector<uint64_t>(peer.control_connections)) close(id);
}

}  // namespace polyray::raylet
