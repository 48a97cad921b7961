// SPDX-License-Identifier: Apache-2.0
// Goal: whatever way a runtime ends, the guardian ends its processes and removes its folder, and touches nothing else.
// Method: the real polyray-guardian on a socket as its life line; real process groups; a raylet in a process that is killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>

#include "os/env.h"
#include "raylet/raylet.h"

namespace polyray {
namespace {

namespace fs = std::filesystem;

const std::string kGuardian = std::string(POLYRAY_BINARY_DIR) + "/polyray-guardian";

bool soon(const std::function<bool()>& done, uint32_t timeout_ms = 20'000) {
  const uint64_t deadline_ms = os::now_ms() + timeout_ms;
  while (!done()) {
    if (os::now_ms() > deadline_ms) return false;
    os::sleep_ms(5);
  }
  return true;
}

// Gone, or a zombie that waits for its parent.
bool is_over(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return true;
  const size_t at = text.rfind(')');
  return at != std::string::npos && text[at + 2] == 'Z';
}

class Guardian : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(fs::exists(kGuardian)) << "build polyray-guardian first";
    session = "guardian-test-" + std::to_string(getpid()) + "-" + std::to_string(os::now_ns());
    folder = fs::temp_directory_path() / "polyray-test" / session;
    fs::create_directories(folder / "logs" / "deep");
    std::ofstream(folder / "logs" / "worker.log") << "line\n";
    std::ofstream(folder / "other.txt") << "x";
  }
  void TearDown() override {
    line.reset();
    if (pid != 0) waitpid(pid, nullptr, 0);
    for (const pid_t child : children) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    fs::remove_all(folder);
  }
  void start() {
    auto pair = os::socket_pair();
    ASSERT_TRUE(pair.is_ok());
    os::SpawnOptions options;
    options.path = kGuardian;
    options.arguments = {session, folder.string()};
    options.descriptors = {{pair.value().second.get(), 0}};
    auto spawned = os::spawn(options);
    ASSERT_TRUE(spawned.is_ok()) << spawned.status().message;
    pid = static_cast<pid_t>(spawned.value());
    line = std::move(pair.value().first);
  }
  void say(const std::string& text) {
    ASSERT_TRUE(os::send_packet(line.get(),
                                {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, {},
                                {})
                    .is_ok());
  }
  // End of file on the life line; waits until the guardian has ended.
  int end() {
    line.reset();
    int status = 0;
    waitpid(pid, &status, 0);
    pid = 0;
    return WEXITSTATUS(status);
  }
  // A shell with a child in a group of its own. Every signal but SIGKILL is ignored.
  pid_t group(const std::string& variable = "", bool own_group = true) {
    const pid_t child = fork();
    if (child == 0) {
      if (own_group) setpgid(0, 0);
      signal(SIGTERM, SIG_IGN);
      signal(SIGHUP, SIG_IGN);
      const std::string script = "sleep 300 & sleep 300";
      const char* const argv[] = {"sh", "-c", script.c_str(), nullptr};
      const char* const environment[] = {"PATH=/usr/bin:/bin",
                                         variable.empty() ? nullptr : variable.c_str(), nullptr};
      execve("/bin/sh", const_cast<char* const*>(argv), const_cast<char* const*>(environment));
      _exit(127);
    }
    if (own_group) setpgid(child, child);
    children.push_back(child);
    return child;
  }

  std::string session;
  fs::path folder;
  pid_t pid = 0;
  os::Fd line;
  std::vector<pid_t> children;
};

TEST_F(Guardian, KnownGroupsEndWithTheirChildrenAndOthersDoNot) {
  start();
  const pid_t known = group();
  const pid_t left = group();
  const pid_t stranger = group();
  say("+" + std::to_string(known) + "\n+" + std::to_string(left) + "\n-" + std::to_string(left) +
      "\n");
  os::sleep_ms(50);
  EXPECT_FALSE(is_over(known));
  EXPECT_EQ(end(), 0);
  EXPECT_TRUE(soon([&] { return is_over(known); }));
  waitpid(known, nullptr, 0);
  EXPECT_TRUE(soon([&] { return kill(-known, 0) != 0; })) << "the group's children are gone too";
  EXPECT_FALSE(is_over(left)) << "it was taken off the list";
  EXPECT_FALSE(is_over(stranger));
  kill(-left, SIGKILL);
  kill(-stranger, SIGKILL);
}

TEST_F(Guardian, ProcessesOfTheSessionAreFoundByTheirEnvironment) {
  start();
  const pid_t ours = group("POLYRAY_SESSION_ID=" + session);
  const pid_t similar = group("POLYRAY_SESSION_ID=" + session + "x");
  const pid_t other = group("XPOLYRAY_SESSION_ID=" + session);
  os::sleep_ms(50);
  EXPECT_EQ(end(), 0);
  EXPECT_TRUE(soon([&] { return is_over(ours); }));
  EXPECT_FALSE(is_over(similar));
  EXPECT_FALSE(is_over(other));
  kill(-similar, SIGKILL);
  kill(-other, SIGKILL);
}

TEST_F(Guardian, TheFolderGoesAndLinksAreNotFollowed) {
  const fs::path outside = fs::temp_directory_path() / "polyray-test" / (session + "-outside");
  fs::create_directories(outside);
  std::ofstream(outside / "precious") << "x";
  fs::create_directory_symlink(outside, folder / "link");
  start();
  EXPECT_EQ(end(), 0);
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_TRUE(fs::exists(outside / "precious"));
  fs::remove_all(outside);
}

TEST_F(Guardian, KeptLogsStay) {
  start();
  say("keep " + (folder / "logs").string() + "\n");
  EXPECT_EQ(end(), 0);
  EXPECT_TRUE(fs::exists(folder / "logs" / "worker.log"));
  EXPECT_TRUE(fs::exists(folder / "logs" / "deep"));
  EXPECT_FALSE(fs::exists(folder / "other.txt"));
}

TEST_F(Guardian, SignalsOfATerminalDoNotEndIt) {
  start();
  os::sleep_ms(50);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) kill(pid, number);
  os::sleep_ms(50);
  EXPECT_FALSE(is_over(pid));
  EXPECT_EQ(end(), 0);
}

