// SPDX-License-Identifier: Apache-2.0
// Raising typed errors: see errors.h.
#include "errors.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

namespace polyray::py {

namespace nb = nanobind;

void raise_code(StatusCode code, const std::string& message) {
  nb::object make = nb::module_::import_("polyray.exceptions").attr("error_of_number");
  nb::object error = make(static_cast<unsigned>(code), message);
  PyErr_SetObject(error.type().ptr(), error.ptr());
  throw nb::python_error();
}

void raise_status(const Status& status) {
  if (status.code == StatusCode::kDisconnected) {
    raise_code(
        StatusCode::kNotInitialized,
        "[not initialized] the runtime of this process has ended. Call polyray.init() again.");
  }
  raise_code(status.code, status.message);
}

}  // namespace polyray::py
