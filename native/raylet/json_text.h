// SPDX-License-Identifier: Apache-2.0
// Writing the little JSON that the raylet sends: events to the node service and error texts.
//
// Pure functions. Bytes that are not valid in a JSON string are escaped; UTF-8 passes through.
// Thread rules: any thread.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace polyray::raylet {

std::string json_quote(std::string_view text);
// {"code":n,"message":"..."}
std::string json_error(StatusCode code, std::string_view message);

// Builds one flat object: JsonObject("worker_gone").number("pid", 7).take().
class JsonObject {
 public:
  explicit JsonObject(std::string_view event) : text_("{\"event\":" + json_quote(event)) {}
  JsonObject& number(std::string_view name, int64_t value);
  JsonObject& text(std::string_view name, std::string_view value);
  JsonObject& boolean(std::string_view name, bool value);
  // `json` is put in as it is.
  JsonObject& raw(std::string_view name, std::string_view json);
  std::string take() { return std::move(text_) + "}"; }

 private:
  std::string text_;
};

}  // namespace polyray::raylet
