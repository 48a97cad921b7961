# SPDX-License-Identifier: Apache-2.0
"""Exceptions <-> the fields of the ERROR extension, and the wrapping of what a task raised.

Invariants: (1) code 0 is an exception of the user's own, other codes are rows of proto/errors.json;
(2) absent fields are left out; (3) reading never raises: a wrong field becomes text.
"""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Callable
from typing import Any

from polyray.base_error import BY_NAME
from polyray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    CrossLanguageError,
    RayActorError,
    RayError,
    RayTaskError,
    Unpicklable,
    UnserializableException,
    error_of_number,
)
from polyray.task_error import LOCAL_IP, task_error_message

_TASK_FAILED = BY_NAME["TASK_FAILED"].code
_MAX_CAUSES = 16
_FIRST_LINE = "Traceback (most recent call last):\n"
_ARGUMENT_FAILED = "  At least one of the input arguments for this task could not be computed:\n"


def stack_of(error: BaseException) -> str:
    """The traceback of an exception as text."""
    remote = getattr(error, "remote_stack", None)
    if isinstance(error, RayError) and isinstance(remote, str):
        return remote
    return traceback_of(error)


_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def traceback_of(error: BaseException) -> str:
    """The traceback as text, without the frames of this package."""
    import traceback

    whole = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    seen: set[int] = set()
    pending: list[Any] = [whole]
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        part.stack = traceback.StackSummary.from_list(
            [frame for frame in part.stack if not frame.filename.startswith(_PACKAGE)]
        )
        pending += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
    return "".join(whole.format())


def error_fields(
    error: BaseException, opaque: Callable[[BaseException], Any], depth: int = 0
) -> dict[str, Any]:
    """The fields of an exception; `opaque` gives its pickled form or None."""
    if isinstance(error, CrossLanguageError):
        fields = _js_fields(error)
    elif isinstance(error, RayError) and type(error).__module__ == "polyray.exceptions":
        fields = _ray_fields(error)
    else:
        fields = {
            "code": 0,
            "cls": type(error).__qualname__,
            "msg": _text_of(error),
            "lang": "py",
            "mod": type(error).__module__,
            "stack": stack_of(error),
            "orig": opaque(error),
        }
    cause = _cause_of(error)
    if cause is not None and depth < _MAX_CAUSES:
        fields["cause"] = cause
    return {key: value for key, value in fields.items() if value is not None}


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # the user's __str__ raised
        return f"<no text: {type(fault).__name__}>"


def _cause_of(error: BaseException) -> Any:
    own = error.__dict__.get("cause") if isinstance(error, RayError) else None
    if own is not None:
        return own
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _js_fields(error: CrossLanguageError) -> dict[str, Any]:
    return {
        "code": 0,
        "cls": error.class_name,
        "msg": str(error.args[0]) if error.args else "",
        "lang": "ts",
        "name": error.name,
        "stack": error.js_stack,
        "props": error.props,
    }


def _ray_fields(error: RayError) -> dict[str, Any]:
    task = isinstance(error, RayTaskError)
    row = None if task else BY_NAME.get(error.code)
    path = getattr(error, "path", None) if isinstance(error, UnserializableException) else None
    return {
        "code": _TASK_FAILED if row is None else row.code,
        "cls": "RayTaskError" if task else type(error).__name__,
        "msg": task_error_message(error)
        if isinstance(error, RayTaskError)
        else (str(error.args[0]) if error.args else ""),
        "lang": "py",
        "stack": stack_of(error),
        "task": error.task_name,
        "taskId": error.task_id,
        "actorId": error.actor_id,
        "nodeId": error.node_id,
        "pid": error.pid,
        "chain": list(getattr(error, "chain", ())) or None,
        "props": _props(error, path),
    }


