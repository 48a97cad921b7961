# SPDX-License-Identifier: Apache-2.0
"""polyray: one runtime for TypeScript and Python programs, with Ray's names (`import polyray as
ray`).

Importing it starts nothing and loads neither numpy nor pyarrow nor asyncio.
"""

from polyray import exceptions
from polyray._native import ObjectRef, __version__
from polyray.actor import ActorClass, ActorHandle, cancel, get_actor, kill, method
from polyray.cross_language import (
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

__all__ = [
    "ActorClass",
    "ActorHandle",
    "ObjectRef",
    "ObjectRefGenerator",
    "RayContext",
    "RemoteFunction",
    "RuntimeContext",
    "__version__",
    "available_resources",
    "cancel",
    "cluster_resources",
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
