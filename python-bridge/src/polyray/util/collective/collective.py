# SPDX-License-Identifier: Apache-2.0
"""Collective operations between tasks and actors, with Ray's names: a group is made by
init_collective_group in each rank, or by create_collective_group for actors, from outside.

Arrays are numpy arrays or, where torch is installed, CPU tensors; results are written into them.
Groups of this process belong to it; every operation waits for all ranks.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from polyray import runtime
from polyray.actor import get_actor
from polyray.exceptions import ActorDiedError
from polyray.objects import get
from polyray.remote_function import remote
from polyray.util.collective.group import Group, array_of, fill
from polyray.util.collective.hub import HUB_NAMESPACE, Hub
from polyray.util.collective.types import Backend, ReduceOp

logger = logging.getLogger(__name__)
_ATTEMPTS = 5
_groups: dict[str, Group] = {}
_hubs: dict[str, Any] = {}  # groups that this process declared
_lock = threading.Lock()


def is_backend_available(backend: str) -> bool:
    """True for backends of this package: all of them run over shared memory."""
    return backend.upper() in (Backend.GLOO, Backend.SHM, "TORCH_GLOO")


def nccl_available() -> bool:
    """False: there is no NCCL here; groups that ask for it run over shared memory."""
    return False


def gloo_available() -> bool:
    """True: groups that ask for GLOO run over shared memory."""
    return True


def register_collective_backend(name: str, backend_class: Any) -> None:
    """Not supported: groups run over shared memory."""
    raise NotImplementedError(f"backend {name!r}: collective groups run over shared memory only")


def is_group_initialized(group_name: str) -> bool:
    """True when this process is in the group."""
    return group_name in _groups


def _hub_of(name: str, world_size: int) -> Any:
    return (
        remote(Hub)
        .options(
            name=name,
            namespace=HUB_NAMESPACE,
            get_if_exists=True,
            num_cpus=0,
            max_concurrency=10_000,
        )
        .remote(world_size)
    )


def init_collective_group(
    world_size: int,
    rank: int,
    backend: str = Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30000,
) -> None:
    """Join a group as one of its ranks; returns when all have joined."""
    _check_inside_worker()
    backend = Backend(backend)
    if not group_name:
        raise ValueError(f"group_name '{group_name}' needs to be a string.")
    with _lock:
        if group_name in _groups:
            raise RuntimeError("Trying to initialize a group a second time.")
        assert world_size > 0
        assert 0 <= rank < world_size
        _groups[group_name] = _entered(world_size, rank, backend, group_name)


def _entered(world_size: int, rank: int, backend: str, name: str) -> Group:
    for attempt in range(_ATTEMPTS):
        try:
            return Group(_hub_of(name, world_size), name, world_size, rank, backend)
        except ActorDiedError:  # the hub of an earlier group was still there, and is gone now
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("not reached")


def create_collective_group(
    actors: list[Any],
    world_size: int,
    ranks: list[int],
    backend: str = Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30000,
) -> None:
    """Make a group of actors from outside; they join at their first operation."""
    backend = Backend(backend)
    if len(ranks) != len(actors):
        raise RuntimeError(
            "Each actor should correspond to one rank. "
            f"Got '{len(ranks)}' ranks but '{len(actors)}' actors"
        )
    if set(ranks) != set(range(len(ranks))):
        raise RuntimeError(
            f"Ranks must be a permutation from 0 to '{len(ranks)}'. "
            f"Got '{''.join(map(str, ranks))}'."
        )
    if world_size <= 0:
        raise RuntimeError(f"World size must be greater than zero. Got '{world_size}'.")
    if max(ranks, default=0) >= world_size:
        raise RuntimeError("Ranks cannot be greater than world_size.")
    hub = _hub_of(group_name, world_size)
    by_id = {_id_of(actor): rank for actor, rank in zip(actors, ranks, strict=True)}
    if not get(hub.declare.remote(by_id, backend)):
        raise RuntimeError("Trying to initialize a group twice.")
    _hubs[group_name] = hub


def _id_of(actor: Any) -> str:
    return str(actor._ref.store_id().hex())


def destroy_collective_group(group_name: str = "default") -> None:
    """Leave a group; also ends the declaration of create_collective_group() in this process."""
    with _lock:
        declared = _hubs.pop(group_name, None)
        if declared is None:
            _check_inside_worker()
        if _groups.pop(group_name, None) is None and declared is None:
            logger.warning("The group '%s' does not exist.", group_name)


def get_rank(group_name: str = "default") -> int:
    """This process's rank; -1 when it is not in the group."""
    _check_inside_worker()
    group = _groups.get(group_name)
    return -1 if group is None else group.rank


def get_collective_group_size(group_name: str = "default") -> int:
    """How many ranks the group has; -1 when this process is not in it."""
    _check_inside_worker()
    group = _groups.get(group_name)
    return -1 if group is None else group.world_size


def get_group_handle(group_name: str = "default") -> Group:
    """The group; an actor joins here when create_collective_group() named it."""
    _check_inside_worker()
    with _lock:
        found = _groups.get(group_name)
        if found is None:
            found = _groups[group_name] = _joined(group_name)
        return found


