// SPDX-License-Identifier: Apache-2.0
//
// Entry of the CPython extension (polyray._native). It registers what the
// extension exports; conversions live in files of their own.

#include <nanobind/nanobind.h>

NB_MODULE(_native, module) {
  module.attr("__version__") = POLYRAY_VERSION;
}
