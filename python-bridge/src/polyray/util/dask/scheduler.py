# SPDX-License-Identifier: Apache-2.0
"""The Dask scheduler: one task of the runtime for each task of the graph, submitted in the order of
the graph; refs carry what one task needs of another.

Options of tasks come from `ray_remote_args` (of compute() or the configuration) and from
dask.annotate(ray_remote_args=...) on parts of a graph.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import dask
from dask._task_spec import Alias, DataNode, GraphNode, convert_legacy_graph

from polyray._native import ObjectRef
from polyray.objects import get
from polyray.remote_function import remote
from polyray.util.dask.callbacks import local_ray_callbacks, unpack_ray_callbacks

_SHUFFLE = "dataframe.shuffle.method"
_previous: Any = None
_RESOURCES = (
    "Specifying resources at the top level is not supported: use ray_remote_args, "
    "such as dask.annotate(ray_remote_args={'num_cpus': 2})."
)


def enable_dask_on_ray(shuffle: str | None = "tasks", use_shuffle_optimization: bool = True) -> Any:
    """Make this scheduler the default of dask; as a context manager for a block only.

    `shuffle` is dask's shuffle method ("disk" needs all tasks in one process).
    """
    global _previous
    _previous = dask.config.set({"scheduler": ray_dask_get, _SHUFFLE: shuffle})
    return _previous


def disable_dask_on_ray() -> Any:
    """Make dask's own scheduler the default again."""
    return dask.config.set({"scheduler": None, _SHUFFLE: None})


@remote
def run_task(node: Any, keys: list[Any], before: list[Any], after: list[Any], *values: Any) -> Any:
    """Run a task of a graph on the values of what it needs."""
    key = node.key
    states = [hook(key, list(values)) for hook in before]
    result = node(dict(zip(keys, values, strict=True)))
    for index, hook in enumerate(after):
        hook(key, result, states[index] if index < len(states) else None)
    return result


def ray_dask_get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """Compute keys of a graph; `keys` may be nested lists.

    `ray_callbacks`: RayDaskCallbacks to use instead of the active ones; `ray_remote_args`: options
    of the tasks; `ray_persist`: give refs instead of values.
    """
    if "resources" in kwargs or "resources" in dask.get_annotations():
        raise ValueError(_RESOURCES)
    return _computed(dsk, keys, kwargs, waits=False)


def ray_dask_get_sync(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """As ray_dask_get(), but each task is waited for before the next is submitted."""
    return _computed(dsk, keys, kwargs, waits=True)


def _computed(dsk: Any, keys: Any, kwargs: dict[str, Any], waits: bool) -> Any:
    persist = kwargs.pop("ray_persist", False)
    options = dict(kwargs.pop("ray_remote_args", None) or {})
    dsk, own = _graph_of(dsk)
    graph = convert_legacy_graph(dict(dsk))
    with local_ray_callbacks(kwargs.pop("ray_callbacks", None)) as active:
        hooks = unpack_ray_callbacks(active)
        results = _submitted(graph, _flat(keys), options, own, hooks, waits)
        refs = _nested(keys, results)
        for hook in hooks.ray_postsubmit_all_cbs:
            hook([results[key] for key in _flat(keys)], dsk)
        found = refs if persist else _nested(keys, _fetched(results, _flat(keys)))
        for hook in hooks.ray_finish_cbs:
            hook(found)
    return found


def _graph_of(dsk: Any) -> tuple[Any, dict[Hashable, dict[str, Any]]]:
    # The graph, and the options that dask.annotate() gave to some of its keys.
    found: dict[Hashable, dict[str, Any]] = {}
    if not isinstance(dsk, Mapping):  # an expression
        found.update(dsk.__dask_annotations__().get("ray_remote_args", {}))
        dsk = dsk.__dask_graph__()
    for layer in getattr(dsk, "layers", {}).values():
        options = (layer.annotations or {}).get("ray_remote_args")
        if options:
            found.update((key, options) for key in layer)
    return dsk, found


def _order(graph: Mapping[Any, GraphNode], wanted: list[Any]) -> list[Any]:
    # What is needed, each after what it needs; with a stack of its own: graphs are deep.
    order: list[Any] = []
    done: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(key, False) for key in reversed(wanted)]
    while stack:
        key, visited = stack.pop()
        if key in done:
            continue
        if visited:
            done.add(key)
            order.append(key)
            continue
        stack.append((key, True))
        stack.extend((need, False) for need in graph[key].dependencies if need not in done)
    return order


def _submitted(
    graph: Mapping[Any, GraphNode],
    wanted: list[Any],
    options: dict[str, Any],
    own: Mapping[Any, dict[str, Any]],
    hooks: Any,
    waits: bool,
) -> dict[Any, Any]:
    results: dict[Any, Any] = {}
    plain = run_task.options(**options) if options else run_task
    for key in _order(graph, wanted):
        node = graph[key]
        if isinstance(node, Alias):
            results[key] = results[next(iter(node.dependencies))]
            continue
        if isinstance(node, DataNode):
            results[key] = node()
            continue
        needs = list(node.dependencies)
        values = [results[need] for need in needs]
        instead = None
        for hook in hooks.ray_presubmit_cbs:
            instead = hook(node, key, values)
            if instead is not None:
                break
        if instead is not None:
            results[key] = instead
            continue
        call = run_task.options(**{**options, **own[key]}) if key in own else plain
        ref = call.remote(node, needs, hooks.ray_pretask_cbs, hooks.ray_posttask_cbs, *values)
        results[key] = ref
        if waits:
            get(ref)
        for hook in hooks.ray_postsubmit_cbs:
            hook(node, key, values, ref)
    return results


def _flat(keys: Any) -> list[Any]:
    return [key for part in keys for key in _flat(part)] if isinstance(keys, list) else [keys]


def _nested(keys: Any, results: Mapping[Any, Any]) -> Any:
    if isinstance(keys, list):
        return tuple(_nested(key, results) for key in keys)
    return results[keys]


def _fetched(results: Mapping[Any, Any], wanted: list[Any]) -> dict[Any, Any]:
    refs = [key for key in dict.fromkeys(wanted) if type(results[key]) is ObjectRef]
    values = dict(zip(refs, get([results[key] for key in refs]), strict=True))
    return {key: values.get(key, results[key]) for key in wanted}
