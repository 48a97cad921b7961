# SPDX-License-Identifier: Apache-2.0
"""Calls of an async actor: event loops, a task for each call, limits, cancellation.

The actor is made and runs on an event loop of its own thread; every concurrency group has one more
loop and thread, so that a group that blocks does not hold up the others.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections import deque
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from polyray import _native, runtime
from polyray.actor_process import Actor, ActorEnds
from polyray.call_ends import CANCELLED, STREAMING
from polyray.exceptions import AsyncioActorExit, RayError

if TYPE_CHECKING:
    from polyray.executor import Executor


class Slots:
    """How many calls may run at once in a loop; used in that loop only."""

    def __init__(self, limit: int) -> None:
        self.free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Until a call has left whose place this one takes. REQUIRES: none is free."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """A call has ended: the next one may begin."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
            return
        except (SystemExit, KeyboardInterrupt):
            pass  # asyncio gave it to who awaits the task, who ends the actor; and stopped its loop


class CallLoops:
    """The event loops of an async actor: one for its calls, one for each concurrency group."""

    def __init__(self, actor: Actor) -> None:
        self.main = asyncio.new_event_loop()
        self._slots = {"": (self.main, Slots(actor.limit))}
        for name, limit in actor.groups.items():
            self._slots[name] = (asyncio.new_event_loop(), Slots(limit))
        for name, (loop, _) in self._slots.items():
            title = f"polyray-loop-{name}" if name else "polyray-loop"
            threading.Thread(target=_run_for_ever, args=(loop,), name=title, daemon=True).start()

    def of(self, group: str) -> tuple[asyncio.AbstractEventLoop, Slots]:
        """The loop of a group and what limits the calls in it."""
        return self._slots[group]

    def all(self) -> list[asyncio.AbstractEventLoop]:
        """Every loop."""
        return [loop for loop, _ in self._slots.values()]

    def run(self, what: Callable[[], Any]) -> Any:
        """Call on the main loop, await what it gives if that is a coroutine; waits for the end."""

        async def called() -> Any:
            found = what()
            return await found if inspect.isawaitable(found) else found

        return asyncio.run_coroutine_threadsafe(called(), self.main).result()


class AsyncCalls:
    """The calls of the async actor of this process."""

    def __init__(self, executor: Executor, actor: Actor) -> None:
        self._executor = executor
        self._actor = actor
        self._client = executor.rt.client
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self.loops = CallLoops(actor)
        self._slots = self.loops.of("")[1]
        told = os.environ.get("RAY_WARN_BLOCKING_GET_INSIDE_ASYNC", "1")
        runtime.warns_of_blocking = told.lower() not in ("0", "false")

    # -- taking calls

    def take_over(self) -> None:
        """The main loop takes calls from now on."""
        fds = (self._client.doorbell_fd, self._client.host_calls())
        self.loops.main.call_soon_threadsafe(self._watch, fds)

    def _watch(self, fds: tuple[int, ...]) -> None:
        for fd in fds:
            self.loops.main.add_reader(fd, self._take, fds)
        self._take(fds)

    def _take(self, fds: tuple[int, ...]) -> None:
        try:
            calls = self._client.take_calls()
        except RayError as error:
            for fd in fds:
                self.loops.main.remove_reader(fd)
            self._executor.stop_waiting(error)
            return
        loop, slots = self.loops.main, self._slots
        for call in calls:
            self._start(call, loop, slots)

    def submit(self, call: Any, group: str) -> None:
        """Run a call of a method in the loop of its group."""
        loop, slots = self.loops.of(group)
        loop.call_soon_threadsafe(self._start, call, loop, slots)

    def _start(self, call: Any, loop: asyncio.AbstractEventLoop, slots: Slots) -> None:
        loop.create_task(self._run(call, call.task, slots))

    def cancel(self, task_id: bytes) -> None:
        """Cancel the coroutine of a call. One that has not begun looks by itself when it begins:
        cancelled here it would end without an answer."""

        def cancel() -> None:
            task = self._tasks.get(task_id)
            if task is not None and task.get_loop() is asyncio.get_running_loop():
                task.cancel()

        for loop in self.loops.all():
            loop.call_soon_threadsafe(cancel)

    async def _run(self, call: Any, task: bytes, slots: Slots) -> None:
        executor = self._executor
        actor = self._actor
        entered = False
        current = asyncio.current_task()
        assert current is not None
        self._tasks[task] = current
        try:
            if executor.cancel_seen and executor.was_cancelled(call):
                return
            if slots.free > 0:
                slots.free -= 1
            else:
                await slots.wait()
            entered = True
            if actor.exiting or executor.leaving:
                return
            run = executor.enter_method(actor, call)
            if executor.cancel_seen and executor.was_cancelled(call):
                return
            name = call.method
            function = actor.methods.get(name) or executor.method(name)
            args, kwargs = executor.arguments(call)
            if run.trace is not None:
                function = run.traced(function, actor.name, name)
            result = function(*args, **kwargs)
            if call.flags & STREAMING:
                await self._stream(call, result)
            else:
                if type(result) is CoroutineType or (
                    hasattr(result, "__await__") and type(result) is not _native.ObjectRef
                ):
                    result = await result
                executor.finish(call, result)
        except asyncio.CancelledError:
            executor.settle_error(call, executor.stopped(task), CANCELLED)
        except ActorEnds:
            pass
        except AsyncioActorExit:
            executor.exit_actor("it left by exit_actor()")
        except BaseException as error:  # whatever the method raises is the caller's
            executor.fail(call, error, f"{actor.name}.{call.method}", None)
        finally:
            del self._tasks[task]
            if entered:
                slots.leave()
            executor.left_method(call)
            self._client.flush()

    async def _stream(self, call: Any, items: Any) -> None:
        executor = self._executor
        if not hasattr(items, "__aiter__"):
            executor.stream(call, items)
            return
        number = 0
        client = self._client
        ahead = executor.ahead(call)
        try:
            async for item in items:
                client.stream_item(call.handle, number, executor.rt.put(item))
                number += 1
                if 0 < ahead <= number and not client.wait_consumed(
                    call.task, number + 1 - ahead, 0
                ):
                    await asyncio.get_running_loop().run_in_executor(
                        None, client.wait_consumed, call.task, number + 1 - ahead, -1
                    )
        finally:
            client.end_producing(call.task)
        executor.finish(call, None)
