// SPDX-License-Identifier: Apache-2.0
// The only door to the kernel: files, mappings, clocks, wake-ups, processes, sockets, polling.
//
// Everything above this folder calls the kernel through these functions. Failures come back as Status with errno;
// interrupted calls (EINTR) are repeated here. Descriptors are close-on-exec.
// Thread rules: functions may be called from any thread; an Fd or a Poller has one owner.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace polyray::os {

// An owned descriptor: closed by the destructor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Status from errno: ENOMEM/ENOSPC -> kOutOfMemory, EAGAIN -> kWouldBlock, ENOENT/ESRCH/ECONNREFUSED -> kNotFound,
// EPIPE/ECONNRESET -> kDisconnected, else kSystemCall. `what` names the call.
Status errno_status(const char* what, int error_number);

// --- time, random ------------------------------------------------------------------------------------------------
uint64_t now_ms();  // CLOCK_MONOTONIC: the same in every process of the machine
uint64_t now_ns();
void fill_random(std::span<uint8_t> bytes);
void sleep_ms(uint32_t ms);

// --- processors --------------------------------------------------------------------------------------------------
uint32_t processors();  // that this process may use
// Tells the processor that this thread waits for another one's write.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// --- files and mappings (os/memory.cc) ---------------------------------------------------------------------------
Result<Fd> open_memory_file(const char* name, uint64_t bytes);  // memfd, sparse, sealing allowed
Result<Fd> open_unlinked_file(const char* path,
                              uint64_t bytes);  // sparse; the name is removed at once
Status seal_size(int fd);                       // F_SEAL_SHRINK | GROW | SEAL
Result<uint64_t> file_bytes(int fd);
Result<Fd> duplicate(int fd);
enum class Access { kRead, kReadWrite };
enum class OnFork { kKeep, kDrop };  // kDrop: MADV_DONTFORK
Result<uint8_t*> map_shared(int fd, uint64_t offset, uint64_t bytes, Access access, OnFork on_fork);
void unmap(const void* address, uint64_t bytes);
// Makes the pages present and writable before they are touched (MADV_POPULATE; fallocate on old kernels).
// `address` is where `fd`'s `offset` is mapped. Both may be unaligned.
// kPresent: the file has the pages already and only this process's tables lack them, which is made good for less.
enum class Pages { kNew, kPresent };
Status populate_write(int fd, uint64_t offset, void* address, uint64_t bytes,
                      Pages pages = Pages::kNew);
Status reserve_file(int fd, uint64_t offset, uint64_t bytes);  // fallocate
Status punch_hole(int fd, uint64_t offset,
                  uint64_t bytes);      // whole pages inside go back to the system
uint64_t file_allocated_bytes(int fd);  // st_blocks

// --- copying (os/copy.cc) ----------------------------------------------------------------------------------------
// memcpy for values of any size: big ones bypass the caches. What it wrote is visible to whoever sees a later store.
void copy_bytes(void* to, const void* from, size_t bytes);

// --- files on disk (os/files.cc) ---------------------------------------------------------------------------------
Status make_folder(const std::string& path);      // 0700; one that exists is fine
Result<Fd> create_file(const std::string& path);  // 0600, for writing; must not exist
Status write_at(int fd, uint64_t offset, std::span<const uint8_t> bytes);  // all of it
Result<Fd> open_readable(const std::string& path);
struct PrivateMap {
  uint8_t* start = nullptr;  // for unmap, with `bytes`
  uint64_t bytes = 0;
  uint8_t* data = nullptr;  // where the asked offset lies
};
// A copy-on-write map of part of a file; the file may be unlinked meanwhile. kBadRecord: the file is too short.
Result<PrivateMap> map_private(int fd, uint64_t offset, uint64_t bytes, Access access);
void unlink_file(const std::string& path);
void remove_folder(const std::string& path);  // only an empty one

