# SPDX-License-Identifier: Apache-2.0
"""The actor of a worker process: its instance, its event loops, its end.

An actor with async methods is made and runs on an event loop of its own thread; every concurrency
group has one more loop and thread, so that a group that blocks does not hold up the others. At a
graceful end (the last handle gone, exit_actor(), `__ray_terminate__`) the instance's
`__ray_shutdown__` runs and the instance is dropped, before atexit handlers; kill() skips all that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Actor:
    """The actor of this process."""

    def __init__(self, actor_id: bytes, incarnation: int, fields: Any, value: Any) -> None:
        from polyray.actor import Description

        self.id = actor_id
        self.incarnation = incarnation
        self.fields = fields
        self.value = value
        self.name: str = getattr(value, "__name__", fields.name)
        self.instance: Any = None
        self.methods: dict[str, Callable[..., Any]] = {}
        described = Description(value)
        self.is_async = described.is_async
        self.rules = described.rules
        self.groups = dict(fields.concurrency_groups)
        self.limit = fields.max_concurrency or (1000 if self.is_async else 1)
        self.leaves = False  # exit_actor() was called
        self.exiting = False  # the control service knows: no other call begins
        self.meta = {
            "language": "py",
            "className": self.name,
            "methods": described.methods,
            "maxTaskRetries": fields.max_task_retries,
            "name": fields.actor_name,
            **({"methodOptions": described.own} if described.own else {}),
            **({"signatures": described.signatures} if described.signatures else {}),
        }

    def make(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Make the instance; the result of `__init__`, which may be a coroutine."""
        cls: Any = self.value
        ordinary = isinstance(cls, type) and type(cls).__call__ is type.__call__
        if not ordinary:
            self.instance = cls(*args, **kwargs)
            return None
        plain = cls.__new__ is object.__new__
        made = cls.__new__(cls) if plain else cls.__new__(cls, *args, **kwargs)
        self.instance = made  # errors of __init__ show it
        if not isinstance(made, cls):
            return None
        if plain and cls.__init__ is object.__init__:
            cls(*args, **kwargs)  # refuses arguments, and abstract classes
            return None
        return made.__init__(*args, **kwargs)

    def shown(self) -> str:
        """The instance as it shows itself, for the texts of errors."""
        try:
            return repr(self.instance) if self.instance is not None else self.name
        except Exception:  # the user's __repr__ raised
            return self.name

    def end(self) -> None:
        """The graceful end: `__ray_shutdown__`, then nothing holds the instance any more."""
        instance, self.instance = self.instance, None
        self.methods.clear()
        if instance is None:
            return
        leave = getattr(instance, "__ray_shutdown__", None)
        if callable(leave):
            try:
                leave()
            except Exception:  # the actor ends all the same
                import traceback

                traceback.print_exc()


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
        import asyncio

        self.main = asyncio.new_event_loop()
        self._slots = {"": (self.main, asyncio.Semaphore(actor.limit))}
        for name, limit in actor.groups.items():
            self._slots[name] = (asyncio.new_event_loop(), asyncio.Semaphore(limit))
        self.has_groups = bool(actor.groups)
        for name, (loop, _) in self._slots.items():
            title = f"polyray-loop-{name}" if name else "polyray-loop"
            threading.Thread(target=_run_for_ever, args=(loop,), name=title, daemon=True).start()

    def of(self, group: str) -> tuple[asyncio.AbstractEventLoop, asyncio.Semaphore]:
        """The loop of a group and what limits the calls in it."""
        return self._slots[group]

    def all(self) -> list[asyncio.AbstractEventLoop]:
        """Every loop."""
        return [loop for loop, _ in self._slots.values()]

    def run(self, what: Callable[[], Any]) -> Any:
        """Call on the main loop, await what it gives if that is a coroutine; waits for the end."""
        import asyncio
        import inspect

        async def called() -> Any:
            found = what()
            return await found if inspect.isawaitable(found) else found

        return asyncio.run_coroutine_threadsafe(called(), self.main).result()


__all__ = ["Actor", "CallLoops"]
