# SPDX-License-Identifier: Apache-2.0
"""The main program of a Python worker: attach, start the control thread, serve calls until the end.

Runs in a child of the zygote. The variables that make this process a worker are taken out of the
environment at once, so that a process below it (a Spark executor, a subprocess) joins as a driver
and never takes itself for this worker. SIGTERM lets the running call finish; SIGINT interrupts it
when it was cancelled; SIGUSR1 prints all stacks.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from polyray import _native, output, runtime
from polyray.call_ends import Terminated
from polyray.exceptions import LocalRayletDiedError, NotInitializedError
from polyray.executor import Executor
from polyray.runtime import WORKER, Place, Runtime, key_base_of

_OWN = ("POLYRAY_SOCKET", "POLYRAY_TOKEN", "POLYRAY_STARTUP_TOKEN", "POLYRAY_JOB_CONFIG")


def main() -> int:
    """Serve calls; gives the exit code."""
    env = {name: os.environ.pop(name, "") for name in _OWN}
    startup = int(env["POLYRAY_STARTUP_TOKEN"])
    place = Place(
        address=os.environ.get("POLYRAY_ADDRESS", ""),
        socket_name=env["POLYRAY_SOCKET"],
        token=env["POLYRAY_TOKEN"],
        session_dir=os.environ.get("POLYRAY_SESSION_DIR", ""),
        session_id=os.environ.get("POLYRAY_SESSION_ID", ""),
        node_id=os.environ.get("POLYRAY_NODE_ID", ""),
        namespace=os.environ.get("POLYRAY_NAMESPACE", ""),
    )
    client = _native.attach(place.socket_name, place.token, WORKER, startup, 0, False)
    client.start_control_thread(place.socket_name, place.token, startup)
    rt = Runtime(client, place, key_base_of(env["POLYRAY_JOB_CONFIG"] or "{}"), is_worker=True)
    if rt.job == 0:
        rt.job = client.job
    runtime.set_current(rt)
    output.install()
    _set_up_logs()
    executor = Executor(rt)
    _install_signals(executor, client)
    executor.setup_error = _run_setup_hook(rt) or _set_up_tracing()
    try:
        client.worker_ready()
        executor.serve()
        executor.terminated = True  # the end is under way: SIGTERM does not cut it short
        client.stop_calls()
        executor.end_actor()
        runtime.last_words()
        client.worker_exit()
    except (LocalRayletDiedError, NotInitializedError):
        return 0  # the runtime has ended
    except SystemExit as leaving:
        client.stop_calls()
        executor.end_actor()
        runtime.last_words()
        return leaving.code if isinstance(leaving.code, int) else 0
    finally:
        client.stop_calls()  # threads that wait for calls end; those that run one, after it
    client.detach()
    return 0


def _set_up_logs() -> None:
    told = os.environ.get("POLYRAY_LOGGING")
    if told:
        from polyray.logging_config import LoggingConfig

        LoggingConfig.from_wire(told).apply()


def _run_setup_hook(rt: Runtime) -> str | None:
    if not rt.key_base.runtime_env:
        return None
    from polyray.runtime_env.merging import run_setup_hook

    return run_setup_hook(rt)


def _set_up_tracing() -> str | None:
    if os.environ.get("POLYRAY_TRACING", "0") == "0":
        return None
    from polyray.tracing import start_worker

    return start_worker()


def _install_signals(executor: Executor, client: Any) -> None:
    import faulthandler

    def interrupt(number: int, frame: Any) -> None:
        executor.cancel_seen = True
        task = executor.main_task
        # Looked at before the children are told: those that the handlers of an interrupted call
        # submit are not told. A cancellation that comes later has a signal of its own.
        stop = task is not None and task != executor.interrupted and client.is_cancelled(task)
        executor.cancel_all_children()
        if stop:
            executor.interrupted = task  # once: its handlers may take their time
            raise KeyboardInterrupt("the task was cancelled")

    def terminate(number: int, frame: Any) -> None:
        executor.leave()
        if executor.main_task is None and not executor.replying and not executor.terminated:
            executor.terminated = True
            raise Terminated(0)

    def in_child() -> None:  # a forked child is no worker: SIGTERM and SIGINT end it again
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    os.register_at_fork(after_in_child=in_child)
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)
    faulthandler.register(signal.SIGUSR1, all_threads=True, file=2)
