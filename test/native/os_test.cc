// SPDX-License-Identifier: Apache-2.0
// Goal: the kernel's door keeps its contract: errors are typed, descriptors travel, waits wake, children start clean.
#include "os/env.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

namespace polyray::os {
namespace {

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string own_name(const char* what) {
  return std::string("polyray-test-") + what + "-" + std::to_string(own_pid());
}

TEST(Os, APacketCarriesBytesAndDescriptors) {
  auto [left, right] = std::move(socket_pair().value());
  Pipe pipe = std::move(open_pipe().value());
  const int fds[] = {pipe.read.get(), pipe.write.get()};
  ASSERT_TRUE(send_packet(left.get(), bytes_of("head"), bytes_of("body"), fds).is_ok());
  ASSERT_TRUE(send_packet(left.get(), bytes_of("second"), {}, {}).is_ok());
  Result<Packet> packet = receive_packet(right.get(), -1);
  ASSERT_TRUE(packet.is_ok());
  EXPECT_EQ(std::string(packet.value().bytes.begin(), packet.value().bytes.end()), "headbody");
  ASSERT_EQ(packet.value().fds.size(), 2u);
  EXPECT_EQ(::fcntl(packet.value().fds[0].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  ASSERT_EQ(::write(packet.value().fds[1].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(pipe.read.get(), &byte, 1), 1);
  EXPECT_EQ(receive_packet(right.get(), 0).value().bytes.size(), 6u) << "packets keep their bounds";
}

TEST(Os, ReceivingSaysWhyNothingCame) {
  auto [left, right] = std::move(socket_pair().value());
  EXPECT_EQ(receive_packet(right.get(), 0).status().code, StatusCode::kWouldBlock);
  EXPECT_EQ(receive_packet(right.get(), 5).status().code, StatusCode::kTimedOut);
  left.reset();
  EXPECT_EQ(receive_packet(right.get(), -1).status().code, StatusCode::kDisconnected);
  EXPECT_EQ(send_packet(right.get(), bytes_of("x"), {}, {}).code, StatusCode::kDisconnected)
      << "and no SIGPIPE";
}

TEST(Os, PacketsOutOfBoundsAreRefused) {
  auto [left, right] = std::move(socket_pair().value());
  const std::string big(kMaxPacketBytes + 1, 'x');
  EXPECT_EQ(send_packet(left.get(), bytes_of(big), {}, {}).code, StatusCode::kInvalidArgument);
  EXPECT_EQ(send_packet(left.get(), {}, {}, {}).code, StatusCode::kInvalidArgument);
  const std::vector<int> fds(9, 0);
  EXPECT_EQ(send_packet(left.get(), bytes_of("x"), {}, fds).code, StatusCode::kInvalidArgument);
  const std::string whole(kMaxPacketBytes, 'x');
  ASSERT_TRUE(send_packet(left.get(), bytes_of(whole), {}, {}).is_ok());
  EXPECT_EQ(receive_packet(right.get(), -1).value().bytes.size(), kMaxPacketBytes);
}

TEST(Os, SessionSocketsKnowTheirPeer) {
  const std::string name = own_name("session");
  EXPECT_EQ(connect_abstract(name).status().code, StatusCode::kNotFound);
  Fd listener = std::move(listen_abstract(name, 8).value());
  EXPECT_EQ(listen_abstract(name, 8).status().code, StatusCode::kAlreadyExists);
  EXPECT_EQ(accept_same_user(listener.get(), nullptr).status().code, StatusCode::kWouldBlock);
  Fd client = std::move(connect_abstract(name).value());
  PeerInfo peer;
  Result<Fd> server = accept_same_user(listener.get(), &peer);
  ASSERT_TRUE(server.is_ok());
  EXPECT_EQ(peer.pid, own_pid());
  EXPECT_EQ(peer.uid, ::geteuid());
  EXPECT_TRUE(peer_pidfd(server.value().get()).is_ok());
  ASSERT_TRUE(send_packet(client.get(), bytes_of("hi"), {}, {}).is_ok());
  EXPECT_TRUE(receive_packet(server.value().get(), -1).is_ok());
  EXPECT_EQ(listen_abstract(std::string(200, 'x'), 8).status().code, StatusCode::kInvalidArgument);
  EXPECT_EQ(connect_abstract("").status().code, StatusCode::kInvalidArgument);
}

TEST(Os, AnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  const std::string name = own_name("other");
  Fd listener = std::move(listen_abstract(name, 8).value());
  const pid_t child = ::fork();
  if (child == 0) {
    // It must not accept us either: the name could be a trap.
    if (::setuid(12345) != 0) ::_exit(2);
    ::_exit(connect_abstract(name).status().code == StatusCode::kAuthentication ? 0 : 1);
  }
  ASSERT_TRUE(wait_readable(listener.get(), -1));
  EXPECT_EQ(accept_same_user(listener.get(), nullptr).status().code, StatusCode::kAuthentication);
  EXPECT_EQ(reap(static_cast<uint32_t>(child), true).value().code, 0);
}

TEST(Os, AFutexWakesOnceTheWordChanged) {
  std::atomic<uint32_t> word{1};
  EXPECT_EQ(futex_wait(word, 0, -1), WaitOutcome::kChanged);
  EXPECT_EQ(futex_wait(word, 1, 1), WaitOutcome::kTimedOut);
  std::thread waker([&] {
    word.store(0);
    futex_wake_all(word);
  });
  while (word.load() == 1) futex_wait(word, 1, -1);
  waker.join();
}

TEST(Os, AFutexWorksBetweenProcessesOverDifferentMappings) {
  Fd file = std::move(open_memory_file("futex", 4096).value());
  uint8_t* mine = map_shared(file.get(), 0, 4096, Access::kReadWrite, OnFork::kDrop).value();
  auto& word = *reinterpret_cast<std::atomic<uint32_t>*>(mine);
  const pid_t child = ::fork();
  if (child == 0) {
    uint8_t* theirs = map_shared(file.get(), 0, 4096, Access::kReadWrite, OnFork::kDrop).value();
    auto& same = *reinterpret_cast<std::atomic<uint32_t>*>(theirs);
    same.store(1);
    futex_wake_all(same);
    while (same.load() == 1) futex_wait(same, 1, -1);
    ::_exit(0);
  }
  while (word.load() == 0) futex_wait(word, 0, -1);
  word.store(2);
  futex_wake_all(word);
  EXPECT_EQ(reap(static_cast<uint32_t>(child), true).value().code, 0);
  unmap(mine, 4096);
}

TEST(Os, AnEventIsCountedAndDrained) {
  Fd event = std::move(open_event().value());
  EXPECT_EQ(drain_event(event.get()), 0u);
  EXPECT_FALSE(wait_readable(event.get(), 0));
  signal_event(event.get());
  signal_event(event.get());
  EXPECT_TRUE(wait_readable(event.get(), -1));
  EXPECT_EQ(drain_event(event.get()), 2u);
}

TEST(Os, APollerReportsTokensAndHangUps) {
  Poller poller = std::move(Poller::open().value());
  Fd event = std::move(open_event().value());
  auto [left, right] = std::move(socket_pair().value());
  ASSERT_TRUE(poller.add(event.get(), kReadable, 11).is_ok());
  ASSERT_TRUE(poller.add(right.get(), kReadable, 22).is_ok());
  EXPECT_EQ(poller.add(right.get(), kReadable, 22).code, StatusCode::kAlreadyExists);
  std::vector<Poller::Ready> ready;
  ASSERT_TRUE(poller.wait(0, ready).is_ok());
  EXPECT_TRUE(ready.empty());
  signal_event(event.get());
  ASSERT_TRUE(poller.wait(-1, ready).is_ok());
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].token, 11u);
  drain_event(event.get());
  left.reset();
  ASSERT_TRUE(poller.wait(-1, ready).is_ok());
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].token, 22u);
  EXPECT_TRUE(ready[0].events & kHungUp);
  poller.remove(right.get());
  ASSERT_TRUE(poller.wait(0, ready).is_ok());
  EXPECT_TRUE(ready.empty());
}

TEST(Os, ASpawnedChildHasItsOwnSessionCleanSignalsAndOurDescriptors) {
  Pipe pipe = std::move(open_pipe().value());
  Pipe other = std::move(open_pipe().value());
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  SpawnOptions options;
  options.path = "/bin/sh";
  // The session id is the shell's own pid; nothing is blocked (grep inherits it); number 3 is our pipe, 4 is the other, nothing else is open.
  options.arguments = {"-c",
                       "test \"$(ps -o sid= -p $$ 2>/dev/null | tr -d ' ')\" = \"$$\" || test ! -x "
                       "/bin/ps || exit 3;"
                       "grep -q 'SigBlk:.0000000000000000' /proc/self/status || exit 4;"
                       "test -e /proc/$$/fd/5 && exit 5; echo out >&3; echo two >&4"};
  options.descriptors = {{pipe.write.get(), 3}, {other.write.get(), 4}};
  Result<uint32_t> pid = spawn(options);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(pid.is_ok()) << pid.status().message;
  Fd pidfd = std::move(open_pidfd(pid.value()).value());
  EXPECT_TRUE(wait_readable(pidfd.get(), -1)) << "a pidfd is readable at the end";
  ASSERT_EQ(reap(pid.value(), true).value().code, 0);
  EXPECT_EQ(reap(pid.value(), false).status().code, StatusCode::kNotFound);
  char text[4] = {};
  EXPECT_EQ(::read(pipe.read.get(), text, 4), 4);
  EXPECT_EQ(std::string(text, 4), "out\n");
  EXPECT_EQ(::read(other.read.get(), text, 4), 4);
  EXPECT_EQ(std::string(text, 4), "two\n");
}

TEST(Os, ASpawnedGroupEndsAsOne) {
  SpawnOptions options;
  options.path = "/bin/sleep";
  options.arguments = {"1000"};
  const uint32_t pid = spawn(options).value();
  EXPECT_EQ(reap(pid, false).status().code, StatusCode::kWouldBlock);
  EXPECT_TRUE(signal_group(pid, SIGKILL).is_ok());
  EXPECT_EQ(reap(pid, true).value().signal, SIGKILL);
  EXPECT_EQ(signal_group(pid, SIGKILL).code, StatusCode::kNotFound);
  EXPECT_EQ(signal_group(0, SIGKILL).code, StatusCode::kInvalidArgument) << "would be ourselves";
  EXPECT_EQ(signal_group(1, SIGKILL).code, StatusCode::kInvalidArgument) << "would be everybody";
}

TEST(Os, AMissingProgramIsAnError) {
  SpawnOptions options;
  options.path = "/nowhere/polyray-guardian";
  EXPECT_EQ(spawn(options).status().code, StatusCode::kNotFound);
}

TEST(Os, PagesArePopulatedReservedAndGivenBack) {
  Fd file = std::move(open_memory_file("pages", 1 << 20).value());
  uint8_t* memory = map_shared(file.get(), 0, 1 << 20, Access::kReadWrite, OnFork::kDrop).value();
  EXPECT_EQ(file_allocated_bytes(file.get()), 0u);
  ASSERT_TRUE(populate_write(file.get(), 100, memory + 100, 5000).is_ok());
  EXPECT_EQ(file_allocated_bytes(file.get()), 8192u);
  ASSERT_TRUE(reserve_file(file.get(), 65536, 65536).is_ok());
  EXPECT_EQ(file_allocated_bytes(file.get()), 8192u + 65536);
  memory[65536] = 1;
  ASSERT_TRUE(punch_hole(file.get(), 0, 1 << 20).is_ok());
  EXPECT_EQ(file_allocated_bytes(file.get()), 0u);
  EXPECT_EQ(memory[65536], 0);
  EXPECT_FALSE(reserve_file(-1, 0, 4096).is_ok());
  unmap(memory, 1 << 20);
}

long faults() {
  struct rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt;
}

TEST(Os, PopulatedPagesAreWrittenWithoutAFault) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's shadow memory takes faults of its own";
#endif
  constexpr uint64_t kBytes = 8 << 20;
  Fd file = std::move(open_memory_file("pages", kBytes).value());
  for (const Pages pages : {Pages::kNew, Pages::kPresent, Pages::kPresent}) {
    uint8_t* memory = map_shared(file.get(), 0, kBytes, Access::kReadWrite, OnFork::kDrop).value();
    ASSERT_TRUE(reserve_file(file.get(), 0, kBytes).is_ok());
    ASSERT_TRUE(populate_write(file.get(), 0, memory, kBytes, pages).is_ok());
    const long before = faults();
    for (uint64_t at = 0; at < kBytes; at += 4096) memory[at] = 1;
    EXPECT_LT(faults() - before, 100) << "of 2048 pages";
    unmap(memory, kBytes);
  }
}

