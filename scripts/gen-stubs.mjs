// SPDX-License-Identifier: Apache-2.0
//
// Generates python-bridge/src/polyray/_native.pyi, the types of the CPython extension, by
// nanobind's stub generator from the built extension. Run: node scripts/gen-stubs.mjs [--check]

import { execFileSync } from "node:child_process";
import { emit, finish } from "./gen-support.mjs";
import { venvPython } from "./lib/paths.mjs";

// The extension calls its ObjectRef polyray.ObjectRef, where users import it; the stub must define
// it where it is made. Containers of mixed values have no narrower type than Any.
const program = `
import re, sys
import polyray._native as native
from nanobind.stubgen import StubGen
native.ObjectRef.__module__ = "polyray._native"
stub = StubGen(native, quiet=True)
stub.put(native)
text = stub.get()
text = re.sub(r"\\b(list|set)\\b(?!\\[|\\()", r"\\1[Any]", text)
text = re.sub(r"\\bdict\\b(?!\\[|\\()", "dict[str, Any]", text)
text = re.sub(r"\\btuple\\b(?!\\[|\\()", "tuple[Any, ...]", text)
sys.stdout.write(text)
`;
const text = execFileSync(venvPython, ["-c", program], { encoding: "utf8" });
const header = [
  "# SPDX-License-Identifier: Apache-2.0",
  "# Generated from the built extension by scripts/gen-stubs.mjs; do not edit.",
  "from typing import Any",
  "",
  "__version__: str",
  "",
  "",
].join("\n");
emit("python-bridge/src/polyray/_native.pyi", header + text);
finish();
