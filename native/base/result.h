// SPDX-License-Identifier: Apache-2.0
// Status and Result: how the native core reports expected failures. No exceptions cross a function here.
// Thread rules: plain values, no sharing.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/error_codes.h"

namespace polyray {

// A failure: code from proto/errors.json, errno where the kernel said no, and a sentence for people.
struct [[nodiscard]] Status {
  StatusCode code = StatusCode::kOk;
  int sys_errno = 0;
  std::string message;

  static Status ok() { return {}; }
  static Status error(StatusCode code, std::string message, int sys_errno = 0) {
    return Status{code, sys_errno, std::move(message)};
  }
  bool is_ok() const { return code == StatusCode::kOk; }
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}
  bool is_ok() const { return value_.has_value(); }
  T& value() { return *value_; }
  const T& value() const { return *value_; }
  const Status& status() const { return status_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace polyray
