# SPDX-License-Identifier: Apache-2.0
"""get, put, wait and what a ref can do beside: await, future.

Blocking calls run without the GIL. A ref is awaited through one notifier per event loop (an eventfd
that the loop watches), so nothing polls and no thread is needed.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from polyray import _native, runtime
from polyray._native import NOT_PLAIN, ObjectRef
from polyray.exceptions import InvalidOptionError, ObjectLostError, RayError
from polyray.ids import OBJECT_BYTES, JobID, TaskID

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    _Waiting = tuple[ObjectRef[Any], concurrent.futures.Future[Any], runtime.Runtime]


_FAILED = (2, 3)  # sealed with an error; gone


def milliseconds(timeout: float | None) -> int:
    """A time limit in milliseconds; -1 is none."""
    if timeout is None or timeout == -1:
        return -1
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise InvalidOptionError(
            f"[invalid option] timeout must be a number of seconds or None, not {timeout!r}."
        )
    if timeout < 0:
        raise InvalidOptionError(f"[invalid option] timeout must not be negative: {timeout}.")
    return min(int(timeout * 1000 + 0.999), 2**53)


def get(object_refs: Any, *, timeout: float | None = None, _use_object_store: bool = False) -> Any:
    """The value of a ref, or the list of values of a list of refs. Raises what the task raised.

    A list raises as soon as one of its refs has an error. Raises GetTimeoutError when the time is
    over; `timeout=0` asks without waiting.
    """
    rt = runtime.current()
    if runtime.warns_of_blocking:
        _warn_of_blocking()
    if type(object_refs) is ObjectRef:
        return rt.get(object_refs, -1 if timeout is None else milliseconds(timeout))
    taken = _compiled(object_refs)
    if taken is not None:
        return taken(timeout)
    if not isinstance(object_refs, list):
        if hasattr(object_refs, "_task_ref"):  # a stream is its own value, as in Ray
            return object_refs
        raise ValueError(
            f"Invalid type of object refs, {type(object_refs)}, is given. "
            "'object_refs' must either be an ObjectRef or a list of ObjectRefs. "
        )
    refs: list[ObjectRef[Any]] = object_refs
    for ref in refs:
        if type(ref) is not ObjectRef:
            raise TypeError(
                f"Attempting to call `get` on the value {ref}, which is not an ray.ObjectRef."
            )
    limit = milliseconds(timeout)
    client = rt.client
    if limit != 0:
        settled = client.wait(refs, len(refs), limit, runtime.runs_task.get() is not None, True)
        if not all(settled):
            for ref in refs:
                if client.status(ref) in _FAILED:
                    rt.get(ref, 0)
    values = client.take_plain(refs, NOT_PLAIN) or []
    for index, ref in enumerate(refs):
        if values[index] is not NOT_PLAIN:
            continue
        data = client.fetch(ref, 0, False)
        if data is None:
            raise runtime.timed_out(ref)
        values[index] = rt.value_of(data, ref)
    return values


def _warn_of_blocking() -> None:
    import asyncio
    import logging

    if asyncio._get_running_loop() is None:  # a thread beside the loop may wait
        return
    runtime.warns_of_blocking = False
    logging.getLogger(__name__).warning(
        "ray.get() was called on the event loop of an async actor: no other call of the actor goes "
        "on meanwhile. Use `await ref`, or `await asyncio.gather(*refs)`, instead."
    )


def _compiled(refs: Any) -> Any:
    # Results of compiled graphs (polyray.dag) are no refs: they take themselves.
    first = refs[0] if type(refs) in (list, tuple) and refs else refs
    if not hasattr(type(first), "__polyray_take__"):
        return None
    if first is refs:
        return refs.__polyray_take__
    return lambda timeout: [ref.__polyray_take__(timeout) for ref in refs]


def put(value: Any, *, _owner: Any = None, _tensor_transport: Any = None) -> ObjectRef[Any]:
    """Put a value into the store and get a ref to it.

    What the store has no room for goes to disk, the least recently used values first. `_owner`, an
    actor's handle, is accepted: values of one node outlive the process that made them. Raises
    ObjectStoreFullError when nothing can be spilled for 10 s, OutOfDiskError.
    """
    if _owner is not None:
        from polyray.actor import ActorHandle

        if not isinstance(_owner, ActorHandle):
            raise TypeError(f"_owner must be an actor's handle, not {type(_owner).__name__}")
    if type(value) is ObjectRef:
        raise TypeError(
            "Calling 'put' on an ray.ObjectRef is not allowed. "
            "If you really want to do this, you can wrap the "
            "ray.ObjectRef in a list and call 'put' on it."
        )
    return runtime.current().put(value)


def wait(
    ray_waitables: Sequence[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """Wait until `num_returns` of the refs (or streams: their next item) are ready; gives (ready,
    not ready). Both are in the order of the argument.
    """
    rt = runtime.current()
    if (
        type(ray_waitables) is list
        and type(num_returns) is int
        and num_returns > 0
        and (timeout is None or timeout >= 0)
    ):
        split = rt.client.wait_split(
            ray_waitables, num_returns, milliseconds(timeout), runtime.runs_task.get() is not None
        )
        if split is not None:
            return split
    refs, streams = _waitables(ray_waitables)
    if timeout is not None and timeout < 0:
        raise InvalidOptionError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    if not refs:
        return [], []
    if len(set(ray_waitables)) != len(refs):
        raise InvalidOptionError("Wait requires a list of unique ray_waitables.")
    if num_returns <= 0:
        raise InvalidOptionError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(refs):
        raise InvalidOptionError(
            "num_returns cannot be greater than the number of ray_waitables provided to ray.wait."
        )
    blocked = runtime.runs_task.get() is not None
    settled = rt.client.wait(refs, num_returns, milliseconds(timeout), blocked, False, streams)
    ready: list[Any] = []
    rest: list[Any] = []
    for waitable, is_settled in zip(ray_waitables, settled, strict=True):
        (ready if is_settled and len(ready) < num_returns else rest).append(waitable)
    return ready, rest


def _waitables(given: Any) -> tuple[list[ObjectRef[Any]], bool]:
    """The refs to wait for, and whether one of them stands for a stream."""
    if not isinstance(given, list):
        if type(given) is ObjectRef or hasattr(given, "_task_ref"):
            raise TypeError(
                "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, "
                f"got a single ray.ObjectRef or ray.ObjectRefGenerator {given}"
            )
        raise TypeError(
            f"wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got {type(given)}"
        )
    found: list[ObjectRef[Any]] = []
    streams = False
    for waitable in given:
        ref = waitable
        if type(ref) is not ObjectRef:
            ref = getattr(waitable, "_task_ref", None)
            if type(ref) is not ObjectRef:
                raise TypeError(
                    "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, "
                    f"got list containing {type(waitable)}"
                )
            streams = True
        found.append(ref)
    return found, streams


class LoopWaiter:
    """Wakes one event loop for the refs that its tasks await."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.notifier = _native.Notifier()
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}
        loop.add_reader(self.notifier.fileno(), self._ready)

    def _ready(self) -> None:
        for object_id in self.notifier.take():
            for future in self._waiting.pop(object_id, ()):
                if not future.done():
                    future.set_result(None)

    async def until_ready(
        self,
        ref: ObjectRef[Any],
        loop: asyncio.AbstractEventLoop,
        rt: runtime.Runtime,
        next_item: bool = False,
    ) -> None:
        """Return when the ref is settled (`next_item`: when its stream has one), or the runtime
        ended."""
        if not rt.client.notify(ref, self.notifier, next_item):
            return
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(ref.store_id(), []).append(future)
        await future


