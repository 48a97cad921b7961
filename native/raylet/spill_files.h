// SPDX-License-Identifier: Apache-2.0
// The thread that writes and removes spill files, so that the raylet's own never waits for a disk.
//
// Owns: its thread, started with the first job. Jobs run in order; results wait in done(), and the bell is rung for them.
// Invariant: a file that was not written whole is removed before its result is told.
// Thread rules: submit, take_done, stop: one thread. Bytes of a job must stay in place until its result was taken.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"

namespace polyray::raylet {

struct SpillPiece {
  const uint8_t* data;
  uint64_t bytes;
  uint64_t offset;  // in the file
};

class SpillFiles {
 public:
  struct Done {
    uint64_t file;
    Status status;
    uint64_t took_ns;
  };
  explicit SpillFiles(int bell_fd) : bell_fd_(bell_fd) {}
  ~SpillFiles() { stop(); }
  void write(uint64_t file, std::string path, std::vector<SpillPiece> pieces);
  void remove(std::string path);
  std::vector<Done> take_done();
  // Removals that are queued are done, writes that have not begun are not.
  void stop();

 private:
  struct Job {
    uint64_t file;  // 0: remove
    std::string path;
    std::vector<SpillPiece> pieces;
  };
  void push(Job job);
  void run();
  const int bell_fd_;
  std::mutex mutex_;  // guards the four below
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::vector<Done> done_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace polyray::raylet