def _props(error: RayError, path: str | None) -> dict[str, Any] | None:
    if path is not None:
        return {"path": path}
    if isinstance(error, RayTaskError):
        if error.actor_repr is None and error.ip is None:
            return None
        return {"actorRepr": error.actor_repr, "ip": error.ip}
    return {"initFailed": True} if getattr(error, "_actor_init_failed", False) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def error_of_fields(fields: dict[Any, Any]) -> BaseException:
    """The exception of ERROR fields."""
    code = fields.get("code")
    error: BaseException
    if isinstance(code, int) and code > 0:
        error = _ray_of(code, fields)
    elif fields.get("lang") == "ts":
        error = _js_of(fields)
    else:
        error = _user_of(fields)
    return error


def _ray_of(code: int, fields: dict[Any, Any]) -> BaseException:
    pid = fields.get("pid")
    error = error_of_number(
        code,
        _text(fields.get("msg")) or "",
        task_name=_text(fields.get("task")),
        task_id=_text(fields.get("taskId")),
        actor_id=_text(fields.get("actorId")),
        node_id=_text(fields.get("nodeId")),
        pid=pid if isinstance(pid, int) else None,
        remote_stack=_text(fields.get("stack")),
        cause=fields.get("cause"),
    )
    props = fields.get("props")
    if isinstance(error, UnserializableException) and isinstance(props, dict):
        error.path = _text(props.get("path"))
    if isinstance(error, RayActorError) and isinstance(props, dict) and props.get("initFailed"):
        error._actor_init_failed = True
    if isinstance(error, ActorDiedError) and isinstance(props, dict) and "reason" in props:
        return _as_ray_tells(error, props)
    if type(error) is ActorUnavailableError and str(error.args[0]).startswith("["):
        shown = f"The actor {error.actor_id} is" if error.actor_id else "The actor is"
        error.args = (
            f"{shown} unavailable: {error.args[0]} "
            "The task may or may not have been executed on the actor.",
        )
    if isinstance(error, RayTaskError):
        if isinstance(props, dict):
            error.actor_repr = _text(props.get("actorRepr"))
            error.ip = _text(props.get("ip"))
        chain = fields.get("chain")
        error.chain = tuple(str(name) for name in chain) if isinstance(chain, list) else ()
        return error.as_instanceof_cause()
    return error


_USER_EXIT = (
    "its worker process has died. Worker exit type: INTENDED_USER_EXIT Worker exit detail: "
)
_REASONS = {
    "it was killed by kill()": "it was killed by `ray.kill`.",
    "it left by exit_actor()": (
        f"{_USER_EXIT}Worker exits by an user request. Worker exits with an exit code 0. "
        "exit_actor() is called."
    ),
    "it left by sys.exit(0)": (
        f"{_USER_EXIT}Worker exits by an user request. Worker exits with an exit code 0."
    ),
    "its owner has died": (
        "its owner has died. Owner worker exit type: INTENDED_SYSTEM_EXIT "
        "Worker exit detail: Owner's worker process has crashed."
    ),
    "every handle to it went out of scope": (
        "all references to the actor were removed including lineage ref count."
    ),
}
_EXITED = r"its worker process \(pid \d+\) (.*)"


def _as_ray_tells(error: ActorDiedError, about: Any) -> ActorDiedError:
    """The death of an actor in the lines that Ray's programs look for."""
    error.remote_stack = None
    if isinstance(error.cause, RayTaskError):
        task = error.cause
        if task.actor_repr is None:
            task.actor_repr, task.actor_id = about.get("className"), error.actor_id
        made = ActorDiedError(task, node_id=error.node_id)
        made.actor_id, made.pid = error.actor_id, error.pid
        return made
    why = str(about.get("reason"))
    exited = re.fullmatch(_EXITED, why, re.S)
    if exited:
        why = (
            "its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
            "Worker unexpectedly exits with a connection error code 2. End of file. "
            f"The process {exited[1]}."
        )
    facts = {
        "class_name": about.get("className"),
        "actor_id": error.actor_id,
        "pid": error.pid,
        "name": about.get("name"),
        "namespace": about.get("namespace"),
        "ip": error.pid and LOCAL_IP,
    }
    lines = [f"\t{name}: {value}" for name, value in facts.items() if value]
    reason = f"The actor is dead because {_REASONS.get(why, why)}"
    error.args = ("\n".join([ActorDiedError.BASE_ERROR_MSG, *lines, reason]),)
    return error


