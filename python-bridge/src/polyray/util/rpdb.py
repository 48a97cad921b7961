# SPDX-License-Identifier: Apache-2.0
"""Breakpoints in tasks and actors: set_trace() waits until somebody connects, then pdb runs there.

The debugger listens at a socket file in the session's folder, which only this user can open:
`python -m polyray.util.rpdb` connects to the breakpoint that waits longest, `... rpdb PATH` to one.
When whoever connected leaves, the code goes on.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pdb
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """A form of the path that is short enough for a socket."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


class _Out:
    """What pdb prints. Nobody may be there any more to read it."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._peer.sendall(text.encode("utf-8", "replace"))
        return len(text)

    def flush(self) -> None:
        pass


class _Session:
    """One breakpoint: its socket file, and pdb over what connects to it."""

    def __init__(self) -> None:
        from polyray import runtime

        run = runtime.runs_task.get()
        name = "the program" if run is None else run.name
        folder = runtime.current().place.session_dir
        path = os.path.join(folder, f"rpdb-{os.getpid()}-{threading.get_ident():x}.sock")
        with _short(path) as short, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(short)
            try:
                listener.listen(1)
                sys.stderr.write(
                    f"Breakpoint in {name} (pid {os.getpid()}). "
                    f"Connect: {sys.executable} -m polyray.util.rpdb {path}\n"
                )
                sys.stderr.flush()
                self._peer, _ = listener.accept()
            finally:
                os.unlink(path)
        self._in = self._peer.makefile("r", encoding="utf-8", errors="replace")
        self.debugger = _Pdb(self, self._in, _Out(self._peer))

    def close(self) -> None:
        """The code goes on by itself."""
        self._in.close()
        self._peer.close()


class _Pdb(pdb.Pdb):
    def __init__(self, session: _Session, stdin: Any, stdout: Any) -> None:
        super().__init__(stdin=stdin, stdout=stdout, nosigint=True, readrc=False)
        self.use_rawinput = False
        self.prompt = "(Pdb) "
        self._session = session

    def do_continue(self, arg: str) -> bool | None:
        """The code goes on; the connection ends unless a breakpoint is set."""
        result = super().do_continue(arg)
        if not self.breaks:
            self._session.close()
        return result

    def do_quit(self, arg: str) -> bool | None:
        """As continue: quitting the debugger does not end the task."""
        self.clear_all_breaks()
        return self.do_continue(arg)

    do_c = do_cont = do_continue
    do_q = do_exit = do_EOF = do_quit


def set_trace(breakpoint_uuid: Any = None) -> None:
    """Stop here until somebody connects, and let him step on."""
    frame: FrameType | None = sys._getframe().f_back
    _Session().debugger.set_trace(frame)


def post_mortem(trace: TracebackType | None = None) -> None:
    """Look at the exception that is being handled, or at a traceback."""
    if trace is None:
        trace = sys.exc_info()[2]
    if trace is None:
        raise ValueError("post_mortem() needs a traceback, or an exception that is being handled.")
    session = _Session()
    session.debugger.reset()
    session.debugger.interaction(None, trace)
    session.close()


_post_mortem = post_mortem


def connect(path: str | None = None) -> int:
    """Connect this terminal to a breakpoint; gives an exit code."""
    if path is None:
        from polyray.sessions import find_session

        folder = find_session("auto").session_dir
        waiting = sorted(glob.glob(os.path.join(folder, "rpdb-*.sock")), key=os.path.getmtime)
        if not waiting:
            sys.stderr.write("no breakpoint waits\n")
            return 1
        path = waiting[0]
    with socket.socket(socket.AF_UNIX) as peer:
        with _short(os.path.abspath(path)) as short:
            peer.connect(short)
        threading.Thread(target=_send_lines, args=(peer,), daemon=True).start()
        while part := peer.recv(65536):
            sys.stdout.write(part.decode("utf-8", "replace"))
            sys.stdout.flush()
    return 0


def _send_lines(peer: socket.socket) -> None:
    try:
        for line in sys.stdin:
            peer.sendall(line.encode())
        peer.shutdown(socket.SHUT_WR)
    except OSError:  # the debugger has ended
        pass


if __name__ == "__main__":
    sys.exit(connect(*sys.argv[1:2]))
