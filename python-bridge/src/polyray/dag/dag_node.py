# SPDX-License-Identifier: Apache-2.0
"""DAGNode: one step of a lazy graph of calls, with its bound arguments.

Nodes are plain data until `execute()`. A run visits each node once, arguments first, in the order
of binding; the walk keeps its own stack, so graphs may be thousands of nodes deep. Invariant: nodes
are not changed by a run.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from polyray.dag import scan
from polyray.util.annotations import RayDeprecationWarning

if TYPE_CHECKING:
    from polyray.dag.compiled_dag_node import CompiledDAG

_INDENT = "    "


class DAGNode:
    """A step of a graph: its arguments may be nodes, also inside of containers and objects."""

    def __init__(
        self,
        args: Any,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any] | None,
        other_args_to_resolve: Mapping[str, Any] | None = None,
    ) -> None:
        self._bound_args: Any = args or []
        self._bound_kwargs: dict[str, Any] = dict(kwargs or {})
        self._bound_options: dict[str, Any] = dict(options or {})
        self._bound_other_args_to_resolve: dict[str, Any] = dict(other_args_to_resolve or {})
        self._stable_uuid = uuid.uuid4().hex
        self._downstream_nodes: list[DAGNode] = []
        self._upstream_nodes: list[DAGNode] = scan.find(
            [list(self._bound_args), self._bound_kwargs, self._bound_other_args_to_resolve],
            DAGNode,
        )
        for node in self._upstream_nodes:
            node._downstream_nodes.append(self)
        self.cache_from_last_execute: dict[str, Any] = {}
        self.is_cgraph_output_node = False

    # -- what it holds

    def get_args(self) -> Any:
        """The bound positional arguments."""
        return self._bound_args

    def get_kwargs(self) -> dict[str, Any]:
        """A copy of the bound keyword arguments."""
        return dict(self._bound_kwargs)

    def get_options(self) -> dict[str, Any]:
        """A copy of the options of the call."""
        return dict(self._bound_options)

    def get_other_args_to_resolve(self) -> dict[str, Any]:
        """A copy of what else the node depends on."""
        return dict(self._bound_other_args_to_resolve)

    def get_stable_uuid(self) -> str:
        """An id that copies of the node keep."""
        return self._stable_uuid

    async def get_object_refs_from_last_execute(self) -> dict[str, Any]:
        """What each node gave in the last execute(..., _ray_cache_refs=True), by node id."""
        return {
            key: await value if isinstance(value, asyncio.Task) else value
            for key, value in self.cache_from_last_execute.items()
        }

    def clear_cache(self) -> None:
        """Forget what the last run gave."""
        self.cache_from_last_execute = {}

    def with_tensor_transport(self, transport: Any = "auto", **options: Any) -> DAGNode:
        """Accepted for Ray's programs: values always travel through shared memory here."""
        if transport not in ("auto", "nccl", "shm", "accelerator"):
            raise ValueError(
                f"Invalid transport type: {transport}. Transport must be one of 'auto', 'nccl', "
                "'shm', 'accelerator' or an instance of Communicator type."
            )
        return self

    # -- running

    def execute(self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any) -> Any:
        """Run the graph; gives the ref (or actor handle, or list) of this node.

        The arguments are the input that InputNode stands for.
        """
        warnings.warn(
            "DAGNode.execute() is deprecated and will be removed in a future release.",
            RayDeprecationWarning,
            stacklevel=2,
        )
        cache: dict[str, Any] = {}
        result = self._run(lambda node: node._execute_impl(*args, **kwargs), cache)
        if _ray_cache_refs:
            self.cache_from_last_execute = cache
        return result

    def experimental_compile(
        self,
        _submit_timeout: float | None = None,
        _buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        _max_inflight_executions: int | None = None,
        _max_buffered_results: int | None = None,
        _overlap_gpu_communication: bool | None = None,
        _default_communicator: Any = "create",
    ) -> CompiledDAG:
        """Check the graph once and make it callable many times.

        It runs over ordinary actor calls: same results, no channels of its own. ValueError or
        NotImplementedError for graphs that Ray does not compile either.
        """
        from polyray.dag.compiled_dag_node import CompiledDAG
        from polyray.dag.context import DAGContext

        if self.is_cgraph_output_node:
            raise ValueError(
                "It is not allowed to call `experimental_compile` on the same DAG object multiple "
                "times no matter whether `teardown` is called or not. Please reuse the existing "
                "compiled DAG or create a new one."
            )
        context = DAGContext.get_current()
        size = context.buffer_size_bytes if _buffer_size_bytes is None else _buffer_size_bytes
        if not isinstance(size, int) or size <= 0:
            raise ValueError(f"`buffer_size_bytes` must be a positive integer, found {size}")
        self.is_cgraph_output_node = True
        return CompiledDAG(
            self,
            enable_asyncio,
            context.max_inflight_executions
            if _max_inflight_executions is None
            else _max_inflight_executions,
            context.get_timeout,
        )

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        """Run this node, whose arguments are values and refs by now."""
        raise NotImplementedError

    # -- walking

    def apply_recursive(self, fn: Callable[[DAGNode], Any]) -> Any:
        """fn on a copy of each node whose nodes are replaced by what fn gave for them."""
        return self._run(fn, {})

    def _run(self, fn: Callable[[DAGNode], Any], cache: dict[str, Any]) -> Any:
        stack: list[tuple[DAGNode, bool]] = [(self, False)]
        root: str | None = None
        while stack:
            node, visited = stack.pop()
            if node._stable_uuid in cache:
                continue
            if not visited:
                stack.append((node, True))
                children = node._get_all_child_nodes()
                stack.extend((child, False) for child in reversed(children))
                continue
            if node._is_input():
                if root not in (None, node._stable_uuid):
                    raise AssertionError("Each DAG should only have one unique InputNode.")
                root = node._stable_uuid
            cache[node._stable_uuid] = fn(
                node._with_replaced(lambda child: cache[child._stable_uuid])
            )
        return cache[self._stable_uuid]

    def _is_input(self) -> bool:
        return False

    def _with_replaced(self, change: Callable[[DAGNode], Any]) -> DAGNode:
        copied = copy.copy(self)
        if self._upstream_nodes:
            copied._bound_args, copied._bound_kwargs, copied._bound_other_args_to_resolve = (
                scan.replace(
                    [list(self._bound_args), self._bound_kwargs, self._bound_other_args_to_resolve],
                    DAGNode,
                    change,
                )
            )
        return copied

    def _get_all_child_nodes(self) -> list[DAGNode]:
        return list(self._upstream_nodes)

    def _get_toplevel_child_nodes(self) -> list[DAGNode]:
        found: list[DAGNode] = []
        for value in (
            *self._bound_args,
            *self._bound_kwargs.values(),
            *self._bound_other_args_to_resolve.values(),
        ):
            if isinstance(value, DAGNode) and value not in found:
                found.append(value)
        return found

    def traverse_and_apply(self, fn: Callable[[DAGNode], Any]) -> None:
        """fn on each node that is connected with this one."""
        seen: set[DAGNode] = set()
        waiting = [self]
        while waiting:
            node = waiting.pop(0)
            if node not in seen:
                seen.add(node)
                fn(node)
                waiting.extend(node._downstream_nodes)
                waiting.extend(node._upstream_nodes)

    def apply_functional(
        self,
        source_input_list: Any,
        predicate_fn: Callable[[DAGNode], bool],
        apply_fn: Callable[[DAGNode], Any],
    ) -> Any:
        """The inputs with apply_fn(node) in the place of each node that predicate_fn holds for."""
        return scan.replace(
            source_input_list,
            DAGNode,
            lambda node: apply_fn(node) if predicate_fn(node) else node,
        )

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    # -- text

    def _body(self) -> str:
        return type(self).__name__

    def __str__(self) -> str:
        lines = [
            f"({type(self).__name__}, {self._stable_uuid})(",
            f"{_INDENT}body={self._body()}",
            f"{_INDENT}args={_shown(self._bound_args)}",
            f"{_INDENT}kwargs={_shown(self._bound_kwargs)}",
            f"{_INDENT}options={_shown(self._bound_options)}",
            f"{_INDENT}other_args_to_resolve={_shown(self._bound_other_args_to_resolve)}",
            ")",
        ]
        return "\n".join(lines)


def _shown(values: Any) -> str:
    opening, closing = "{}" if isinstance(values, Mapping) else "[]"
    if not values:
        return opening + closing
    lines = []
    for item in values.items() if isinstance(values, Mapping) else values:
        text = f"{item[0]}: {item[1]}" if isinstance(values, Mapping) else f"{item}, "
        lines += [f"{_INDENT * 2}{line}" for line in text.split("\n")]
    return "\n".join([opening, *lines, f"{_INDENT}{closing}"])
