// SPDX-License-Identifier: Apache-2.0
// Envelopes of plain values without the interpreter: None, bool, int of 64 bits, float, str, short bytes, and lists and
// dicts of them; in arguments also top-level refs. Everything else is left to serialize.py, which writes the same bytes.
#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>
#include <span>
#include <string>

namespace polyray::py {

struct Endpoint;

// A new reference to the value, or null without a Python error: not plain. Refs need an endpoint that is open.
// Throws nb::python_error (no memory).
PyObject* decode_plain(std::span<const uint8_t> bytes, const Endpoint* endpoint);

// False: not plain, or more than `most` bytes. Nothing raises.
bool encode_plain(nanobind::handle value, size_t most, std::string& bytes);

void bind_plain(nanobind::module_& module);

}  // namespace polyray::py
