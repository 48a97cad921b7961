// SPDX-License-Identifier: Apache-2.0
// Envelopes of plain values without the interpreter: None, bool, int of 64 bits, float, str, short bytes, and lists and
// dicts of them; in arguments also top-level refs. Everything else is left to serialize.py, which writes the same bytes.
#pragma once
#include <nanobind/nanobind.h>

namespace polyray::py {

void bind_plain(nanobind::module_& module);

}  // namespace polyray::py
