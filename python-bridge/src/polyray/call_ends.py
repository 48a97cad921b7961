# SPDX-License-Identifier: Apache-2.0
"""How the calls of a worker end: results, items of streams, errors, cancellations, the worker's
own leaving.

Every call gets exactly one reply. main_task is the task whose user code runs on the main thread: it
is cleared before anything is told, so that an interrupt never comes in between.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import sys
import threading
from types import GeneratorType
from typing import Any

from polyray import runtime
from polyray.actor import ActorExit, cancelled_error
from polyray.actor_process import Actor, shown_task
from polyray.exceptions import (
    ClosedError,
    RayError,
    RuntimeEnvSetupError,
    TaskTimeoutError,
    WorkerCrashedError,
)
from polyray.handle import RETRY_EXCEPTIONS
from polyray.loaded import LoadedSpec, Running, retries
from polyray.runtime import COPY_BYTES, Runtime
from polyray.serialize import decode, encode, encode_error, encode_task_error

TASK = 1
OK, ERROR, RETRY, CANCELLED = 0, 1, 2, 4  # of replies
STREAMING = 1  # a flag of calls


class Terminated(SystemExit):
    """SIGTERM has come: the worker ends, without a word from its actor."""


class CallEnds:
    """The ends of the calls of one worker."""

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self._client = rt.client
        self._specs: dict[int, LoadedSpec] = {}
        self._variable: contextvars.ContextVar[Any] = contextvars.ContextVar(
            "polyray_task", default=None
        )
        runtime.runs_task = self._variable
        self._actor: Actor | None = None
        self._runs: dict[bytes, Running] = {}
        self._cancels: set[bytes] = set()
        self.main_task: bytes | None = None
        self.interrupted: bytes | None = None  # the task that was told of its cancellation
        self.cancel_seen = False  # a call of this process was cancelled once
        self.leaving = False
        self.terminated = False  # the end is under way
        self.replying = False  # the main thread sends the result of a task
        self._last = threading.Lock()  # taken by the thread that ends the worker
        self._pid = os.getpid()

    # -- results

    def finish(self, call: Any, value: Any) -> None:
        if call.return_count > 1:
            self._finish_many(call, value)
            return
        if type(value) is GeneratorType:
            value = self._collected(call, value)
        self.main_task = None
        if self._client.finish_plain(call.handle, value):
            return
        encoded = encode(value, self.rt, "result")
        if encoded.size <= COPY_BYTES:
            self._client.finish(call.handle, encoded.to_bytes(), False, OK)
        else:
            self._return(call, 0, encoded)
            self._client.reply(call.handle, OK)

    def _collected(self, call: Any, items: Any) -> Any:
        """The refs of what a generator yields (num_returns="dynamic").

        What it raises is the last one, unless the task is tried again.
        """
        from polyray.streams import DynamicObjectRefGenerator

        refs = []
        try:
            for item in items:
                refs.append(self.rt.put(item))
        except Exception as error:
            spec = self._specs.get(call.spec_number)
            if call.kind != TASK or spec is None or (call.retries_left and retries(error, spec)):
                raise
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            refs.append(self.rt.put_encoded(self._encoded_error(call, error, spec.name)))
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
        encoded = [encode(item, self.rt, f"result[{i}]") for i, item in enumerate(values)]
        for index, part in enumerate(encoded):
            self._return(call, index, part)
        self._client.reply(call.handle, OK)

    def _finish_yields(self, call: Any, items: Any) -> None:
        """Each item is a return as soon as it is yielded: what fails later leaves it as it is."""
        count = call.return_count
        number = 0
        for item in items:
            if number == count:  # what is too much is left
                break
            self._return(call, number, encode(item, self.rt, f"result[{number}]"))
            number += 1
        self.main_task = None
        if number < count:
            raise ValueError(f"Task returned {number} objects, but num_returns={count}.")
        self._client.reply(call.handle, OK)

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

    def stream(self, call: Any, items: Any) -> None:
        client = self._client
        ahead = self.ahead(call)
        try:
            for number, item in enumerate(items):
                client.stream_item(call.handle, number, self.rt.put(item))
                # The caller has to take items before there are more.
                if 0 < ahead < number + 2:
                    client.wait_consumed(call.task, number + 2 - ahead, -1)
        finally:
            client.end_producing(call.task)
        self.replying = call.kind == TASK
        self.finish(call, None)

    def ahead(self, call: Any) -> int:
        """How many items of a stream may be there that the caller has not taken; 0: any number."""
        run = self._variable.get()
        return int(run.ahead) if run is not None else 0

    # -- errors

    def fail(self, call: Any, error: BaseException, name: str, spec: LoadedSpec | None) -> None:
        self.main_task = None
        task = call.task
        if isinstance(error, KeyboardInterrupt):
            if self._client.is_cancelled(task):
                if self._client.cancels_children(task):
                    self.cancel_children(task)
                self.settle_error(call, self.stopped(task), CANCELLED)
                return
            error = cancelled_error(shown_task(task))  # user code raised it itself
        if isinstance(error, SystemExit) and call.kind != TASK:
            self._leave_actor(error)
            return
        if isinstance(error, SystemExit):
            self.leave()
            text = (
                f"[worker crashed] {name} ended its worker process by SystemExit({error.code!r})."
            )
            self.settle_error(
                call,
                WorkerCrashedError(text, task_name=name, pid=self._pid, code="PROCESS_EXIT"),
                ERROR,
            )
            return
        if spec is not None and call.retries_left != 0 and retries(error, spec):
            self._client.reply(call.handle, RETRY)
            return
        if (
            spec is None
            and call.retries_left != 0
            and (call.flags & RETRY_EXCEPTIONS or call.extras is not None)
            and self._retries_method(call, error)
        ):
            self._client.reply(call.handle, RETRY)
            return
        if spec is None and isinstance(error, RuntimeEnvSetupError):  # no user code ran
            self.settle_error(call, error, ERROR)
            return
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next or error.__traceback__
        self.settle_error(call, error, ERROR, name)

    def _retries_method(self, call: Any, error: BaseException) -> bool:
        run = self._runs.get(call.task)
        return run is not None and run.retries(error, bool(call.flags & RETRY_EXCEPTIONS))

    def settle_error(
        self, call: Any, error: BaseException, status: int, name: str | None = None
    ) -> None:
        if name is None:
            encoded = encode_error(error, self.rt)
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
            self.rt,
            task_name=name,
            task_id=shown_task(call.task).hex(),
            actor_id=self._actor.id.hex() if self._actor is not None else None,
            node_id=self.rt.place.node_id or None,
            pid=self._pid,
            actor_repr=None if self._actor is None else self._actor.shown(),
        )

    # -- cancelling

    def stopped(self, task: bytes) -> RayError:
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
            return getattr(decode(error, self.rt), "cause", None)
        except Exception:  # a value that this process cannot read
            return None

    def was_cancelled(self, call: Any) -> bool:
        """Answers a call that was cancelled before it began, or whose plain method has ended."""
        if not self._client.is_cancelled(call.task):
            return False
        self.settle_error(call, self.stopped(call.task), CANCELLED)
        return True

    def _forget(self, task: bytes) -> None:
        self._cancels.discard(task)
        self._client.forget_cancelled(task)

    def cancel_all_children(self) -> None:
        """Cancel what the cancelled calls of this process have submitted."""
        for task in list(self._runs):
            if self._client.cancels_children(task):
                self.cancel_children(task)

    def cancel_children(self, task: bytes) -> None:
        """Cancel what a call had submitted when it was cancelled: its handlers may submit more.

        A signal may end this at any child and run it anew, so a child counts when it was told."""
        run = self._runs.get(task)
        if run is None:
            return
        if run.to_tell < 0:
            run.to_tell = len(run.children)
        if run.told >= run.to_tell:
            return
        from polyray.actor import cancel_id

        reason = self._cancel_reason(task)
        for index in range(run.told, run.to_tell):
            cancel_id(self.rt, run.children[index], reason)
            run.told = max(run.told, index + 1)

    # -- leaving

    def leave(self) -> None:
        """Take no more calls; the worker ends after this one."""
        self.leaving = True
        self._client.end_rest()

    def left_method(self, call: Any) -> None:
        if self._runs.pop(call.task, None) is not None and self._cancels:
            self._forget(call.task)
        if self._actor is None or not self._actor.leaves:
            return
        self.exit_actor("it left by exit_actor()")
        if not self._runs:
            self.leaving = True
            if threading.current_thread() is not threading.main_thread():
                self._client.flush()
                if self._last.acquire(blocking=False):  # once: the end itself is not disturbed
                    os.kill(self._pid, signal.SIGTERM)  # the main thread waits for calls

    def _leave_actor(self, error: SystemExit) -> None:
        """The running call is not answered: its caller, like all others, hears of the end."""
        self.main_task = None
        if isinstance(error, Terminated):
            self.leave()
        elif isinstance(error, ActorExit):
            self.exit_actor("it left by exit_actor()")
        elif error.code == 0 and error.code is not None:
            self.exit_actor("it left by sys.exit(0)")
        else:  # as a crash: the actor restarts if it may
            end_process(error.code if isinstance(error.code, int) else 1)

    def exit_actor(self, reason: str) -> None:
        """No call begins any more; the process ends when those that run have ended."""
        actor = self._actor
        assert actor is not None
        if not actor.exiting:
            actor.leaves = actor.exiting = True
            self.rt.request("actor.exit", actor=actor.id, reason=reason)
        if not self._runs:  # its constructor
            self.leave()

    def end_actor(self) -> None:
        """The graceful end of the actor of this process, if it has one."""
        if self._actor is not None:
            self._actor.end()


def end_process(code: int) -> None:
    """End this worker from any thread, with what it has printed and measured told."""
    runtime.last_words()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
