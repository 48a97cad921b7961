# SPDX-License-Identifier: Apache-2.0
"""The exceptions that a program can catch: Ray's names, one class per row of proto/errors.json.

All derive from RayError, which carries what is known about where the failure was. `RayTaskError`
takes the user's
class as a second base (`as_instanceof_cause`), so that `except ValueError` works on the other side
of a task. Invariants: (1) absent details are None; (2) every class of the table is here (tested).
"""

from __future__ import annotations

import builtins
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
        if isinstance(self.cause, BaseException) and not isinstance(self, RayTaskError):
            self.__cause__ = self.cause

    @property
    def retryable(self) -> bool:
        """True when the same operation may succeed later."""
        return _BY_NAME[self.code].retryable


PolyrayError = RayError


class RayTaskError(RayError):
    """The user's function failed; `cause` is its own exception.

    Its text is the worker's traceback under a line that names the task, the process and the node.
    Made by the runtime; a program may make one as in Ray: `RayTaskError(function_name,
    traceback_str, cause)`.
    """

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
    Dual.__module__ = "polyray.exceptions"
    _DUALS[cause_class] = Dual
    return Dual


def _plain_task_error(error: RayTaskError) -> RayTaskError:
    plain = RayTaskError(error.__dict__.get("_message", ""), cause=error.cause)
    for name in (*_DETAILS, "chain", "ip", "actor_repr"):
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


class CrossLanguageError(RayError):
    """An error that was raised in JavaScript, with its class name and stack text."""

    class_name: str = "Error"
    name: str | None = None
    js_stack: str = ""
    props: dict[str, Any] | None = None


JsError = CrossLanguageError


class Unpicklable(RayError):
    """Stands for an exception that could not be pickled; its text has class, text and stack."""


class UserCodeException(RayError):
    """Ray's name for an error of the user's code inside of a library."""


class TaskCancelledError(RayError):
    """The task was cancelled before it finished. `TaskCancelledError(task_id, error_message)` as in
    Ray; a text alone is the whole message."""

    error_message: str | None = None

    def __init__(self, task: Any = None, error_message: str | None = None, /, **details: Any):
        error_message = details.pop("error_message", error_message)
        if isinstance(task, str):
            super().__init__(task, **details)
            return
        text = f"Task: {task} was cancelled. " if task else ""
        super().__init__(text + (error_message or ""), **details)
        if task is not None:
            self.task_id = task
        self.error_message = error_message


class TaskTimeoutError(RayError, TimeoutError):
    """The task ran longer than its time limit."""


class GetTimeoutError(RayError, TimeoutError):
    """The value was not ready in time."""


class WorkerCrashedError(RayError):
    """The worker process ended while it ran the task."""

    def __str__(self) -> str:
        return _more(
            "The worker died unexpectedly while executing this task. "
            "Check python-core-worker-*.log files for more information.",
            self,
        )


class RayActorError(RayError):
    """An actor cannot answer. `RayActorError(actor_id, error_msg)` as in Ray; a text alone is the
    whole message."""

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."
    _actor_init_failed = False
    _preempted = False

    def __init__(
        self,
        message: Any = None,
        error_msg: str | None = None,
        actor_init_failed: bool = False,
        preempted: bool = False,
        **details: Any,
    ) -> None:
        if error_msg is not None:
            details.setdefault("actor_id", message)
            message = error_msg
        super().__init__(self.BASE_ERROR_MSG if message is None else message, **details)
        if actor_init_failed:
            self._actor_init_failed = True
        if preempted:
            self._preempted = True

    @property
    def error_msg(self) -> str:
        """The whole message."""
        return str(self)

    @property
    def actor_init_failed(self) -> bool:
        """True when the constructor of the actor raised."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        """True when the actor's node was taken away."""
        return self._preempted


class ActorDiedError(RayActorError):
    """The actor is dead for good. `cause`: what its constructor raised, if that is why."""

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(self, why: Any = None, /, **details: Any) -> None:
        cause = details.get("cause") if why is None else why
        if isinstance(cause, RayTaskError):
            details.setdefault("actor_id", cause.actor_id)
            details["cause"] = cause.cause
            super().__init__(
                f"The actor died because of an error raised in its creation task, {cause}",
                actor_init_failed=True,
                **details,
            )
        else:
            super().__init__(why, **details)

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """The error of an actor whose constructor raised."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached now. `ActorUnavailableError(error_message, actor_id)` as in
    Ray; a text alone is the whole message."""

    def __init__(self, *args: Any, **details: Any) -> None:
        if len(args) != 2:
            super().__init__(*args, **details)
            return
        shown = args[1].hex() if isinstance(args[1], bytes) else args[1]
        details["actor_id"] = shown
        super().__init__(
            f"The actor {shown} is unavailable: {args[0]}. The task may or "
            "may not have been executed on the actor.",
            **details,
        )


class NodeDiedError(RayError):
    """The node that ran the work is gone."""


class LocalRayletDiedError(RayError):
    """The node service of this machine ended."""

    def __str__(self) -> str:
        return _more("The task's local raylet died. Check raylet.out for more information.", self)


class RuntimeEnvSetupError(RayError):
    """The environment of a worker could not be set up."""

    @property
    def error_message(self) -> str | None:
        """Why."""
        return str(self.args[0]) if self.args else None

    def __str__(self) -> str:
        text = "Failed to set up runtime environment."
        return f"{text}\n{self.args[0]}" if self.args and self.args[0] else text


class OutOfMemoryError(RayError):
    """The worker was ended because memory ran out."""

    @property
    def message(self) -> str:
        """The whole message."""
        return str(self)


class ObjectRefStreamEndOfStreamError(RayError):
    """The stream of refs has no more items."""


