// SPDX-License-Identifier: Apache-2.0
// polyray-guardian <session id> <session dir>: outlives the runtime by a moment, so that nothing else does.
//
// stdin is the life line: lines "+<pgid>", "-<pgid>", "keep <path>" and "remove <folder>"; its end of file means that the runtime is gone.
// Then: SIGKILL to every known process group, and to every process of this user that was started with
// POLYRAY_SESSION_ID=<session id> in its environment, until none is left in two passes; then the session folder is
// removed, but for kept paths, and so are the other folders it was told of.
// Owns nothing else. All memory is static; no library of ours is used. One thread.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

constexpr size_t kMaxGroups = 8192;
constexpr size_t kMaxKept = 8;
constexpr size_t kMaxRemoved = 32;
constexpr long kMaxPid =
    4194304;  // PID_MAX_LIMIT of Linux: nothing above it may become a pid by a cast
constexpr int kMaxPasses = 200;
constexpr size_t kLineBytes = PATH_MAX + 16;

pid_t groups[kMaxGroups];
size_t group_count = 0;
char kept[kMaxKept][PATH_MAX];
size_t kept_count = 0;
char removed[kMaxRemoved][PATH_MAX];
size_t removed_count = 0;
char line[kLineBytes];
size_t line_size = 0;
char scan[128 * 1024];

void close_all_but_stdin() {
#ifdef SYS_close_range
  if (::syscall(SYS_close_range, 1U, ~0U, 0U) == 0) return;
#endif
  for (int fd = 1; fd < 4096; ++fd) ::close(fd);
}

void ignore_signals() {
  for (const int number :
       {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU})
    ::signal(number, SIG_IGN);
}

bool removes_group(pid_t group) {
  for (size_t i = 0; i < group_count; ++i) {
    if (groups[i] != group) continue;
    groups[i] = groups[--group_count];
    return true;
  }
  return false;
}

void take_line() {
  line[line_size] = '\0';
  line_size = 0;
  if (line[0] == '+' || line[0] == '-') {
    const long group = ::strtol(line + 1, nullptr, 10);
    if (group <= 1 || group > kMaxPid || group == ::getpgrp()) return;
    removes_group(static_cast<pid_t>(group));
    if (line[0] == '+' && group_count < kMaxGroups)
      groups[group_count++] = static_cast<pid_t>(group);
  } else if (::strncmp(line, "keep ", 5) == 0 && kept_count < kMaxKept &&
             ::strlen(line + 5) < PATH_MAX) {
    ::strcpy(kept[kept_count++], line + 5);
  } else if (::strncmp(line, "remove ", 7) == 0 && removed_count < kMaxRemoved &&
             ::strlen(line + 7) < PATH_MAX) {
    ::strcpy(removed[removed_count++], line + 7);
  }
}

