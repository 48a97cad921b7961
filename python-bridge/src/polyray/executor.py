# SPDX-License-Identifier: Apache-2.0
"""Runs the calls of a worker: tasks one at a time, the methods of its actor in order (or several at
once).

The main thread takes calls and runs tasks and sequential methods itself. Actors with
max_concurrency > 1 run methods on threads (thread_calls.py); actors with async methods run
everything on one event loop in a thread (async_calls.py). These take their calls themselves, while
the main thread waits for signals; only those of concurrency groups it hands to them. Every call
gets exactly one reply. Functions are decoded once per spec. A cancelled call gets KeyboardInterrupt
(a coroutine: CancelledError), in user code only: main_task is the task whose user code runs, and
what is interrupted just outside of it does not end the worker.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polyray import _native, accelerators, output, runtime
from polyray.actor import ActorExit
from polyray.actor_process import Actor, ActorEnds, become
from polyray.call_ends import OK, STREAMING, TASK, CallEnds
from polyray.exceptions import ActorDiedError, RayError, RuntimeEnvSetupError
from polyray.handle import CALL_OPTIONS, HAS_CALL_OPTIONS
from polyray.loaded import LoadedSpec, Running, load_spec
from polyray.placement import enter as enter_placement
from polyray.runtime import Runtime
from polyray.serialize import decode_args, encode

if TYPE_CHECKING:
    from polyray.async_calls import AsyncCalls
    from polyray.thread_calls import CallThreads

_METHOD = 3
_NONE = encode(None).to_bytes()


class UnknownGroup(ValueError):
    """A call names a concurrency group that its actor does not have."""


class Executor(CallEnds):
    """Serves the calls of one worker."""

    def __init__(self, rt: Runtime) -> None:
        super().__init__(rt)
        self._shown = ""
        self._method_shown = ""
        self._threads: CallThreads | None = None
        self._async: AsyncCalls | None = None
        self._elsewhere = False  # calls are taken by others than the main thread
        self._failure: RayError | None = None
        self._client.on_cancel(self._on_cancel)
        self._calls_done: dict[int, int] = {}
        self._lane: tuple[int, bool] | None = None
        self.setup_error: str | None = None  # the set-up hook failed: no user code runs here

    # -- taking calls

    def serve(self) -> None:
        """Take and run calls until the worker leaves; RayError when the runtime has ended."""
        next_call = self._client.next_call
        while not self.leaving:
            call = next_call(-1)
            if call is None:
                return
            try:
                if call.kind == _METHOD:
                    self._take_method(call)
                elif call.kind == TASK:
                    self._run_task(call)
                else:
                    self._create_actor(call)
            except KeyboardInterrupt as late:  # it came between user code and its handlers
                self.fail(call, late, self._shown or "task", None)
            del call  # big arguments are pinned by it
            if self._elsewhere:
                self._client.flush()
                self._rest()
                return

    def _rest(self) -> None:
        """Others take the calls: signals come here, and chores while all are busy."""
        while not self.leaving and self._failure is None:
            self._client.rest()
        if self._failure is not None:
            raise self._failure

    def stop_waiting(self, failure: RayError) -> None:
        """Whoever takes calls has found that the runtime has ended."""
        self._failure = failure
        self._client.end_rest()

    def _take_method(self, call: Any) -> None:
        try:
            if self._async is not None:
                self._async.submit(call, self._group_of(call))
            elif self._threads is not None:
                self._threads.submit(call, self._group_of(call))
            else:
                self.run_method(call)
        except UnknownGroup as error:
            self.fail(call, error, call.method, None)

    def _group_of(self, call: Any) -> str:
        """The concurrency group of a call of a method."""
        actor = self._actor
        assert actor is not None
        group = "" if call.extras is None else json.loads(call.extras).get("group") or ""
        if call.flags & HAS_CALL_OPTIONS:
            with contextlib.suppress(RayError):  # told again where the call runs
                group = decode_args(call.args, self.rt)[1][CALL_OPTIONS].get("group") or ""
        if not group:
            rule = actor.rules.get(call.method)
            group = "" if rule is None else rule.get("concurrency_group") or ""
        if group and group not in actor.groups:
            raise UnknownGroup(
                f"{actor.name}.{call.method}: there is no concurrency group {group!r}; "
                f"concurrency_groups of the class has {sorted(actor.groups)}."
            )
        return str(group)

    # -- specs

    def _load(self, call: Any) -> LoadedSpec:
        number = call.spec_number
        spec = self._specs.get(number)
        if spec is None:
            if self.setup_error is not None:
                self.leave()
                raise RuntimeEnvSetupError(f"[runtime env] {self.setup_error}")
            spec = self._specs[number] = load_spec(self.rt, call.spec)
        return spec

    def _enter_lane(self, lane: tuple[int, bool]) -> None:
        self._lane = lane
        accelerators.enter(self._client, lane)

    # -- tasks

    def _run_task(self, call: Any) -> None:
        self.main_task = call.task
        name = "task"
        spec = None
        try:
            spec = self._load(call)
            name = spec.name
            self._show(name)
            run = Running(call.task, name, call.attempt, spec.fields.resources)
            run.function = spec.value
            run.ahead = spec.fields.stream_high_water_mark
            self._runs[call.task] = run
            self._variable.set(run)
            if self.cancel_seen and self._client.is_cancelled(call.task):
                raise KeyboardInterrupt
            if spec.fields.scheduling != runtime.placement:
                enter_placement(spec.fields.scheduling)
            if spec.lane != self._lane or spec.lane[1]:
                self._enter_lane(spec.lane)
            args, kwargs = self.arguments(call)
            function = spec.value if run.trace is None else run.traced(spec.value)
            if call.flags & STREAMING:
                self.stream(call, function(*args, **kwargs))
            else:
                result = function(*args, **kwargs)
                self.replying = True
                self.finish(call, result)
        except BaseException as error:  # whatever user code raises is the caller's
            self.replying = True
            self.fail(call, error, name, spec)
        finally:
            self.replying = False
            self.main_task = None
            self._runs.pop(call.task, None)
            self._variable.set(None)
        if spec is not None and spec.fields.max_calls:
            self._count(call.spec_number, spec.fields.max_calls)

    def arguments(self, call: Any) -> tuple[list[Any], dict[str, Any]]:
        """The decoded arguments of a call."""
        plain = self._client.plain_arguments(call)
        if plain is not None:
            args, named = plain
            kwargs = named or {}
        else:
            try:
                args, kwargs = decode_args(call.args, self.rt)
            except RayError as error:  # an argument's own task failed
                error._of_argument = True  # type: ignore[attr-defined]
                raise
        if call.flags & HAS_CALL_OPTIONS:
            own = kwargs.pop(CALL_OPTIONS)
            run = self._variable.get()
            if run is not None:
                run.retry = own.get("retry", run.retry)
                run.ahead = own.get("ahead", run.ahead)
                run.name = own.get("name", run.name)
                run.trace = own.get("trace")
        return args, kwargs

    def _count(self, spec_number: int, limit: int) -> None:
        done = self._calls_done[spec_number] = self._calls_done.get(spec_number, 0) + 1
        if done >= limit:
            self.leave()

    # -- actors

    def _create_actor(self, call: Any) -> None:
        name = "actor"
        self.main_task = call.task
        try:
            self._client.set_actor_identity(call.actor, call.incarnation)
            spec = self._load(call)
            self._actor = actor = Actor(call.actor, call.incarnation, spec.fields, spec.value)
            become(actor)
            name = actor.name
            self._show(name)
            run = Running(call.task, f"{name}.__init__", call.attempt, spec.fields.resources)
            run.creates = True
            self._variable.set(run)
            enter_placement(spec.fields.scheduling)
            self._enter_lane(spec.lane)
            args, kwargs = self.arguments(call)
            run.trace = kwargs.pop(CALL_OPTIONS, {}).get("trace")
            make = actor.make if run.trace is None else run.traced(actor.make, name, "__init__")
            self._make(actor, make, args, kwargs)
            self.main_task = None
            self._serve_elsewhere(actor)
            self._client.finish(call.handle, _NONE, False, OK)
        except BaseException as error:  # whatever the constructor raises is told to the callers
            self.fail(call, error, f"{name}.__init__", None)
        finally:
            self.main_task = None

    def _make(self, actor: Actor, make: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
        if actor.is_async:
            from polyray.async_calls import AsyncCalls

            self._async = AsyncCalls(self, actor)
            made = self._async.loops.run(lambda: make(args, kwargs))
        else:
            made = make(args, kwargs)
        if made is not None:
            kind = type(made).__name__
            raise TypeError(f"__init__() should return None, not '{kind}'")

    def _serve_elsewhere(self, actor: Actor) -> None:
        """Threads or an event loop take the calls of the actor from now on, if they run them."""
        if self._async is not None:
            if not actor.groups:
                self._async.take_over()
                self._elsewhere = True
        elif actor.limit > 1 or actor.groups:
            from polyray.thread_calls import CallThreads

            self._threads = CallThreads(self, actor)
            if not actor.groups:
                self._threads.start()
                self._elsewhere = True

    def method(self, name: str) -> Callable[..., Any]:
        actor = self._actor
        assert actor is not None
        found = actor.methods.get(name)
        if found is None:
            found = actor.methods[name] = self._find_method(actor, name)
        return found

    def _find_method(self, actor: Actor, name: str) -> Callable[..., Any]:
        instance = actor.instance
        if actor.ended:
            raise ActorEnds
        if name == "__ray_ready__":
            return lambda: True
        if name == "__ray_call__":
            return lambda function, *args, **kwargs: function(instance, *args, **kwargs)
        if name == "__ray_terminate__":
            return _terminate
        hidden = name.startswith("__") and name not in actor.meta["methods"]
        found = None if hidden else getattr(instance, name, None)
        if not callable(found):
            raise AttributeError(f"{actor.name} has no method {name!r}")
        return found  # type: ignore[no-any-return]

    def _show(self, name: str) -> None:
        if name != self._shown:
            self._shown = name
            output.show(name)
            self._method_shown = ""
            _native.set_process_title(f"polyray::{name}")

    def _show_method(self, actor: Actor, name: str) -> None:
        self._method_shown = name
        _native.set_process_title(f"polyray::{actor.name}.{name}")

    def begin_method(self, call: Any) -> Running | None:
        """Count a call as one that runs, before another thread may take a later one: that may be
        the actor's last. None: run_method tells what is wrong with it."""
        actor = self._actor
        if actor is None or actor.exiting or self.leaving:
            return None
        return self.enter_method(actor, call)

    def run_method(self, call: Any, run: Running | None = None) -> None:
        actor = self._actor
        name = call.method
        try:
            if actor is None:
                raise ActorDiedError("[actor died] this process holds no actor.")
            if run is None:
                if actor.exiting or self.leaving:  # its caller hears of the actor's end
                    return
                run = self.enter_method(actor, call)
            if self.cancel_seen and self.was_cancelled(call):
                return
            if name != self._method_shown:
                self._show_method(actor, name)
            function = actor.methods.get(name) or self.method(name)
            args, kwargs = self.arguments(call)
            if run.trace is not None:
                function = run.traced(function, actor.name, name)
            result = function(*args, **kwargs)
            if self.cancel_seen and self.was_cancelled(call):
                return
            if call.flags & STREAMING:
                self.stream(call, result)
            else:
                self.finish(call, result)
        except ActorEnds:
            pass
        except BaseException as error:  # whatever the method raises is the caller's
            shown = run.name if run is not None else name
            self.fail(call, error, shown, None)
        finally:
            self.left_method(call)

    def enter_method(self, actor: Actor, call: Any) -> Running:
        name = call.method
        run = Running(call.task, f"{actor.name}.{name}", call.attempt, actor.fields.resources)
        rule = actor.rules.get(name)
        if rule is not None:
            run.ahead = rule.get("_generator_backpressure_num_objects") or 0
            retry = rule.get("retry_exceptions")
            run.retry = retry if isinstance(retry, (list, tuple)) else None
        if call.extras is not None:
            run.take_extras(json.loads(call.extras))
        self._runs[call.task] = run
        self._variable.set(run)
        return run

    def _on_cancel(self, task: bytes, recursive: bool) -> None:
        """A call that runs here was cancelled: tasks are interrupted by a signal, coroutines here;
        a plain method goes on and may ask is_canceled()."""
        self.cancel_seen = True
        self._cancels.add(task)
        if recursive:
            self.cancel_children(task)
        if self._async is not None:
            self._async.cancel(task)


def _terminate() -> None:
    raise ActorExit(0)
