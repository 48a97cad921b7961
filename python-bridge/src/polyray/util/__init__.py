# SPDX-License-Identifier: Apache-2.0
"""What Ray has under ray.util: pools of actors, queues, serializers, names, and more in modules of
their own, which are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from polyray.actor import list_named_actors
from polyray.serialize import deregister_serializer, register_serializer
from polyray.util.actor_pool import ActorPool
from polyray.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
from polyray.util.helpers import as_completed, map_unordered
from polyray.util.node_address import get_node_instance_id, get_node_ip_address
from polyray.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

if TYPE_CHECKING:
    from polyray.util.check_serialize import inspect_serializability

_LAZY = {"inspect_serializability": "polyray.util.check_serialize"}
_RENAMED = {"pdb": "rpdb"}
_MODULES = frozenset(
    {
        "accelerators", "annotations", "check_serialize", "collective", "iter", "joblib",
        "metrics", "dask", "multiprocessing", "queue", "rpdb", "scheduling_strategies",
        "serialization", "state", "timer", "tracing",
    }
)  # fmt: skip

__all__ = [
    "ActorPool",
    "as_completed",
    "connect",
    "deregister_serializer",
    "disable_log_once_globally",
    "disconnect",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
]


def connect(*args: Any, **kwargs: Any) -> Any:
    """Not supported: there are no client connections; join a runtime by init(address=...)."""
    from polyray.exceptions import InvalidOptionError

    raise InvalidOptionError(
        "[invalid option] there are no client connections (ray://): use init(address=...)."
    )


def disconnect() -> None:
    """Leave the runtime, as shutdown()."""
    from polyray.driver import shutdown

    shutdown()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    name = _RENAMED.get(name, name)
    if name in _MODULES:
        return importlib.import_module(f"polyray.util.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
