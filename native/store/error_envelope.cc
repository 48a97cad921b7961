// SPDX-License-Identifier: Apache-2.0
#include "store/error_envelope.h"

#include <cstring>
#include <string>

namespace polyray {

namespace {

constexpr size_t kHeaderBytes = 16;
constexpr size_t kTableEntryBytes = 16;
constexpr uint8_t kVersion = 1;
constexpr uint8_t kFlagError = 1;
constexpr uint8_t kExtError = 17;

uint32_t load_u32(const uint8_t* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

void put_text(std::vector<uint8_t>& out, std::string_view text) {
  const size_t size = text.size();
  if (size < 32) {
    out.push_back(static_cast<uint8_t>(0xa0 | size));
  } else if (size < 256) {
    out.insert(out.end(), {0xd9, static_cast<uint8_t>(size)});
  } else {
    const size_t kept = size < 65535 ? size : 65535;
    text = text.substr(0, kept);
    out.insert(out.end(), {0xda, static_cast<uint8_t>(kept >> 8), static_cast<uint8_t>(kept)});
  }
  out.insert(out.end(), text.begin(), text.end());
}

void put_number(std::vector<uint8_t>& out, uint32_t number) {
  if (number < 128) {
    out.push_back(static_cast<uint8_t>(number));
  } else if (number < 256) {
    out.insert(out.end(), {0xcc, static_cast<uint8_t>(number)});
  } else if (number < 65536) {
    out.insert(out.end(), {0xcd, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)});
  } else {
    out.insert(out.end(),
               {0xce, static_cast<uint8_t>(number >> 24), static_cast<uint8_t>(number >> 16),
                static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)});
  }
}

std::string hex_of(const ObjectId& id) {
  static constexpr char kDigits[] = "0123456789abcdef";
  uint8_t bytes[sizeof(ObjectId)];
  std::memcpy(bytes, &id, sizeof(bytes));
  std::string text;
  for (const uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace

std::span<const ObjectId> envelope_refs(std::span<const uint8_t> bytes, uint32_t* top_refs) {
  if (top_refs != nullptr) *top_refs = 0;
  if (bytes.size() < kHeaderBytes || bytes[0] != kVersion) return {};
  const uint64_t buffers = load_u32(&bytes[8]);
  const uint64_t refs = load_u32(&bytes[12]);
  const uint64_t start = kHeaderBytes + buffers * kTableEntryBytes;
  if (start + refs * sizeof(ObjectId) > bytes.size()) return {};
  const uint32_t top = bytes[2] | (uint32_t{bytes[3]} << 8);
  if (top_refs != nullptr && top <= refs) *top_refs = top;
  return {reinterpret_cast<const ObjectId*>(bytes.data() + start), static_cast<size_t>(refs)};
}

std::vector<uint8_t> error_envelope(const ErrorFields& fields) {
  std::vector<uint8_t> map;
  map.reserve(fields.message.size() + 160);
  uint8_t count = 3;
  map.push_back(0);
  put_text(map, "code");
  put_number(map, static_cast<uint32_t>(fields.code));
  put_text(map, "msg");
  put_text(map, fields.message);
  put_text(map, "lang");
  put_text(map, "native");
  if (fields.task != nullptr) {
    put_text(map, "taskId");
    put_text(map, hex_of(*fields.task));
    ++count;
  }
  if (fields.actor != nullptr) {
    put_text(map, "actorId");
    put_text(map, hex_of(*fields.actor));
    ++count;
  }
  if (fields.node_tag != 0) {
    char text[9];
    static constexpr char kDigits[] = "0123456789abcdef";
    for (int i = 0; i < 8; ++i) text[i] = kDigits[(fields.node_tag >> (28 - 4 * i)) & 15];
    text[8] = 0;
    put_text(map, "nodeId");
    put_text(map, std::string_view(text, 8));
    ++count;
  }
  if (fields.pid != 0) {
    put_text(map, "pid");
    put_number(map, fields.pid);
    ++count;
  }
  map[0] = static_cast<uint8_t>(0x80 | count);

  std::vector<uint8_t> out(kHeaderBytes, 0);
  if (map.size() < 256) {
    out.insert(out.end(), {0xc7, static_cast<uint8_t>(map.size()), kExtError});
  } else if (map.size() < 65536) {
    out.insert(out.end(), {0xc8, static_cast<uint8_t>(map.size() >> 8),
                           static_cast<uint8_t>(map.size()), kExtError});
  } else {
    const auto size = static_cast<uint32_t>(map.size());
    out.insert(out.end(), {0xc9, static_cast<uint8_t>(size >> 24), static_cast<uint8_t>(size >> 16),
                           static_cast<uint8_t>(size >> 8), static_cast<uint8_t>(size), kExtError});
  }
  out.insert(out.end(), map.begin(), map.end());
  const auto body = static_cast<uint32_t>(out.size() - kHeaderBytes);
  out[0] = kVersion;
  out[1] = kFlagError;
  std::memcpy(&out[4], &body, sizeof(body));
  return out;
}

}  // namespace polyray
