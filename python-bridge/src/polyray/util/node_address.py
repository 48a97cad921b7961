# SPDX-License-Identifier: Apache-2.0
"""The address of this machine, as other nodes reach it."""

from __future__ import annotations

from typing import Any

from polyray import runtime

_known: dict[Any, str] = {}


def get_node_ip_address(address: Any = None) -> str:
    """The IP address of this node: in a runtime the one that nodes() shows, else the one from
    which this machine reaches others, or 127.0.0.1.
    """
    rt = runtime.peek()
    if rt is None:
        return _of_machine()
    key = rt.place.node_id
    if key not in _known:
        rows = rt.request("nodes")["nodes"]
        own = [row for row in rows if row["nodeId"] == key] or rows
        _known[key] = str(own[0]["address"]).rsplit("//", 1)[-1]
    return _known[key]


def get_node_instance_id() -> str:
    """The cloud's id of this machine (RAY_CLOUD_INSTANCE_ID); empty when it is not set."""
    import os

    return os.environ.get("RAY_CLOUD_INSTANCE_ID", "")


def _of_machine() -> str:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 80))  # sends nothing: it picks a route
            return str(probe.getsockname()[0])
        except OSError:  # no route
            return "127.0.0.1"
