# SPDX-License-Identifier: Apache-2.0
"""The error of a task whose body failed, and what may stand in it for the user's own exception.

`RayTaskError` takes the user's class as a second base (`as_instanceof_cause`), so that
`except ValueError` works on the other side of a task. Programs find all in polyray.exceptions.
"""

from __future__ import annotations

import builtins
from typing import Any

from polyray.base_error import DETAILS, MODULE, RayError


class CrossLanguageError(RayError):
    """An error that was raised in JavaScript, with its class name and stack text."""

    __module__ = MODULE

    class_name: str = "Error"
    name: str | None = None
    js_stack: str = ""
    props: dict[str, Any] | None = None


class Unpicklable(RayError):
    """Stands for an exception that could not be pickled; its text has class, text and stack."""

    __module__ = MODULE


class RayTaskError(RayError):
    """The user's function failed; `cause` is its own exception.

    Its text is the worker's traceback under a line that names the task, the process and the node.
    Made by the runtime; a program may make one as in Ray: `RayTaskError(function_name,
    traceback_str, cause)`.
    """

    __module__ = MODULE
    _chains_cause = False

    chain: tuple[str, ...] = ()
    ip: str | None = None
    actor_repr: str | None = None

    def __init__(
        self,
        message: str = "",
        traceback_str: str | None = None,
        cause: Any = None,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
        **details: Any,
    ) -> None:
        details.update(cause=cause, pid=pid, actor_id=actor_id)
        if traceback_str is not None:  # Ray's form
            details.setdefault("task_name", (proctitle or message).removeprefix("ray::"))
            details.setdefault("remote_stack", traceback_str)
        super().__init__(message, **details)
        self.ip = ip
        self.actor_repr = actor_repr

    @property
    def retryable(self) -> bool:
        """A failing function fails again."""
        return False

    @property
    def function_name(self) -> str | None:
        """Name of the task, as Ray calls it."""
        return self.task_name

    @property
    def proctitle(self) -> str:
        """Title of the process that ran it, as Ray calls it."""
        return f"ray::{self.task_name}"

    @property
    def traceback_str(self) -> str:
        """The stack of the worker, as Ray calls it."""
        return self.remote_stack or ""

    def __str__(self) -> str:
        stack = self.remote_stack
        if not stack:
            return str(self.args[0]) if self.args else ""
        if _HEADER not in stack:
            return f"{self._head()}\n{stack.rstrip()}"
        return stack.strip().replace(_HEADER, self._head())

    def _head(self) -> str:
        actor = f", actor_id={self.actor_id}, repr={self.actor_repr}" if self.actor_repr else ""
        return (
            f"\x1b[36m{self.proctitle}()\x1b[39m (pid={self.pid}, ip={self.ip or LOCAL_IP}{actor})"
        )

    def __reduce__(self) -> Any:
        return _rebuild_task_error, (self.args, dict(self.__dict__))

    def make_dual_exception_instance(self) -> RayTaskError:
        """The same error as an instance of the user's class too. TypeError where Python forbids
        that."""
        cause = self.cause
        return _dual_class(type(cause))(self, cause)  # type: ignore[no-any-return]

    def as_instanceof_cause(self) -> RayTaskError:
        """The same error, as an instance of the user's class too where Python allows that."""
        cause = self.cause
        if not isinstance(cause, Exception) or isinstance(self, type(cause)):
            return self
        if isinstance(cause, (CrossLanguageError, Unpicklable)):
            return self
        try:
            return self.make_dual_exception_instance()
        except Exception:  # the class refuses a second base, or to be made: the plain error stays
            return self


_GROUP: Any = getattr(builtins, "BaseExceptionGroup", None)  # since Python 3.11
_HEADER = "Traceback (most recent call last):"
LOCAL_IP = "127.0.0.1"
_DUALS: dict[type, Any] = {}


def _rebuild_task_error(args: tuple[Any, ...], state: dict[str, Any]) -> RayTaskError:
    error = RayTaskError.__new__(RayTaskError)
    error.args = args
    error.__dict__.update(state)
    return error


def _dual_class(cause_class: type) -> Any:
    found = _DUALS.get(cause_class)
    if found is not None:
        return found
    name = f"RayTaskError({cause_class.__name__})"

    class Dual(RayTaskError, cause_class):  # type: ignore[misc]
        def __new__(cls, plain: RayTaskError, cause: Any) -> Any:
            if _GROUP is not None and isinstance(cause, _GROUP):
                return super().__new__(cls, cause.message, cause.exceptions)
            try:
                return super().__new__(cls)
            except TypeError:  # MemoryError and its like have a __new__ of their own
                return BaseException.__new__(cls)

        def __init__(self, plain: RayTaskError, cause: Any) -> None:
            self.__dict__.update(getattr(cause, "__dict__", {}))
            self.__dict__.update(plain.__dict__)
            self.__dict__["_message"] = plain.args[0] if plain.args else ""
            self.__dict__["_dual_args"] = (cause,)
            self.cause = cause
            if not isinstance(cause, RayError) and hasattr(cause, "code"):
                self.code = cause.code  # the user's own
            _copy_slots(cause, self)

        # The user's class may have an `args` of its own.
        @property
        def args(self) -> Any:
            return self.__dict__.get("_dual_args", ())

        @args.setter
        def args(self, value: Any) -> None:
            self.__dict__["_dual_args"] = value

        def __getattr__(self, attribute: str) -> Any:
            cause = self.__dict__.get("cause")
            if cause is None or attribute.startswith("__"):
                raise AttributeError(attribute)
            return getattr(cause, attribute)

        def __str__(self) -> str:
            return RayTaskError.__str__(self)

        def __reduce__(self) -> Any:
            return _rebuild_dual, (_plain_task_error(self),)

    Dual.__name__ = Dual.__qualname__ = name
    Dual.__module__ = MODULE
    _DUALS[cause_class] = Dual
    return Dual


def _plain_task_error(error: RayTaskError) -> RayTaskError:
    plain = RayTaskError(error.__dict__.get("_message", ""), cause=error.cause)
    for name in (*DETAILS, "chain", "ip", "actor_repr"):
        setattr(plain, name, getattr(error, name))
    return plain


def _rebuild_dual(plain: RayTaskError) -> RayTaskError:
    return plain.as_instanceof_cause()


def task_error_message(error: RayTaskError) -> str:
    """The one-line message, also of a dual error (whose args are the cause, as in Ray)."""
    if "_message" in error.__dict__:
        return str(error.__dict__["_message"])
    return str(error.args[0]) if error.args else ""


def _copy_slots(source: BaseException, target: BaseException) -> None:
    # errno of OSError, value of StopIteration and the like live in C fields of the exception.
    for name in ("errno", "strerror", "filename", "filename2", "value", "name", "path", "obj"):
        try:
            value = getattr(source, name)
            if getattr(target, name, None) is not value:
                setattr(target, name, value)
        except (AttributeError, TypeError):
            continue