_loops: weakref.WeakKeyDictionary[Any, LoopWaiter] = weakref.WeakKeyDictionary()


async def until_ready(
    ref: ObjectRef[Any], rt: runtime.Runtime | None = None, next_item: bool = False
) -> None:
    """Await readiness without reading the value."""
    import asyncio

    loop = asyncio.get_running_loop()
    waiter = _loops.get(loop)
    if waiter is None:
        waiter = _loops[loop] = LoopWaiter(loop)
    await waiter.until_ready(ref, loop, rt or runtime.of_refs(), next_item)


async def get_async(ref: ObjectRef[Any]) -> Any:
    """The value of a ref, for coroutines."""
    rt = runtime.of_refs()
    await until_ready(ref, rt)
    while rt.client.status(ref) == 0:  # a stream told its next item under the same id
        await until_ready(ref, rt)
    return rt.get(ref, 0)


def _await(self: ObjectRef[Any]) -> Generator[Any, None, Any]:
    return get_async(self).__await__()


class _FutureThread:
    """One thread that settles concurrent futures; started by the first ref.future()."""

    def __init__(self) -> None:
        self.notifier = _native.Notifier()
        import threading

        self.lock = threading.Lock()
        self.waiting: dict[bytes, list[_Waiting]] = {}
        threading.Thread(target=self._run, name="polyray-futures", daemon=True).start()

    def add(self, ref: ObjectRef[Any], future: concurrent.futures.Future[Any]) -> None:
        rt = runtime.of_refs()
        with self.lock:
            self.waiting.setdefault(ref.store_id(), []).append((ref, future, rt))
        try:
            waits = rt.client.notify(ref, self.notifier)
        except RayError:  # the runtime has ended, which the future tells
            waits = False
        if not waits:
            self._settle(ref.store_id())

    def _settle(self, object_id: bytes) -> None:
        with self.lock:
            waiting = self.waiting.pop(object_id, [])
        for ref, future, rt in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(rt.get(ref, 0))
            except BaseException as error:  # whatever the task raised is the future's
                future.set_exception(error)

    def _run(self) -> None:
        import select

        while True:
            select.select([self.notifier.fileno()], [], [])
            for object_id in self.notifier.take():
                self._settle(object_id)


