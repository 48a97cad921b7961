// SPDX-License-Identifier: Apache-2.0
// The life of a client: handshake on the session socket, mapping the segment, forks, detaching, a worker's control socket.
#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "client/core.h"

namespace polyray {

namespace {

// Every live client of this process, for the at-fork handler. The mutex is held across fork, so a child never sees the
// list half changed. Never destroyed: clients may outlive static destructors.
struct Registry {
  std::mutex mutex;
  std::vector<ClientCore*> clients;
};

Registry& registry() {
  static Registry* const instance = [] {
    auto* made = new Registry();
    pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); },
                   [] {
                     for (ClientCore* client : registry().clients) client->detach_in_child();
                     registry().clients.clear();
                     registry().mutex.unlock();
                   });
    return made;
  }();
  return *instance;
}

constexpr int kHandshakeTimeoutMs = 30'000;

void copy_text(char* to, size_t room, const std::string& text) {
  std::memset(to, 0, room);
  std::memcpy(to, text.data(), std::min(text.size(), room - 1));
}

std::span<const uint8_t> bytes_of(const void* data, size_t size) {
  return {static_cast<const uint8_t*>(data), size};
}

struct Session {
  os::Fd socket;
  WelcomeBody welcome{};
  std::vector<os::Fd> fds;
};

Result<Session> shake_hands(const AttachOptions& options, uint32_t flags,
                            uint32_t control_endpoint) {
  if (options.token.size() >= sizeof(HelloBody::session_token))
    return Status::error(StatusCode::kAuthentication, "the session token is too long");
  Result<os::Fd> socket = os::connect_abstract(options.socket_name);
  if (!socket.is_ok()) return socket.status();
  HelloBody hello{};
  hello.kind = static_cast<uint32_t>(options.kind);
  hello.pid = os::own_pid();
  hello.language = options.language;
  hello.flags = flags | (options.send_stdio ? 2u : 0u);
  hello.endpoint = control_endpoint;
  hello.job = options.job;
  hello.startup_token = options.startup_token;
  hello.protocol_min = kFrameVersion;
  hello.protocol_max = kFrameVersion;
  copy_text(hello.package_version, sizeof(hello.package_version), options.package_version);
  copy_text(hello.session_token, sizeof(hello.session_token), options.token);
  const FrameHeader head{kFrameMagic, kFrameVersion, static_cast<uint16_t>(Frame::kHello),
                         0,           sizeof(hello), 0};
  const int stdio[2] = {1, 2};
  Status sent = os::send_packet(
      socket.value().get(), bytes_of(&head, sizeof(head)), bytes_of(&hello, sizeof(hello)),
      options.send_stdio ? std::span<const int>(stdio) : std::span<const int>());
  if (!sent.is_ok()) return sent;
  Result<os::Packet> packet = os::receive_packet(socket.value().get(), kHandshakeTimeoutMs);
  if (!packet.is_ok()) return packet.status();
  const auto& bytes = packet.value().bytes;
  FrameHeader answer{};
  if (bytes.size() < sizeof(answer))
    return Status::error(StatusCode::kBadRecord, "the answer of the raylet is cut off");
  std::memcpy(&answer, bytes.data(), sizeof(answer));
  if (answer.magic != kFrameMagic)
    return Status::error(StatusCode::kBadRecord, "the socket does not speak polyray");
  if (answer.kind == static_cast<uint16_t>(Frame::kRefused)) {
    const std::string text(bytes.begin() + sizeof(answer), bytes.end());
    return Status::error(static_cast<StatusCode>(answer.a), text);
  }
  Session session;
  if (answer.kind != static_cast<uint16_t>(Frame::kWelcome) ||
      bytes.size() < sizeof(answer) + sizeof(WelcomeBody))
    return Status::error(
        StatusCode::kVersionMismatch,
        "the raylet gave an unknown answer. Install the same version on both sides.");
  std::memcpy(&session.welcome, bytes.data() + sizeof(answer), sizeof(WelcomeBody));
  session.socket = std::move(socket.value());
  session.fds = std::move(packet.value().fds);
  return session;
}

}  // namespace

