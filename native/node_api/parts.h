// SPDX-License-Identifier: Apache-2.0
// An envelope given as parts with offsets: checked once, then written to the store in one pass.
#pragma once
#include "node_api/convert.h"
#include "os/env.h"

namespace polyray::node_api {

class Parts {
 public:
  // Arguments `at` (array of Uint8Array) and `at + 1` (Float64Array of ascending offsets). Marks
  // `a` wrong when they do not fit.
  template <size_t N>
  void read(Arguments<N>& a, size_t at, uint64_t size) {
    uint32_t count = 0;
    const auto offsets = a.doubles(at + 1);
    if (!a.ok()) return;
    if (napi_get_array_length(a.env(), a.raw(at), &count) != napi_ok)
      return a.wrong(at, "an array of Uint8Array");
    if (offsets.size() != count) return a.wrong(at + 1, "as long as the parts");
    uint64_t end = 0;
    parts_.reserve(count);
    for (uint32_t i = 0; i < count; ++i) {
      napi_value value = nullptr;
      napi_typedarray_type type;
      size_t length = 0;
      void* data = nullptr;
      napi_get_element(a.env(), a.raw(at), i, &value);
      if (napi_get_typedarray_info(a.env(), value, &type, &length, &data, nullptr, nullptr) !=
              napi_ok ||
          type != napi_uint8_array) {
        return a.wrong(at, "an array of Uint8Array");
      }
      if (!(offsets[i] >= static_cast<double>(end)) ||
          offsets[i] + static_cast<double>(length) > static_cast<double>(size)) {
        return a.wrong(at + 1, "ascending and within the size");
      }
      parts_.push_back(
          {static_cast<uint64_t>(offsets[i]), {static_cast<const uint8_t*>(data), length}});
      end = parts_.back().offset + length;
    }
  }
  void write(uint8_t* target, uint64_t size) const {
    uint64_t end = 0;
    for (const Part& part : parts_) {
      std::memset(target + end, 0, part.offset - end);
      os::copy_bytes(target + part.offset, part.bytes.data(), part.bytes.size());
      end = part.offset + part.bytes.size();
    }
    std::memset(target + end, 0, size - end);
  }

 private:
  struct Part {
    uint64_t offset;
    std::span<const uint8_t> bytes;
  };
  std::vector<Part> parts_;
};

}  // namespace polyray::node_api
