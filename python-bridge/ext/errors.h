// SPDX-License-Identifier: Apache-2.0
// From a native Status to the Python exception of its code (polyray.exceptions). Needs the GIL.
#pragma once
#include <string>

#include "base/result.h"

namespace polyray::py {

[[noreturn]] void raise_code(StatusCode code, const std::string& message);
[[noreturn]] void raise_status(const Status& status);
inline void check(const Status& status) {
  if (!status.is_ok()) raise_status(status);
}

}  // namespace polyray::py
