# SPDX-License-Identifier: Apache-2.0
"""Goal: one finds out what goes on in workers: their logs by name, process, actor and task; a
breakpoint that waits for a debugger; the warning of a get() that blocks an event loop.

Method: one runtime; the debugger's other end is the program that users start.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import polyray as ray
import pytest
from polyray.util import rpdb, state
from polyray.util.state.exception import RayStateApiException
from support import WATCHDOG_S, eventually


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with ray.init(num_cpus=2, log_to_driver=False) as context:
        yield context.address_info["node_id"]


@ray.remote
class Talker:
    def say(self, *lines: str) -> str:
        print(*lines, sep="\n", flush=True)
        print("to the errors", file=sys.stderr, flush=True)
        return ray.get_runtime_context().get_task_id() or ""

    def pid(self) -> int:
        return os.getpid()


def _log(**what: Any) -> str:
    return "".join(state.get_log(**what))


def test_logs_are_found_by_process_actor_task_and_name(node: str) -> None:
    talker = Talker.remote()
    task = ray.get(talker.say.remote("first", "second", "\x1b[31mthird\x1b[0m"))
    pid = ray.get(talker.pid.remote())
    for what in ({"pid": pid}, {"actor_id": talker._actor_id.hex()}, {"task_id": task}):
        assert "first\nsecond\n\x1b[31mthird\x1b[0m\n" in _log(node_id=node, **what), what
    assert "to the errors" in _log(pid=pid, suffix="err")
    assert _log(pid=pid, tail=2).startswith("second\n")
    assert _log(pid=pid, tail=0) == ""
    assert _log(pid=pid, tail=1, filter_ansi_code=True) == "third\n"
    assert b"first" in b"".join(state.get_log(pid=pid, encoding=None))
    names = state.list_logs(node_id=node)
    assert set(names) == {"worker_out", "worker_err"}
    mine = [name for name in names["worker_out"] if "second" in _log(filename=name)]
    assert len(mine) == 1
    assert state.list_logs(node_id=node, glob_filter=mine[0]) == {"worker_out": mine}
    assert state.list_logs(node_id=node, glob_filter="no*") == {}


def test_lines_and_bytes_of_a_log_are_as_written(node: str) -> None:
    name = "written-here.out"
    path = os.path.join(_session(), "logs", name)
    long = b"x" * 100_000
    lines = [b"first\n", long + b"\n", b"\n", b"10 %\r20 %\x0c\n", "gr\u00fcn".encode()]
    for end in (b"", b"\n"):
        with open(path, "wb") as file:
            file.write(b"".join(lines) + end)
        for count in range(7):
            expected = b"".join(lines[max(0, 5 - count) :]) + end if count > 0 else b""
            assert b"".join(state.get_log(filename=name, tail=count, encoding=None)) == expected
    with open(path, "wb") as file:
        file.write("gr\u00fc".encode()[:-1])
    for errors in ("strict", None):
        with pytest.raises(UnicodeDecodeError):
            _log(filename=name, errors=errors)
    assert _log(filename=name, errors="replace") == "gr\ufffd"
    os.unlink(path)


def test_a_log_is_followed(node: str) -> None:
    talker = Talker.remote()
    ray.get(talker.say.remote("one"))
    pid = ray.get(talker.pid.remote())
    parts = state.get_log(pid=pid, follow=True, _interval=0.01)
    assert next(parts).endswith("one\n")
    ray.get(talker.say.remote("two"))
    assert next(parts) == "two\n"


def test_a_log_that_is_not_there_is_told(node: str) -> None:
    for what in ({"filename": "../token"}, {"filename": "none"}, {"pid": os.getpid()}, {}):
        with pytest.raises(RayStateApiException):
            _log(node_id=node, **what)
    with pytest.raises(RayStateApiException, match="no node"):
        _log(node_id="0" * 56, pid=1)
    with pytest.raises(AssertionError):
        state.list_logs()


def _debug(lines: str) -> str:
    """What a terminal shows that connects to the breakpoint that waits, and types lines."""
    folder = _session()
    eventually(lambda: bool(glob.glob(f"{folder}/rpdb-*.sock")), "a breakpoint waits")
    done = subprocess.run(
        [sys.executable, "-m", "polyray.util.rpdb", *glob.glob(f"{folder}/rpdb-*.sock")],
        input=lines,
        capture_output=True,
        text=True,
        timeout=WATCHDOG_S,
        check=True,
    )
    return done.stdout


def _session() -> str:
    from polyray import runtime

    return runtime.current().place.session_dir


@ray.remote
def stops(secret: int) -> int:
    ray.util.pdb.set_trace()
    return secret + 1


def test_a_breakpoint_shows_and_changes_a_task(node: str) -> None:
    ref = stops.remote(41)
    shown = _debug("p secret * 2\nw\nsecret = 9\nc\n")
    assert "82" in shown
    assert "return secret + 1" in shown
    assert ray.get(ref) == 10


def test_quitting_the_debugger_lets_the_task_go_on(node: str) -> None:
    for lines in ("q\n", "", "n\n"):
        ref = stops.remote(1)
        _debug(lines)
        assert ray.get(ref) == 2, lines


@ray.remote
class Broken:
    def method(self, divisor: int) -> str:
        try:
            return str(1 // divisor)
        except ZeroDivisionError:
            rpdb.post_mortem()
            return "looked at"


def test_an_exception_is_looked_at_where_it_was_raised(node: str) -> None:
    ref = Broken.remote().method.remote(0)
    assert "divisor = 0" in _debug("args\nc\n")
    assert ray.get(ref) == "looked at"
    with pytest.raises(ValueError, match="traceback"):
        rpdb.post_mortem()


@ray.remote
class Loop:
    async def blocks(self) -> int:
        return ray.get([ray.put(1), ray.put(2)])[1]

    async def waits(self) -> int:
        return await ray.put(3)

    async def beside(self) -> int:
        import asyncio

        return await asyncio.to_thread(ray.get, ray.put(4))


def test_a_get_that_blocks_an_event_loop_is_warned_of_once(node: str) -> None:
    loop = Loop.remote()
    assert ray.get([loop.waits.remote(), loop.beside.remote()]) == [3, 4]

    def warnings() -> int:
        return _log(actor_id=loop._actor_id.hex(), suffix="err").count("event loop of an async")

    assert warnings() == 0
    assert ray.get([loop.blocks.remote(), loop.blocks.remote()]) == [2, 2]
    assert warnings() == 1
    quiet = Loop.options(
        runtime_env={"env_vars": {"RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0"}}
    ).remote()
    assert ray.get(quiet.blocks.remote()) == 2
    assert "event loop" not in _log(actor_id=quiet._actor_id.hex(), suffix="err")
