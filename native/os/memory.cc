// SPDX-License-Identifier: Apache-2.0
// Files that become shared memory: making, sizing, sealing, mapping, populating and giving pages back.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "os/env.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace polyray::os {

namespace {

constexpr uint64_t kPageMask = 4095;
constexpr long kTmpfsMagic = 0x01021994;

Result<Fd> sized(Fd fd, uint64_t bytes) {
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
    return errno_status("ftruncate", errno);
  return fd;
}

// In memory (a memfd, tmpfs) a page that was read may be written without another fault, and reading maps sixteen
// neighbours that are there at a time: a quarter of the cost. Pages that fallocate got are zeroed by their first fault and
// have no such neighbours. A file system on disk wants to hear of the first write.
int populate_advice(int fd, Pages pages) {
  if (pages == Pages::kNew) return MADV_POPULATE_WRITE;
  struct statfs info{};
  const bool in_memory = ::fstatfs(fd, &info) == 0 && info.f_type == kTmpfsMagic;
  return in_memory ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
}

}  // namespace

Result<Fd> open_memory_file(const char* name, uint64_t bytes) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.is_open()) return errno_status("memfd_create", errno);
  return sized(std::move(fd), bytes);
}

Result<Fd> open_unlinked_file(const char* path, uint64_t bytes) {
  Fd fd(::open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.is_open()) return errno_status("open", errno);
  ::unlink(path);
  return sized(std::move(fd), bytes);
}

Status seal_size(int fd) {
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return errno_status("F_ADD_SEALS", errno);
  return Status::ok();
}

Result<uint64_t> file_bytes(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return errno_status("fstat", errno);
  return static_cast<uint64_t>(info.st_size);
}

uint64_t file_allocated_bytes(int fd) {
  struct stat info{};
  return ::fstat(fd, &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
}

Result<Fd> duplicate(int fd) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy.is_open()) return errno_status("dup", errno);
  return copy;
}

Result<uint8_t*> map_shared(int fd, uint64_t offset, uint64_t bytes, Access access,
                            OnFork on_fork) {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* address = ::mmap(nullptr, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd,
                         static_cast<off_t>(offset));
  if (address == MAP_FAILED) return errno_status("mmap", errno);
  // A core dump of a host program must not contain (or wait for) the whole object store.
  ::madvise(address, bytes, MADV_DONTDUMP);
  if (on_fork == OnFork::kDrop && ::madvise(address, bytes, MADV_DONTFORK) != 0) {
    const int error_number = errno;
    ::munmap(address, bytes);
    return errno_status("MADV_DONTFORK", error_number);
  }
  return static_cast<uint8_t*>(address);
}

void unmap(const void* address, uint64_t bytes) {
  if (address != nullptr) ::munmap(const_cast<void*>(address), bytes);
}

Status populate_write(int fd, uint64_t offset, void* address, uint64_t bytes, Pages pages) {
  const auto begin = reinterpret_cast<uintptr_t>(address) & ~kPageMask;
  const auto end = (reinterpret_cast<uintptr_t>(address) + bytes + kPageMask) & ~kPageMask;
  const int advice = populate_advice(fd, pages);
  int error_number = 0;
  do {
    error_number = ::madvise(reinterpret_cast<void*>(begin), end - begin, advice) == 0 ? 0 : errno;
  } while (error_number == EINTR || error_number == EAGAIN);
  if (error_number == 0) return Status::ok();
  if (error_number == EINVAL) return reserve_file(fd, offset, bytes);
  if (error_number == EFAULT)
    error_number = ENOMEM;  // the kernel's word for "it would have been SIGBUS"
  return errno_status("MADV_POPULATE", error_number);
}

Status reserve_file(int fd, uint64_t offset, uint64_t bytes) {
  int error_number = 0;
  do {
    error_number =
        ::fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  } while (error_number == EINTR);
  if (error_number == EOPNOTSUPP) {
    error_number = ::posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  }
  return error_number == 0 ? Status::ok() : errno_status("fallocate", error_number);
}

Status punch_hole(int fd, uint64_t offset, uint64_t bytes) {
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  int error_number = 0;
  do {
    error_number = ::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0
                       ? 0
                       : errno;
  } while (error_number == EINTR);
  return error_number == 0 ? Status::ok() : errno_status("punch hole", error_number);
}

}  // namespace polyray::os
