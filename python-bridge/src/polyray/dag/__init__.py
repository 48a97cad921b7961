# SPDX-License-Identifier: Apache-2.0
"""Lazy graphs of calls: `fn.bind(...)`, `Actor.bind(...)`, `handle.method.bind(...)`, InputNode,
MultiOutputNode; `execute()` runs one, `experimental_compile()` checks it for many runs.
"""

from polyray.dag.class_node import ClassMethodNode, ClassNode
from polyray.dag.compiled_dag_node import CompiledDAG, CompiledDAGFuture, CompiledDAGRef
from polyray.dag.constants import (
    BIND_INDEX_KEY,
    COLLECTIVE_OPERATION_KEY,
    DAGNODE_TYPE_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from polyray.dag.context import DAGContext
from polyray.dag.dag_node import DAGNode
from polyray.dag.function_node import FunctionNode
from polyray.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from polyray.dag.output_node import MultiOutputNode

__all__ = [
    "BIND_INDEX_KEY",
    "COLLECTIVE_OPERATION_KEY",
    "DAGNODE_TYPE_KEY",
    "IS_CLASS_METHOD_OUTPUT_KEY",
    "PARENT_CLASS_NODE_KEY",
    "PREV_CLASS_METHOD_CALL_KEY",
    "ClassMethodNode",
    "ClassNode",
    "CompiledDAG",
    "CompiledDAGFuture",
    "CompiledDAGRef",
    "DAGContext",
    "DAGInputData",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
]
