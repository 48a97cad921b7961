# SPDX-License-Identifier: Apache-2.0
"""Goal: what crosses from Python to TypeScript and back, and what goes wrong on the way.

Method: the fixtures of test/ts/mixed/fixtures, called by path; one runtime.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polyray as ray
import pytest
from polyray.exceptions import (
    ActorDiedError,
    InvalidOptionError,
    ObjectStoreFullError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskUnschedulableError,
    UnserializableException,
    WorkerCrashedError,
)
from support import run_program

FIXTURES = Path(__file__).parents[1] / "ts" / "mixed" / "fixtures"
SIDE = FIXTURES / "side.ts"
LIMIT_S = 60


@pytest.fixture(scope="module", autouse=True)
def _runtime() -> Iterator[None]:
    sys.path.insert(0, str(FIXTURES))
    with ray.init(num_cpus=2, object_store_memory=128 * 2**20, log_to_driver=False):
        yield
    sys.path.remove(str(FIXTURES))


def js(name: str, **options: Any) -> Any:
    return ray.js_function(SIDE, name, **options)


def value_of(ref: Any) -> Any:
    return ray.get(ref, timeout=LIMIT_S)


LOGS = """
import sys
import polyray as ray
ray.init(num_cpus=1, logging_config=ray.LoggingConfig(
    encoding="JSON", log_level="WARN", additional_log_standard_attrs=["process"]))
