# SPDX-License-Identifier: Apache-2.0
"""Idle processes sleep, and wake when they shall.

Goal: who waits makes no system calls, and still hears of every call, result and signal, and of the
end of its node. Method: every thread's voluntary context switches (/proc) over some seconds of
idleness; then work after idle gaps longer than any slice of the waits, by several threads at once.
Each such step is far below the minute after which a sleeper looks by itself, so that a lost wake-up
shows as a step that is late.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import polyray as ray
import pytest
from support import eventually, run_program

IDLE_S = 3.0
SETTLE_S = 3.0  # slices and ticks are over
FEW = 3  # switches of a whole process: what the machine may add
LATE_S = 20.0  # a lost wake-up takes a minute
GAPS_S = (0.0, 0.01, 0.12, 0.55, 1.3, 2.2)  # within the first slices, and past them


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    ray.init(num_cpus=4)
    yield
    ray.shutdown()


def switches(pid: int) -> int:
    """How often the threads of a process fell asleep."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def idle_switches(pid: int) -> int:
    """The fewest of some rounds: collections and other programs are not meant."""
    time.sleep(SETTLE_S)
    found = []
    for _ in range(3):
        before = switches(pid)
        time.sleep(IDLE_S)
        found.append(switches(pid) - before)
        if found[-1] <= FEW:
            break
    return min(found)


def soon(step: Callable[[], Any]) -> Any:
    """What the step gives, which no lost wake-up has held up."""
    start = time.monotonic()
    result = step()
    took = time.monotonic() - start
    assert took < LATE_S, f"held up for {took:.1f} s"
    return result


@ray.remote
def pid_of_worker() -> int:
    return os.getpid()


@ray.remote
class Plain:
    def pid(self) -> int:
        return os.getpid()

    def twice(self, number: int) -> int:
        return 2 * number


@ray.remote
class Async:
    async def pid(self) -> int:
        return os.getpid()

    async def twice(self, number: int) -> int:
        return 2 * number

    async def ask(self, other: Any, number: int) -> int:
        result: int = await other.twice.remote(number)
        return result


def test_an_idle_worker_makes_no_system_calls() -> None:
    assert idle_switches(ray.get(pid_of_worker.remote())) <= FEW


@pytest.mark.parametrize("threads", [1, 4])
def test_an_idle_actor_with_and_without_threads_makes_no_system_calls(threads: int) -> None:
    actor = Plain.options(max_concurrency=threads).remote()
    pid = ray.get(actor.pid.remote())
    ray.get([actor.twice.remote(i) for i in range(50)])
    assert idle_switches(pid) <= FEW
    assert soon(lambda: ray.get(actor.twice.remote(4))) == 8


def test_an_idle_async_actor_makes_no_system_calls() -> None:
    actor, other = Async.remote(), Plain.remote()
    pid = ray.get(actor.pid.remote())
    assert idle_switches(pid) <= FEW
    assert soon(lambda: ray.get(actor.ask.remote(other, 4))) == 8  # it has calls of its own now
    assert idle_switches(pid) <= FEW
    assert soon(lambda: ray.get(actor.ask.remote(other, 5))) == 10


