# SPDX-License-Identifier: Apache-2.0
"""CompiledDAG: a checked graph of actor methods, run many times.

A run is the ordinary calls of its methods, in the order of the graph; intermediate values stay in
the store and go from actor to actor there. Results are taken once. What Ray refuses to compile is
refused with the same kind of error, so that a program moves both ways.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Generator
from typing import Any

from polyray.dag.class_node import ClassMethodNode
from polyray.dag.dag_node import DAGNode
from polyray.dag.function_node import FunctionNode
from polyray.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from polyray.dag.output_node import MultiOutputNode
from polyray.exceptions import (
    GetTimeoutError,
    RayCgraphCapacityExceeded,
    RayChannelError,
    RayChannelTimeoutError,
)


class CompiledDAG:
    """A graph that is ready to run. Made by `dag.experimental_compile()`."""

    def __init__(
        self, root: DAGNode, enable_asyncio: bool, max_inflight: int, get_timeout: float
    ) -> None:
        self._root = root
        self._id = uuid.uuid4().hex
        self._enable_asyncio = enable_asyncio
        self._max_inflight = max_inflight
        self.get_timeout = get_timeout
        self._inflight: set[int] = set()
        self._runs = 0
        self.is_teardown = False
        self.actors: list[Any] = []
        self._positional = 0
        self._keywords: set[str] = set()
        self._returns_list = isinstance(root, MultiOutputNode)
        self._check()

    def get_id(self) -> str:
        """An id of the compiled graph."""
        return self._id

    def _check(self) -> None:
        nodes: list[DAGNode] = []
        self._root.traverse_and_apply(nodes.append)
        inputs = [node for node in nodes if isinstance(node, InputNode)]
        if not inputs:
            raise ValueError(
                "No InputNode found in the DAG: when traversing upwards, no upstream node was "
                f"found for {self._root}."
            )
        if len(inputs) != 1:
            raise NotImplementedError("Compiled DAGs currently require exactly one InputNode")
        direct = indexed = False
        for node in nodes:
            if isinstance(node, FunctionNode):
                raise NotImplementedError("Compiled DAGs currently only support actor method nodes")
            if isinstance(node, ClassMethodNode) and node.is_class_method_call:
                self._check_call(node)
                arguments = node._upstream_nodes
                direct = direct or any(isinstance(item, InputNode) for item in arguments)
                indexed = indexed or any(isinstance(item, InputAttributeNode) for item in arguments)
        if direct and indexed:
            raise ValueError(
                "All tasks must either use InputNode() directly, or they must index to specific "
                "args or kwargs."
            )
        self._check_leaves(nodes)
        self._note_input(nodes, direct)

    def _check_call(self, node: ClassMethodNode) -> None:
        handle = node._get_actor_handle()
        if handle is None:
            raise ValueError(
                "Compiled DAGs can only bind methods to an actor that is already created with "
                "Actor.remote()"
            )
        if handle not in self.actors:
            self.actors.append(handle)
        if any(isinstance(value, DAGNode) for value in node.get_kwargs().values()):
            raise ValueError(
                "Compiled DAG currently does not support binding to other DAG nodes as kwargs"
            )
        top = [value for value in node.get_args() if isinstance(value, DAGNode)]
        if len(node._upstream_nodes) > len(set(top)):
            raise ValueError(
                f"Found DAGNodes inside of a container in the arguments of {node}. Please ensure "
                "that the argument is a single DAGNode and that a DAGNode is not allowed to be "
                "placed inside any type of container."
            )
        if not top:
            raise ValueError(
                "Compiled DAGs require each task to take a ray.dag.InputNode or at least one other "
                f"DAGNode as an input. Invalid task node:\n{node}\n"
                "Please bind the task to proper DAG nodes."
            )

    def _check_leaves(self, nodes: list[DAGNode]) -> None:
        leaves = [
            node
            for node in nodes
            if isinstance(node, ClassMethodNode)
            and not node._downstream_nodes
            and node is not self._root
        ]
        if leaves:
            names = [node.get_method_name() for node in leaves]
            raise ValueError(
                "Compiled DAG doesn't support leaf nodes, i.e., nodes that don't have downstream "
                f"nodes and are not output nodes. There are {len(leaves)} leaf nodes in the DAG. "
                f"Please add the outputs of {names} to the the MultiOutputNode."
            )

    def _note_input(self, nodes: list[DAGNode], direct: bool) -> None:
        keys = [node.key for node in nodes if isinstance(node, InputAttributeNode)]
        self._direct = direct
        self._positional = 1 if direct else 0
        for key in keys:
            if isinstance(key, int):
                self._positional = max(self._positional, key + 1)
            else:
                self._keywords.add(key)

    def _run(self, args: Any, kwargs: Any) -> tuple[int, Any]:
        if self.is_teardown:
            raise RayChannelError("The compiled graph was torn down: it cannot run any more.")
        if len(args) != self._positional:
            raise ValueError(
                "dag.execute() or dag.execute_async() must be called with "
                f"{self._positional} positional args, got {len(args)}"
            )
        for name in self._keywords:
            if name not in kwargs:
                raise ValueError(
                    f"dag.execute() or dag.execute_async() must be called with kwarg `{name}`"
                )
        if len(self._inflight) >= self._max_inflight:
            raise RayCgraphCapacityExceeded(
                f"The compiled graph can't have more than {self._max_inflight} in-flight "
                f"executions, and you currently have {len(self._inflight)} in-flight executions. "
                "Retrieve an output using ray.get before submitting more requests or increase "
                "`_max_inflight_executions`. "
                "`dag.experimental_compile(_max_inflight_executions=...)`"
            )

        def run(node: DAGNode) -> Any:
            if isinstance(node, InputNode) and not self._direct:
                return DAGInputData(*args, **kwargs)
            return node._execute_impl(*args, **kwargs)

        found = self._root._run(run, {})
        number = self._runs
        self._runs += 1
        self._inflight.add(number)
        return number, found

    def _done(self, number: int) -> None:
        self._inflight.discard(number)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run it; gives a CompiledDAGRef, a list of them for a MultiOutputNode.

        RayCgraphCapacityExceeded when too many results were not taken yet.
        """
        if self._enable_asyncio:
            raise ValueError("Use execute_async if enable_asyncio=True")
        number, found = self._run(args, kwargs)
        if not self._returns_list:
            return CompiledDAGRef(self, number, found)
        return [CompiledDAGRef(self, number, ref, index) for index, ref in enumerate(found)]

    async def execute_async(self, *args: Any, **kwargs: Any) -> Any:
        """Run it from a coroutine; gives a CompiledDAGFuture, or a list of them, to await."""
        if not self._enable_asyncio:
            raise ValueError("Use execute if enable_asyncio=False")
        number, found = self._run(args, kwargs)
        if not self._returns_list:
            return CompiledDAGFuture(self, number, found)
        return [CompiledDAGFuture(self, number, ref, index) for index, ref in enumerate(found)]

    def teardown(self, kill_actors: bool = False) -> None:
        """End the compiled graph; its actors live on, unless `kill_actors`."""
        self.is_teardown = True
        if kill_actors:
            from polyray.actor import kill

            for actor in self.actors:
                kill(actor)

    def visualize(self, *args: Any, **kwargs: Any) -> str:
        """A text form of the graph."""
        return str(self._root)


