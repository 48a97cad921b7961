// SPDX-License-Identifier: Apache-2.0
// What the store's tests share: a small segment with attached endpoints, objects made as a client makes them, children
// that end by SIGKILL.
#pragma once
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <memory>

#include "os/env.h"
#include "store/row.h"
#include "store/segment.h"
#include "store/slots.h"

namespace polyray::support {

inline std::unique_ptr<Segment> make_segment(uint64_t data_bytes = 4 << 20,
                                             uint64_t max_chunks = 256) {
  SegmentOptions options;
  options.data_bytes = data_bytes;
  options.max_chunks = max_chunks;
  options.node_tag = 7;
  Result<std::unique_ptr<Segment>> made = Segment::create(options);
  EXPECT_TRUE(made.is_ok()) << made.status().message;
  return std::move(made.value());
}

inline Endpoint& attach(Segment& segment, uint32_t number) {
  EXPECT_TRUE(segment.populate_endpoint(number).is_ok());
  Endpoint& endpoint = segment.endpoint(number);
  endpoint.serial = number + 100;
  endpoint.state.store(static_cast<uint32_t>(EndpointState::kAttached), std::memory_order_release);
  return endpoint;
}

// A pending entry with one reference of `row`'s endpoint.
inline Result<ObjectId> new_object(Segment& segment, SlotPool& entries, ReferenceRow& row,
                                   uint64_t unique) {
  Result<uint64_t> offset = entries.allocate(kEntryBytes);
  if (!offset.is_ok()) return offset.status();
  const ObjectId id{segment.header().node_tag, static_cast<uint32_t>(offset.value() / kEntryBytes),
                    unique};
  ObjectEntry& entry = segment.entry(id.index);
  entry.state.store(static_cast<uint32_t>(EntryState::kPending), std::memory_order_relaxed);
  entry.unique.store(unique, std::memory_order_release);
  if (!row.adopt_new(id)) return Status::error(StatusCode::kTableFull, "the row is full");
  return id;
}

inline void seal_inline(Segment& segment, const ObjectId& id) {
  seal_publish(segment.entry(id.index).state, kEntryInline);
}

// What the raylet does when it hears that a count reached zero. True: the entry is free now.
inline bool close_and_free(Segment& segment, const ObjectId& id) {
  ObjectEntry* entry = segment.find(id);
  if (entry == nullptr || entry_close(entry->refs, entry->pins) != CloseResult::kFree) return false;
  entry->state.store(static_cast<uint32_t>(EntryState::kFree), std::memory_order_release);
  entry->unique.store(0, std::memory_order_release);
  return slot_free(segment, uint64_t{id.index} * kEntryBytes);
}

// Runs body in a forked child that maps the segment anew; the child ends when body returns, or by kill().
template <class Body>
pid_t fork_child(Segment& segment, Body&& body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  Result<std::unique_ptr<Segment>> mapped = Segment::map(segment.fd());
  if (!mapped.is_ok()) ::_exit(90);
  body(*mapped.value());
  ::_exit(0);
}

inline os::ExitInfo wait_child(pid_t pid) {
  Result<os::ExitInfo> info = os::reap(static_cast<uint32_t>(pid), true);
  EXPECT_TRUE(info.is_ok());
  return info.is_ok() ? info.value() : os::ExitInfo{-1, 0};
}

}  // namespace polyray::support
