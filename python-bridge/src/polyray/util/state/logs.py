# SPDX-License-Identifier: Apache-2.0
"""list_logs and get_log: what workers of this machine have printed.

The files lie in the session's folder, one for the output and one for the errors of each worker. A
process is known by its open files, so `pid`, `actor_id` and `task_id` name processes that live;
the files of ended ones are found by their names.
"""

from __future__ import annotations

import codecs
import fnmatch
import os
import re
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from polyray import runtime
from polyray.util.state.common import DEFAULT_RPC_TIMEOUT
from polyray.util.state.exception import RayStateApiException

_CHUNK_BYTES = 64 * 1024
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_GROUPS = {"out": "worker_out", "err": "worker_err"}


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
) -> dict[str, list[str]]:
    """Names of log files by group: worker_out, worker_err. `glob_filter`: only names like it."""
    assert node_ip is not None or node_id is not None, (
        "At least one of node ip and node id is required"
    )
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(_folder(address, node_id))):
        if fnmatch.fnmatch(name, glob_filter or "*"):
            group = _GROUPS.get(name.rpartition(".")[2], "other")
            found.setdefault(group, []).append(name)
    return found


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[Any]:
    """Pieces of a worker's log: texts, with `encoding=None` bytes.

    The file is named by `filename`, or found by a process, an actor or a task (the whole log of its
    worker). `tail`: so many of its last lines, -1 all. `follow`: goes on for ever with what comes.
    Raises RayStateApiException when there is no such file.
    """
    folder = _folder(address, node_id)
    if suffix not in _GROUPS:
        raise RayStateApiException(f"suffix must be out or err, not {suffix!r}.")
    path = _path(folder, filename, pid or _pid_of(address, actor_id, task_id), suffix)
    decoder = (
        None if encoding is None else codecs.getincrementaldecoder(encoding)(errors or "strict")
    )
    for part in _parts(path, tail, (_interval or 0.5) if follow else None):
        if decoder is None:
            yield part
            continue
        text = decoder.decode(part)
        yield _ANSI.sub("", text) if filter_ansi_code else text
    rest = "" if decoder is None else decoder.decode(b"", final=True)
    if rest:
        yield rest


def _folder(address: str | None, node_id: str | None) -> str:
    if address is not None and not runtime.is_attached():
        from polyray.sessions import find_session

        place = find_session(address)
    else:
        place = runtime.current().place
    if node_id is not None and place.node_id and node_id != place.node_id:
        raise RayStateApiException(f"There is no node {node_id}.")
    return os.path.join(place.session_dir, "logs")


def _pid_of(address: str | None, actor_id: str | None, task_id: str | None) -> int | None:
    from polyray.util.state.api import get_actor, get_task

    if actor_id is not None:
        actor = get_actor(actor_id, address)
        return None if actor is None else actor.pid
    if task_id is None:
        return None
    found = get_task(task_id, address)
    last = found[-1] if isinstance(found, list) else found
    return None if last is None else last.worker_pid


def _path(folder: str, filename: str | None, pid: int | None, suffix: str) -> str:
    if filename is not None:
        path = os.path.join(folder, filename)
        inside = os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)
        if inside and os.path.isfile(path):
            return path
        raise RayStateApiException(f"There is no log file {filename!r} in {folder}.")
    if pid:
        try:
            path = os.readlink(f"/proc/{pid}/fd/{1 if suffix == 'out' else 2}")
        except OSError:
            path = ""
        if os.path.dirname(path) == os.path.realpath(folder):
            return path
    raise RayStateApiException(
        "No process that lives has this log. Name the file: filename=... (list_logs has them)."
    )


def _parts(path: str, tail: int, interval_s: float | None) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(_start_of(file, tail))
        while True:
            part = file.read(_CHUNK_BYTES)
            if part:
                yield part
            elif interval_s is None:
                return
            else:
                time.sleep(interval_s)


def _start_of(file: BinaryIO, tail: int) -> int:
    """Where the last `tail` lines begin."""
    if tail < 0:
        return 0
    at = file.seek(0, os.SEEK_END)
    if tail == 0 or at == 0:
        return at
    at -= 1  # the end of the last line begins none
    while at > 0:
        step = min(_CHUNK_BYTES, at)
        at -= step
        file.seek(at)
        part = file.read(step)
        found = len(part)
        while (found := part.rfind(b"\n", 0, found)) >= 0:
            tail -= 1
            if tail == 0:
                return at + found + 1
    return 0


__all__ = ["get_log", "list_logs"]