class CompiledDAGRef:
    """A result of a run: `get` takes it once. It cannot be copied, pickled or passed on."""

    def __init__(self, dag: CompiledDAG, number: int, ref: Any, channel: int | None = None) -> None:
        self._dag = dag
        self._number = number
        self._ref = ref
        self._channel = channel
        self._taken = False

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}({self._dag.get_id()}, execution_index={self._number}, "
            f"channel_index={self._channel})"
        )

    __repr__ = __str__

    def __copy__(self) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be copied.")

    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be deep copied.")

    def __reduce__(self) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be pickled.")

    def __del__(self) -> None:
        self._dag._done(self._number)

    def __polyray_take__(self, timeout: float | None) -> Any:
        return self.get(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The value; RayChannelTimeoutError after `timeout` seconds (RAY_CGRAPH_get_timeout)."""
        if self._taken:
            raise ValueError(
                "ray.get() can only be called once on a CompiledDAGRef, and it was already called."
            )
        self._taken = True
        from polyray.objects import get

        limit = self._dag.get_timeout if timeout is None else timeout
        try:
            return get(self._ref, timeout=None if limit == -1 else limit)
        except GetTimeoutError as error:
            raise RayChannelTimeoutError(
                "If the execution is expected to take a long time, increase "
                f"RAY_CGRAPH_get_timeout which is currently {self._dag.get_timeout} seconds. "
                "Otherwise, this may indicate that the execution is hanging."
            ) from error
        finally:
            self._dag._done(self._number)


class CompiledDAGFuture(CompiledDAGRef):
    """A result of a run from a coroutine: awaited once."""

    def __await__(self) -> Generator[Any, None, Any]:
        if self._taken:
            raise ValueError(
                "CompiledDAGFuture can only be awaited upon once, and it has already been awaited "
                "upon."
            )
        self._taken = True
        return self._wait().__await__()

    async def _wait(self) -> Any:
        try:
            return await asyncio.wrap_future(self._ref.future())
        finally:
            self._dag._done(self._number)
