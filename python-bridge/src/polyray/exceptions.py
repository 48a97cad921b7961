# SPDX-License-Identifier: Apache-2.0
"""The exceptions that a program can catch: Ray's names, one class per row of proto/errors.json.

All derive from RayError, which carries what is known about where the failure was. `RayTaskError`
takes the user's
class as a second base (`as_instanceof_cause`), so that `except ValueError` works on the other side
of a task. Invariants: (1) absent details are None; (2) every class of the table is here (tested).
"""

from __future__ import annotations

from typing import Any

from polyray.error_codes import ROWS, ErrorRow

_BY_CODE: dict[int, ErrorRow] = {row.code: row for row in ROWS}
_BY_NAME: dict[str, ErrorRow] = {row.name: row for row in ROWS}
_FIRST_OF_CLASS: dict[str, ErrorRow] = {}
for _row in ROWS:
    _FIRST_OF_CLASS.setdefault(_row.class_name, _row)

_DETAILS = ("task_name", "task_id", "actor_id", "node_id", "pid", "remote_stack")


class RayError(Exception):
    """Base of all errors of polyray."""

    code: str = "SYSTEM"
    task_name: str | None = None
    task_id: str | None = None
    actor_id: str | None = None
    node_id: str | None = None
    pid: int | None = None
    remote_stack: str | None = None
    cause: Any = None

    def __init__(self, *args: Any, code: str | None = None, **details: Any) -> None:
        super().__init__(*args)
        row = _FIRST_OF_CLASS.get(type(self).__name__)
        if code is not None:
            self.code = code
        elif row is not None:
            self.code = row.name
        for name, value in details.items():
            if name != "cause" and name not in _DETAILS:
                raise TypeError(f"{type(self).__name__} has no detail {name!r}")
            setattr(self, name, value)
        if isinstance(self.cause, BaseException):
            self.__cause__ = self.cause

    @property
    def retryable(self) -> bool:
        """True when the same operation may succeed later."""
        return _BY_NAME[self.code].retryable


PolyrayError = RayError


class RayTaskError(RayError):
    """The user's function failed; `cause` is its own exception."""

    chain: tuple[str, ...] = ()

    @property
    def retryable(self) -> bool:
        """A failing function fails again."""
        return False

    @property
    def function_name(self) -> str | None:
        """Name of the task, as Ray calls it."""
        return self.task_name

    @property
    def traceback_str(self) -> str:
        """The stack of the worker, as Ray calls it."""
        return self.remote_stack or ""

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return f"{text}\n{self.remote_stack}" if self.remote_stack else text

    def as_instanceof_cause(self) -> RayTaskError:
        """The same error, as an instance of the user's class too where Python allows that."""
        cause = self.cause
        if not isinstance(cause, Exception) or isinstance(self, type(cause)):
            return self
        if isinstance(cause, CrossLanguageError):
            return self
        dual = _dual_class(type(cause))
        if dual is None:
            return self
        try:
            error = dual.__new__(dual)
        except TypeError:  # its constructor cannot be skipped, as with ExceptionGroup
            return self
        error.args = self.args
        error.__dict__.update(self.__dict__)
        details = {key: value for key, value in error.__dict__.items() if key != "code"}
        error.__dict__.update(getattr(cause, "__dict__", {}))
        error.__dict__.update(details)
        _copy_slots(cause, error)
        error.__cause__ = cause
        return error  # type: ignore[no-any-return]


_DUALS: dict[type, type | None] = {}


def _dual_class(cause_class: type) -> Any:
    if cause_class not in _DUALS:
        name = f"RayTaskError({cause_class.__name__})"
        body = {
            "__init__": lambda self, *args, **kwargs: None,
            "__str__": RayTaskError.__str__,
            "__module__": "polyray.exceptions",
            "__reduce__": lambda self: (_rebuild_dual, (_plain_task_error(self),)),
        }
        try:
            _DUALS[cause_class] = type(name, (RayTaskError, cause_class), body)
        except TypeError:  # the class refuses a second base: the plain error stays
            _DUALS[cause_class] = None
    return _DUALS[cause_class]


def _plain_task_error(error: RayTaskError) -> RayTaskError:
    plain = RayTaskError(*error.args, cause=error.cause)
    for name in (*_DETAILS, "chain"):
        setattr(plain, name, getattr(error, name))
    return plain


def _rebuild_dual(plain: RayTaskError) -> RayTaskError:
    return plain.as_instanceof_cause()


def _copy_slots(source: BaseException, target: BaseException) -> None:
    # errno of OSError, value of StopIteration and the like live in C fields of the exception.
    for name in ("errno", "strerror", "filename", "filename2", "value", "name", "path", "obj"):
        try:
            value = getattr(source, name)
            if getattr(target, name, None) is not value:
                setattr(target, name, value)
        except (AttributeError, TypeError):
            continue


