// SPDX-License-Identifier: Apache-2.0
// The process's title as `ps` shows it: written over the arguments that the kernel keeps for /proc/<pid>/cmdline, and, cut
// to 15 bytes, as the name of the thread that calls.
//
// The area is that of the process's own argv; a forked worker has the place of its parent's. Nothing beyond it is touched.
// Thread rules: with the GIL.
#include "title.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

namespace polyray::py {

namespace {

struct Area {
  char* start = nullptr;
  size_t size = 0;
};

// Fields 48 and 49 of /proc/self/stat (arg_start, arg_end); the second field may hold spaces, but ends with the last ')'.
Area find_area() {
  const int fd = ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char text[2048];
  const ssize_t size = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (size <= 0) return {};
  text[size] = '\0';
  const char* at = std::strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 48; ++field) {
    at = std::strchr(at + 1, ' ');
  }
  if (at == nullptr) return {};
  char* next = nullptr;
  const unsigned long long start = std::strtoull(at, &next, 10);
  const unsigned long long end = std::strtoull(next, nullptr, 10);
  if (start == 0 || end <= start + 1) return {};
  return {reinterpret_cast<char*>(static_cast<uintptr_t>(start)), end - start};  // NOLINT
}

}  // namespace

void set_process_title(const std::string& title) {
  static const Area area = find_area();
  if (area.start != nullptr) {
    const size_t length = std::min(title.size(), area.size - 1);
    std::memcpy(area.start, title.data(), length);
    std::memset(area.start + length, 0, area.size - length);
  }
  ::prctl(PR_SET_NAME, title.substr(0, 15).c_str());
}

}  // namespace polyray::py
