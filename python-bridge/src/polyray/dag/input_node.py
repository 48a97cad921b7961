# SPDX-License-Identifier: Apache-2.0
"""InputNode, what `execute(...)` is given, and parts of it: `inp[0]`, `inp.x`, `inp["x"]`."""

from __future__ import annotations

from typing import Any

from polyray.dag.dag_node import DAGNode

IN_CONTEXT_MANAGER = "__in_context_manager__"
_KEYS = "Please only use int index or str as first-level key to access fields of dag input."


class InputNode(DAGNode):
    """Stands for the input of a run; used as `with InputNode() as inp:`, one a graph."""

    def __init__(
        self,
        *args: Any,
        input_type: Any = None,
        _other_args_to_resolve: Any = None,
        **kwargs: Any,
    ) -> None:
        if args or kwargs:
            raise ValueError("InputNode should not take any args or kwargs.")
        self.input_attribute_nodes: dict[int | str, InputAttributeNode] = {}
        self.input_type = input_type
        super().__init__([], {}, {}, _other_args_to_resolve)

    def _is_input(self) -> bool:
        return True

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        assert self._bound_other_args_to_resolve.get(IN_CONTEXT_MANAGER), (
            "InputNode is a singleton instance that should be only used in context manager for "
            "dag building and execution. See the docstring of class InputNode for examples."
        )
        if len(args) == 1 and not kwargs:
            return args[0]
        return DAGInputData(*args, **kwargs)

    def set_context(self, key: str, val: Any) -> None:
        """Note something about the node that its copies keep."""
        self._bound_other_args_to_resolve[key] = val

    def _body(self) -> str:
        return "__InputNode__"

    def __getattr__(self, key: str) -> Any:
        if key.startswith(("__", "_bound", "_stable")):
            raise AttributeError(key)
        nodes = self.__dict__["input_attribute_nodes"]
        if key not in nodes:
            nodes[key] = InputAttributeNode(self, key, "__getattr__")
        return nodes[key]

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        assert isinstance(key, (str, int)), _KEYS
        nodes = self.input_attribute_nodes
        if key not in nodes:
            nodes[key] = InputAttributeNode(self, key, "__getitem__")
        return nodes[key]

    def __enter__(self) -> InputNode:
        self.set_context(IN_CONTEXT_MANAGER, True)
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to leave."""


class InputAttributeNode(DAGNode):
    """A part of the input: an index, an attribute or a key."""

    def __init__(
        self, dag_input_node: Any, key: int | str, accessor_method: str, input_type: Any = None
    ) -> None:
        self._key = key
        self._accessor_method = accessor_method
        super().__init__(
            [],
            {},
            {},
            {
                "dag_input_node": dag_input_node,
                "key": key,
                "accessor_method": accessor_method,
                "result_type_string": input_type,
            },
        )

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        data = self._bound_other_args_to_resolve["dag_input_node"]
        if isinstance(data, DAGInputData) or self._accessor_method == "__getitem__":
            return data[self._key]
        return getattr(data, str(self._key))

    def _body(self) -> str:
        return f'["{self._key}"]'

    @property
    def key(self) -> int | str:
        """Which part of the input it is."""
        return self._key


class DAGInputData:
    """The input of a run with several arguments: positional ones by number, others by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args = list(args)
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            return self._args[key]
        if isinstance(key, str):
            return self._kwargs[key]
        raise ValueError(_KEYS)