class CrossLanguageError(RayError):
    """An error that was raised in JavaScript, with its class name and stack text."""

    class_name: str = "Error"
    name: str | None = None
    js_stack: str = ""
    props: dict[str, Any] | None = None


JsError = CrossLanguageError


class UserCodeException(RayError):
    """Ray's name for an error of the user's code inside of a library."""


class TaskCancelledError(RayError):
    """The task was cancelled before it finished."""


class TaskTimeoutError(RayError, TimeoutError):
    """The task ran longer than its time limit."""


class GetTimeoutError(RayError, TimeoutError):
    """The value was not ready in time."""


class WorkerCrashedError(RayError):
    """The worker process ended while it ran the task."""


class RayActorError(RayError):
    """An actor cannot answer."""


class ActorDiedError(RayActorError):
    """The actor is dead for good."""


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached now."""


class NodeDiedError(RayError):
    """The node that ran the work is gone."""


class LocalRayletDiedError(RayError):
    """The node service of this machine ended."""


class RuntimeEnvSetupError(RayError):
    """The environment of a worker could not be set up."""


class OutOfMemoryError(RayError):
    """The worker was ended because memory ran out."""


class StreamingGeneratorReplayInconsistentError(RayError):
    """A retried generator gave other items than before."""


class ObjectRefStreamEndOfStreamError(RayError):
    """The stream of refs has no more items."""


class ObjectLostError(RayError):
    """The bytes of the object are gone from every node."""


class OwnerDiedError(ObjectLostError):
    """The process that created the ref ended."""


class ObjectFreedError(ObjectLostError):
    """The object was freed or the ref released."""


class ObjectFetchTimedOutError(ObjectLostError):
    """The object could not be copied from its node in time."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be rebuilt."""


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """The object was lost and its task has used all its retries."""


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """The object was lost and its lineage is no longer kept."""


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted although a ref was alive."""


class ObjectStoreFullError(RayError):
    """The object store has no room for the value."""


class OutOfDiskError(RayError):
    """No disk space is left for spilled objects."""


class CorruptValueError(RayError):
    """The bytes of a value do not follow the envelope format."""


class LimitError(RayError):
    """A table of the runtime is full."""


class TaskUnschedulableError(RayError):
    """No node can ever run the task."""


class ActorUnschedulableError(RayError):
    """No node can ever hold the actor."""


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""


class PendingCallsLimitExceeded(RayError):
    """The actor has too many calls waiting."""


class RaySystemError(RayError):
    """The runtime or the operating system refused an operation."""


class RpcError(RayError):
    """A call between processes of the runtime failed."""


class RayChannelError(RayError):
    """A channel was closed or broke."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel gave no item in time."""


class RayCgraphCapacityExceeded(RayError):
    """Too many runs of a compiled graph are in flight."""


class RayDirectTransportError(RayError):
    """A direct device transfer failed."""


class VersionMismatchError(RayError):
    """The two sides run versions that cannot work together."""


class AuthenticationError(RayError):
    """The token is missing or wrong."""


class NotInitializedError(RaySystemError):
    """No runtime runs in this process."""


class InvalidOptionError(RayError, ValueError):
    """An option or argument has a value that is not allowed."""


class UnserializableException(RayError, TypeError):
    """A value cannot be sent to another process; the message names its path."""

    path: str | None = None


class OufOfBandObjectRefSerializationException(RayError):
    """A ref was serialized outside of the runtime."""


class ActorAlreadyExistsError(RayError, ValueError):
    """An actor of that name lives already."""


class ActorHandleNotFoundError(RayError, ValueError):
    """No actor of that name or id is known."""


class ClosedError(RayError, ValueError):
    """A handle was used after it was closed."""


class AsyncioActorExit(RayError):
    """Raised by exit_actor inside an asyncio actor."""


PlasmaObjectNotAvailable = ObjectLostError

RAY_EXCEPTION_TYPES = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, RayError)
]


def error_row(code: str) -> ErrorRow:
    """The row of a code name."""
    return _BY_NAME[code]


def error_row_of_number(code: int) -> ErrorRow | None:
    """The row of a wire number, or None."""
    return _BY_CODE.get(code)


def error_of_code(code: str, message: str, **details: Any) -> RayError:
    """Make the error of a code name, with the message as it is."""
    error: RayError = globals()[_BY_NAME[code].class_name](message, code=code, **details)
    return error


def error_of_number(code: int, message: str, **details: Any) -> RayError:
    """Make the error of a native status number; unknown numbers become RaySystemError."""
    row = _BY_CODE.get(code)
    if row is None:
        return RaySystemError(f"[system] unknown error code {code}: {message}", **details)
    return error_of_code(row.name, message, **details)


def make_error(code: str, why: str, **details: Any) -> RayError:
    """Make the error of a code from a reason: `[tag] why.`"""
    text = why if why.endswith((".", "!", "?")) else f"{why}."
    return error_of_code(code, f"[{_BY_NAME[code].tag}] {text}", **details)
