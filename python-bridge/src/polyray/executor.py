# SPDX-License-Identifier: Apache-2.0
"""Runs the calls of a worker: tasks one at a time, the methods of its actor in order (or several at
once).

The main thread takes calls and runs tasks and sequential methods itself. Actors with
max_concurrency > 1 run methods on threads; actors with async methods run everything on one event
loop in a thread. Every call gets exactly one reply. Functions are decoded once per spec. A
cancelled call gets KeyboardInterrupt (a coroutine: CancelledError), in user code only: main_task is
the task whose user code runs, and what is interrupted just outside of it does not end the worker.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import GeneratorType
from typing import Any

from polyray import _native, accelerators, output, runtime
from polyray.actor import ActorExit, cancelled_error
from polyray.actor_process import Actor, CallLoops
from polyray.exceptions import (
    ActorDiedError,
    AsyncioActorExit,
    ClosedError,
    RayError,
    RuntimeEnvSetupError,
    TaskTimeoutError,
    WorkerCrashedError,
)
from polyray.handle import CALL_OPTIONS, HAS_CALL_OPTIONS, RETRY_EXCEPTIONS
from polyray.ids import task_bytes
from polyray.loaded import LoadedSpec, Running, load_spec, retries
from polyray.placement import enter as enter_placement
from polyray.remote_function import code_flags
from polyray.runtime import COPY_BYTES, Runtime
from polyray.serialize import decode, decode_args, encode, encode_error, encode_task_error

_TASK, _CREATE, _METHOD = 1, 2, 3
_STREAMING = 1
_OK, _ERROR, _RETRY, _RETURNED, _CANCELLED = 0, 1, 2, 3, 4
_NONE = encode(None).to_bytes()
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200


class Terminated(SystemExit):
    """SIGTERM has come: the worker ends, without a word from its actor."""


class UnknownGroup(ValueError):
    """A call names a concurrency group that its actor does not have."""


_actor: Actor | None = None


def running_actor() -> Actor | None:
    """The actor of this process, if it is one."""
    return _actor


class Executor:
    """Serves the calls of one worker."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._client = rt.client
        self._specs: dict[int, LoadedSpec] = {}
        self._variable: contextvars.ContextVar[Any] = contextvars.ContextVar(
            "polyray_task", default=None
        )
        runtime.runs_task = self._variable
        self._shown = ""
        self._method_shown = ""
        self._pool: Any = None
        self._loops: CallLoops | None = None
        self._tasks: dict[bytes, Any] = {}
        self._runs: dict[bytes, Running] = {}
        self._cancels: set[bytes] = set()
        self._client.on_cancel(self._on_cancel)
        self._pools: dict[str, Any] = {}
        self._calls_done: dict[int, int] = {}
        self.main_task: bytes | None = None
        self.interrupted: bytes | None = None  # the task that was told of its cancellation
        self.cancel_seen = False  # a call of this process was cancelled once
        self.leaving = False
        self._lane: tuple[int, bool] | None = None
        self.setup_error: str | None = None  # the set-up hook failed: no user code runs here
        self._pid = os.getpid()

    # -- taking calls

    def serve(self) -> None:
        """Take and run calls until the worker leaves; RayError when the runtime has ended."""
        next_call = self._client.next_call
        while not self.leaving:
            call = next_call(-1)
            try:
                if call.kind == _METHOD:
                    self._take_method(call)
                elif call.kind == _TASK:
                    self._run_task(call)
                else:
                    self._create_actor(call)
            except KeyboardInterrupt as late:  # it came between user code and its handlers
                self._fail(call, late, self._shown or "task", None)
            del call  # big arguments are pinned by it

    def _take_method(self, call: Any) -> None:
        try:
            if self._loops is not None:
                group = self._group_of(call) if self._loops.has_groups else ""
                loop, slots = self._loops.of(group)
                loop.call_soon_threadsafe(self._start_coroutine, call, slots)
            elif self._pool is not None:
                pools = self._pools
                pool = pools.get(self._group_of(call), self._pool) if pools else self._pool
                pool.submit(self._run_method_on_thread, call)
            else:
                self._run_method(call)
        except UnknownGroup as error:
            self._fail(call, error, call.method, None)

    def _group_of(self, call: Any) -> str:
        """The concurrency group of a call of a method."""
        actor = _actor
        assert actor is not None
        group = "" if call.extras is None else json.loads(call.extras).get("group") or ""
        if call.flags & HAS_CALL_OPTIONS:
            with contextlib.suppress(RayError):  # told again where the call runs
                group = decode_args(call.args, self._rt)[1][CALL_OPTIONS].get("group") or ""
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
            spec = self._specs[number] = load_spec(self._rt, call.spec)
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
            run = Running(call.task, name, call.attempt, spec.fields.resources, spec.value)
            run.ahead = spec.fields.stream_high_water_mark
            self._runs[call.task] = run
            self._variable.set(run)
            if self.cancel_seen and self._client.is_cancelled(call.task):
                raise KeyboardInterrupt
            if spec.fields.scheduling != runtime.placement:
                enter_placement(spec.fields.scheduling)
            if spec.lane != self._lane or spec.lane[1]:
                self._enter_lane(spec.lane)
            args, kwargs = self._arguments(call)
            if call.flags & _STREAMING:
                self._stream(call, spec.value(*args, **kwargs))
            else:
                self._finish(call, spec.value(*args, **kwargs))
        except BaseException as error:  # whatever user code raises is the caller's
            self._fail(call, error, name, spec)
        finally:
            self.main_task = None
            self._runs.pop(call.task, None)
            self._variable.set(None)
        if spec is not None and spec.fields.max_calls:
            self._count(call.spec_number, spec.fields.max_calls)

    def _arguments(self, call: Any) -> tuple[list[Any], dict[str, Any]]:
        try:
            args, kwargs = decode_args(call.args, self._rt)
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
        return args, kwargs

    def _count(self, spec_number: int, limit: int) -> None:
        done = self._calls_done[spec_number] = self._calls_done.get(spec_number, 0) + 1
        if done >= limit:
            self.leave()

    def leave(self) -> None:
        """Take no more calls; the worker ends after this one."""
        self.leaving = True

    # -- results

    def _finish(self, call: Any, value: Any) -> None:
        if call.return_count > 1:
            self._finish_many(call, value)
            return
        if isinstance(value, GeneratorType):
            value = self._collected(call, value)
        self.main_task = None
        plain = _native.encode_plain(value)
        if plain is not None and len(plain) <= COPY_BYTES:
            self._client.finish(call.handle, plain, False, _OK)
        else:
            encoded = encode(value, self._rt, "result")
            if encoded.size <= COPY_BYTES:
                self._client.finish(call.handle, encoded.to_bytes(), False, _OK)
            else:
                self._return(call, 0, encoded)
                self._client.reply(call.handle, _OK)

    def _collected(self, call: Any, items: Any) -> Any:
        """The refs of what a generator yields (num_returns="dynamic").

        What it raises is the last one, unless the task is tried again.
        """
        from polyray.streams import DynamicObjectRefGenerator

        refs = []
        try:
            for item in items:
                refs.append(self._rt.put(item))
        except Exception as error:
            spec = self._specs.get(call.spec_number)
            if call.kind != _TASK or spec is None or (call.retries_left and retries(error, spec)):
                raise
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            refs.append(self._rt.put_encoded(self._encoded_error(call, error, spec.name)))
        return DynamicObjectRefGenerator(refs)

    def _finish_many(self, call: Any, value: Any) -> None:
        count = call.return_count
        if isinstance(value, GeneratorType):
            self._finish_yields(call, value)
            return
        number = len(value)
        self.main_task = None
        if number != count:
            raise ValueError(f"Task returned {number} objects, but num_returns={count}.")
        values = list(value)
        encoded = [encode(item, self._rt, f"result[{i}]") for i, item in enumerate(values)]
        for index, part in enumerate(encoded):
            self._return(call, index, part)
        self._client.reply(call.handle, _OK)

    def _finish_yields(self, call: Any, items: Any) -> None:
        """Each item is a return as soon as it is yielded: what fails later leaves it as it is."""
        count = call.return_count
        number = 0
        for item in items:
            if number == count:  # what is too much is left
                break
            self._return(call, number, encode(item, self._rt, f"result[{number}]"))
            number += 1
        self.main_task = None
        if number < count:
            raise ValueError(f"Task returned {number} objects, but num_returns={count}.")
        self._client.reply(call.handle, _OK)

    def _return(self, call: Any, index: int, encoded: Any, is_error: bool = False) -> None:
        if encoded.size <= COPY_BYTES:
            self._client.return_value(call.handle, index, encoded.to_bytes(), is_error)
            return
        buffer = self._client.return_begin(call.handle, index, encoded.size)
        if buffer is None:  # sealed before, by an earlier attempt
            return
        with memoryview(buffer) as view:
            encoded.write_into(view)
        self._client.return_seal(buffer, is_error)

    def _stream(self, call: Any, items: Any) -> None:
        client = self._client
        ahead = self._ahead(call)
        try:
            for number, item in enumerate(items):
                client.stream_item(call.handle, number, self._rt.put(item))
                # The caller has to take items before there are more.
                if 0 < ahead < number + 2:
                    client.wait_consumed(call.task, number + 2 - ahead, -1)
        finally:
            client.end_producing(call.task)
        self._finish(call, None)

    def _ahead(self, call: Any) -> int:
        """How many items of a stream may be there that the caller has not taken; 0: any number."""
        run = self._variable.get()
        return int(run.ahead) if run is not None else 0

    # -- errors

    def _fail(self, call: Any, error: BaseException, name: str, spec: LoadedSpec | None) -> None:
        self.main_task = None
        task = call.task
        if isinstance(error, KeyboardInterrupt):
            if self._client.is_cancelled(task):
                if self._client.cancels_children(task):
                    self.cancel_children(task)
                self._settle_error(call, self._stopped(task), _CANCELLED)
                return
            error = cancelled_error(shown_task(task))  # user code raised it itself
        if isinstance(error, SystemExit) and call.kind != _TASK:
            self._leave_actor(error)
            return
        if isinstance(error, SystemExit):
            self.leave()
            text = (
                f"[worker crashed] {name} ended its worker process by SystemExit({error.code!r})."
            )
            self._settle_error(
                call,
                WorkerCrashedError(text, task_name=name, pid=self._pid, code="PROCESS_EXIT"),
                _ERROR,
            )
            return
        if spec is not None and call.retries_left != 0 and retries(error, spec):
            self._client.reply(call.handle, _RETRY)
            return
        if (
            spec is None
            and call.retries_left != 0
            and (call.flags & RETRY_EXCEPTIONS or call.extras is not None)
            and self._retries_method(call, error)
        ):
            self._client.reply(call.handle, _RETRY)
            return
        if spec is None and isinstance(error, RuntimeEnvSetupError):  # no user code ran
            self._settle_error(call, error, _ERROR)
            return
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next or error.__traceback__
        self._settle_error(call, error, _ERROR, name)

    def _retries_method(self, call: Any, error: BaseException) -> bool:
        run = self._runs.get(call.task)
        return run is not None and run.retries(error, bool(call.flags & RETRY_EXCEPTIONS))

    def _stopped(self, task: bytes) -> RayError:
        # The error of a call that was interrupted: by its time limit, or by its caller.
        late = self._client.timed_out(task)
        reason = self._cancel_reason(task)
        self._client.forget_cancelled(task)
        if late:
            shown = shown_task(task).hex()
            text = f"[task timeout] the task of {shown} ran past its time limit."
            return TaskTimeoutError(text, task_id=shown)
        return cancelled_error(shown_task(task), reason)

    def _cancel_reason(self, task: bytes) -> Any:
        # Why its caller cancelled it (an AbortSignal's reason): it goes on to the children.
        error = self._client.cancel_error(task)
        if not error:
            return None
        try:
            return getattr(decode(error, self._rt), "cause", None)
        except RayError:  # a value that this process cannot read
            return None

    def _settle_error(
        self, call: Any, error: BaseException, status: int, name: str | None = None
    ) -> None:
        if name is None:
            encoded = encode_error(error, self._rt)
        else:
            encoded = self._encoded_error(call, error, name)
        try:
            with contextlib.suppress(ClosedError):  # answered before it was interrupted
                for index in range(call.return_count):
                    self._return(call, index, encoded, True)
        finally:
            self._client.reply(call.handle, status)

    def _encoded_error(self, call: Any, error: BaseException, name: str) -> Any:
        return encode_task_error(
            error,
            self._rt,
            task_name=name,
            task_id=shown_task(call.task).hex(),
            actor_id=_actor.id.hex() if _actor is not None else None,
            node_id=self._rt.place.node_id or None,
            pid=self._pid,
            actor_repr=None if _actor is None else _actor.shown(),
        )

    # -- actors

    def _create_actor(self, call: Any) -> None:
        global _actor
        name = "actor"
        self.main_task = call.task
        try:
            self._client.set_actor_identity(call.actor, call.incarnation)
            spec = self._load(call)
            _actor = actor = Actor(call.actor, call.incarnation, spec.fields, spec.value)
            name = actor.name
            self._show(name)
            self._variable.set(
                Running(call.task, f"{name}.__init__", call.attempt, spec.fields.resources)
            )
            enter_placement(spec.fields.scheduling)
            self._enter_lane(spec.lane)
            args, kwargs = self._arguments(call)
            self._make(actor, args, kwargs)
            self.main_task = None
            if not actor.is_async and (actor.limit > 1 or actor.groups):
                self._start_threads(actor)
            self._client.finish(call.handle, _NONE, False, _OK)
        except BaseException as error:  # whatever the constructor raises is told to the callers
            self._fail(call, error, f"{name}.__init__", None)
        finally:
            self.main_task = None

    def _make(self, actor: Actor, args: list[Any], kwargs: dict[str, Any]) -> None:
        if actor.is_async:
            self._loops = CallLoops(actor)
            made = self._loops.run(lambda: actor.make(args, kwargs))
        else:
            made = actor.make(args, kwargs)
        if made is not None:
            kind = type(made).__name__
            raise TypeError(f"__init__() should return None, not '{kind}'")

    def _start_threads(self, actor: Actor) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(actor.limit, thread_name_prefix="polyray-method")
        self._pools = {
            name: ThreadPoolExecutor(limit, thread_name_prefix=f"polyray-{name}")
            for name, limit in actor.groups.items()
        }

    def _method(self, name: str) -> Callable[..., Any]:
        actor = _actor
        assert actor is not None
        found = actor.methods.get(name)
        if found is None:
            found = actor.methods[name] = self._find_method(actor, name)
        return found

    def _find_method(self, actor: Actor, name: str) -> Callable[..., Any]:
        if name == "__ray_ready__":
            return lambda: True
        if name == "__ray_call__":
            return lambda function, *args, **kwargs: function(actor.instance, *args, **kwargs)
        if name == "__ray_terminate__":
            return _terminate
        hidden = name.startswith("__") and name not in actor.meta["methods"]
        found = None if hidden else getattr(actor.instance, name, None)
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

    def _run_method(self, call: Any) -> None:
        actor = _actor
        name = call.method
        run = None
        try:
            if actor is None:
                raise ActorDiedError("[actor died] this process holds no actor.")
            if actor.exiting:  # its caller hears of the actor's end
                return
            run = self._enter_method(actor, call)
            if self.cancel_seen and self._was_cancelled(call):
                return
            if name != self._method_shown:
                self._show_method(actor, name)
            function = actor.methods.get(name) or self._method(name)
            args, kwargs = self._arguments(call)
            result = function(*args, **kwargs)
            if self.cancel_seen and self._was_cancelled(call):
                return
            if call.flags & _STREAMING:
                self._stream(call, result)
            else:
                self._finish(call, result)
        except BaseException as error:  # whatever the method raises is the caller's
            shown = run.name if run is not None else name
            self._fail(call, error, shown, None)
        finally:
            self._left_method(call)

    def _left_method(self, call: Any) -> None:
        if self._runs.pop(call.task, None) is not None and self._cancels:
            self._forget(call.task)
        if _actor is None or not _actor.leaves:
            return
        self.exit_actor("it left by exit_actor()")
        if not self._runs:
            self.leaving = True
            if threading.current_thread() is not threading.main_thread():
                self._client.flush()
                os.kill(self._pid, signal.SIGTERM)  # the main thread waits for calls

    def _was_cancelled(self, call: Any) -> bool:
        """Answers a call that was cancelled before it began, or whose plain method has ended."""
        if not self._client.is_cancelled(call.task):
            return False
        self._settle_error(call, self._stopped(call.task), _CANCELLED)
        return True

    def _enter_method(self, actor: Actor, call: Any) -> Running:
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

    def _forget(self, task: bytes) -> None:
        self._cancels.discard(task)
        self._client.forget_cancelled(task)

    def cancel_all_children(self) -> None:
        """Cancel what the cancelled calls of this process have submitted."""
        for task in list(self._runs):
            if self._client.cancels_children(task):
                self.cancel_children(task)

    def cancel_children(self, task: bytes) -> None:
        """Cancel what a call has submitted, once: its handlers may submit more."""
        run = self._runs.get(task)
        if run is None or run.told:
            return
        from polyray.actor import cancel_id

        run.told = True
        reason = self._cancel_reason(task) if run.children else None
        for child in run.children:
            cancel_id(self._rt, child, reason)

    def _run_method_on_thread(self, call: Any) -> None:
        try:
            self._run_method(call)
            self._client.flush()
        except RayError:  # the runtime has ended: the main thread sees it too
            pass

    def _leave_actor(self, error: SystemExit) -> None:
        """The running call is not answered: its caller, like all others, hears of the end."""
        self.main_task = None
        if isinstance(error, Terminated):
            self.leaving = True
        elif isinstance(error, ActorExit):
            self.exit_actor("it left by exit_actor()")
        elif error.code == 0 and error.code is not None:
            self.exit_actor("it left by sys.exit(0)")
        else:  # as a crash: the actor restarts if it may
            end_process(error.code if isinstance(error.code, int) else 1)

    def exit_actor(self, reason: str) -> None:
        """No call begins any more; the process ends when those that run have ended."""
        actor = _actor
        assert actor is not None
        if not actor.exiting:
            actor.leaves = actor.exiting = True
            self._rt.request("actor.exit", actor=actor.id, reason=reason)
        if not self._runs:  # its constructor
            self.leaving = True

    def end_actor(self) -> None:
        """The graceful end of the actor of this process, if it has one."""
        if _actor is not None:
            _actor.end()

    # -- async actors

    def _start_coroutine(self, call: Any, slots: Any) -> None:
        import asyncio

        task = asyncio.get_running_loop().create_task(self._run_coroutine(call, slots))
        self._tasks[call.task] = task
        task.add_done_callback(lambda _: self._tasks.pop(call.task, None))

    def _on_cancel(self, task_id: bytes, recursive: bool) -> None:
        """A call that runs here was cancelled: tasks are interrupted by a signal, coroutines here;
        a plain method goes on and may ask is_canceled()."""
        import asyncio

        def cancel() -> None:
            task = self._tasks.get(task_id)
            if task is not None and task.get_loop() is asyncio.get_running_loop():
                task.cancel()

        self._cancels.add(task_id)
        if recursive:
            self.cancel_children(task_id)
        for loop in () if self._loops is None else self._loops.all():
            loop.call_soon_threadsafe(cancel)

    async def _run_coroutine(self, call: Any, slots: Any) -> None:
        import asyncio

        actor = _actor
        assert actor is not None
        name = f"{actor.name}.{call.method}"
        try:
            async with slots:
                if actor.exiting:
                    return
                self._enter_method(actor, call)
                if self.cancel_seen and self._was_cancelled(call):
                    return
                function = self._method(call.method)
                args, kwargs = self._arguments(call)
                result = function(*args, **kwargs)
                if call.flags & _STREAMING:
                    await self._stream_async(call, result)
                else:
                    if hasattr(result, "__await__") and type(result) is not _native.ObjectRef:
                        result = await result
                    self._finish(call, result)
        except asyncio.CancelledError:
            self._settle_error(call, self._stopped(call.task), _CANCELLED)
        except AsyncioActorExit:
            self.exit_actor("it left by exit_actor()")
        except BaseException as error:  # whatever the method raises is the caller's
            self._fail(call, error, name, None)
        finally:
            self._left_method(call)
        self._client.flush()

    async def _stream_async(self, call: Any, items: Any) -> None:
        if not hasattr(items, "__aiter__"):
            self._stream(call, items)
            return
        import asyncio

        number = 0
        client = self._client
        ahead = self._ahead(call)
        try:
            async for item in items:
                client.stream_item(call.handle, number, self._rt.put(item))
                number += 1
                if 0 < ahead <= number and not client.wait_consumed(
                    call.task, number + 1 - ahead, 0
                ):
                    await asyncio.get_running_loop().run_in_executor(
                        None, client.wait_consumed, call.task, number + 1 - ahead, -1
                    )
        finally:
            client.end_producing(call.task)
        self._finish(call, None)


def shown_task(task: bytes) -> bytes:
    """The bytes by which programs see the id of a task that runs in this process."""
    actor = None if _actor is None else _actor.id
    return task_bytes(task, actor, runtime.current().job)


def _terminate() -> None:
    raise ActorExit(0)


def end_process(code: int) -> None:
    """End this worker from any thread, with what it has printed and measured told."""
    runtime.flush_metrics()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


__all__ = ["Executor", "code_flags", "end_process", "running_actor", "shown_task"]
