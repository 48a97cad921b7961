# SPDX-License-Identifier: Apache-2.0
"""timeline(): what ran when, in the form that chrome://tracing and Perfetto read."""

from __future__ import annotations

import json
from typing import Any


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The runs of tasks and methods as trace events.

    Written as JSON when a file name is given (then None is returned), else returned. Times are in
    microseconds.
    """
    from polyray.util.state.api import fetch
    from polyray.util.state.common import RAY_MAX_LIMIT_FROM_API_SERVER

    rows, _ = fetch("tasks", [], RAY_MAX_LIMIT_FROM_API_SERVER)
    events: list[dict[str, Any]] = []
    named: set[int] = set()
    for row in rows:
        start = row["start_time_ms"]
        if start is None or row["worker_pid"] is None:
            continue
        pid = row["worker_pid"]
        if pid not in named:
            named.add(pid)
            name = {"name": f"worker:{pid}"}
            events.append({"name": "process_name", "ph": "M", "pid": pid, "args": name})
        end = row["end_time_ms"] or start
        events.append(
            {
                "cat": "task::" + row["name"],
                "name": row["name"],
                "ph": "X",
                "pid": pid,
                "tid": row["worker_id"],
                "ts": start * 1000,
                "dur": max(0, end - start) * 1000,
                "cname": "generic_work",
                "args": {
                    "task_id": row["task_id"],
                    "job_id": row["job_id"],
                    "attempt_number": row["attempt_number"],
                    "func_or_class_name": row["func_or_class_name"],
                    "actor_id": row["actor_id"],
                    "state": row["state"],
                },
            }
        )
    if filename is None:
        return events
    with open(filename, "w") as file:
        json.dump(events, file)
    return None
