# SPDX-License-Identifier: Apache-2.0
"""What a worker has loaded and what runs in it: specs with their functions, calls."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

from polyray import accelerators
from polyray.exceptions import RuntimeEnvSetupError
from polyray.runtime import Runtime


class Running:
    """What runs in this context: read by get_runtime_context()."""

    # One is made for each call: what is seldom told stays with the class.
    children: Sequence[bytes] = ()  # what it submitted; cancelled with it
    to_tell = -1  # how many children there were when it was cancelled; -1: it was not
    told = 0  # so many of them were cancelled
    creates = False  # it is the constructor of this process's actor
    ahead = 0  # how many items of a stream may wait for the caller; 0: any number
    retry: Any = None  # classes of exceptions that are retried; None: all
    retries_told: bool | None = None  # by a caller in TypeScript, for this call
    trace: dict[str, str] | None = None  # its caller's, when the call is traced
    function: Any = None  # of a task that is no method

    def __init__(self, task: bytes, name: str, attempt: int, resources: Any) -> None:
        self.task = task
        self.name = name  # shown; own_name: as the code has it
        self.own_name = name
        self.attempt = attempt
        self.resources = resources

    def traced(self, body: Any, class_name: str | None = None, method: str = "") -> Any:
        """The body of a call that brought its caller's trace, with a span around it."""
        from polyray.tracing import around

        return around(self, body, class_name, method)

    def add_child(self, task: bytes) -> None:
        """It has submitted this."""
        if type(self.children) is not list:
            self.children = []
        self.children.append(task)

    def take_extras(self, extras: dict[str, Any]) -> None:
        """Options of this one call, as a caller in TypeScript writes them (ts/core/call.ts)."""
        self.ahead = extras.get("highWaterMark", self.ahead)
        self.name = extras.get("name", self.name)
        retry = extras.get("retry")  # a list names TypeScript's classes of all Python errors
        self.retries_told = None if retry is None else bool(retry)

    def retries(self, error: BaseException, by_flag: bool) -> bool:
        """True when a method's options say that this exception of its body is retried."""
        if not isinstance(error, Exception):
            return False
        if self.retries_told is not None:
            return self.retries_told
        return by_flag and (self.retry is None or isinstance(error, tuple(self.retry)))


class LoadedSpec:
    """A decoded spec and the function or class that it names."""

    __slots__ = ("fields", "lane", "name", "retry_classes", "value")

    def __init__(self, fields: Any, value: Any, retry_classes: tuple[type, ...] | None) -> None:
        self.fields = fields
        self.name: str = fields.name
        self.lane = accelerators.lane_of(fields.resources)
        self.value = value
        self.retry_classes = retry_classes


def load_spec(rt: Runtime, spec_id: bytes) -> LoadedSpec:
    """Decode a spec and find its function; RuntimeEnvSetupError when its module does not load."""
    from polyray.task_spec import decode_task_spec

    data, value = rt.value_of(rt.client.read_id(spec_id))
    fields = decode_task_spec(data)
    if fields.form == "module":
        value = _import(fields.module or "", fields.export_name or "")
    value = _unwrapped(value)
    classes = None
    if fields.retry_exception_list:
        classes = tuple(rt.value_of(bytes(fields.retry_exception_list)))
    return LoadedSpec(fields, value, classes)


def retries(error: BaseException, spec: LoadedSpec) -> bool:
    """True when the options of a task say that this exception of its body is retried."""
    if not spec.fields.retry_exceptions or not isinstance(error, Exception):
        return False
    return spec.retry_classes is None or isinstance(error, spec.retry_classes)


def _unwrapped(value: Any) -> Any:
    """What a decorated name stands for: `@remote` leaves a wrapper in its module."""
    target = getattr(value, "_target", None)
    return target.value if target is not None and target.value is not None else value


def _import(module: str, export: str) -> Any:
    """What a module exports. Its own failure to load comes as the cause."""
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise RuntimeEnvSetupError(
            f"[runtime env] the module {module!r} does not load in the worker: "
            f"{type(error).__name__}: {error}. "
            f"It looks in the driver's sys.path and in {os.getcwd()}.",
            cause=error,
        ) from error
    for part in export.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise RuntimeEnvSetupError(
                f"[runtime env] the module {module!r} has no {export!r}.", cause=error
            ) from error
    return found