Result<std::unique_ptr<Client>> Client::attach(const AttachOptions& options) {
  Result<Session> session = shake_hands(options, 0, 0);
  if (!session.is_ok()) return session.status();
  auto& fds = session.value().fds;
  if (fds.size() != 3)
    return Status::error(StatusCode::kBadRecord,
                         "the raylet passed " + std::to_string(fds.size()) + " descriptors");
  Result<std::unique_ptr<Segment>> segment = Segment::map(fds[0].get());
  if (!segment.is_ok()) return segment.status();
  const WelcomeBody& welcome = session.value().welcome;
  if (welcome.endpoint >= kMaxEndpoints)
    return Status::error(StatusCode::kBadRecord, "the raylet gave an endpoint out of range");
  auto client = std::make_unique<ClientCore>(welcome, std::move(segment.value()),
                                             std::move(session.value().socket), std::move(fds[1]),
                                             std::move(fds[2]));
  {
    std::lock_guard lock(registry().mutex);
    registry().clients.push_back(client.get());
  }
  return std::unique_ptr<Client>(std::move(client));
}

ClientCore::ClientCore(const WelcomeBody& welcome, std::unique_ptr<Segment> segment, os::Fd socket,
                       os::Fd own_bell, os::Fd raylet_bell)
    : segment_(std::move(segment)),
      socket_(std::move(socket)),
      own_bell_(std::move(own_bell)),
      raylet_bell_(std::move(raylet_bell)),
      endpoint_(welcome.endpoint),
      serial_(welcome.serial),
      node_tag_(welcome.node_tag),
      job_(welcome.job),
      kind_(static_cast<EndpointKind>(segment_->endpoint(welcome.endpoint).kind)),
      entries_(*segment_, ChunkKind::kEntries, endpoint_),
      records_(*segment_, ChunkKind::kRecords, endpoint_),
      rings_(*segment_, ChunkKind::kRings, endpoint_),
      events_(*segment_, ChunkKind::kEvents, endpoint_),
      slabs_(*segment_, endpoint_),
      row_(*segment_, endpoint_),
      populated_(segment_->data_bytes() / (64 * 1024) + 1),
      tasks_(links_, *this),
      raylet_(*segment_, segment_->endpoint(endpoint_).to_raylet, raylet_bell_.get()),
      inbound_(*segment_, endpoint_),
      counts_(&segment_->endpoint(endpoint_).counters) {}

ClientCore::~ClientCore() {
  {
    std::lock_guard lock(registry().mutex);
    auto& clients = registry().clients;
    clients.erase(std::remove(clients.begin(), clients.end(), this), clients.end());
  }
  if (!detached_) detach();
  // Values that the language still holds lie in this mapping: it stays until the process ends. In a forked child the
  // parent's pins count.
  if (pins_ > 0 || forked_) static_cast<void>(segment_.release());
}

void ClientCore::detach() {
  if (detached_) return;
  leaving_ = true;
  hand_back_all();
  tasks_.release_idle();
  flush();
  close_session();
}

void ClientCore::close_session() {
  detached_.store(true, std::memory_order_release);
  counts_ = &late_counts_;  // the endpoint's number is soon somebody else's
  socket_.reset();          // the raylet sweeps rows, rings and records at this end of file
  peers_.clear();
  dirty_peers_.clear();
}

// Nothing here touches control memory: it is not mapped in the child. Read-only views of values stay valid.
void ClientCore::detach_in_child() {
  detached_.store(true, std::memory_order_release);
  counts_ = &late_counts_;
  socket_.reset();
  own_bell_.reset();
  raylet_bell_.reset();
  for (auto& peer : peers_)
    if (peer != nullptr) peer->bell.reset();
  forked_ = true;
}

// The socket carries nothing unasked, so readable means end of file.
bool ClientCore::raylet_lives() const {
  return !os::wait_readable(socket_.get(), 0);
}

Status run_control_thread(const AttachOptions& options, uint32_t endpoint,
                          void (*on_op)(ControlOp, void*), void* context) {
  AttachOptions quiet = options;
  quiet.send_stdio = false;
  Result<Session> session = shake_hands(quiet, 1, endpoint);
  if (!session.is_ok()) return session.status();
  const int socket = session.value().socket.get();
  for (;;) {
    Result<os::Packet> packet = os::receive_packet(socket, -1);
    if (!packet.is_ok()) {
      if (packet.status().code == StatusCode::kDisconnected) return Status::ok();
      return packet.status();
    }
    FrameHeader head{};
    if (packet.value().bytes.size() < sizeof(head)) continue;
    std::memcpy(&head, packet.value().bytes.data(), sizeof(head));
    if (head.magic == kFrameMagic && head.kind == static_cast<uint16_t>(Frame::kControl))
      on_op(static_cast<ControlOp>(head.a), context);
  }
}

uint64_t ClientCore::devices() const {
  return segment_->endpoint(endpoint_).devices.load(std::memory_order_acquire);
}

}  // namespace polyray
