# SPDX-License-Identifier: Apache-2.0
"""Goal: the traps that the design names: threads, forks, interrupts, joining from below a worker,
the driver's endings.

Method: each in a process of its own where it could hurt others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import polyray as ray
import pytest
from support import eventually, processes_of, run_program


def test_eight_threads_submit_and_get(runtime: ray.RayContext) -> None:
    @ray.remote
    class Adder:
        def add(self, a: int, b: int) -> int:
            return a + b

    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    adder = Adder.remote()
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for i in range(150):
                if ray.get(adder.add.remote(number, i)) != number + i:
                    wrong.append((number, i))
            if ray.get([double.remote(i) for i in range(50)]) != [2 * i for i in range(50)]:
                wrong.append(number)
            if len(ray.get(ray.put(b"x" * 100_000))) != 100_000:
                wrong.append("put")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


FORK = """
import os, polyray as ray
ray.init(num_cpus=2)
@ray.remote
def square(x): return x * x
ref = ray.put("from the parent")
ray.get(square.remote(1))
children = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert ray.get(ref) == "from the parent"
            assert ray.get([square.remote(i) for i in range(30)]) == [i * i for i in range(30)]
            assert ray.get(ray.put([n])) == [n]
            code = 0
        except BaseException as error:
            print("child:", repr(error), flush=True)
        finally:
            os._exit(code)
    children.append(pid)
assert ray.get([square.remote(i) for i in range(200)]) == [i * i for i in range(200)]
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
assert codes == [0, 0, 0], codes
assert ray.get(ref) == "from the parent"
print("ok")
"""


def test_forked_children_use_the_runtime_while_their_parent_does() -> None:
    assert run_program(FORK).stdout.strip().endswith("ok")


def test_multiprocessing_in_a_task_works(runtime: ray.RayContext) -> None:
    @ray.remote
    def outer() -> list[int]:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2, -3])

    assert ray.get(outer.remote(), timeout=100) == [1, 2, 3]


def test_a_forked_child_of_a_worker_ends_at_sigterm(runtime: ray.RayContext) -> None:
    @ray.remote
    def outer() -> int:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, b"x")
            signal.pause()
            signal.pause()
            os._exit(0)
        os.read(read, 1)
        os.kill(pid, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert ray.get(outer.remote(), timeout=100) == -signal.SIGTERM


def test_a_process_below_a_worker_joins_as_a_driver(runtime: ray.RayContext) -> None:
    @ray.remote
    class Board:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def note(self, value: int) -> int:
            self.seen.append(value)
            return len(self.seen)

    board = Board.options(name="board").remote()
    ray.get(board.note.remote(0))
    source = (
        "import polyray as ray; ray.init(); "
        "assert ray.get_runtime_context().get_actor_id() is None; "
        "noted = ray.get(ray.get_actor('board').note.remote(1)); "
        "print(noted, ray.get(ray.remote(lambda: 41).remote()))"
    )

    @ray.remote
    def below(program: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert ray.get(below.remote(source), timeout=100) == "2 41"


def test_ctrl_c_leaves_a_waiting_get() -> None:
    source = (
        "import polyray as ray, sys, time\n"
        "ray.init(num_cpus=1)\n"
        "@ray.remote\n"
        "def f(): time.sleep(1000)\n"
        "ref = f.remote()\n"
        "try:\n    print('waiting', flush=True)\n    ray.get(ref)\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "interrupted\n"
    assert process.returncode == 0


ENDING = """
import os, sys, subprocess, polyray as ray
context = ray.init(num_cpus=2)
@ray.remote
class Holder:
    def hold(self): return subprocess.Popen(["sleep", "1000"]).pid
holder = Holder.remote()
print(context["address"], ray.get(holder.hold.remote()), flush=True)
ending = sys.argv[1]
if ending == "exit": sys.exit(0)
if ending == "_exit": os._exit(0)
if ending == "raise": raise RuntimeError("uncaught")
if ending == "kill": os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("ending", ["return", "exit", "_exit", "raise", "kill"])
def test_nothing_is_left_however_the_driver_ends(ending: str, tmp_path: Path) -> None:
    done = run_program(ENDING, ending, env={"POLYRAY_TMPDIR": str(tmp_path)}, check=False)
    address, grandchild = done.stdout.split()
    session = address.removeprefix("session:")
    eventually(lambda: not os.path.exists(f"/proc/{grandchild}"), "the grandchild ended")
    eventually(
        lambda: processes_of(session) == [],
        f"no process of the session: {processes_of(session)}",
    )
    sessions = tmp_path / f"polyray-{os.getuid()}"
    eventually(
        lambda: not any((folder / "node.json").exists() for folder in sessions.iterdir()),
        "no session is published",
    )


def test_process_titles_name_what_runs() -> None:
    def title() -> str:
        return Path(f"/proc/{os.getpid()}/cmdline").read_bytes().rstrip(b"\0").decode()

    @ray.remote
    def named() -> tuple[str, int]:
        return title(), os.getpid()

    @ray.remote
    class Holder:
        def shown(self) -> str:
            return title()

    shown = ray.get(named.remote())[0]
    assert shown.startswith("polyray::")
    assert shown.endswith("named")
    holder = Holder.options(name="titled").remote()
    assert ray.get(holder.shown.remote()).endswith("Holder.shown")