TEST(Os, PagesPopulatedInOneMapAreSharedWithAnother) {
  Fd file = std::move(open_memory_file("pages", 1 << 20).value());
  uint8_t* one = map_shared(file.get(), 0, 1 << 20, Access::kReadWrite, OnFork::kDrop).value();
  uint8_t* two = map_shared(file.get(), 0, 1 << 20, Access::kReadWrite, OnFork::kDrop).value();
  ASSERT_TRUE(populate_write(file.get(), 0, one, 1 << 20).is_ok());
  EXPECT_EQ(file_allocated_bytes(file.get()), uint64_t{1} << 20);
  std::memset(one, 5, 1 << 20);
  ASSERT_TRUE(populate_write(file.get(), 0, two, 1 << 20, Pages::kPresent).is_ok());
  EXPECT_EQ(two[123456], 5);
  two[123456] = 6;
  EXPECT_EQ(one[123456], 6);
  unmap(one, 1 << 20);
  unmap(two, 1 << 20);
}

TEST(Os, CopiesOfEverySizeAndAlignmentAreWholeAndStayInside) {
  constexpr size_t kMost = (17 << 20) + 12345;  // more than a piece
  constexpr size_t kGuard = 64;
  std::vector<uint8_t> from(kMost + kGuard), to(kMost + 3 * kGuard);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 31 + i / 4096);
  const size_t sizes[] = {0, 1, 4096, 4 << 20, (4 << 20) + 1, (5 << 20) + 32767, kMost};
  for (const size_t size : sizes) {
    for (const size_t shift : {0u, 1u, 16u, 63u}) {
      std::fill(to.begin(), to.end(), uint8_t{0xee});
      copy_bytes(to.data() + kGuard + shift, from.data() + shift / 2, size);
      EXPECT_EQ(std::memcmp(to.data() + kGuard + shift, from.data() + shift / 2, size), 0)
          << size << " " << shift;
      const auto other = [](uint8_t byte) { return byte != 0xee; };
      EXPECT_TRUE(std::none_of(to.begin(), to.begin() + kGuard + shift, other)) << size;
      EXPECT_TRUE(std::none_of(to.begin() + kGuard + shift + size, to.end(), other)) << size;
    }
  }
}

