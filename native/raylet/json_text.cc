// SPDX-License-Identifier: Apache-2.0
// JSON text of the raylet (see json_text.h).
#include "raylet/json_text.h"

#include <cstdio>

namespace polyray::raylet {

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string json_error(StatusCode code, std::string_view message) {
  return "{\"code\":" + std::to_string(static_cast<unsigned>(code)) +
         ",\"message\":" + json_quote(message) + "}";
}

JsonObject& JsonObject::number(std::string_view name, int64_t value) {
  return raw(name, std::to_string(value));
}

JsonObject& JsonObject::text(std::string_view name, std::string_view value) {
  return raw(name, json_quote(value));
}

JsonObject& JsonObject::boolean(std::string_view name, bool value) {
  return raw(name, value ? "true" : "false");
}

JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
  text_ += ',';
  text_ += json_quote(name);
  text_ += ':';
  text_ += json;
  return *this;
}

}  // namespace polyray::raylet