class ObjectLostError(RayError):
    """The bytes of the object are gone from every node. `ObjectLostError(object_ref_hex,
    owner_address, call_site)` as in Ray; a text alone is the whole message."""

    object_ref_hex: str = ""
    owner_address: Any = None
    call_site: str = ""
    _WHY = (
        "All copies of {id} have been lost due to node failure. Check cluster logs "
        "(`/tmp/ray/session_latest/logs`) for more information about the failure."
    )

    def __init__(self, *args: Any, **details: Any) -> None:
        if len(args) < 3:
            super().__init__(*args, **details)
            return
        self.object_ref_hex, self.owner_address, self.call_site = args[:3]
        created = (
            f"The ObjectRef was created at: {self.call_site}"
            if self.call_site
            else "To see information about where this ObjectRef was created "
            "in Python, set the environment variable "
            "RAY_record_ref_creation_sites=1 during `ray start` and `ray.init()`."
        )
        why = self._WHY.format(id=self.object_ref_hex)
        super().__init__(
            f"Failed to retrieve object {self.object_ref_hex}. {created}\n\n{why}", **details
        )


class OwnerDiedError(ObjectLostError):
    """The process that created the ref ended."""

    _WHY = (
        "The object's owner has exited. This is the Python worker that first created the ObjectRef "
        "via `.remote()` or `ray.put()`. Check cluster logs (`/tmp/ray/session_latest/logs`) for "
        "more information about the Python worker failure."
    )


class ObjectFreedError(ObjectLostError):
    """The object was freed or the ref released."""

    _WHY = (
        "The object was manually freed using the internal `free` call. Please ensure that `free` "
        "is only called once the object is no longer needed."
    )


class ObjectFetchTimedOutError(ObjectLostError):
    """The object could not be copied from its node in time."""

    _WHY = (
        "Fetch for object {id} timed out because no locations were found for the object. This may "
        "indicate a system-level bug."
    )


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be rebuilt."""

    reason: Any = None
    reason_message: str | None = None

    def __init__(
        self, *args: Any, reason: Any = None, reason_message: str | None = None, **details: Any
    ) -> None:
        if reason_message is not None:
            self._WHY = f"[{reason or 'UNKNOWN'}] {reason_message}"
            args = (args[0], None, "")
        super().__init__(*args, **details)
        self.reason = reason
        self.reason_message = reason_message


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """The object was lost and its task has used all its retries."""


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """The object was lost and its lineage is no longer kept."""


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted although a ref was alive."""

    _WHY = (
        "The object has already been deleted by the reference counting protocol. This should not "
        "happen."
    )


class ObjectStoreFullError(RayError):
    """The object store has no room for the value."""

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\nThe local object store is full of objects that are still in "
            "scope and cannot be evicted. Tip: Use the `ray memory` command "
            "to list active objects in the cluster."
        )


class OutOfDiskError(RayError):
    """No disk space is left for spilled objects."""

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\nThe object cannot be created because the local object store"
            " is full and the local disk's utilization is over capacity"
            " (95% by default)."
            "Tip: Use `df` on this node to check disk usage and "
            "`ray memory` to check object store memory usage."
        )


class CorruptValueError(RayError):
    """The bytes of a value do not follow the envelope format."""


class LimitError(RayError):
    """A table of the runtime is full."""


class TaskUnschedulableError(RayError):
    """No node can ever run the task."""

    def __str__(self) -> str:
        return f"The task is not schedulable: {super().__str__()}"


class ActorUnschedulableError(RayError):
    """No node can ever hold the actor."""

    def __str__(self) -> str:
        return f"The actor is not schedulable: {super().__str__()}"


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this task has been removed."


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(RayError):
    """The actor has too many calls waiting."""


class RaySystemError(RayError):
    """The runtime or the operating system refused an operation. `RaySystemError(client_exc,
    traceback_str)` as in Ray."""

    def __init__(self, client_exc: Any = "", traceback_str: str | None = None, **details: Any):
        super().__init__(client_exc, **details)
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        text = f"System error: {self.args[0] if self.args else ''}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A retried generator gave other items than before."""


class RpcError(RayError):
    """A call between processes of the runtime failed."""

    def __init__(self, message: str = "", rpc_code: Any = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.message = message
        self.rpc_code = rpc_code


class RayChannelError(RaySystemError):
    """A channel was closed or broke."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel gave no item in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """Too many runs of a compiled graph are in flight."""


class RayDirectTransportError(RaySystemError):
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


class PlasmaObjectNotAvailable(RayError):
    """An object was not there in time: a name of old programs."""


RAY_EXCEPTION_TYPES = [
    PlasmaObjectNotAvailable,
    RayError,
    RayTaskError,
    WorkerCrashedError,
    RayActorError,
    ObjectStoreFullError,
    ObjectLostError,
    ObjectFetchTimedOutError,
    ReferenceCountingAssertionError,
    ObjectReconstructionFailedError,
    OwnerDiedError,
    GetTimeoutError,
    AsyncioActorExit,
    RuntimeEnvSetupError,
    TaskPlacementGroupRemoved,
    ActorPlacementGroupRemoved,
    PendingCallsLimitExceeded,
    LocalRayletDiedError,
    TaskUnschedulableError,
    ActorDiedError,
    ActorUnschedulableError,
    ActorUnavailableError,
    RayChannelError,
    RayChannelTimeoutError,
    OufOfBandObjectRefSerializationException,
    RayCgraphCapacityExceeded,
    UnserializableException,
    ActorAlreadyExistsError,
    ActorHandleNotFoundError,
    AuthenticationError,
]


def _more(text: str, error: RayError) -> str:
    return f"{text} {error.args[0]}" if error.args and error.args[0] else text


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