TEST(Os, MemoryThatWasNeverTouchedIsCopiedAsZeros) {
  constexpr size_t kBytes = 8 << 20;
  Fd file = std::move(open_memory_file("source", kBytes).value());
  // Anonymous zeros by calloc, and a private map of a file with a hole.
  const std::unique_ptr<uint8_t, decltype(&std::free)> fresh(
      static_cast<uint8_t*>(std::calloc(kBytes, 1)), std::free);
  const PrivateMap hole = map_private(file.get(), 0, kBytes, Access::kRead).value();
  for (const uint8_t* source :
       {static_cast<const uint8_t*>(fresh.get()), static_cast<const uint8_t*>(hole.data)}) {
    std::vector<uint8_t> to(kBytes, 1);
    copy_bytes(to.data(), source, kBytes);
    EXPECT_TRUE(std::all_of(to.begin(), to.end(), [](uint8_t byte) { return byte == 0; }));
  }
  unmap(hole.start, hole.bytes);
}

TEST(Os, AFullFileSystemIsATypedErrorNotASignal) {
  // The populate of a mapping beyond the end of the file would be SIGBUS when touched.
  Fd file = std::move(open_memory_file("short", 4096).value());
  uint8_t* memory = map_shared(file.get(), 0, 8192, Access::kReadWrite, OnFork::kDrop).value();
  EXPECT_TRUE(populate_write(file.get(), 0, memory, 4096).is_ok());
  EXPECT_EQ(populate_write(file.get(), 4096, memory + 4096, 4096).code, StatusCode::kOutOfMemory);
  unmap(memory, 8192);
}

TEST(Os, ASealedFileKeepsItsSize) {
  Fd file = std::move(open_memory_file("sealed", 8192).value());
  ASSERT_TRUE(seal_size(file.get()).is_ok());
  EXPECT_NE(::ftruncate(file.get(), 0), 0);
  EXPECT_NE(::ftruncate(file.get(), 16384), 0);
  EXPECT_FALSE(seal_size(file.get()).is_ok()) << "no more seals";
}

TEST(Os, ClocksGoOnAndRandomBytesDiffer) {
  const uint64_t before = now_ns();
  sleep_ms(2);
  EXPECT_GE(now_ns() - before, 2'000'000u);
  uint8_t a[32], b[32];
  fill_random(a);
  fill_random(b);
  EXPECT_NE(std::memcmp(a, b, 32), 0);
}

TEST(Os, AnFdIsClosedOnce) {
  int number = -1;
  {
    Fd fd = std::move(open_event().value());
    number = fd.get();
    Fd other = std::move(fd);
    EXPECT_FALSE(fd.is_open());  // NOLINT: moved from on purpose
    EXPECT_EQ(other.get(), number);
  }
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

}  // namespace
}  // namespace polyray::os
