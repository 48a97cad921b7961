# SPDX-License-Identifier: Apache-2.0
"""Goal: `init(_tracing_startup_hook=...)` and POLYRAY_TRACING make Ray's spans, and calls without
them, or without the packages, are as they were.

Method: programs of their own, since an SDK is set up once a process; their spans are read from the
files that polyray.util.tracing.setup_local_tmp_tracing writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from polyray.tracing import Run, Tracing
from support import run_program

HOOK = "ray.util.tracing.setup_local_tmp_tracing:setup_tracing"

FIXTURES = Path(__file__).parents[1] / "ts" / "mixed" / "fixtures"

CALLS = f"""
import polyray as ray
from polyray.util.tracing.tracing_helper import _is_tracing_enabled
assert not _is_tracing_enabled()
ray.init(num_cpus=2, _tracing_startup_hook={HOOK!r})
assert _is_tracing_enabled()

@ray.remote
def f(value, *, more=0):
    return value + 1 + more

@ray.remote
class Counter:
    def __init__(self):
        self.value = 0
    def increment(self, by=1):
        self.value += by
        return self.value
    def fail(self):
        raise ValueError("no")

@ray.remote
def items(count):
    for n in range(count):
        yield ray.get(f.remote(n))

"""


def _run(source: str, folder: Path, **env: str) -> list[dict[str, Any]]:
    run_program(source, env={"TMPDIR": str(folder), **env})
    lines = [
        line
        for file in (folder / "spans").glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return [json.loads(line) for line in lines]


def _tree(spans: list[dict[str, Any]]) -> list[str]:
    """The names from the root to each span that has no children."""
    by_id = {span["context"]["span_id"]: span for span in spans}
    parents = {span["parent_id"] for span in spans}

    def path(span: dict[str, Any]) -> str:
        above = by_id.get(span["parent_id"])
        return span["name"] if above is None else f"{path(above)} > {span['name']}"

    return sorted(path(span) for span in spans if span["context"]["span_id"] not in parents)


def _call(name: str) -> str:
    return f"{name} ray.remote > {name} ray.remote_worker"


def test_tasks_and_methods_make_the_spans_of_ray(tmp_path: Path) -> None:
    spans = _run(
        CALLS
        + """
assert ray.get(f.remote(2, more=3)) == 6
assert ray.get(f.options(num_cpus=0.5).remote(2)) == 3
counter = Counter.remote()
assert ray.get(counter.increment.remote(by=2)) == 2
assert ray.get(counter.increment.options(name="other").remote()) == 3
del counter
ray.shutdown()
assert not _is_tracing_enabled()
""",
        tmp_path,
    )
    assert _tree(spans) == [
        _call("Counter.__init__"),
        _call("Counter.increment"),
        _call("Counter.increment"),
        _call("__main__.f"),
        _call("__main__.f"),
    ]
    worker = next(span for span in spans if span["name"] == "Counter.increment ray.remote_worker")
    assert worker["kind"] == "SpanKind.CONSUMER"
    found = worker["attributes"]
    assert found["ray.remote"] == "actor"
    assert found["ray.function"] == "Counter.increment"
    assert (found["ray.actor_class"], found["ray.actor_method"]) == ("Counter", "increment")
    assert {"ray.pid", "ray.job_id", "ray.node_id", "ray.worker_id", "ray.task_id"} <= set(found)
    creation = next(span for span in spans if span["name"] == "Counter.__init__ ray.remote")
    assert creation["attributes"]["ray.actor_id"] == found["ray.actor_id"]


def test_errors_and_streams(tmp_path: Path) -> None:
    spans = _run(
        CALLS
        + """
counter = Counter.remote()
try:
    ray.get(counter.fail.remote())
except ValueError:
    pass
assert [ray.get(ref) for ref in items.remote(2)] == [1, 2]
ray.get(counter.increment.remote())
""",
        tmp_path,
    )
    failed = next(span for span in spans if span["name"] == "Counter.fail ray.remote_worker")
    assert failed["status"] == {"status_code": "ERROR", "description": "ValueError: no"}
    assert failed["events"][0]["attributes"]["exception.type"] == "ValueError"
    below = f"{_call('__main__.items')} > {_call('__main__.f')}"
    assert _tree(spans).count(below) == 2


@pytest.mark.parametrize("lacks", ["sdk", "api"])
def test_typescript_workers_without_opentelemetry_pass_the_trace_on(
    tmp_path: Path, lacks: str
) -> None:
    hides = tmp_path / "hides.cjs"
    hides.write_text(
        "const Module = require('node:module');\n"
        "const plain = Module._resolveFilename;\n"
        "Module._resolveFilename = (name, ...rest) => {\n"
        "  const own = !rest[0]?.filename?.includes('/node_modules/');\n"  # the SDK finds it
        "  if (own && name === '@opentelemetry/api') throw new Error('not installed');\n"
        "  return plain.call(Module, name, ...rest);\n"
        "};\n"
    )
    env = {"NODE_OPTIONS": f"--require {hides}"} if lacks == "api" else {}
    source = f"""
import sys
sys.path.insert(0, {str(FIXTURES)!r})
import polyray as ray
ray.init(num_cpus=2, _tracing_startup_hook={HOOK!r})
assert ray.get(ray.js_function({str(FIXTURES / "spans.ts")!r}, "back").remote(1)) == 3
"""
    spans = _run(source, tmp_path, **env)
    assert _tree(spans) == ["back ray.remote > spans_side.leaf ray.remote_worker"]
    assert len({span["context"]["trace_id"] for span in spans}) == 1


def test_the_variable_alone_turns_it_on(tmp_path: Path) -> None:
    source = """
