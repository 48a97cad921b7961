# SPDX-License-Identifier: Apache-2.0
"""The process that Python workers are forked from; started by ts/node/zygote.ts.

Imports the standard library's usual parts, cloudpickle, msgpack and polyray only; it has one
thread, which is checked before each fork. Speaks JSON lines (ts/node/zygote.ts): in {"fork":
{...}} on its standard input; out {"ready"}, {"forked"}, {"failed"}, {"exited"} on descriptor 3,
so that whatever is printed here cannot get between them. Ends at the end of its standard input.
Waits in select(): SIGCHLD comes through a wake-up descriptor.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

_PRELOAD = (
    "atexit", "cloudpickle", "collections", "contextvars", "datetime", "faulthandler", "importlib",
    "inspect", "logging", "msgpack", "pickle", "polyray", "polyray.executor", "polyray.task_spec",
    "polyray.worker", "traceback", "typing",
)  # fmt: skip


_lines = 3  # where the protocol goes


def _say(message: dict[str, Any]) -> None:
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(_lines, data) :]


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


class Zygote:
    """Forks workers and tells how they end."""

    def __init__(self) -> None:
        self._children: set[int] = set()
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until the end of standard input; `ready` tells that it can fork."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        ready()
        pending = b""
        while True:
            readable, _, _ = select.select([0, self._wake_read], [], [])
            if self._wake_read in readable:
                self._drain()
            self._reap()
            if 0 not in readable:
                continue
            piece = os.read(0, 65536)
            if not piece:
                return
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    self._fork(json.loads(line)["fork"])

    def _drain(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            pass

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children.clear()
                return
            if pid == 0:
                return
            self._children.discard(pid)
            if os.WIFSIGNALED(status):
                name = signal.Signals(os.WTERMSIG(status)).name
                _say({"exited": {"pid": pid, "code": None, "signal": name}})
            else:
                _say({"exited": {"pid": pid, "code": os.WEXITSTATUS(status), "signal": None}})

    def _fork(self, order: dict[str, Any]) -> None:
        token = order["startupToken"]
        threads = _threads()
        if threads != 1:
            _say(
                {
                    "failed": {
                        "startupToken": token,
                        "message": f"the Python start process has {threads} threads",
                    }
                }
            )
            return
        try:
            pid = os.fork()
        except OSError as error:
            _say({"failed": {"startupToken": token, "message": f"fork failed: {error}"}})
            return
        if pid == 0:
            code = 1
            try:
                self._become_worker(order)
                code = _run_worker()
            except BaseException:  # nothing may come back into the zygote's loop
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        self._children.add(pid)
        _say({"forked": {"startupToken": token, "pid": pid}})

    def _become_worker(self, order: dict[str, Any]) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(self._wake_read)
        os.close(self._wake_write)
        os.close(_lines)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for number, path in ((1, order["stdout"]), (2, order["stderr"])):
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, number)
            os.close(log)
        os.environ.update(order["env"])
        try:
            os.chdir(order["cwd"])
        except OSError as error:
            sys.stderr.write(f"the driver's folder cannot be entered: {error}\n")
            raise
        wanted = [path for path in order["sysPath"] if path]
        sys.path[:] = [*wanted, *(path for path in sys.path if path not in wanted and path != "")]
        gc.unfreeze()


def _run_worker() -> int:
    import atexit
    import threading

    from polyray.worker import main as run

    code = run()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def main(ready: Callable[[], None]) -> None:
    """Preload, then fork on demand."""
    for name in _PRELOAD:
        __import__(name)
    gc.collect()
    gc.freeze()
    Zygote().run(ready)
