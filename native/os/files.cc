// SPDX-License-Identifier: Apache-2.0
// Ordinary files on disk: making, writing, mapping and removing them (spilled objects).
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/env.h"

namespace polyray::os {

namespace {
constexpr size_t kWriteBytes = 8 * 1024 * 1024;  // one system call writes at most so much
constexpr uint64_t kPageMask = 4095;
}  // namespace

Status make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return Status::ok();
  return errno_status("mkdir", errno);
}

Result<Fd> create_file(const std::string& path) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.is_open()) return errno_status("open", errno);
  return fd;
}

Status write_at(int fd, uint64_t offset, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n =
        ::pwrite(fd, bytes.data(), std::min(bytes.size(), kWriteBytes), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("write", errno);
    if (n == 0) return errno_status("write", ENOSPC);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return Status::ok();
}

Result<Fd> open_readable(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.is_open()) return errno_status("open", errno);
  return fd;
}

Result<PrivateMap> map_private(int fd, uint64_t offset, uint64_t bytes, Access access) {
  Result<uint64_t> size = file_bytes(fd);
  if (!size.is_ok()) return size.status();
  if (offset > size.value() || bytes > size.value() - offset)
    return Status::error(StatusCode::kBadRecord, "the file is shorter than what it should hold");
  const uint64_t start = offset & ~kPageMask;
  PrivateMap map;
  map.bytes = (offset - start + bytes + kPageMask) & ~kPageMask;
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* address = ::mmap(nullptr, map.bytes, protection, MAP_PRIVATE | MAP_NORESERVE, fd,
                         static_cast<off_t>(start));
  if (address == MAP_FAILED) return errno_status("mmap", errno);
  ::madvise(address, map.bytes, MADV_DONTDUMP);
  map.start = static_cast<uint8_t*>(address);
  map.data = map.start + (offset - start);
  return map;
}

void unlink_file(const std::string& path) {
  ::unlink(path.c_str());
}

void remove_folder(const std::string& path) {
  ::rmdir(path.c_str());
}

}  // namespace polyray::os
