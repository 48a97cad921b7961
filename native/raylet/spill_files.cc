// SPDX-License-Identifier: Apache-2.0
// Writing and removing spill files on their own thread (see spill_files.h).
#include "raylet/spill_files.h"

#include <utility>

#include "os/env.h"

namespace polyray::raylet {

namespace {

Status write_file(const std::string& path, const std::vector<SpillPiece>& pieces) {
  Result<os::Fd> file = os::create_file(path);
  if (!file.is_ok()) return file.status();
  for (const SpillPiece& piece : pieces) {
    Status written = os::write_at(file.value().get(), piece.offset,
                                  {piece.data, static_cast<size_t>(piece.bytes)});
    if (written.is_ok()) continue;
    os::unlink_file(path);
    return written;
  }
  return Status::ok();
}

}  // namespace

void SpillFiles::push(Job job) {
  std::lock_guard lock(mutex_);
  jobs_.push_back(std::move(job));
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  wake_.notify_one();
}

void SpillFiles::write(uint64_t file, std::string path, std::vector<SpillPiece> pieces) {
  push({file, std::move(path), std::move(pieces)});
}

void SpillFiles::remove(std::string path) {
  push({0, std::move(path), {}});
}

std::vector<SpillFiles::Done> SpillFiles::take_done() {
  std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

void SpillFiles::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    std::erase_if(jobs_, [](const Job& job) { return job.file != 0; });
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void SpillFiles::run() {
  os::block_all_signals();
  os::name_thread("polyray-spill");
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    const uint64_t start_ns = os::now_ns();
    Status status;
    if (job.file == 0)
      os::unlink_file(job.path);
    else
      status = write_file(job.path, job.pieces);
    const uint64_t took_ns = os::now_ns() - start_ns;
    lock.lock();
    if (job.file == 0) continue;
    done_.push_back({job.file, std::move(status), took_ns});
    os::signal_event(bell_fd_);
  }
}

}  // namespace polyray::raylet
