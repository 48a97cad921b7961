# SPDX-License-Identifier: Apache-2.0
"""FunctionNode: the call of a remote function in a graph. Made by `fn.bind(...)`."""

from __future__ import annotations

from typing import Any

from polyray.dag.dag_node import DAGNode


class FunctionNode(DAGNode):
    """The call of a remote function."""

    def __init__(
        self,
        function: Any,
        func_args: Any,
        func_kwargs: Any,
        func_options: Any = None,
        other_args_to_resolve: Any = None,
    ) -> None:
        self._function = function
        super().__init__(func_args, func_kwargs, func_options, other_args_to_resolve)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._function.remote(*self._bound_args, **self._bound_kwargs)

    def _body(self) -> str:
        return str(self._function._target.value)
