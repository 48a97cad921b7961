# SPDX-License-Identifier: Apache-2.0
"""MultiOutputNode: the end of a graph with several results."""

from __future__ import annotations

from typing import Any

from polyray.dag.dag_node import DAGNode


class MultiOutputNode(DAGNode):
    """A run gives the list of what the nodes give."""

    def __init__(self, args: Any, other_args_to_resolve: Any = None) -> None:
        if isinstance(args, tuple):
            args = list(args)
        if not isinstance(args, list):
            raise ValueError(f"Invalid input type for `args`, {type(args)}.")
        super().__init__(args, {}, {}, other_args_to_resolve)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._bound_args

    def _body(self) -> str:
        return "__MultiOutputNode__"
