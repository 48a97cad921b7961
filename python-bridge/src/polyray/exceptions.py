# SPDX-License-Identifier: Apache-2.0
"""The exceptions that a program can catch: Ray's names, one class per row of proto/errors.json.

All derive from RayError (base_error.py), which carries what is known about where the failure was;
RayTaskError is in task_error.py. Invariants: (1) absent details are None; (2) every class of the
table is here (tested).
"""

from __future__ import annotations

from typing import Any

from polyray.base_error import BY_NAME, error_row_of_number
from polyray.base_error import RayError as RayError
from polyray.task_error import CrossLanguageError as CrossLanguageError
from polyray.task_error import RayTaskError as RayTaskError
from polyray.task_error import Unpicklable as Unpicklable

PolyrayError = RayError
JsError = CrossLanguageError


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


def error_of_code(code: str, message: str, **details: Any) -> RayError:
    """Make the error of a code name, with the message as it is."""
    error: RayError = globals()[BY_NAME[code].class_name](message, code=code, **details)
    return error


def error_of_number(code: int, message: str, **details: Any) -> RayError:
    """Make the error of a native status number; unknown numbers become RaySystemError."""
    row = error_row_of_number(code)
    if row is None:
        return RaySystemError(f"[system] unknown error code {code}: {message}", **details)
    return error_of_code(row.name, message, **details)


def make_error(code: str, why: str, **details: Any) -> RayError:
    """Make the error of a code from a reason: `[tag] why.`"""
    text = why if why.endswith((".", "!", "?")) else f"{why}."
    return error_of_code(code, f"[{BY_NAME[code].tag}] {text}", **details)
