# SPDX-License-Identifier: Apache-2.0
"""The actor of a worker process: its instance, its event loops, its end.

At a graceful end (the last handle gone, exit_actor(), `__ray_terminate__`) the instance's
`__ray_shutdown__` runs and the instance is dropped, before atexit handlers; kill() skips all that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyray import runtime
from polyray.ids import task_bytes


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
        self.ended = False  # the instance is gone
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
        self.ended = True
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


class ActorEnds(BaseException):
    """A call began as the actor ended: its caller hears of that end."""


_running: Actor | None = None


def running_actor() -> Actor | None:
    """The actor of this process, if it is one."""
    return _running


def become(actor: Actor) -> None:
    """This process is this actor from now on."""
    global _running
    _running = actor


def shown_task(task: bytes) -> bytes:
    """The bytes by which programs see the id of a task that runs in this process."""
    actor = None if _running is None else _running.id
    return task_bytes(task, actor, runtime.current().job)


__all__ = ["Actor", "ActorEnds", "become", "running_actor", "shown_task"]
