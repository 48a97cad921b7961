# SPDX-License-Identifier: Apache-2.0
"""ClassNode, the making of an actor in a graph (`Actor.bind(...)`), and ClassMethodNode, a call of
one of its methods or of a live actor's (`handle.method.bind(...)`).

Calls that are bound on one ClassNode run in the order of binding.
"""

from __future__ import annotations

from typing import Any

from polyray.actor import ActorHandle
from polyray.dag.constants import (
    BIND_INDEX_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from polyray.dag.dag_node import DAGNode


class ClassNode(DAGNode):
    """The making of an actor; each run of the graph makes one."""

    def __init__(
        self,
        cls: Any,
        cls_args: Any,
        cls_kwargs: Any,
        cls_options: Any = None,
        other_args_to_resolve: Any = None,
    ) -> None:
        self._actor_class = cls
        self._last_call: ClassMethodNode | None = None
        super().__init__(cls_args, cls_kwargs, cls_options, other_args_to_resolve)
        if any(node._is_input() for node in self._get_all_child_nodes()):
            raise ValueError(
                "InputNode handles user dynamic input the DAG, and cannot be used as args, kwargs, "
                "or other_args_to_resolve in ClassNode constructor because it is not available at "
                "class construction or binding time."
            )

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._actor_class.remote(*self._bound_args, **self._bound_kwargs)

    def _body(self) -> str:
        return str(self._actor_class._target.value)

    def __getattr__(self, name: str) -> _UnboundClassMethodNode:
        if name.startswith("_") and name not in ("__call__",):
            raise AttributeError(name)
        cls = self._actor_class._target.value
        if name == "bind" and "bind" not in dir(cls):
            raise AttributeError(f".bind() cannot be used again on {type(self)} ")
        if cls is not None:
            getattr(cls, name)
        return _UnboundClassMethodNode(self, name, {})


class _UnboundClassMethodNode:
    """A method of a ClassNode, before `bind`."""

    def __init__(self, actor: ClassNode, method_name: str, options: dict[str, Any]) -> None:
        self._actor = actor
        self._method_name = method_name
        self._options = options

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """The call of the method with these arguments."""
        other = {
            PARENT_CLASS_NODE_KEY: self._actor,
            PREV_CLASS_METHOD_CALL_KEY: self._actor._last_call,
        }
        node = ClassMethodNode(self._method_name, args, kwargs, self._options, other)
        self._actor._last_call = node
        return node

    def options(self, **options: Any) -> _UnboundClassMethodNode:
        """Set the options of the call."""
        self._options = options
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "remote":
            raise AttributeError(
                ".remote() cannot be used on ClassMethodNodes. Use .bind() instead "
                "to express an symbolic actor call."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class ClassMethodNode(DAGNode):
    """The call of a method, or one of the values that such a call gives."""

    def __init__(
        self,
        method_name: str,
        method_args: Any,
        method_kwargs: Any,
        method_options: Any,
        other_args_to_resolve: Any,
    ) -> None:
        other = dict(other_args_to_resolve or {})
        self._method_name = method_name
        self._method: Any = None  # of a live actor, with its options
        self._bind_index = other.get(BIND_INDEX_KEY)
        self._is_class_method_output = bool(other.get(IS_CLASS_METHOD_OUTPUT_KEY))
        super().__init__(method_args, method_kwargs, method_options, other)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self._is_class_method_output:
            refs, index = self._bound_args
            return refs[index]
        method = self._method
        if method is None:
            method = getattr(self._parent_class_node, self._method_name)
        if self._bound_options:
            method = method.options(**self._bound_options)
        return method.remote(*self._bound_args, **self._bound_kwargs)

    @property
    def _parent_class_node(self) -> Any:
        return self._bound_other_args_to_resolve.get(PARENT_CLASS_NODE_KEY)

    def _body(self) -> str:
        return f"{self._method_name}()"

    def __repr__(self) -> str:
        return str(self)

    def get_method_name(self) -> str:
        """The method that is called."""
        return self._method_name

    def _get_bind_index(self) -> int | None:
        return self._bind_index

    def _get_actor_handle(self) -> ActorHandle | None:
        parent = self._parent_class_node
        return parent if isinstance(parent, ActorHandle) else None

    @property
    def num_returns(self) -> int:
        """How many values the call gives."""
        call = self if self.class_method_call is None else self.class_method_call
        asked = call._bound_options.get("num_returns")
        if asked is None and call._method is not None:
            asked = call._method._returns
        return 1 if asked is None else int(asked)

    @property
    def is_class_method_call(self) -> bool:
        """True for the call itself."""
        return not self._is_class_method_output

    @property
    def is_class_method_output(self) -> bool:
        """True for one value of a call that gives several."""
        return self._is_class_method_output

    @property
    def class_method_call(self) -> ClassMethodNode | None:
        """The call that gives this value; None for a call."""
        if not self._is_class_method_output:
            return None
        call: ClassMethodNode = self._bound_args[0]
        return call

    @property
    def output_idx(self) -> int | None:
        """Which value of the call this is; None for a call."""
        return int(self._bound_args[1]) if self._is_class_method_output else None


def bind_method(method: Any, args: Any, kwargs: Any) -> Any:
    """The node of a live actor's method; a tuple of nodes when it gives several values."""
    handle = method._handle
    index = handle.__dict__.get("_next_bind_index", 0)
    handle.__dict__["_next_bind_index"] = index + 1
    call = ClassMethodNode(
        method._name,
        args,
        kwargs,
        {},
        {PARENT_CLASS_NODE_KEY: handle, PREV_CLASS_METHOD_CALL_KEY: None, BIND_INDEX_KEY: index},
    )
    call._method = method
    count = method._returns
    if count is None or count == 1 or method._flags & 1:
        return call
    other = {
        PARENT_CLASS_NODE_KEY: handle,
        BIND_INDEX_KEY: index,
        IS_CLASS_METHOD_OUTPUT_KEY: True,
    }
    return tuple(ClassMethodNode(f"return_idx_{i}", (call, i), {}, {}, other) for i in range(count))
