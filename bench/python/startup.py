# SPDX-License-Identifier: Apache-2.0
"""From init() to the first result of a task, in a fresh process; `--module` names the runtime.

Then it idles until its input ends, so that its processes can be counted.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import harness

options = harness.arguments()
importing = time.perf_counter()
ray: Any = importlib.import_module(options.module)
starting = time.perf_counter()
ray.init()
started = time.perf_counter()


@ray.remote
def small_value():
    return b"ok"


ray.get(small_value.remote())
done = time.perf_counter()
harness.emit(
    "ready",
    version=ray.__version__,
    importMs=(starting - importing) * 1e3,
    initMs=(started - starting) * 1e3,
    firstResultMs=(done - starting) * 1e3,
    endedAtMs=time.time() * 1e3,
)
sys.stdin.read()
stopping = time.perf_counter()
ray.shutdown()
harness.emit("end", shutdownMs=(time.perf_counter() - stopping) * 1e3)
