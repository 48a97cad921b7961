// SPDX-License-Identifier: Apache-2.0
// Session sockets: SOCK_SEQPACKET over abstract names, same user only, with descriptors along (SCM_RIGHTS).
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/env.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace polyray::os {

namespace {

constexpr size_t kMaxFds = 8;

// Abstract address: a NUL byte, then the name. Returns 0 when the name does not fit.
socklen_t abstract_address(const std::string& name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() + 1 > sizeof(address.sun_path)) return 0;
  ::memcpy(address.sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

Status bad_name() {
  return Status::error(StatusCode::kInvalidArgument, "a socket name has 1 to 107 bytes");
}

Status check_user(int socket, PeerInfo* peer) {
  Result<PeerInfo> info = peer_info(socket);
  if (!info.is_ok()) return info.status();
  if (peer != nullptr) *peer = info.value();
  if (info.value().uid != ::geteuid())
    return Status::error(StatusCode::kAuthentication, "the peer is another user");
  return Status::ok();
}

}  // namespace

Result<PeerInfo> peer_info(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return errno_status("SO_PEERCRED", errno);
  return PeerInfo{static_cast<uint32_t>(credentials.pid), credentials.uid};
}

Result<Fd> listen_abstract(const std::string& name, int backlog) {
  sockaddr_un address;
  const socklen_t size = abstract_address(name, address);
  if (size == 0) return bad_name();
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return errno_status("socket", errno);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0)
    return errno_status("bind", errno);
  if (::listen(fd.get(), backlog) != 0) return errno_status("listen", errno);
  return fd;
}

Result<Fd> accept_same_user(int listener, PeerInfo* peer) {
  int fd = -1;
  do {
    fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (fd < 0) return errno_status("accept", errno);
  Fd accepted(fd);
  Status status = check_user(fd, peer);
  if (!status.is_ok()) return status;
  return accepted;
}

Result<Fd> connect_abstract(const std::string& name) {
  sockaddr_un address;
  const socklen_t size = abstract_address(name, address);
  if (size == 0) return bad_name();
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return errno_status("socket", errno);
  int result = 0;
  do {
    result = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return errno_status("connect", errno);
  // Abstract names have no permissions: another user could have taken this one.
  Status status = check_user(fd.get(), nullptr);
  if (!status.is_ok()) return status;
  return fd;
}

Result<std::pair<Fd, Fd>> socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
    return errno_status("socketpair", errno);
  return std::pair<Fd, Fd>(Fd(fds[0]), Fd(fds[1]));
}

Result<Fd> peer_pidfd(int socket) {
  int fd = -1;
  socklen_t size = sizeof(fd);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) return Fd(fd);
  Result<PeerInfo> info = peer_info(socket);
  if (!info.is_ok()) return info.status();
  return open_pidfd(info.value().pid);
}

Status send_packet(int socket, std::span<const uint8_t> head, std::span<const uint8_t> body,
                   std::span<const int> fds) {
  if (fds.size() > kMaxFds)
    return Status::error(StatusCode::kInvalidArgument, "too many descriptors in one packet");
  if (head.size() + body.size() > kMaxPacketBytes || head.empty())
    return Status::error(StatusCode::kInvalidArgument, "a packet has 1 to 65536 bytes");
  iovec parts[2] = {{const_cast<uint8_t*>(head.data()), head.size()},
                    {const_cast<uint8_t*>(body.data()), body.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body.empty() ? 1 : 2;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    ::memcpy(CMSG_DATA(item), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno_status("sendmsg", errno) : Status::ok();
}

Result<Packet> receive_packet(int socket, int timeout_ms) {
  if (timeout_ms > 0 && !wait_readable(socket, timeout_ms))
    return Status::error(StatusCode::kTimedOut, "no packet came");
  if (timeout_ms < 0) wait_readable(socket, -1);
  Packet packet;
  packet.bytes.resize(kMaxPacketBytes);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received = 0;
  do {
    received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno_status("recvmsg", errno);
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr;
       item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      ::memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof(int));
      packet.fds.emplace_back(fd);
    }
  }
  if (received == 0)
    return Status::error(StatusCode::kDisconnected, "the peer closed the connection");
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
    return Status::error(StatusCode::kBadRecord, "a packet was cut off");
  packet.bytes.resize(static_cast<size_t>(received));
  return packet;
}

}  // namespace polyray::os