def _js_of(fields: dict[Any, Any]) -> CrossLanguageError:
    error = CrossLanguageError(
        _text(fields.get("msg")) or "",
        remote_stack=_text(fields.get("stack")),
        cause=fields.get("cause"),
    )
    error.class_name = _text(fields.get("cls")) or "Error"
    error.name = _text(fields.get("name"))
    error.js_stack = _text(fields.get("stack")) or ""
    props = fields.get("props")
    error.props = props if isinstance(props, dict) else None
    return error


def _user_of(fields: dict[Any, Any]) -> BaseException:
    error = fields.get("orig")
    if not isinstance(error, BaseException):
        error = _stand_in(fields)
    cause = fields.get("cause")
    if isinstance(cause, BaseException):
        error.__cause__ = cause
    return error


def _stand_in(fields: dict[Any, Any]) -> BaseException:
    name = _text(fields.get("cls")) or "Exception"
    message = _text(fields.get("msg")) or ""
    cls = getattr(builtins, name, None) if fields.get("mod") == "builtins" else None
    if isinstance(cls, type) and issubclass(cls, Exception):
        try:
            return cls(message)
        except TypeError:  # it wants other arguments
            pass
    stack = _text(fields.get("stack"))
    return Unpicklable(
        f"Exception {_text(fields.get('mod'))}.{name} isn't serializable: {message}\n"
        f"Original exception details:\n{stack}",
        remote_stack=stack,
    )


def task_error_of(
    raised: BaseException,
    *,
    task_name: str,
    task_id: str | None = None,
    actor_id: str | None = None,
    node_id: str | None = None,
    pid: int | None = None,
    actor_repr: str | None = None,
) -> RayTaskError:
    """What a task raised, as the RayTaskError of its caller.

    A RayTaskError of a nested task keeps its own cause.
    """
    nested = raised if isinstance(raised, RayTaskError) else None
    cause = raised if nested is None else nested.cause
    inner: tuple[str, ...] = ()
    if nested is not None:
        inner = nested.chain or ((nested.task_name,) if nested.task_name else ())
    chain = (task_name, *inner)
    if nested is not None and isinstance(cause, CrossLanguageError):
        stack = nested.remote_stack
    else:
        stack = traceback_of(raised)
        if getattr(raised, "_of_argument", False):
            stack = stack.replace(_FIRST_LINE, _FIRST_LINE + _ARGUMENT_FAILED, 1)
    error = RayTaskError(
        f"[task failed] {' > '.join(chain)}: {_describe(cause)}",
        task_name=task_name,
        task_id=task_id,
        actor_id=actor_id,
        node_id=node_id,
        pid=pid,
        remote_stack=stack,
        cause=cause,
        actor_repr=actor_repr,
    )
    error.chain = chain
    return error


def of_waiting_task(error: RayTaskError, name: str) -> RayTaskError:
    """The error of an argument's task, as the error of the task `name` that waited for it."""
    plain = task_error_of(error, task_name=name, task_id=error.task_id, pid=error.pid)
    plain.node_id, plain.actor_id = error.node_id, error.actor_id
    plain.chain = error.chain
    plain.remote_stack = (
        f"{_FIRST_LINE}{_ARGUMENT_FAILED}ray.exceptions.RayTaskError: {RayTaskError.__str__(error)}"
    )
    return plain.as_instanceof_cause()


def _describe(cause: Any) -> str:
    if isinstance(cause, CrossLanguageError):
        return f"{cause.name or cause.class_name}: {cause.args[0] if cause.args else ''}"
    if isinstance(cause, BaseException):
        return f"{type(cause).__qualname__}: {_text_of(cause)}"
    return f"threw {cause!r}, which is not an error"
