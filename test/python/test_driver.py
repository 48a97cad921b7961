# SPDX-License-Identifier: Apache-2.0
"""Goal: init, joining, shutdown, and the errors of a machine that lacks something.

Method: programs in processes of their own, so that each has its own environment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from support import run_program


def error_of(source: str, **env: str) -> str:
    done = run_program(
        "import polyray as ray\n"
        f"try:\n    {source}\n"
        "except Exception as e:\n    print(type(e).__name__, e)\n",
        env=env,
    )
    return done.stdout


def test_importing_loads_nothing_heavy_and_starts_nothing() -> None:
    heavy = run_program(
        "import sys, polyray, threading; "
        "heavy = ('numpy', 'pyarrow', 'asyncio', 'logging', 'subprocess', 'grpc', 'cloudpickle', "
        "'inspect', 'dataclasses', 'traceback', 'hashlib', 'pickle'); "
        "print([m for m in heavy if m in sys.modules], "
        "threading.active_count())"
    ).stdout
    assert heavy.strip() == "[] 1"


def test_the_start_process_that_boots_beside_the_node_is_the_only_one() -> None:
    source = dedent(
        """
        import os, pathlib, polyray as ray
        from polyray import runtime

        @ray.remote
        def parent():
            return os.getppid()

        @ray.remote
        class Actor:
            def parent(self):
                return os.getppid()

        def command(pid):
            return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()

        ray.init(num_cpus=1)
        node = runtime.current().embedded.pid
        parents = {ray.get(parent.remote()), ray.get(Actor.remote().parent.remote())}
        children = set()
        for thread in pathlib.Path(f"/proc/{node}/task").iterdir():
            children |= {int(pid) for pid in (thread / "children").read_text().split()}
        print(parents == {pid for pid in children if b"polyray.zygote" in command(pid)})
        """
    )
    assert run_program(source).stdout.strip() == "True"


def test_no_thread_is_started_by_attaching() -> None:
    source = (
        "import os, polyray as ray; ray.init(num_cpus=1); print(len(os.listdir('/proc/self/task')))"
    )
    assert run_program(source).stdout.strip() == "1"


def test_init_gives_a_context_and_shutdown_allows_another() -> None:
    source = (
        "import polyray as ray\n"
        "assert not ray.is_initialized()\n"
        "with ray.init(num_cpus=3, resources={'alice': 2}) as context:\n"
        "    assert context['address'] == context.address_info['address']\n"
        "    assert ray.is_initialized()\n"
        "    total = ray.cluster_resources()\n"
        "    assert total['CPU'] == 3 and total['alice'] == 2, total\n"
        "    assert len(ray.nodes()) == 1 and ray.nodes()[0]['Alive']\n"
        "    assert ray.available_resources()['CPU'] == 3\n"
        "    try:\n        ray.init()\n        assert False\n"
        "    except RuntimeError as e:\n        assert 'ray.init twice' in str(e)\n"
        "    ray.init(ignore_reinit_error=True)\n"
        "assert not ray.is_initialized()\n"
        "ray.init(num_cpus=1)\n"
        "assert ray.cluster_resources()['CPU'] == 1\n"
    )
    run_program(source)


def test_the_first_use_starts_a_runtime() -> None:
    assert (
        run_program(
            "import polyray as ray; print(ray.get(ray.remote(lambda: 5).remote()))"
        ).stdout.strip()
        == "5"
    )


def test_a_started_head_is_joined_by_address_auto_and_environment(
    tmp_path: Path,
) -> None:
    env = {"POLYRAY_TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "polyray"]
    started = run_program(
        "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))",
        *command,
        "start",
        "--head",
        "--port",
        "0",
        "--num-cpus",
        "2",
        "--json",
        env=env,
    )
    import json

    address = json.loads(started.stdout)["address"]
    try:
        use = (
            "context = ray.get_runtime_context(); "
            "print(ray.get(ray.remote(lambda: 6).remote()), context.gcs_address)"
        )
        for init in (
            f"ray.init({address!r})",
            "ray.init('auto')",
            "ray.init(address='auto', namespace='n')",
        ):
            assert run_program(f"import polyray as ray; {init}; {use}", env=env).stdout.split() == [
                "6",
                address,
            ]
        assert run_program(
            f"import polyray as ray; {use}", env={**env, "RAY_ADDRESS": address}
        ).stdout.split() == ["6", address]
        assert "must not be provided" in error_of(f"ray.init({address!r}, num_cpus=1)", **env)
        sized = f"ray.init({address!r}, object_store_memory=2**27)"
        assert "does not set its size" in error_of(sized, **env)
    finally:
        subprocess.run(
            [*command, "stop", "--address", address],
            env={**__import__("os").environ, **env},
            timeout=60,
            check=True,
            capture_output=True,
        )


@pytest.mark.parametrize(
    ("source", "env", "expected"),
    [
        ("ray.init('127.0.0.1:1')", {}, "RaySystemError .*no runtime found at address"),
        ("ray.init('session:0000000000000000')", {}, "no runtime found"),
        ("ray.init(num_cpus=-1)", {}, "ValueError .*must be nonnegative.*CPU"),
        (
            "ray.init(object_store_memory=1)",
            {},
            "InvalidOptionError .*objectStoreMemory",
        ),
        (
            "ray.init(object_store_memory=2**52)",
            {},
            "InvalidOptionError .*objectStoreMemory",
        ),
        ("ray.init(colour='blue')", {}, "RuntimeError Unknown keyword argument.s.: colour"),
        ("ray.init(num_cpus=1.5)", {}, "ValueError .*whole numbers.*CPU"),
        ("ray.init(num_cpus='a')", {}, "AssertionError CPU .*str.*: a"),
        ("ray.init(resources={'x': -1})", {}, "ValueError .*nonnegative.*'x'"),
        ("ray.init(local_mode=True)", {}, "RuntimeError .*local_mode. is no longer supported"),
        ("ray.init(resources={'CPU': 1})", {}, "AssertionError .*cannot be a custom resource"),
        ("ray.init('ray://host:10001')", {}, "InvalidOptionError .*ray://"),
        ("ray.init(runtime_env={'pip': 3})", {}, "TypeError .*pip"),
        (
            "ray.init()",
            {"POLYRAY_HOME": "/nowhere"},
            "RaySystemError .*JavaScript half",
        ),
        (
            "ray.init()",
            {"POLYRAY_NODE": "/bin/false"},
            "RaySystemError .*does not run as Node.js",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_a_typed_error(
    source: str, env: dict[str, str], expected: str
) -> None:
    import re

    assert re.search(expected, error_of(source, **env)), error_of(source, **env)


def test_worker_output_reaches_the_driver_with_name_and_pid() -> None:
    source = (
        "import polyray as ray, time\nray.init(num_cpus=1)\n"
        "@ray.remote\ndef talk():\n    print('hello from below')\n"
        "ray.get(talk.remote())\ntime.sleep(1)\n"
    )
    done = run_program(source)
    assert "(talk pid=" in done.stdout + done.stderr
    assert "hello from below" in done.stdout + done.stderr


def test_the_first_worker_starts_with_the_runtime_and_runs_the_first_task() -> None:
    source = """
import os, re, time
import polyray as ray

def workers():
    logs = os.path.join(context.address_info["session_dir"], "logs")
    found = os.listdir(logs) if os.path.isdir(logs) else []
    return sorted(name for name in found if re.match("worker-.*out$", name))

@ray.remote
def f(x):
    return x + 1

context = ray.init(num_cpus=1)
while not workers():
    time.sleep(0.01)
before = workers()
assert ray.get(f.remote(1)) == 2
assert workers() == before, workers()
"""
    assert run_program(source).returncode == 0
