// SPDX-License-Identifier: Apache-2.0
// A bounded MessagePack reader for one level of a map: see actor_state.h.
#include "actor_state.h"

#include <cstring>
#include <string_view>

namespace polyray::py {

namespace {

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool map(size_t& pairs) {
    const uint8_t tag = byte();
    if ((tag & 0xf0) == 0x80)
      pairs = tag & 0x0f;
    else if (tag == 0xde)
      pairs = big(2);
    else if (tag == 0xdf)
      pairs = big(4);
    else
      return false;
    return ok_ && pairs <= bytes_.size();
  }
  bool text(std::string_view& value) {
    const uint8_t tag = byte();
    size_t size;
    if ((tag & 0xe0) == 0xa0)
      size = tag & 0x1f;
    else if (tag >= 0xd9 && tag <= 0xdb)
      size = big(size_t{1} << (tag - 0xd9));
    else
      return false;
    const auto data = take(size);
    value = {reinterpret_cast<const char*>(data.data()), data.size()};
    return ok_;
  }
  // Integers (also written as floats), booleans as 0 and 1, null as 0.
  bool number(int64_t& value) {
    const uint8_t tag = byte();
    if (tag <= 0x7f)
      value = tag;
    else if (tag >= 0xe0)
      value = static_cast<int8_t>(tag);
    else if (tag == 0xc0 || tag == 0xc2)
      value = 0;
    else if (tag == 0xc3)
      value = 1;
    else if (tag >= 0xcc && tag <= 0xcf)
      value = static_cast<int64_t>(big(size_t{1} << (tag - 0xcc)));
    else if (tag >= 0xd0 && tag <= 0xd3)
      value = signed_big(size_t{1} << (tag - 0xd0));
    else if (tag == 0xcb)
      value = real();
    else
      return false;
    return ok_;
  }
  bool binary(std::span<const uint8_t>& value) {
    const uint8_t tag = byte();
    if (tag == 0xc0) return true;
    if (tag < 0xc4 || tag > 0xc6) return false;
    value = take(big(size_t{1} << (tag - 0xc4)));
    return ok_;
  }
  bool skip(int depth = 0) {
    const uint8_t tag = at_ < bytes_.size() ? bytes_[at_] : 0xc1;
    int64_t ignored = 0;
    std::span<const uint8_t> data;
    std::string_view words;
    if ((tag & 0xe0) == 0xa0 || (tag >= 0xd9 && tag <= 0xdb)) return text(words);
    if (tag >= 0xc4 && tag <= 0xc6) return binary(data);
    size_t items = 0;
    if ((tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf) {
      if (!map(items)) return false;
      items *= 2;
    } else if ((tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd) {
      byte();
      items = (tag & 0xf0) == 0x90 ? tag & 0x0f : big(tag == 0xdc ? 2 : 4);
    } else {
      return number(ignored);
    }
    while (items-- > 0) {
      if (depth > 16 || !skip(depth + 1)) return false;
    }
    return ok_;
  }

 private:
  uint8_t byte() {
    if (at_ < bytes_.size()) return bytes_[at_++];
    ok_ = false;
    return 0xc1;
  }
  std::span<const uint8_t> take(size_t size) {
    if (size > bytes_.size() - at_) {
      ok_ = false;
      return {};
    }
    const auto taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }
  uint64_t big(size_t size) {
    uint64_t value = 0;
    while (size-- > 0) value = value << 8 | byte();
    return value;
  }
  int64_t signed_big(size_t size) {
    const uint64_t raw = big(size);
    const int unused = static_cast<int>(64 - 8 * size);
    return static_cast<int64_t>(raw << unused) >> unused;
  }
  int64_t real() {
    const uint64_t raw = big(8);
    double value;
    std::memcpy(&value, &raw, 8);
    return value > -9e15 && value < 9e15 ? static_cast<int64_t>(value) : 0;
  }

  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace

bool read_actor_state(std::span<const uint8_t> bytes, ActorStateMap& state) {
  Reader reader(bytes);
  size_t pairs = 0;
  if (!reader.map(pairs)) return false;
  while (pairs-- > 0) {
    std::string_view key;
    if (!reader.text(key)) return false;
    int64_t number = 0;
    std::string_view words;
    std::span<const uint8_t> data;
    bool read;
    if (key == "message") {
      read = reader.text(words);
      state.message = words;
    } else if (key == "actor" || key == "error") {
      read = reader.binary(data);
      if (key == "error")
        state.error.assign(data.begin(), data.end());
      else if (data.size() == sizeof(ObjectId))
        std::memcpy(&state.actor, data.data(), sizeof(ObjectId));
    } else if (key == "ok" || key == "phase" || key == "endpoint" || key == "serial" ||
               key == "incarnation" || key == "maxTaskRetries") {
      read = reader.number(number);
      if (key == "ok")
        state.ok = number != 0;
      else if (key == "phase")
        state.phase = static_cast<uint32_t>(number);
      else if (key == "endpoint")
        state.endpoint = static_cast<uint32_t>(number);
      else if (key == "serial")
        state.serial = static_cast<uint32_t>(number);
      else if (key == "incarnation")
        state.incarnation = static_cast<uint32_t>(number);
      else
        state.max_task_retries = static_cast<int32_t>(number);
    } else {
      read = reader.skip();
    }
    if (!read) return false;
  }
  return !state.ok || state.actor.unique != 0;
}

std::vector<uint8_t> actor_watch_request(const ObjectId& actor) {
  std::string text =
      "\x82\xa1m\xab"
      "actor.watch"
      "\xa5"
      "actor";
  text += '\xc4';
  text += static_cast<char>(sizeof(ObjectId));
  text.append(reinterpret_cast<const char*>(&actor), sizeof(ObjectId));
  return {text.begin(), text.end()};
}

}  // namespace polyray::py