import polyray as ray
ray.init(num_cpus=1)
f = ray.remote(lambda x: x + 1)
assert ray.get(f.remote(1)) == 2
"""
    asked = json.dumps({"pythonSetup": HOOK})
    spans = _run(source, tmp_path, POLYRAY_TRACING=asked)
    assert _tree(spans) == [_call("__main__.<lambda>")]
    (tmp_path / "off").mkdir()
    assert _run(source, tmp_path / "off", POLYRAY_TRACING="0") == []
    assert _run(source, tmp_path / "off", POLYRAY_TRACING="1") == []  # no SDK: nobody records


# A finder that stands for an environment without the packages.
HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
"""


def test_a_missing_package_is_named_with_how_to_install_it() -> None:
    done = run_program(
        HIDDEN
        + """
import polyray as ray
from polyray.exceptions import InvalidOptionError
try:
    ray.init(num_cpus=1, _tracing_startup_hook="m:f")
except InvalidOptionError as error:
    assert isinstance(error, ImportError)
    print(error)
assert not ray.is_initialized()
"""
    )
    assert "pip install opentelemetry-api" in done.stdout


def test_tracing_for_typescript_alone_does_not_need_the_package(tmp_path: Path) -> None:
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError('hidden')\n")
    run_program(
        f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})  # of the workers too
import polyray as ray
from polyray.util.tracing.tracing_helper import _is_tracing_enabled
ray.init(num_cpus=1)
assert not _is_tracing_enabled()
assert ray.get(ray.remote(_is_tracing_enabled).remote()) is False
""",
        env={"POLYRAY_TRACING": json.dumps({"setup": "./otel.mjs#setUp"})},
    )


def test_a_worker_that_cannot_set_it_up_answers_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(
        "import os\nDRIVER = os.getpid()\ndef set_up():\n"
        "    if os.environ.get('POLYRAY_SESSION_ID'):\n        raise RuntimeError('not here')\n"
    )
    run_program(
        f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import polyray as ray
from polyray.exceptions import RuntimeEnvSetupError
ray.init(num_cpus=1, _tracing_startup_hook="hooks:set_up")
try:
    ray.get(ray.remote(lambda: 1).remote())
except RuntimeEnvSetupError as error:
    assert "tracing could not be set up" in str(error) and "not here" in str(error), error
else:
    raise AssertionError("it ran")
"""
    )


@pytest.mark.parametrize("hook", ["module", ":f", "m:", 5, print])
def test_a_hook_in_another_form_is_refused(hook: Callable[..., Any] | object) -> None:
    import polyray as ray

    with pytest.raises(ray.exceptions.InvalidOptionError, match="module:function"):
        ray.init(_tracing_startup_hook=hook)
    assert not ray.is_initialized()


def test_off_nothing_of_it_is_loaded() -> None:
    run_program(
        """
import sys
import polyray as ray
ray.init(num_cpus=1)
@ray.remote
def loaded():
    return [name for name in sys.modules if "opentelemetry" in name or name == "polyray.tracing"]
assert ray.get(loaded.remote()) == []
assert not [name for name in sys.modules if name == "polyray.tracing"]
"""
    )


class Recorder:
    """Stands for Tracing and for its span: what happens to the span of a run."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def start(self, name: str, attributes: object, carrier: object) -> tuple[Recorder, None]:
        return self, None

    def enter(self, context: None) -> None: ...

    def leave(self, token: None) -> None: ...

    def fail(self, span: object, error: BaseException) -> None:
        self.seen.append(type(error).__name__)

    def end(self) -> None:
        self.seen.append("end")


def _stops() -> None:
    raise StopIteration


def _two(fails: bool) -> Iterator[int]:
    yield 1
    if fails:
        raise KeyError
    yield 2


async def _two_later(fails: bool) -> AsyncIterator[int]:
    for item in _two(fails):
        yield item


async def _later(fails: bool) -> int:
    return sum(_two(fails))


def _first(run: Any) -> None:
    items = run(False)
    next(items)
    items.close()


async def _collect(run: Any, fails: bool) -> list[int]:
    return [item async for item in run(fails)]


@pytest.mark.parametrize(
    ("body", "use", "seen"),
    [
        (_stops, lambda run: run(), ["StopIteration", "end"]),
        (_two, lambda run: list(run(False)), ["end"]),
        (_two, lambda run: list(run(True)), ["KeyError", "end"]),
        (_two, _first, ["end"]),
        (_two_later, lambda run: asyncio.run(_collect(run, False)), ["end"]),
        (_two_later, lambda run: asyncio.run(_collect(run, True)), ["KeyError", "end"]),
        (_later, lambda run: asyncio.run(run(False)), ["end"]),
        (_later, lambda run: asyncio.run(run(True)), ["KeyError", "end"]),
    ],
)
def test_the_span_of_a_run_ends_once(
    body: Callable[..., Any], use: Callable[[Any], Any], seen: list[str]
) -> None:
    recorder = Recorder()
    with contextlib.suppress(KeyError, StopIteration):
        use(Run(recorder, "f", {}, {}, body))  # type: ignore[arg-type]
    assert recorder.seen == seen


def test_an_error_without_a_text_stays_the_error() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    span: Any = TracerProvider().get_tracer("test").start_span("run")
    Tracing().fail(span, Mute())
    assert span.status.description == "Mute"
