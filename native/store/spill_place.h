// SPDX-License-Identifier: Apache-2.0
// From a spilled object's entry to the file that holds its bytes: both sides of it.
//
// The raylet publishes its spill folders once, in a record slot that the segment header names; an entry's SpillPlace has
// a folder's index and a file's number. Whoever holds a reference may open the file: it is removed with the object.
// Thread rules: any thread.
#pragma once
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "os/env.h"
#include "store/segment.h"
#include "store/slots.h"

namespace polyray {

// A request for memory that may wait at all waits longer than it says, this much at most, while values are being written
// to disk: they will be room.
inline constexpr uint64_t kSpillPatienceMs = 120'000;

// Raylet: makes the list of folders known. `records` is a pool of its own.
Status publish_spill_folders(Segment& segment, SlotPool& records,
                             std::span<const std::string> folders);
// The path of a file in a folder.
std::string spill_file_path(const std::string& folder, uint64_t file);
// Where the bytes of a spilled entry are. REQUIRES: a reference to it is held and its state has kEntrySpilled.
SpillPlace spill_place_of(const ObjectEntry& entry);
// Opens the file of a place. kObjectLost: the file is not there any more.
Result<os::Fd> open_spilled(const Segment& segment, const SpillPlace& place);

}  // namespace polyray
