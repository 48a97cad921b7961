# SPDX-License-Identifier: Apache-2.0
"""Goal: whoever awaits a ref hears of the end of the runtime, and no new one is started for it.

Method: programs in processes of their own; the runtime's process is killed, or shutdown() called.
"""

from __future__ import annotations

import pytest
from support import run_program

_PROGRAM = """
import asyncio, os, signal, sys, threading, time
import polyray as ray
from polyray import runtime
from polyray.exceptions import RayError

how, what = sys.argv[1:]
context = ray.init(num_cpus=1)

@ray.remote
def slow():
    time.sleep(300)

@ray.remote
def stream():
    yield 1
    time.sleep(300)

def end():
    if how == "kill":
        os.kill(runtime._current.embedded.pid, signal.SIGKILL)
    else:
        ray.shutdown()

def told(wait):
    try:
        wait()
    except RayError as error:
        print("told", type(error).__name__)

threading.Timer(1.0, end).start()
if what == "future":
    future = slow.remote().future()
    told(lambda: future.result(60))
elif what == "await":
    ref = slow.remote()
    async def wait():
        await ref
    told(lambda: asyncio.run(asyncio.wait_for(wait(), 60)))
else:
    items = stream.remote()
    async def read():
        async for _ in items:
            pass
    told(lambda: asyncio.run(asyncio.wait_for(read(), 60)))
assert runtime.peek() is None, "a new runtime was started"
print("end", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("what", ["future", "await", "stream"])
@pytest.mark.parametrize("how", ["shutdown", "kill"])
def test_those_who_wait_are_told(how: str, what: str) -> None:
    lines = run_program(_PROGRAM, how, what).stdout.split()
    assert "told" in lines, lines
    assert lines[-1] == "end"


def test_a_ref_of_a_runtime_that_ended_starts_none() -> None:
    run_program(
        "import asyncio, polyray as ray\n"
        "from polyray import runtime\n"
        "from polyray.exceptions import NotInitializedError\n"
        "ray.init(num_cpus=1)\n"
        "ref = ray.put(1)\n"
        "ray.shutdown()\n"
        "async def read():\n"
        "    await ref\n"
        "for use in (lambda: asyncio.run(read()), lambda: ref.future().result(60)):\n"
        "    try:\n"
        "        use()\n"
        "    except NotInitializedError:\n"
        "        pass\n"
        "    else:\n"
        "        raise SystemExit('no error')\n"
        "assert runtime.peek() is None\n"
    )
