// SPDX-License-Identifier: Apache-2.0
//
// Entry of the CPython extension (polyray._native). It registers what the
// extension exports; conversions live in files of their own.

#include <nanobind/stl/string.h>

#include "client_binding.h"
#include "plain.h"
#include "title.h"

NB_MODULE(_native, module) {
  nanobind::set_leak_warnings(
      false);  // refs in module globals outlive the interpreter's last collection
  module.attr("__version__") = POLYRAY_VERSION;
  polyray::py::bind_objects(module);
  polyray::py::bind_client(module);
  polyray::py::bind_plain(module);
  module.def("set_process_title", &polyray::py::set_process_title, nanobind::arg("title"));
}
