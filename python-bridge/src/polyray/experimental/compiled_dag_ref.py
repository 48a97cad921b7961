# SPDX-License-Identifier: Apache-2.0
"""Results of compiled graphs, under Ray's name."""

from polyray.dag.compiled_dag_node import CompiledDAGFuture, CompiledDAGRef

__all__ = ["CompiledDAGFuture", "CompiledDAGRef"]
