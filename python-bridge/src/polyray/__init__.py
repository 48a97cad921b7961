# SPDX-License-Identifier: Apache-2.0
"""polyray: one runtime for TypeScript and Python programs, with Ray's names (`import polyray as
ray`).

Importing it starts nothing and loads neither numpy nor pyarrow nor asyncio.
"""

from __future__ import annotations

from typing import Any

from polyray import exceptions
from polyray._native import ObjectRef, __version__
from polyray.actor import ActorClass, ActorHandle, cancel, get_actor, kill, method
from polyray.cross_language import (
    Language,
    cpp_actor_class,
    cpp_function,
    java_actor_class,
    java_function,
    js_actor_class,
    js_function,
)
from polyray.driver import (
    RayContext,
    available_resources,
    cluster_resources,
    init,
    is_initialized,
    nodes,
    shutdown,
)
from polyray.objects import get, put, wait
from polyray.remote_function import RemoteFunction, remote
from polyray.runtime_context import RuntimeContext, get_runtime_context
from polyray.streams import ObjectRefGenerator

__commit__ = RayContext.ray_commit

# What worker.mode says in Ray's programs.
SCRIPT_MODE = 0
WORKER_MODE = 1
LOCAL_MODE = 2
SPILL_WORKER_MODE = 3
RESTORE_WORKER_MODE = 4

# Names and modules that are loaded when they are first used.
_LAZY = {
    "ActorClassID": "ids",
    "ActorID": "ids",
    "ClientBuilder": "client_builder",
    "ClusterID": "ids",
    "FunctionID": "ids",
    "JobID": "ids",
    "LoggingConfig": "logging_config",
    "NodeID": "ids",
    "PlacementGroupID": "ids",
    "TaskID": "ids",
    "UniqueID": "ids",
    "WorkerID": "ids",
    "client": "client_builder",
    "get_gpu_ids": "accelerators",
    "timeline": "trace_events",
}
_MODULES = frozenset(
    {
        "actor",
        "client_builder",
        "cloudpickle",
        "cluster_utils",
        "cross_language",
        "dag",
        "experimental",
        "internal",
        "job_config",
        "remote_function",
        "runtime_context",
        "runtime_env",
        "types",
        "util",
    }
)
DynamicObjectRefGenerator = ObjectRefGenerator
ObjectID = ObjectRef


def __getattr__(name: str) -> Any:
    import importlib.util

    if name in _LAZY:
        value = getattr(importlib.import_module(f"polyray.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES and importlib.util.find_spec(f"polyray.{name}") is not None:
        return importlib.import_module(f"polyray.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_MODULES})


__all__ = [
    "LOCAL_MODE",
    "RESTORE_WORKER_MODE",
    "SCRIPT_MODE",
    "SPILL_WORKER_MODE",
    "WORKER_MODE",
    "ActorClass",
    "ActorClassID",
    "ActorHandle",
    "ActorID",
    "ClientBuilder",
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "Language",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "RayContext",
    "RemoteFunction",
    "RuntimeContext",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "available_resources",
    "cancel",
    "client",
    "cluster_resources",
    "cpp_actor_class",
    "cpp_function",
    "exceptions",
    "get",
    "get_actor",
    "get_runtime_context",
    "init",
    "is_initialized",
    "java_actor_class",
    "java_function",
    "js_actor_class",
    "js_function",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "wait",
]
