// SPDX-License-Identifier: Apache-2.0
// The parts of the value envelope (docs/values.md) that the native core itself reads and writes: the table of refs inside
// an envelope, and whole envelopes that hold one error.
//
// Envelope: {u8 version 1, u8 flags (1 error), u16 argument refs, u32 body bytes, u32 buffers, u32 refs}, 16 bytes per
// buffer, 16 bytes per ref (ObjectId), body (MessagePack). Little-endian.
// Thread rules: pure functions.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error_codes.h"
#include "store/layout.h"

namespace polyray {

// All ids inside the envelope; `top_refs` = how many of them are top-level arguments. Empty for bytes that are no envelope.
// REQUIRES: bytes start at a multiple of 8 and outlive the result.
std::span<const ObjectId> envelope_refs(std::span<const uint8_t> bytes,
                                        uint32_t* top_refs = nullptr);

struct ErrorFields {
  StatusCode code = StatusCode::kSystem;
  std::string_view message;  // "[tag] what: why. What to do."
  const ObjectId* task = nullptr;
  const ObjectId* actor = nullptr;
  uint32_t node_tag = 0;
  uint32_t pid = 0;
};
// An envelope whose value is that error; both languages decode it to the class of its code.
std::vector<uint8_t> error_envelope(const ErrorFields& fields);

}  // namespace polyray