void read_life_line() {
  char bytes[4096];
  for (;;) {
    const ssize_t count = ::read(0, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    for (ssize_t i = 0; i < count; ++i) {
      if (bytes[i] == '\n') {
        take_line();
      } else if (line_size + 1 < kLineBytes) {
        line[line_size++] = bytes[i];
      }
    }
  }
}

// The environment at the process's start has this variable. False also for processes that we may not read.
bool has_variable(const char* pid, const char* variable, size_t variable_size) {
  char path[64];
  ::snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool found = false;
  size_t have = 0;        // bytes in `scan`; it always starts at the beginning of a variable
  bool skipping = false;  // inside a variable that is too long for `scan`
  while (!found) {
    const ssize_t count = ::read(fd, scan + have, sizeof scan - have);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    have += static_cast<size_t>(count);
    size_t start = 0;
    for (;;) {
      const void* end = ::memchr(scan + start, '\0', have - start);
      if (end == nullptr) break;
      const size_t size = static_cast<size_t>(static_cast<const char*>(end) - (scan + start));
      if (!skipping && size == variable_size && ::memcmp(scan + start, variable, size) == 0)
        found = true;
      skipping = false;
      start += size + 1;
    }
    ::memmove(scan, scan + start, have - start);
    have -= start;
    if (have == sizeof scan) {
      have = 0;
      skipping = true;
    }
  }
  ::close(fd);
  return found;
}

// Zombies are over: they wait for their parent only.
bool is_zombie(const char* pid) {
  char path[64], text[512];
  ::snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  const ssize_t count = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (count <= 0) return true;
  text[count] = '\0';
  const char* after_name = ::strrchr(text, ')');
  return after_name != nullptr && after_name[1] == ' ' &&
         (after_name[2] == 'Z' || after_name[2] == 'X');
}

// SIGKILL to every process of the session. Returns how many were there.
size_t kill_pass(const char* variable) {
  for (size_t i = 0; i < group_count; ++i) ::kill(-groups[i], SIGKILL);
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return 0;
  size_t count = 0;
  const size_t variable_size = ::strlen(variable);
  while (const dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const long pid = ::strtol(entry->d_name, nullptr, 10);
    if (pid <= 1 || pid == ::getpid()) continue;
    struct stat about;
    char path[64];
    ::snprintf(path, sizeof path, "/proc/%.20s", entry->d_name);
    if (::stat(path, &about) != 0 || about.st_uid != ::getuid()) continue;
    if (!has_variable(entry->d_name, variable, variable_size) || is_zombie(entry->d_name)) continue;
    ::kill(static_cast<pid_t>(pid), SIGKILL);
    ++count;
  }
  ::closedir(proc);
  return count;
}

void wait_ms(long ms) {
  timespec time{ms / 1000, ms % 1000 * 1000000};
  while (::nanosleep(&time, &time) != 0 && errno == EINTR) {
  }
}

// Both below or equal: `inner` lies in `outer`.
bool is_inside(const char* inner, const char* outer) {
  const size_t size = ::strlen(outer);
  return ::strncmp(inner, outer, size) == 0 && (inner[size] == '\0' || inner[size] == '/');
}

bool is_kept(const char* path) {
  for (size_t i = 0; i < kept_count; ++i)
    if (::strcmp(path, kept[i]) == 0) return true;
  return false;
}

bool holds_kept(const char* path) {
  for (size_t i = 0; i < kept_count; ++i)
    if (is_inside(kept[i], path)) return true;
  return false;
}

// Removes a folder's content and the folder. `path` has PATH_MAX bytes and is changed and restored. Links are not followed.
void remove_tree(char* path, int depth) {
  if (is_kept(path) || depth > 64) return;
  struct stat about;
  if (::lstat(path, &about) != 0) return;
  if (!S_ISDIR(about.st_mode)) {
    ::unlink(path);
    return;
  }
  DIR* folder = ::opendir(path);
  if (folder == nullptr) return;
  const size_t size = ::strlen(path);
  while (const dirent* entry = ::readdir(folder)) {
    if (::strcmp(entry->d_name, ".") == 0 || ::strcmp(entry->d_name, "..") == 0) continue;
    if (size + 1 + ::strlen(entry->d_name) >= PATH_MAX) continue;
    path[size] = '/';
    ::strcpy(path + size + 1, entry->d_name);
    remove_tree(path, depth + 1);
    path[size] = '\0';
  }
  ::closedir(folder);
  if (!holds_kept(path)) ::rmdir(path);
}

// An empty or short name is never a folder of a session.
bool is_removable(const char* folder) {
  return folder[0] == '/' && ::strlen(folder) > 4 && ::strchr(folder + 1, '/') != nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  ::setsid();
  ignore_signals();
  static char variable[512];
  static char folder[PATH_MAX];
  ::snprintf(variable, sizeof variable, "POLYRAY_SESSION_ID=%s", argv[1]);
  ::snprintf(folder, sizeof folder, "%s", argv[2]);
  if (argv[1][0] == '\0') return 2;
  if (::chdir("/") != 0) return 1;
  close_all_but_stdin();
  read_life_line();
  int quiet = 0;
  for (int pass = 0; pass < kMaxPasses && quiet < 2; ++pass) {
    quiet = kill_pass(variable) == 0 ? quiet + 1 : 0;
    if (quiet < 2) wait_ms(10);
  }
  if (is_removable(folder)) remove_tree(folder, 0);
  for (size_t i = 0; i < removed_count; ++i)
    if (is_removable(removed[i])) remove_tree(removed[i], 0);
  return 0;
}
