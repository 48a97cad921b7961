# SPDX-License-Identifier: Apache-2.0
"""A cluster for tests, with Ray's names: one head node, started and joined by this program.

A second node is refused: many nodes are not built yet.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from polyray.sessions import start_runtime


class ClusterNode:
    """The node of a Cluster."""

    def __init__(self, embedded: Any, place: Any) -> None:
        self._embedded = embedded
        self.address = place.address
        self.node_id = place.node_id
        self.head = True

    @property
    def unique_id(self) -> str:
        """The node's id."""
        return str(self.node_id)

    def kill_all_processes(self, *args: Any, **kwargs: Any) -> None:
        """End the node."""
        self._embedded.stop()


class Cluster:
    """Nodes of this machine. `head_node_args`: as add_node; `connect`: join at once."""

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: Mapping[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        self.head_node: ClusterNode | None = None
        self.worker_nodes: set[ClusterNode] = set()
        self.connected = False
        if not initialize_head and connect:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        if initialize_head:
            self.add_node(**dict(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str | None:
        """The address to join by; None before there is a node."""
        return None if self.head_node is None else str(self.head_node.address)

    @property
    def gcs_address(self) -> str | None:
        """The same."""
        return self.address

    def add_node(self, wait: bool = True, **node_args: Any) -> ClusterNode:
        """Start the head node.

        Arguments as init's sizes: num_cpus, num_gpus, resources, memory, object_store_memory,
        labels. Raises NotImplementedError for a second node.
        """
        from polyray.driver import _node_flags

        if self.head_node is not None:
            raise NotImplementedError(
                "a cluster has one node for now: many nodes are not built yet. Give the head node "
                "all the resources that the program needs."
            )
        flags = _node_flags(
            node_args.get("num_cpus", 1),
            node_args.get("num_gpus"),
            node_args.get("resources"),
            node_args.get("labels"),
            node_args.get("object_store_memory"),
            {"_memory": node_args.get("memory")},
            None,
        )
        embedded, place = start_runtime(flags)
        self.head_node = ClusterNode(embedded, place)
        return self.head_node

    def connect(self, namespace: str | None = None) -> None:
        """Join as a driver."""
        from polyray.driver import init

        if self.head_node is None:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        init(self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Wait until every node that was added answers. Raises TimeoutError after `timeout` s."""
        from polyray.driver import is_initialized, nodes

        end = time.monotonic() + timeout
        while is_initialized():
            if sum(1 for node in nodes() if node["Alive"]) >= len(self.list_all_nodes()):
                return
            if time.monotonic() > end:
                raise TimeoutError("Timed out while waiting for nodes to join.")
            time.sleep(0.05)

    def list_all_nodes(self) -> list[ClusterNode]:
        """The nodes that were added."""
        return [] if self.head_node is None else [self.head_node]

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """End a node."""
        from polyray.driver import is_initialized, shutdown

        if self.head_node is not node:
            raise ValueError("this node is not of this cluster")
        if is_initialized():
            shutdown()
        self.head_node = None
        self.connected = False
        node.kill_all_processes()

    def shutdown(self) -> None:
        """End all nodes."""
        if self.head_node is not None:
            self.remove_node(self.head_node)


__all__ = ["Cluster", "ClusterNode"]
