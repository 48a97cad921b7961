# SPDX-License-Identifier: Apache-2.0
"""Sessions on this machine: found by address in the user's session folder, or started for this
driver.

A started runtime is a Node process that holds the read end of our pipe: it ends when this process
does, however that ends. Nothing is imported or spawned before it is needed. Errors say what was
looked for and what to do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polyray.exceptions import RaySystemError, VersionMismatchError, make_error
from polyray.runtime import Place

if TYPE_CHECKING:
    from pathlib import Path

_OLDEST_NODE = 20
_START_S = 60.0


def sessions_root() -> Path:
    """The folder of this user's sessions."""
    import tempfile
    from pathlib import Path

    base = os.environ.get("POLYRAY_TMPDIR") or tempfile.gettempdir()
    return Path(base) / f"polyray-{os.getuid()}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def list_sessions() -> list[dict[str, Any]]:
    """Sessions whose node process lives, newest first."""
    found = []
    try:
        names = os.listdir(sessions_root())
    except FileNotFoundError:
        return []
    for name in names:
        folder = sessions_root() / name
        try:
            info = json.loads((folder / "node.json").read_text())
            info["token"] = (folder / "token").read_text().strip()
        except (OSError, ValueError):  # not published yet, or being removed
            continue
        if _alive(int(info["pid"])):
            found.append({**info, "sessionDir": str(folder)})
    return sorted(found, key=lambda info: -float(info.get("startedAtMs", 0)))


def find_session(address: str) -> Place:
    """The session of `session:<id>`, `host:port`, or `auto` (the newest)."""
    sessions = list_sessions()
    wanted = address.strip()
    for host in ("localhost:", "[::1]:", "0.0.0.0:"):
        if wanted.startswith(host):
            wanted = "127.0.0.1:" + wanted[len(host) :]
    for info in sessions:
        if wanted in ("auto", info["address"]):
            return _place_of(info)
    there = "no runtime of this user is running here"
    if sessions:
        there = "running: " + ", ".join(info["address"] for info in sessions)
    raise RaySystemError(
        f'[system] no runtime found at address "{address}" ({there}). '
        "Start one with `polyray start --head`, or call polyray.init() without an address."
    )


def _place_of(info: Mapping[str, Any]) -> Place:
    from polyray import __version__

    if info.get("version", __version__) != __version__:
        raise VersionMismatchError(
            f"[version mismatch] the runtime at {info['address']} is polyray {info['version']}, "
            f"this package is {__version__}. Install the same version on both sides."
        )
    return Place(
        address=info["address"],
        socket_name=info["socketName"],
        token=info["token"],
        session_dir=info["sessionDir"],
        session_id=info.get("sessionId", ""),
        node_id=info.get("nodeId", ""),
        namespace=info.get("namespace", ""),
    )


class Embedded:
    """The runtime process of this driver. Closing the pipe ends it."""

    def __init__(self, process: Any, lifeline: int) -> None:
        self._process = process
        self._lifeline = lifeline

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def forget(self) -> None:
        """In a forked child: our copy of the pipe must not keep the runtime alive."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self._process.returncode = 0  # not ours to wait for

    def stop(self) -> None:
        """End it and wait until it is gone."""
        if self._lifeline < 0:
            return
        os.close(self._lifeline)
        self._lifeline = -1
        import subprocess

        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def home() -> dict[str, str]:
    """Where the JavaScript half is: POLYRAY_HOME, or the record that the build left."""
    asked = os.environ.get("POLYRAY_HOME")
    if asked:
        from pathlib import Path

        folder = Path(asked)
        return {
            "root": asked,
            "dist": str(folder / "dist" if (folder / "dist").is_dir() else folder),
        }
    try:
        with open(os.path.join(os.path.dirname(__file__), "_home.json")) as record:
            found: dict[str, str] = json.load(record)
    except OSError:
        return {}
    return found


def _program(name: str) -> str | None:
    # As shutil.which, which takes 5 ms to load.
    folders = [""] if os.sep in name else os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def node_executable() -> str:
    """The Node that a started runtime runs in."""
    for candidate in (os.environ.get("POLYRAY_NODE"), _program("node"), home().get("node")):
        if candidate and _program(candidate):
            return candidate
    raise RaySystemError(
        "[system] Node.js is needed to start a runtime and was not found. "
        f"Install Node.js {_OLDEST_NODE} or newer, "
        "or set POLYRAY_NODE to its executable; or join a running one: polyray.init(address=...)."
    )


def cli_path(name: str = "main") -> str:
    """The polyray command as JavaScript; "embedded": what a driver starts for itself."""
    dist = home().get("dist")
    path = os.path.join(dist, "cli", f"{name}.js") if dist else None
    if path is None or not os.path.isfile(path):
        raise RaySystemError(
            f"[system] the JavaScript half of polyray was not found ({path or 'no record of it'}). "
            "Set POLYRAY_HOME to the polyray npm package, or join a running runtime: "
            "polyray.init(address=...)."
        )
    return path


def start_runtime(flags: Sequence[str]) -> tuple[Embedded, Place]:
    """Start a runtime that belongs to this process."""
    import subprocess

    command = [node_executable(), cli_path("embedded")]
    life_read, life_write = os.pipe()
    ready_read, ready_write = os.pipe()
    said = open(os.memfd_create("polyray-start"), "w+b")  # noqa: SIM115 - closed below
    try:
        process = subprocess.Popen(
            [*command, "--lifeline-fd", str(life_read), "--ready-fd", str(ready_write), *flags],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=(life_read, ready_write),
            start_new_session=True,
        )
    except OSError as error:
        for fd in (life_write, ready_read):
            os.close(fd)
        raise RaySystemError(f"[system] {command[0]} could not be started: {error}.") from error
    finally:
        os.close(life_read)
        os.close(ready_write)
    embedded = Embedded(process, life_write)
    try:
        _load_ahead()
        line = _read_line(ready_read)
    except BaseException:  # an interrupt: nothing is left behind
        embedded.stop()
        raise
    finally:
        os.close(ready_read)
    if not line:
        embedded.stop()
        said.seek(0)
        raise _start_error(command[0], said.read().decode("utf-8", "replace").strip())
    said.close()
    return embedded, _place_of(json.loads(line))


def _load_ahead() -> None:
    """What the first call needs, while the runtime starts. Its absence is told by that call."""
    import contextlib

    with contextlib.suppress(Exception):
        import cloudpickle  # noqa: F401

        import polyray.task_spec  # noqa: F401


def _read_line(fd: int) -> bytes:
    import select
    import time

    deadline = time.monotonic() + _START_S
    data = b""
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return b""
        piece = os.read(fd, 4096)
        if not piece:
            return b""
        data += piece
    return data


def _start_error(node: str, said: str) -> Exception:
    import subprocess

    try:
        version = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=20
        ).stdout.strip()
        major = int(version.lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError):
        return RaySystemError(
            f"[system] {node} does not run as Node.js. Set POLYRAY_NODE to a Node.js executable."
        )
    if major < _OLDEST_NODE:
        return VersionMismatchError(
            f"[version mismatch] {node} is Node.js {version}; polyray needs {_OLDEST_NODE} "
            "or newer. Set POLYRAY_NODE."
        )
    text = said.removeprefix("polyray: ")
    last = text.splitlines()[-20:]
    if text.startswith("[invalid option]"):
        return make_error("INVALID_OPTION", text.removeprefix("[invalid option] "))
    return RaySystemError(
        "[system] the runtime did not start: " + ("\n".join(last) or "it said nothing") + "."
    )
