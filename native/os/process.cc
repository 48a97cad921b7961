// SPDX-License-Identifier: Apache-2.0
// Processes: pidfds, signals to groups, pipes, spawning and reaping.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "os/env.h"

extern char** environ;

namespace polyray::os {

uint32_t own_pid() {
  return static_cast<uint32_t>(::getpid());
}

Result<Fd> open_pidfd(uint32_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)));
  if (!fd.is_open()) return errno_status("pidfd_open", errno);
  return fd;
}

Status signal_pidfd(int pidfd, int signal_number) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal_number, nullptr, 0) != 0)
    return errno_status("pidfd_send_signal", errno);
  return Status::ok();
}

Status signal_group(uint32_t group, int signal_number) {
  // 0 and 1 would mean "my own group" and "everybody".
  if (group <= 1)
    return Status::error(StatusCode::kInvalidArgument, "signal_group: not a process group");
  if (::kill(-static_cast<pid_t>(group), signal_number) != 0) return errno_status("kill", errno);
  return Status::ok();
}

Result<Pipe> open_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return errno_status("pipe2", errno);
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

Result<uint32_t> spawn(const SpawnOptions& options) {
  std::vector<char*> arguments;
  arguments.push_back(const_cast<char*>(options.path.c_str()));
  for (const std::string& text : options.arguments)
    arguments.push_back(const_cast<char*>(text.c_str()));
  arguments.push_back(nullptr);

  // A descriptor may be another one's target, so all are first copied above the highest target.
  int above = 3;
  for (const auto& [ours, target] : options.descriptors) above = std::max(above, target + 1);
  std::vector<Fd> copies;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  int error_number = 0;
  for (const auto& [ours, target] : options.descriptors) {
    copies.emplace_back(::fcntl(ours, F_DUPFD_CLOEXEC, above));
    if (!copies.back().is_open()) error_number = errno;
    ::posix_spawn_file_actions_adddup2(&actions, copies.back().get(), target);
  }
  // Our threads block all signals; the child starts with none blocked and default actions.
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.own_session) flags |= POSIX_SPAWN_SETSID;
  ::posix_spawnattr_setflags(&attributes, flags);
  pid_t pid = 0;
  if (error_number == 0)
    error_number =
        ::posix_spawn(&pid, options.path.c_str(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error_number != 0) return errno_status("posix_spawn", error_number);
  return static_cast<uint32_t>(pid);
}

Result<ExitInfo> reap(uint32_t pid, bool block) {
  int status = 0;
  pid_t result = 0;
  do {
    result = ::waitpid(static_cast<pid_t>(pid), &status, block ? 0 : WNOHANG);
  } while (result < 0 && errno == EINTR);
  if (result == 0) return Status::error(StatusCode::kWouldBlock, "the process is running");
  if (result < 0) return Status::error(StatusCode::kNotFound, "not a child of this process", errno);
  ExitInfo info;
  if (WIFEXITED(status)) info.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) info.signal = WTERMSIG(status);
  return info;
}

Result<ExitInfo> peek_exit(int pidfd) {
  siginfo_t found{};
  const auto as_pidfd =
      static_cast<idtype_t>(3);  // P_PIDFD: not in the headers of older C libraries
  if (::waitid(as_pidfd, static_cast<id_t>(pidfd), &found, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      found.si_pid == 0)
    return Status::error(StatusCode::kNotFound, "not an ended child of this process", errno);
  ExitInfo info;
  if (found.si_code == CLD_EXITED)
    info.code = found.si_status;
  else
    info.signal = found.si_status;
  return info;
}

void block_all_signals() {
  sigset_t all;
  ::sigfillset(&all);
  // Left open: signals that report an error of this very thread.
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) ::sigdelset(&all, number);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

void name_thread(const char* name) {
  ::pthread_setname_np(::pthread_self(), name);
}

}  // namespace polyray::os
