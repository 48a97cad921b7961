# SPDX-License-Identifier: Apache-2.0
"""timeline(): what ran when, in the form that chrome://tracing and Perfetto read."""

from __future__ import annotations

import json
from typing import Any

_MAX_EVENTS = 250_000


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The runs of tasks and methods as trace events.

    Written as JSON when a file name is given (then None is returned), else returned. Times are in
    microseconds.
    """
    from polyray.util.state.api import fetch

    events, _ = fetch("timeline", [], _MAX_EVENTS)
    if filename is None:
        return events
    with open(filename, "w") as file:
        json.dump(events, file)
    return None
