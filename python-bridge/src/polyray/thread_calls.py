# SPDX-License-Identifier: Apache-2.0
"""Calls of an actor with max_concurrency > 1: threads that take calls and run them.

Without concurrency groups each thread takes calls itself, so that short calls are run one after
another without handing over; one more thread is started whenever none is left that waits for calls.
With groups the main thread sorts the calls into pools.
"""

from __future__ import annotations

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from polyray.exceptions import LocalRayletDiedError, NotInitializedError, RayError

if TYPE_CHECKING:
    from polyray.actor_process import Actor
    from polyray.executor import Executor


class CallThreads:
    """The threads of the actor of this process."""

    def __init__(self, executor: Executor, actor: Actor) -> None:
        self._executor = executor
        self._client = executor.rt.client
        self._limit: int = actor.limit
        self._lock = threading.Lock()
        self._count = 0
        self._pools = (
            {
                name: ThreadPoolExecutor(limit, thread_name_prefix=f"polyray-{name or 'method'}")
                for name, limit in {"": actor.limit, **actor.groups}.items()
            }
            if actor.groups
            else {}
        )

    # -- without groups

    def start(self) -> None:
        """Take calls from now on."""
        self._add()

    def _add(self) -> None:
        with self._lock:
            if self._count == self._limit or self._client.takers:
                return
            self._count += 1
            number = self._count
        try:
            threading.Thread(target=self._serve, name=f"polyray-method_{number}").start()
        except RuntimeError:  # the system gives no more: those that are there go on
            with self._lock:
                self._count -= 1
            if number == 1:
                raise

    def _serve(self) -> None:
        executor = self._executor
        client = self._client
        next_call = client.next_call
        while True:
            try:
                call = next_call(-1)
                if call is None:
                    return
                run = executor.begin_method(call)
                if self._count < self._limit and not client.takers:
                    self._add()
                executor.run_method(call, run)
            except (LocalRayletDiedError, NotInitializedError) as error:
                executor.stop_waiting(error)
                return
            except Exception:  # its caller was told that there is no result
                traceback.print_exc()
            call = run = None  # big arguments are pinned by it

    # -- with groups

    def submit(self, call: Any, group: str) -> None:
        """Run a call on a thread of its group."""
        self._pools[group].submit(self._run, call)

    def _run(self, call: Any) -> None:
        try:
            self._executor.run_method(call)
            self._client.flush()
        except RayError:  # the runtime has ended: the main thread sees it too
            pass