WAITING_DRIVER = """
import os, sys, threading
import polyray as ray
ray.init(address=sys.argv[1])
@ray.remote
class Slow:
    def wait(self):
        import time
        time.sleep(1000)
ref = Slow.remote().wait.remote()
if sys.argv[2] == "threads":
    threading.Thread(target=lambda: ray.get(ref), daemon=True).start()
print(os.getpid(), flush=True)
try:
    ray.get(ref)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["alone", "threads"])
def test_a_driver_that_waits_makes_no_system_calls_and_hears_of_ctrl_c(how: str) -> None:
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-c", WAITING_DRIVER, address, how], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    try:
        pid = int(driver.stdout.readline())
        assert idle_switches(pid) <= FEW
        start = time.monotonic()
        os.kill(pid, signal.SIGINT)
        assert driver.stdout.readline() == "interrupted\n"
        assert time.monotonic() - start < LATE_S
    finally:
        driver.kill()
        driver.wait()


# -- no wake-up is lost


def test_threads_of_a_driver_and_every_kind_of_actor_hear_of_all_after_idle_gaps() -> None:
    actors = [Plain.remote(), Plain.options(max_concurrency=4).remote(), Async.remote()]

    def work(number: int) -> None:
        chance = random.Random(number)

        def ask(step: int) -> None:
            actor = chance.choice(actors)
            assert soon(lambda: ray.get(actor.twice.remote(step))) == 2 * step
            refs = [chance.choice(actors).twice.remote(i) for i in range(20)]
            assert len(soon(lambda: ray.wait(refs, num_returns=20)[0])) == 20
            assert soon(lambda: ray.get(pid_of_worker.remote())) > 0

        for step in range(10):
            ask(step)
            time.sleep(chance.choice(GAPS_S))

    with ThreadPoolExecutor(5) as pool:
        others = [pool.submit(work, number) for number in range(5)]
        work(5)
        for other in others:
            other.result()


@ray.remote
def after(seconds: float, value: int) -> int:
    time.sleep(seconds)
    return value


def test_what_a_second_thread_waits_for_wakes_it_while_another_rests() -> None:
    pending = Plain.remote()
    ray.get(pending.pid.remote())
    long = after.remote(12, 1)
    rester = threading.Thread(target=lambda: ray.get(long))
    rester.start()
    time.sleep(1.5)  # it sleeps on the doorbell
    try:
        for seconds in (0.0, 0.3, 1.5):
            assert soon(partial(ray.get, after.remote(seconds, 7))) == 7
        # One that is settled in this process: nobody else tells who rests.
        broken = after.remote("no number", 1)  # type: ignore[arg-type]
        with pytest.raises(ray.exceptions.RayTaskError):
            soon(lambda: ray.get(after.remote(broken, 1)))
    finally:
        rester.join()


def test_a_thread_that_rests_hears_that_another_cancelled_what_it_waits_for() -> None:
    first = [after.remote(8, 1) for _ in range(4)]  # every place is taken
    queued = after.remote(0, 1)
    heard: list[BaseException] = []

    def waits() -> None:
        try:
            ray.get(queued)
        except ray.exceptions.TaskCancelledError as error:
            heard.append(error)

    rester = threading.Thread(target=waits)
    rester.start()
    time.sleep(1.5)
    start = time.monotonic()
    ray.cancel(queued)
    soon(rester.join)
    assert len(heard) == 1
    assert time.monotonic() - start < 6  # before the places became free
    for ref in first:
        ray.cancel(ref, force=True)


@ray.remote
def leaves_a_thread_that_waits(ref: list[Any]) -> int:
    threading.Thread(target=lambda: ray.get(ref[0]), daemon=True).start()
    time.sleep(1.2)
    return os.getpid()


def test_a_worker_takes_its_next_task_while_a_thread_of_the_last_one_rests() -> None:
    never = (
        Plain.options(max_concurrency=2).remote().__ray_call__.remote(lambda self: time.sleep(1000))
    )
    for _ in range(2):
        pids = [leaves_a_thread_that_waits.remote([never]) for _ in range(8)]
        assert len(soon(partial(ray.get, pids))) == 8
        assert soon(lambda: ray.get([after.remote(0, i) for i in range(50)])) == list(range(50))


# -- signals, ends


PROGRAM_WITH_SIGNALS = """
import asyncio, os, signal, sys, threading, time
import polyray as ray
ray.init(num_cpus=1)
@ray.remote
class Slow:
    def wait(self):
        time.sleep(1000)
ref = Slow.remote().wait.remote()
came = []
signal.signal(signal.SIGTERM, lambda number, frame: came.append(time.monotonic()))

def send(number, after):
    def later():
        time.sleep(after)
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)
    threading.Thread(target=later).start()

for after in (0.05, 0.5, 1.7, 2.5):
    sent = []
    came.clear()
    send(signal.SIGTERM, after)
    try:
        ray.get(ref, timeout=after + 2)
    except ray.exceptions.GetTimeoutError:
        pass
    print("handled", round(came[0] - sent[0], 2), flush=True)
    assert came[0] - sent[0] < 1, came[0] - sent[0]

# A thread got it, as far as the system is concerned.
sent, got = [], []
def hit():
    time.sleep(2)
    sent.append(time.monotonic())
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(3)
came.clear()
threading.Thread(target=hit).start()
try:
    ray.get(ref, timeout=4)
except ray.exceptions.GetTimeoutError:
    pass
assert came[0] - sent[0] < 1, came[0] - sent[0]

# A handler sets the program's own descriptor while the main thread rests: later signals are heard.
read, write = os.pipe()
os.set_blocking(write, False)
def own(number, frame):
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
signal.signal(signal.SIGUSR2, own)
sent = []
came.clear()
send(signal.SIGUSR2, 1.7)
send(signal.SIGTERM, 2.7)
try:
    ray.get(ref, timeout=5)
except ray.exceptions.GetTimeoutError:
    pass
assert came[0] - sent[-1] < 1, came[0] - sent[-1]
assert os.read(read, 10) == bytes([signal.SIGTERM])
assert signal.set_wakeup_fd(-1) == write

# A child that is forked while the main thread rests has signals of its own.
def fork():
    time.sleep(1.7)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
threading.Thread(target=fork).start()
sent = []
send(signal.SIGINT, 2.5)
try:
    ray.get(ref, timeout=20)
except KeyboardInterrupt:
    assert time.monotonic() - sent[0] < 1
    assert signal.set_wakeup_fd(-1) == -1

# The program's own descriptor stays, before, in and after a wait.
signal.set_wakeup_fd(write, warn_on_full_buffer=False)
sent = []
send(signal.SIGTERM, 1.7)
try:
    ray.get(ref, timeout=3)