// --- wake-ups (os/wake.cc) ---------------------------------------------------------------------------------------
Result<Fd> open_event();       // eventfd, non-blocking
void signal_event(int fd);     // never blocks
uint64_t drain_event(int fd);  // 0: was not signalled
enum class WaitOutcome {
  kWoken,
  kTimedOut,
  kChanged
};  // kChanged: the word did not hold `expected`
// The word may be in shared memory. timeout_ms < 0: for ever. Spurious kWoken is possible.
WaitOutcome futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, int timeout_ms);
int futex_wake_all(std::atomic<uint32_t>& word);

// --- processes (os/process.cc) -----------------------------------------------------------------------------------
uint32_t own_pid();
Result<Fd> open_pidfd(uint32_t pid);  // readable when the process has ended
Status signal_pidfd(int pidfd, int signal_number);
Status signal_group(uint32_t group, int signal_number);
struct Pipe {
  Fd read;
  Fd write;
};
Result<Pipe> open_pipe();
struct SpawnOptions {
  std::string path;
  std::vector<std::string> arguments;  // argv[1..]
  std::vector<std::pair<int, int>>
      descriptors;          // (ours, number in the child); everything else is close-on-exec
  bool own_session = true;  // setsid: own process group, no terminal
};
Result<uint32_t> spawn(
    const SpawnOptions& options);  // pid; posix_spawn, the environment is inherited
struct ExitInfo {
  int code = 0;
  int signal = 0;
};
// Reaps a child. kWouldBlock: still running; kNotFound: not our child (or reaped already).
Result<ExitInfo> reap(uint32_t pid, bool block);
// How a child ended, without reaping it. kNotFound: not our child, or reaped already.
Result<ExitInfo> peek_exit(int pidfd);
void block_all_signals();  // of the calling thread
void name_thread(const char* name);

// --- sockets: SOCK_SEQPACKET on abstract names (os/socket.cc) ----------------------------------------------------
struct PeerInfo {
  uint32_t pid = 0;
  uint32_t uid = 0;
};
// `name` is without the leading NUL. Listener and accepted sockets are non-blocking; connected ones block.
Result<Fd> listen_abstract(const std::string& name, int backlog);
// kWouldBlock: nobody waits. kAuthentication: the peer is another user (it was closed).
Result<Fd> accept_same_user(int listener, PeerInfo* peer);
Result<Fd> connect_abstract(
    const std::string& name);  // kNotFound: nobody listens. Checks the peer's uid as well
Result<std::pair<Fd, Fd>> socket_pair();  // SOCK_SEQPACKET
Result<Fd> peer_pidfd(int socket);        // SO_PEERPIDFD, or by the peer's pid on old kernels
Result<PeerInfo> peer_info(int socket);
// One packet: `head` then `body`, and descriptors (at most 8). Never raises SIGPIPE. kWouldBlock on a full non-blocking socket.
Status send_packet(int socket, std::span<const uint8_t> head, std::span<const uint8_t> body,
                   std::span<const int> fds);
struct Packet {
  std::vector<uint8_t> bytes;
  std::vector<Fd> fds;
};
inline constexpr size_t kMaxPacketBytes = 64 * 1024;
// timeout_ms < 0: for ever; 0: do not wait. kWouldBlock / kTimedOut: nothing came; kDisconnected: the peer is gone;
// kBadRecord: the packet was cut off.
Result<Packet> receive_packet(int socket, int timeout_ms);

// --- polling (os/poller.cc) --------------------------------------------------------------------------------------
inline constexpr uint32_t kReadable = 1;
inline constexpr uint32_t kWritable = 2;
inline constexpr uint32_t kHungUp = 4;  // EPOLLHUP, EPOLLRDHUP or EPOLLERR: always reported
class Poller {
 public:
  static Result<Poller> open();
  Status add(int fd, uint32_t events, uint64_t token);
  Status modify(int fd, uint32_t events, uint64_t token);
  void remove(int fd);
  struct Ready {
    uint64_t token;
    uint32_t events;
  };
  // Fills `ready` (cleared first). timeout_ms < 0: for ever.
  Status wait(int timeout_ms, std::vector<Ready>& ready);
  int fd() const { return fd_.get(); }

 private:
  Fd fd_;
};
// One descriptor. True: readable (or hung up) before the timeout.
bool wait_readable(int fd, int timeout_ms);

}  // namespace polyray::os