_future_thread: _FutureThread | None = None


def _future(self: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
    import concurrent.futures

    global _future_thread
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    if _future_thread is None:
        _future_thread = _FutureThread()
    _future_thread.add(self, future)
    return future


def _reduce(self: ObjectRef[Any]) -> Any:
    runtime.pin_out_of_band(self, self)
    return _restored, (self.binary(),)


def _restored(object_id: bytes) -> ObjectRef[Any]:
    return ObjectRef(object_id)


def _from_binary(cls: type, object_id: bytes) -> ObjectRef[Any]:
    return ObjectRef(object_id)


def _from_hex(cls: type, text: str) -> ObjectRef[Any]:
    return ObjectRef(bytes.fromhex(text))


def _nil(cls: type) -> ObjectRef[Any]:
    return ObjectRef(b"\xff" * OBJECT_BYTES)


def _from_random(cls: type) -> ObjectRef[Any]:
    return ObjectRef(os.urandom(OBJECT_BYTES))


def _task_id(self: ObjectRef[Any]) -> TaskID:
    return TaskID(self.task_bytes())


def _job_id(self: ObjectRef[Any]) -> JobID:
    return JobID(self.binary()[20:24])


def _owner_address(self: ObjectRef[Any]) -> bytes:
    return runtime.of_refs().place.socket_name.encode()


def _redis_shard_hash(self: ObjectRef[Any]) -> int:
    return TaskID(self.task_bytes()).redis_shard_hash()


def _no_text(self: ObjectRef[Any]) -> str:
    return ""


def _on_completed(self: ObjectRef[Any], call: Any) -> None:
    def settle(future: Any) -> None:
        error = future.exception()
        call(future.result() if error is None else error)

    _future(self).add_done_callback(settle)


def _as_future(self: ObjectRef[Any], _internal: bool = False) -> Any:
    import asyncio

    return asyncio.ensure_future(get_async(self))


def _equip() -> None:
    import types

    cls: Any = ObjectRef
    cls.__await__ = _await
    cls.__reduce__ = _reduce
    cls.__class_getitem__ = classmethod(types.GenericAlias)
    cls.__module__ = "polyray"
    cls.future = _future
    cls.as_future = _as_future
    cls.task_id = _task_id
    cls.job_id = _job_id
    cls.from_binary = classmethod(_from_binary)
    cls.from_hex = classmethod(_from_hex)
    cls.nil = classmethod(_nil)
    cls.from_random = classmethod(_from_random)
    cls.owner_address = _owner_address
    cls.tensor_transport = lambda self: None
    cls.redis_shard_hash = _redis_shard_hash
    cls.size = classmethod(lambda cls: OBJECT_BYTES)
    cls.__bytes__ = lambda self: self.binary()
    cls.call_site = _no_text
    cls._on_completed = _on_completed


_equip()


def _forget_loops() -> None:
    global _future_thread
    _loops.clear()
    _future_thread = None


def free(object_refs: Any, local_only: bool = False) -> None:
    """Take values away from everybody who holds a ref to them.

    A later `get` raises ObjectFreedError; memory and spill files come back at once. Arrays that
    were read before stay valid. A value that is not ready yet is left alone. `local_only` changes
    nothing on one node.
    """
    if type(object_refs) is ObjectRef:
        object_refs = [object_refs]
    if not isinstance(object_refs, (list, tuple)):
        raise TypeError(f"free() takes a list of ObjectRefs, not {type(object_refs).__name__}")
    for ref in object_refs:
        if type(ref) is not ObjectRef:
            raise TypeError(f"free() takes ObjectRefs, but the list holds a {type(ref).__name__}")
    client = runtime.current().client
    for ref in object_refs:
        client.free_object(ref)


__all__ = ["ObjectLostError", "ObjectRef", "free", "get", "get_async", "put", "until_ready", "wait"]

os.register_at_fork(after_in_child=_forget_loops)
