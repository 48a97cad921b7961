# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry: a span around each submission and each run of a call, joined by the W3C trace
context that travels with the call (docs/design/0003-tracing.md).

Off, nothing of this is imported. Turning it on puts `remote` methods that make spans in the place
of the plain ones, for the life of the process or until shutdown; a worker opens a span for a call
that brings a trace. Only the API package is used: spans go where the program's SDK sends them.
Names and attributes are Ray's, in both languages.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextvars import ContextVar
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from polyray import runtime
from polyray.actor import ActorClass
from polyray.exceptions import InvalidOptionError
from polyray.handle import CALL_OPTIONS, HAS_CALL_OPTIONS, ActorMethod
from polyray.remote_function import RemoteFunction

VARIABLE = "POLYRAY_TRACING"


class TracingUnavailableError(InvalidOptionError, ImportError):
    """Tracing was asked for, and the OpenTelemetry API is not installed."""


class Tracing:
    """The OpenTelemetry API as this module uses it."""

    def __init__(self) -> None:
        try:
            from opentelemetry import context, propagate, trace
            from opentelemetry.trace.propagation import tracecontext
        except ImportError as error:
            raise TracingUnavailableError(
                "[invalid option] tracing needs the package opentelemetry-api, which is not "
                "installed here. Install it: pip install opentelemetry-api opentelemetry-sdk"
            ) from error
        from polyray import __version__

        self.trace = trace
        self.context = context
        self._propagate = propagate
        self._w3c = tracecontext.TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("polyray", __version__)

    def carrier(self) -> dict[str, str]:
        """The current context as it travels: W3C always, so that the other language can read it."""
        found: dict[str, str] = {}
        self._propagate.inject(found)
        self._w3c.inject(found)
        return found

    def parent_of(self, carrier: Mapping[str, str]) -> Any:
        """The context that a call brought."""
        found = self._propagate.extract(carrier, self.context.Context())
        if self.trace.get_current_span(found).get_span_context().is_valid:
            return found
        return self._w3c.extract(carrier, found)

    @contextlib.contextmanager
    def submitting(self, name: str, attributes: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """A span around a submission; gives the options that the call takes along."""
        with self._tracer.start_as_current_span(
            f"{name} ray.remote",
            kind=self.trace.SpanKind.PRODUCER,
            attributes={"ray.function": name, **attributes, **place_attributes()},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield {"trace": self.carrier()}
            except BaseException as error:
                self.fail(span, error)
                raise

    def created(self, actor_id: str) -> None:
        """The submission that runs has made this actor."""
        self.trace.get_current_span().set_attribute("ray.actor_id", actor_id)

    def start(self, name: str, attributes: Mapping[str, str], carrier: Mapping[str, str]) -> Any:
        """The span of a run, and its context."""
        parent = self.parent_of(carrier)
        span = self._tracer.start_span(
            f"{name} ray.remote_worker",
            parent,
            kind=self.trace.SpanKind.CONSUMER,
            attributes={"ray.function": name, **attributes, **place_attributes()},
        )
        return span, self.trace.set_span_in_context(span, parent)

    def enter(self, context: Any) -> Any:
        """Make the context of a run the current one; gives what leave() takes."""
        return self.context.attach(context)

    def leave(self, token: Any) -> None:
        self.context.detach(token)

    def fail(self, span: Any, error: BaseException) -> None:
        """Record what a body threw, whatever its text does."""
        status = self.trace.Status(self.trace.StatusCode.ERROR, _text(error))
        span.set_status(status)
        with contextlib.suppress(Exception):  # it asks the user's error for its text
            span.record_exception(error)

    def flush(self) -> None:
        send = getattr(self.trace.get_tracer_provider(), "force_flush", None)
        if send is not None:
            send(1000)


class PassedOn:
    """Tracing of a worker without the API: no spans, but the calls of a call get its trace."""

    def __init__(self) -> None:
        self._kept: ContextVar[Mapping[str, str] | None] = ContextVar("polyray_trace", default=None)

    @contextlib.contextmanager
    def submitting(self, name: str, attributes: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        kept = self._kept.get()
        yield {} if kept is None else {"trace": kept}

    def created(self, actor_id: str) -> None:
        pass

    def start(self, name: str, attributes: Mapping[str, str], carrier: Mapping[str, str]) -> Any:
        return None, carrier

    def enter(self, context: Any) -> Any:
        return self._kept.set(context)

    def leave(self, token: Any) -> None:
        with contextlib.suppress(ValueError):  # a coroutine that is closed from elsewhere
            self._kept.reset(token)

    def fail(self, span: Any, error: BaseException) -> None:
        pass

    def flush(self) -> None:
        pass


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


_on: Tracing | PassedOn | None = None


def is_on() -> bool:
    """Whether this process makes spans."""
    return isinstance(_on, Tracing)


def asked(startup_hook: Any) -> dict[str, str] | None:
    """What init's argument, or else the variable, asks for; None: no tracing."""
    if startup_hook is not None:
        if startup_hook is False:
            return None
        return {} if startup_hook is True else {"pythonSetup": _checked(startup_hook)}
    text = os.environ.get(VARIABLE, "")
    if text in ("", "0", "false"):
        return None
    if not text.startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidOptionError(
            f'[invalid option] {VARIABLE} must be 1 or JSON such as {{"pythonSetup": '
            f'"module:function"}}: {error}.'
        ) from error
    if "pythonSetup" in found:
        _checked(found["pythonSetup"])
    return dict(found)


def _checked(hook: Any) -> str:
    module, _, name = hook.partition(":") if isinstance(hook, str) else ("", "", "")
    if not module or not name:
        raise InvalidOptionError(
            '[invalid option] _tracing_startup_hook must be a text "module:function", '
            f"not {hook!r}."
        )
    return str(hook)


def variables(wanted: Mapping[str, str] | None) -> dict[str, str]:
    """The variables that tell workers of both languages (ts/core/tracing.ts); None: not to."""
    if wanted is None:
        return {VARIABLE: "0"}
    return {VARIABLE: json.dumps(wanted, separators=(",", ":")) if wanted else "1"}


_set_up: set[str] = set()


def asks_here(wanted: Mapping[str, str]) -> bool:
    """Whether a program that asks for this asks for spans of Python."""
    return "pythonSetup" in wanted or "setup" not in wanted


def turn_on(wanted: Mapping[str, str], *, needed: bool) -> bool:
    """Make spans from now on; runs the set-up, once a process. Without the API: False.

    `needed`: TracingUnavailableError instead."""
    try:
        on = _on or Tracing()
    except TracingUnavailableError:
        if needed:
            raise
        return False
    hook = wanted.get("pythonSetup")
    if hook is not None and hook not in _set_up:
        _hook(hook)()
        _set_up.add(hook)
    _turn_on(on)
    return True


def _turn_on(on: Tracing | PassedOn) -> None:
    global _on
    if _on is None:
        _on = on
        for owner, _, traced in _REPLACED:
            setattr(owner, "remote", traced)  # noqa: B010 (a method is given another body)


def turn_off() -> None:
    """Make no more spans."""
    global _on
    if _on is not None:
        _on = None
        for owner, plain, _ in _REPLACED:
            setattr(owner, "remote", plain)  # noqa: B010


def _hook(text: str) -> Callable[[], Any]:
    module, _, name = text.partition(":")
    # Where a program of Ray's names what Ray brings along.
    ours = f"poly{module}" if module.startswith("ray.util.tracing") else module
    try:
        found: Any = importlib.import_module(ours)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidOptionError(
            f"[invalid option] the tracing hook {text!r} cannot be loaded: {error}."
        ) from error
    return found  # type: ignore[no-any-return]


def start_worker() -> str | None:
    """Turn it on in a worker whose job asks for it; gives what went wrong."""
    try:
        wanted = asked(None)
        # The program may have asked for TypeScript's sake alone.
        if wanted is not None and not turn_on(wanted, needed="pythonSetup" in wanted):
            _turn_on(PassedOn())
    except Exception as error:  # the hook is the user's
        import traceback

        text = "".join(traceback.format_exception(error))
        return f"tracing could not be set up in the worker: {text}"
    return None


def flush() -> None:
    """Send the spans that the program's SDK still holds."""
    if _on is not None:
        _on.flush()


# -- attributes


def place_attributes() -> dict[str, str]:
    """Where this is, for the attributes of a span."""
    found = {"ray.pid": str(os.getpid()), "polyray.language": "py"}
    if runtime.peek() is None:
        return found
    from polyray.runtime_context import get_runtime_context

    context = get_runtime_context()
    found["ray.job_id"] = context.get_job_id()
    found["ray.node_id"] = context.get_node_id()
    found["ray.worker_id"] = context.get_worker_id()
    if runtime.runs_task.get() is not None:
        task = context.get_task_id()
        if task:
            found["ray.task_id"] = task
    return found


def method_attributes(class_name: str, method: str) -> dict[str, str]:
    """What a span of an actor says of it."""
    return {"ray.remote": "actor", "ray.actor_class": class_name, "ray.actor_method": method}


# -- submitting


def _copy(one: Any) -> Any:
    made = object.__new__(type(one))
    made.__dict__.update(one.__dict__)
    return made


def _remote_task(self: RemoteFunction, /, *args: Any, **kwargs: Any) -> Any:
    if kwargs or not self._least <= len(args) <= self._most:
        self._check(args, kwargs)
    on = _on
    assert on is not None
    with on.submitting(self._function_name, {"ray.remote": "function"}) as options:
        rt = runtime.current()
        if self._runtime is not rt:
            self._register(rt)
        traced = _copy(self)  # one that checks no more
        traced._function = None
        traced._flags |= HAS_CALL_OPTIONS
        return _PLAIN_TASK(traced, *args, **{**kwargs, CALL_OPTIONS: options})


def _remote_method(self: ActorMethod, /, *args: Any, **kwargs: Any) -> Any:
    on = _on
    assert on is not None
    name = self._name
    class_name = str(self._handle._meta.get("className"))
    attributes = method_attributes(class_name, name)
    attributes["ray.actor_id"] = self._handle._actor_id.hex()
    with on.submitting(f"{class_name}.{name}", attributes) as options:
        traced = self._with_call_options({**(self._extra or {}), **options})
        return _PLAIN_METHOD(traced, *args, **kwargs)


def _create_actor(self: ActorClass, /, *args: Any, **kwargs: Any) -> Any:
    on = _on
    assert on is not None
    class_name = self._short_name()
    method = "__init__" if self._target.language == "py" else "constructor"
    attributes = method_attributes(class_name, method)
    with on.submitting(f"{class_name}.{method}", attributes) as options:
        traced = _copy(self)
        traced._call_options = options
        handle = _PLAIN_CLASS(traced, *args, **kwargs)
        on.created(handle._actor_id.hex())
        return handle


_PLAIN_TASK = RemoteFunction.remote
_PLAIN_METHOD = ActorMethod.remote
_PLAIN_CLASS = ActorClass.remote
_REPLACED: tuple[tuple[type, Any, Any], ...] = (
    (RemoteFunction, _PLAIN_TASK, _remote_task),
    (ActorMethod, _PLAIN_METHOD, _remote_method),
    (ActorClass, _PLAIN_CLASS, _create_actor),
)


# -- running


class Run:
    """A body with the span of its run around it: called in the place of the body.

    The span ends with the body, or with the coroutine or generator that it gives.
    """

    def __init__(
        self,
        on: Tracing | PassedOn,
        name: str,
        attributes: Mapping[str, str],
        carrier: Any,
        body: Any,
    ) -> None:
        self._on = on
        self._body = body
        self._span, self._context = on.start(name, attributes, carrier)
        self._token: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with self:
                result = self._body(*args, **kwargs)
        except BaseException as error:  # also what interrupts the body
            self._end(error)
            raise
        if isinstance(result, GeneratorType):
            return self._steps(result)
        if isinstance(result, AsyncGeneratorType):
            return self._async_steps(result)
        if isinstance(result, CoroutineType):
            return self._awaited(result)
        self._end()
        return result

    def __enter__(self) -> None:
        self._token = self._on.enter(self._context)

    def __exit__(self, *error: object) -> None:
        self._on.leave(self._token)

    def _end(self, error: BaseException | None = None) -> None:
        """End the span, at the first call."""
        span, self._span = self._span, None
        if span is None:
            return
        if error is not None:
            self._on.fail(span, error)
        span.end()

    @contextlib.contextmanager
    def _to_its_end(self) -> Iterator[None]:
        """Around all that a coroutine or generator does; one that is closed did not fail."""
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            self._end(error)
            raise
        finally:
            self._end()

    async def _awaited(self, result: Any) -> Any:
        with self._to_its_end(), self:
            return await result

    # Of a generator each step runs in the context: between them its reader's holds.

    def _steps(self, items: Any) -> Iterator[Any]:
        with self._to_its_end():
            try:
                while True:
                    try:
                        with self:
                            item = next(items)
                    except StopIteration:
                        return
                    yield item
            finally:
                with self:
                    items.close()

    async def _async_steps(self, items: Any) -> AsyncIterator[Any]:
        with self._to_its_end():
            try:
                while True:
                    try:
                        with self:
                            item = await anext(items)
                    except StopAsyncIteration:
                        return
                    yield item
            finally:
                with self:
                    await items.aclose()


def around(run: Any, body: Any, class_name: str | None = None, method: str = "") -> Any:
    """The body of a traced call as what is called; the body itself while tracing is off here."""
    on = _on
    carrier = run.trace
    if on is None or carrier is None:
        return body
    if class_name is None:
        name = f"{getattr(body, '__module__', '')}.{getattr(body, '__name__', run.own_name)}"
        return Run(on, name, {"ray.remote": "function"}, carrier, body)
    attributes = method_attributes(class_name, method)
    attributes["ray.actor_id"] = _actor_id()
    return Run(on, f"{class_name}.{method}", attributes, carrier, body)


def _actor_id() -> str:
    from polyray.runtime_context import get_runtime_context

    return get_runtime_context().get_actor_id() or ""