except ray.exceptions.GetTimeoutError:
    pass
assert os.read(read, 10) == bytes([signal.SIGTERM])
assert signal.set_wakeup_fd(-1) == write
print("done", flush=True)
"""


def test_signals_are_handled_while_the_main_thread_rests() -> None:
    assert run_program(PROGRAM_WITH_SIGNALS).stdout.splitlines()[-1] == "done"


PROGRAM_WITH_A_LOOP = """
import asyncio, os, signal, threading, time
import polyray as ray
ray.init(num_cpus=1)
@ray.remote
class Slow:
    def wait(self):
        time.sleep(1000)
ref = Slow.remote().wait.remote()
set_fd, looks, heard = signal.set_wakeup_fd, [], []
def set_and_signal(fd, **options):
    before = set_fd(fd, **options)
    looks.append(fd)
    os.kill(os.getpid(), signal.SIGUSR2)  # the thread below gets it: the main thread blocks it
    time.sleep(0.05)
    return before
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, lambda: heard.append(1))
    own = set_fd(-1)
    set_fd(own)
    signal.set_wakeup_fd = set_and_signal
    for _ in range(2):
        try:
            ray.get(ref, timeout=1.7)
        except ray.exceptions.GetTimeoutError:
            pass
    signal.set_wakeup_fd = set_fd
    await asyncio.sleep(0.5)
    assert looks[1:] == [own], (looks, own)  # it was looked at once
    assert len(heard) == 2, heard
    print("done", flush=True)
    os._exit(0)
asyncio.run(main())
"""


def test_the_signals_of_an_event_loop_stay_its_own() -> None:
    assert run_program(PROGRAM_WITH_A_LOOP).stdout.splitlines()[-1] == "done"


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_an_async_actor_that_is_busy_hears_of_a_signal() -> None:
    actor = Async.remote()
    pid = ray.get(actor.pid.remote())
    over = time.monotonic() + 3  # past the first ticks
    while time.monotonic() < over:
        ray.get(actor.twice.remote(1))
        time.sleep(0.005)
    os.kill(pid, signal.SIGTERM)  # the handler of a worker ends it
    sent = time.monotonic()
    with contextlib.suppress(ray.exceptions.RayError):
        while time.monotonic() < sent + 10:
            ray.get(actor.twice.remote(1))
            time.sleep(0.005)
    eventually(lambda: not lives(pid), "the actor ended", 5)
    assert time.monotonic() - sent < 3


PROGRAM_WITH_RESULTS = """
import os, signal, threading, time
import polyray as ray
ray.init(num_cpus=1)
@ray.remote
class Steady:
    def step(self):
        time.sleep(0.02)
steady = Steady.remote()
ray.get(steady.step.remote())
refs = [steady.step.remote() for _ in range(500)]
sent = []
def interrupt():
    time.sleep(0.3)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    ray.get(refs)
except KeyboardInterrupt:
    took = time.monotonic() - sent[0]
    assert took < 2, took
    print("done", flush=True)
    os._exit(0)
"""


def test_ctrl_c_is_heard_while_results_keep_coming() -> None:
    assert run_program(PROGRAM_WITH_RESULTS).stdout.splitlines()[-1] == "done"


PROGRAM_WHOSE_NODE_DIES = """
import os, signal, threading, time
import polyray as ray
from polyray import runtime
ray.init(num_cpus=4)
@ray.remote
class Slow:
    def pid(self):
        return os.getpid()
    def wait(self):
        time.sleep(1000)
@ray.remote
class Loop:
    async def pid(self):
        return os.getpid()
@ray.remote
def pid():
    return os.getpid()
slow, threads, loop = Slow.remote(), Slow.options(max_concurrency=3).remote(), Loop.remote()
ref = slow.wait.remote()
pids = ray.get([threads.pid.remote(), loop.pid.remote(), pid.remote()])
ends = []
def wait():
    try:
        ray.get(ref)
    except ray.exceptions.LocalRayletDiedError:
        ends.append(time.monotonic())
others = [threading.Thread(target=wait) for _ in range(3)]
for thread in others:
    thread.start()
killed = []
def kill():
    time.sleep(4)
    killed.append(time.monotonic())
    os.kill(runtime._current.embedded.pid, signal.SIGKILL)
threading.Thread(target=kill).start()
wait()
for thread in others:
    thread.join()
assert len(ends) == 4
print("slowest", max(ends) - killed[0])
assert max(ends) - killed[0] < 5, max(ends) - killed[0]
deadline = time.monotonic() + 20
def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False
while any(lives(p) for p in pids):
    assert time.monotonic() < deadline
    time.sleep(0.05)
print("done")
"""


def test_all_who_rest_hear_that_their_node_was_killed() -> None:
    assert run_program(PROGRAM_WHOSE_NODE_DIES).stdout.splitlines()[-1] == "done"