TEST_F(Guardian, LinesMayComeInAnyPieces) {
  start();
  const pid_t known = group();
  const std::string text =
      "+99999999999999999999\n+\n+0\n+1\nnonsense\n+" + std::to_string(known) + "\n";
  for (const char c : text) say(std::string(1, c));
  EXPECT_EQ(end(), 0);
  EXPECT_TRUE(soon([&] { return is_over(known); }));
}

RayletOptions raylet_options(const std::string& session, const fs::path& folder) {
  RayletOptions options;
  options.session_name = session;
  options.session_token = "t";
  options.session_dir = folder.string();
  options.guardian_path = kGuardian;
  options.object_store_bytes = 4 << 20;
  options.resources = {{"CPU", 10000}};
  return options;
}

TEST_F(Guardian, AKilledRuntimeLeavesNoProcessAndNoFolder) {
  const pid_t runtime = fork();
  if (runtime == 0) {
    auto raylet = Raylet::start(raylet_options(session, folder));
    if (!raylet.is_ok()) _exit(1);
    os::sleep_ms(60'000);
    _exit(0);
  }
  const pid_t worker = group("POLYRAY_SESSION_ID=" + session);
  os::sleep_ms(200);
  EXPECT_FALSE(is_over(worker));
  EXPECT_TRUE(fs::exists(folder));
  kill(runtime, SIGKILL);
  waitpid(runtime, nullptr, 0);
  EXPECT_TRUE(soon([&] { return is_over(worker); }));
  EXPECT_TRUE(soon([&] { return !fs::exists(folder); }));
}

// The guardian of a session, found by its arguments.
pid_t find_guardian(const std::string& session) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    if (text.find("polyray-guardian") != std::string::npos &&
        text.find(session) != std::string::npos)
      return std::stoi(name);
  }
  return 0;
}

TEST_F(Guardian, ADeadGuardianIsReplacedAndAStopRemovesTheFolder) {
  auto raylet = Raylet::start(raylet_options(session, folder));
  ASSERT_TRUE(raylet.is_ok()) << raylet.status().message;
  pid_t first = 0;
  ASSERT_TRUE(soon([&] { return (first = find_guardian(session)) != 0; }));
  kill(first, SIGKILL);
  pid_t second = 0;
  ASSERT_TRUE(soon([&] { return (second = find_guardian(session)) != 0 && second != first; }));
  EXPECT_TRUE(fs::exists(folder));
  raylet.value()->stop(0);
  EXPECT_FALSE(fs::exists(folder)) << "stop waits for the guardian";
  EXPECT_EQ(find_guardian(session), 0);
}

}  // namespace
}  // namespace polyray