def _joined(name: str) -> Group:
    from polyray import actor_process

    missing = f"The collective group '{name}' is not initialized in the process."
    try:
        hub = get_actor(name, namespace=HUB_NAMESPACE)
    except ValueError as error:
        raise RuntimeError(missing) from error
    actor = actor_process.running_actor()
    found = None if actor is None else get(hub.declared.remote(actor.id.hex()))
    if found is None:
        raise RuntimeError(missing)
    world_size, rank, backend = found
    return Group(hub, name, world_size, rank, backend)


def allreduce(tensor: Any, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Reduce the tensors of all ranks; every rank gets the result in its tensor."""
    _check_tensor(tensor)
    fill(tensor, get_group_handle(group_name).all_reduced(array_of(tensor), op))


def barrier(group_name: str = "default") -> None:
    """Wait until all ranks are here."""
    get_group_handle(group_name).barrier()


def reduce(
    tensor: Any, dst_rank: int = 0, group_name: str = "default", op: ReduceOp = ReduceOp.SUM
) -> None:
    """Reduce the tensors of all ranks into the tensor of one."""
    _check_tensor(tensor)
    group = get_group_handle(group_name)
    _check_rank(group, dst_rank)
    found = group.rooted(array_of(tensor), dst_rank, op)
    if found is not None:
        fill(tensor, found)


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = "default") -> None:
    """Copy the tensor of one rank into those of all."""
    _check_tensor(tensor)
    group = get_group_handle(group_name)
    _check_rank(group, src_rank)
    found = group.spread(array_of(tensor), src_rank)
    if group.rank != src_rank:
        fill(tensor, found)


def allgather(tensor_list: list[Any], tensor: Any, group_name: str = "default") -> None:
    """Copy the tensors of all ranks into the list, on every rank."""
    _check_tensor(tensor)
    _check_tensors(tensor_list)
    group = get_group_handle(group_name)
    if len(tensor_list) != group.world_size:
        raise RuntimeError(
            "The length of the tensor list operands to allgather must be equal to world_size."
        )
    for target, value in zip(tensor_list, group.gathered(array_of(tensor)), strict=True):
        fill(target, value)


def reducescatter(
    tensor: Any, tensor_list: list[Any], group_name: str = "default", op: ReduceOp = ReduceOp.SUM
) -> None:
    """Reduce the lists of all ranks; each rank gets its element of the result."""
    _check_tensor(tensor)
    _check_tensors(tensor_list)
    group = get_group_handle(group_name)
    if len(tensor_list) != group.world_size:
        raise RuntimeError(
            "The length of the tensor list operands to reducescatter "
            "must not be equal to world_size."
        )
    fill(tensor, group.scattered([array_of(item) for item in tensor_list], op))


def send(tensor: Any, dst_rank: int, group_name: str = "default") -> None:
    """Send a tensor to a rank."""
    group = _group_of_pair(tensor, dst_rank, group_name)
    group.sent(array_of(tensor), dst_rank)


def recv(tensor: Any, src_rank: int, group_name: str = "default") -> None:
    """Wait for the tensor that a rank sends; it is written into `tensor`."""
    group = _group_of_pair(tensor, src_rank, group_name)
    fill(tensor, group.received(src_rank))


def _group_of_pair(tensor: Any, other: int, group_name: str) -> Group:
    _check_tensor(tensor)
    group = get_group_handle(group_name)
    _check_rank(group, other)
    if other == group.rank:
        raise RuntimeError(f"The destination rank '{other}' is self.")
    return group


def _no_devices(*args: Any, **kwargs: Any) -> None:
    """Refused: several devices in a process need NCCL and Cupy."""
    raise RuntimeError("Multigpu calls requires NCCL and Cupy.")


allreduce_multigpu = reduce_multigpu = broadcast_multigpu = allgather_multigpu = _no_devices
reducescatter_multigpu = send_multigpu = recv_multigpu = synchronize = _no_devices


def _check_inside_worker() -> None:
    rt = runtime.peek()
    if rt is None or not rt.is_worker:
        raise RuntimeError("The collective APIs shall be only used inside a Ray actor or task.")


def _check_tensor(tensor: Any) -> None:
    import sys

    import numpy as np

    torch = sys.modules.get("torch")
    if not isinstance(tensor, np.ndarray) and not (
        torch is not None and isinstance(tensor, torch.Tensor)
    ):
        raise RuntimeError(
            f"Unrecognized tensor type '{type(tensor)}'. Supported types are: "
            "np.ndarray, torch.Tensor, cupy.ndarray."
        )


def _check_tensors(tensors: Any) -> None:
    if not isinstance(tensors, list):
        raise RuntimeError(f"The input must be a list of tensors. Got '{type(tensors)}'.")
    if not tensors:
        raise RuntimeError("Got an empty list of tensors.")
    for tensor in tensors:
        _check_tensor(tensor)


def _check_rank(group: Group, rank: int) -> None:
    if rank < 0:
        raise ValueError(f"rank '{rank}' is negative.")
    if rank >= group.world_size:
        raise ValueError(f"rank '{rank}' must be less than world size '{group.world_size}'")