print(ray.get(ray.js_function(sys.argv[1], "logsLines").remote()))
"""


def test_the_logging_config_of_a_python_driver_holds_in_typescript() -> None:
    done = run_program(LOGS, str(SIDE))
    shown = (done.stdout + done.stderr).splitlines()
    lines = [line[line.index("{") :] for line in shown if "{" in line]
    (row,) = map(json.loads, lines)
    assert (row["message"], row["levelname"]) == ("shown", "WARNING")
    assert str(row["process"]) in done.stdout.splitlines()
    assert not [line for line in shown if "dropped" in line]


def test_python_values_are_what_the_table_says_in_typescript() -> None:
    kinds = value_of(
        js("kindsOf").remote(
            {
                "none": None,
                "flag": True,
                "whole": 7,
                "big": 2**80,
                "half": 0.5,
                "nan": math.nan,
                "text": "x",
                "raw": b"x",
                "list": [1],
                "tuple": (1,),
                "dict": {"a": 1},
                "by_number": {1: "one"},
                "set": {1},
                "when": datetime.datetime.now(datetime.UTC),
                "vector": np.ones(2, np.float32),
                "matrix": np.ones((2, 3)),
            }
        )
    )
    assert kinds == {
        "none": "null",
        "flag": "boolean",
        "whole": "number",
        "big": "bigint",
        "half": "number",
        "nan": "number",
        "text": "string",
        "raw": "Uint8Array",
        "list": "Array",
        "tuple": "Array",
        "dict": "Object",
        "by_number": "Map",
        "set": "Set",
        "when": "Date",
        "vector": "Float32Array",
        "matrix": "NdArray <f8 [2,3]",
    }


def test_typescript_values_are_what_the_table_says_in_python() -> None:
    values = value_of(js("makeValues").remote())
    assert values["nothing"] is None
    assert values["big"] == 2**80 + 1
    assert values["small"] == -3
    assert values["half"] == 0.5
    assert math.isnan(values["nan"])
    assert values["bytes"] == b"\x00\x01\xff"
    assert values["when"] == datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.UTC)
    assert values["map"] == {1: "one"}
    assert values["set"] == {1, 2}
    assert values["doubles"].tolist() == [1.5, -2.0]
    assert values["doubles"].dtype == np.float64
    assert values["matrix"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_default_exports_and_several_returns() -> None:
    assert value_of(ray.js_function(SIDE).remote("a", 1, True)) == "a-1-true"
    first, second = js("pair", num_returns=2).remote()
    assert value_of([first, second]) == [1, "two"]
    counter = ray.js_actor_class(SIDE, "Counter").remote(3)
    assert value_of(counter.pair.options(num_returns=2).remote()) == [3, -3]


def test_refs_and_handles_cross_in_containers() -> None:
    inner = ray.put({"text": "from Python"})
    value, box, made = value_of(js("openBox").remote({"deep": [inner]}))
    assert value == {"text": "from Python"}
    assert box["ref"] == inner
    assert value_of(made) == "made in TypeScript"

    @ray.remote
    class Adder:
        def __init__(self) -> None:
            self.total = 0

        def add(self, n: int) -> int:
            self.total += n
            return self.total

    adder = Adder.remote()
    assert value_of(js("useHandle").remote({"counter": adder}, 10)) == 10
    assert value_of(adder.add.remote(1)) == 11


def test_a_typescript_error_says_class_message_and_stack() -> None:
    with pytest.raises(RayTaskError, match="LevelError: level 3") as caught:
        value_of(js("fails").remote("own"))
    text = str(caught.value)
    assert "side.ts" in text
    assert re.search(r"at (\w+\.)?fails ", text)
    assert caught.value.cause.class_name == "LevelError"
    with pytest.raises(ray.exceptions.RayTaskError, match="TypeError: no such luck"):
        value_of(js("fails").remote("type"))


@pytest.mark.parametrize("kind", ["number", "undefined", "null"])
def test_a_thrown_non_error_says_what_was_thrown(kind: str) -> None:
    expected = "42" if kind == "number" else kind
    with pytest.raises(RayTaskError, match=expected):
        value_of(js("fails").remote(kind))


def test_a_python_exception_through_typescript_is_itself_again() -> None:
    with pytest.raises(ValueError, match="no such luck") as caught:
        value_of(js("failsInPython").remote())
    assert isinstance(caught.value, RayTaskError)


def test_an_actor_of_typescript_that_fails() -> None:
    counter = ray.js_actor_class(SIDE, "Counter").remote(4)
    with pytest.raises(RayTaskError, match="level 4"):
        value_of(counter.fail.remote())
    assert value_of(counter.add.remote(1)) == 5
    broken = ray.js_actor_class(SIDE, "Counter").remote(-1)
    with pytest.raises(ActorDiedError, match="starts at 0 or above"):
        value_of(broken.add.remote(1))


def test_modules_and_exports_that_do_not_load() -> None:
    with pytest.raises(RuntimeEnvSetupError, match=r"broken-side\.ts.*never loads"):
        value_of(ray.js_function(FIXTURES / "broken-side.ts", "anything").remote())
    with pytest.raises(RuntimeEnvSetupError, match=r"side\.ts.*noSuchExport"):
        value_of(js("noSuchExport").remote())
    with pytest.raises(InvalidOptionError, match="no module"):
        ray.js_function(FIXTURES / "missing.ts", "f")


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_typescript_worker_that_dies(how: str, tmp_path: Path) -> None:
    with pytest.raises(WorkerCrashedError):
        value_of(js("die", max_retries=0).remote(how))
    assert value_of(js("die").remote(how, str(tmp_path / "marker"))) == "second run"


def test_retry_exceptions_runs_a_typescript_function_again(tmp_path: Path) -> None:
    flaky = js("flaky", max_retries=5, retry_exceptions=True)
    assert value_of(flaky.remote(str(tmp_path / "count"), 3)) == 3
    with pytest.raises(RayTaskError, match="attempt 1"):
        value_of(js("flaky").remote(str(tmp_path / "once"), 3))


def test_a_typescript_actor_restarts() -> None:
    counter = (
        ray.js_actor_class(SIDE, "Counter").options(max_restarts=1, max_task_retries=1).remote(10)
    )
    assert value_of(counter.add.remote(1)) == 11
    os.kill(value_of(counter.pid.remote()), signal.SIGKILL)
    assert value_of(counter.value.remote()) == 10


def test_python_exceptions_of_python_tasks_keep_their_class() -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("plain")

    caught: Exception | None = None
    try:
        value_of(fail.remote())
    except ValueError as error:
        caught = error
    assert isinstance(caught, RayTaskError)
    assert "plain" in str(caught)


def test_bad_input_is_named() -> None:
    import threading

    with pytest.raises((UnserializableException, TypeError), match="lock"):
        js("echo").remote({"deep": [threading.Lock()]})
    with pytest.raises(TaskUnschedulableError, match="bob"):
        value_of(js("square", resources={"bob": 1}).remote(2))
    actor = ray.js_actor_class(SIDE, "Counter").options(resources={"bob": 1}).remote()
    with pytest.raises(RayError, match="bob"):
        value_of(actor.add.remote(1))
    with pytest.raises((InvalidOptionError, ValueError), match="num_cpu"):
        js("square", num_cpu=1)
    assert value_of(js("square").remote(3)) == 9


def test_a_full_store_is_a_typed_error_and_works_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A put waits for room: nobody else will make any here. Values in use are not spilled.
    monkeypatch.setattr("polyray.runtime._PUT_WAIT_MS", 1000)
    held: list[Any] = []
    with pytest.raises(ObjectStoreFullError, match=str(os.getpid())):
        held.extend(ray.get(ray.put(np.ones(2_000_000))) for _ in range(100))
    assert len(held) > 2
    held.clear()
    assert value_of(js("square").remote(4)) == 16
    assert value_of(ray.put(np.ones(2_000_000))).sum() == 2_000_000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("num_cpus=float('nan')", "num_cpus"),
        ("num_gpus=-1", "GPU"),
        ("object_store_memory=-1", "object_store_memory"),
        ("resources={'alice': float('nan')}", "resources"),
        ("_plasma_directory='/no/such/folder'", "/no/such/folder"),
    ],
)
def test_impossible_options_of_init(options: str, expected: str) -> None:
    source = (
        "import polyray as ray\n"
        f"try:\n    ray.init({options})\n"
        "except (ray.exceptions.RayError, ValueError, TypeError) as e:\n    print('refused', e)\n"
    )
    said = run_program(source).stdout
    assert said.startswith("refused "), said
    assert expected in said


def test_a_python_without_the_package_fails_the_task() -> None:
    source = (
        "import polyray as ray\nray.init(num_cpus=1)\n"
        "try:\n    ray.get(ray.remote(lambda: 1).remote(), timeout=60)\n"
        "except ray.exceptions.RayError as e:\n    print(type(e).__name__, e)\n"
    )
    said = run_program(source, env={"POLYRAY_PYTHON": "/nonexistent/python3"}).stdout
    assert said.startswith("RuntimeEnvSetupError "), said
    assert "/nonexistent/python3" in said
