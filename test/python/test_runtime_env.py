# SPDX-License-Identifier: Apache-2.0
"""Goal: runtime environments: variables, folders, modules, packages, hooks, and what is refused.

Method: one runtime whose job has folders, modules, variables and a hook; tasks and actors change
parts of it. Requirements are local wheels made here: no network.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polyray as ray
import pytest
from polyray import runtime
from polyray.exceptions import RuntimeEnvSetupError
from polyray.runtime_env import RuntimeEnv, RuntimeEnvConfig
from support import run_program


def wheel(folder: Path, name: str, version: str = "1.0") -> str:
    """A wheel with one module of that name."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        out.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        out.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        out.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return str(path)


def hook() -> None:
    """Runs in each worker before anything else."""
    import os

    os.environ["HOOKED"] = os.environ["A"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("env")
    work = base / "work"
    for path, text in {
        "mod_a.py": "X = 1\n",
        "data.txt": "hi",
        "a.log": "left out by .gitignore",
        ".gitignore": "*.log\n!keep.log\n",
        "keep.log": "kept",
        "sub/skip/z.bin": "left out by excludes",
        "sub/k.txt": "k",
        "__pycache__/x.pyc": "left out always",
    }.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    (base / "mypkg").mkdir()
    (base / "mypkg" / "__init__.py").write_text("Y = 2\n")
    (base / "single.py").write_text("Z = 3\n")
    modules = [str(base / "mypkg"), str(base / "single.py"), wheel(base, "wheeled")]
    env = {
        "env_vars": {"A": "1", "B": "2", "P": "${HOME}/x:${NOPE_NOT_SET}"},
        "working_dir": str(work),
        "excludes": ["sub/skip"],
        "py_modules": modules,
        "worker_process_setup_hook": hook,
    }
    with ray.init(num_cpus=2, runtime_env=env):
        (work / "data.txt").write_text("changed after init")
        yield base


@ray.remote
def look() -> dict[str, Any]:
    import mod_a  # type: ignore[import-not-found]
    import mypkg  # type: ignore[import-not-found]
    import single  # type: ignore[import-not-found]
    import wheeled  # type: ignore[import-not-found]

    names = ("A", "B", "C", "D", "P", "HOOKED", "PYTHONPATH")
    return {
        **{name: os.environ.get(name) for name in names},
        "files": sorted(os.listdir(".")) + sorted(os.listdir("sub")),
        "data": Path("data.txt").read_text(),
        "modules": (mod_a.X, mypkg.Y, single.Z, wheeled.VERSION),
        "cwd": os.getcwd(),
        "env": ray.get_runtime_context().get_runtime_env_string(),
        "path": sys.path[:6],
    }


def test_workers_start_in_the_jobs_environment(place: Path) -> None:
    seen = ray.get(look.remote())
    seen["files"] = [name for name in seen["files"] if name != "__pycache__"]
    assert seen["files"] == [".gitignore", "data.txt", "keep.log", "mod_a.py", "sub", "k.txt"]
    assert seen["data"] == "hi"  # as it was at init
    assert seen["modules"] == (1, 2, 3, "1.0")
    assert (seen["A"], seen["B"], seen["HOOKED"]) == ("1", "2", "1")
    assert seen["P"] == f"{os.environ['HOME']}/x:"
    assert "working_dir_files/_ray_pkg_" in seen["cwd"]
    assert seen["cwd"] in seen["path"]
    assert seen["cwd"] in seen["PYTHONPATH"]
    text = json.loads(seen["env"])
    assert text["working_dir"].startswith("gcs://_ray_pkg_")
    assert text["working_dir"].endswith(".zip")
    assert [one[:15] for one in text["py_modules"]] == ["gcs://_ray_pkg_"] * 3
    assert text["worker_process_setup_hook"] == "hook"
    assert text["env_vars"]["A"] == "1"
    assert ray.get_runtime_context().runtime_env["working_dir"] == text["working_dir"]
    assert json.loads(ray.get_runtime_context().get_runtime_env_string()) == text


@ray.remote
def variables() -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) for name in "ABCD")


def test_variables_merge_by_name_and_children_inherit(place: Path) -> None:
    own = variables.options(runtime_env={"env_vars": {"B": "3"}})
    assert ray.get(own.remote()) == ("1", "3", None, None)

    @ray.remote(runtime_env={"env_vars": {"C": "dec", "D": "dec"}})
    def decorated() -> tuple[str | None, ...]:
        return tuple(os.environ.get(name) for name in "ABCD")

    assert ray.get(decorated.remote()) == ("1", "2", "dec", "dec")
    other = decorated.options(runtime_env={"env_vars": {"C": "opt"}})
    assert ray.get(other.remote()) == ("1", "2", "opt", None)

    @ray.remote
    def parent() -> list[Any]:
        changed = variables.options(runtime_env={"env_vars": {"B": "9"}})
        return ray.get([variables.remote(), changed.remote()])

    nested = parent.options(runtime_env={"env_vars": {"C": "7"}}).remote()
    assert ray.get(nested) == [("1", "2", "7", None), ("1", "9", "7", None)]

    @ray.remote
    class Holder:
        def seen(self) -> tuple[str | None, ...]:
            return tuple(os.environ.get(name) for name in "ABCD")

    holder = Holder.options(runtime_env=RuntimeEnv(env_vars={"D": "actor"})).remote()
    assert ray.get(holder.seen.remote()) == ("1", "2", None, "actor")


def test_workers_are_shared_within_one_environment_only(place: Path) -> None:
    @ray.remote
    def pid() -> int:
        return os.getpid()

    one = pid.options(runtime_env={"env_vars": {"WHICH": "one"}})
    two = pid.options(runtime_env={"env_vars": {"WHICH": "two"}})
    first, second = ray.get(one.remote()), ray.get(two.remote())
    assert first != second
    assert ray.get(one.remote()) == first
    assert ray.get(two.remote()) == second


has_uv = shutil.which("uv") is not None or importlib.util.find_spec("uv") is not None
needs_uv = pytest.mark.skipif(not has_uv, reason="uv is not installed here")


@pytest.mark.parametrize("tool", ["pip", pytest.param("uv", marks=needs_uv)])
def test_requirements_are_installed_once(place: Path, tool: str) -> None:
    name = f"wanted_{tool}"
    file = wheel(place, name, "2.5")

    @ray.remote
    def version() -> tuple[str, bool, bool]:
        import cloudpickle  # of the base interpreter
        import mod_a

        found = importlib.import_module(name)
        return found.VERSION, sys.prefix != sys.base_prefix, bool(cloudpickle and mod_a)

    options = "pip_install_options" if tool == "pip" else "uv_pip_install_options"
    env = {tool: {"packages": [file], options: ["--no-index", "--no-deps"]}}
    task = version.options(runtime_env=env)
    assert ray.get(task.remote()) == ("2.5", True, True)
    folders = {p for p in cache_folder().iterdir() if p.name.startswith(f"{tool}-")}
    assert ray.get([task.remote() for _ in range(4)]) == [("2.5", True, True)] * 4
    assert {p for p in cache_folder().iterdir() if p.name.startswith(f"{tool}-")} == folders
    with pytest.raises(ImportError):
        ray.get(version.remote())


def cache_folder() -> Path:
    return Path(runtime.current().place.session_dir).parent / "environments"


@pytest.mark.parametrize(
    ("env", "text"),
    [
        (
            {"pip": {"packages": ["no-such-package-xyz"], "pip_install_options": ["--no-index"]}},
            "pip install failed(.|\n)*no-such-package-xyz",
        ),
        ({"py_executable": "/nowhere/python"}, "/nowhere/python.*does not exist"),
        ({"py_executable": "/bin/false"}, "/bin/false could not be run"),
        ({"conda": "some_env"}, "conda"),
        ({"container": {"image": "x"}}, "container is not supported"),
        ({"image_uri": "x"}, "image_uri is not supported"),
        ({"nsight": "default"}, "nsight is not supported"),
        ({"worker_process_setup_hook": "mod_a.nothing"}, "setup hook"),
        (
            {
                "pip": {"packages": ["x"], "pip_install_options": ["--bad-option"]},
                "config": {"setup_timeout_seconds": 30},
            },
            "pip install failed",
        ),
    ],
)
def test_what_cannot_be_set_up_is_told(place: Path, env: dict[str, Any], text: str) -> None:
    @ray.remote(max_retries=0)
    def never() -> None:
        raise AssertionError("user code ran")

    with pytest.raises(RuntimeEnvSetupError, match=text):
        ray.get(never.options(runtime_env=RuntimeEnv(**env)).remote())


def test_an_actor_whose_environment_fails_is_dead(place: Path) -> None:
    @ray.remote
    class Never:
        def go(self) -> int:
            return 1

    actor = Never.options(runtime_env={"py_executable": "/nowhere/python"}).remote()
    with pytest.raises((RuntimeEnvSetupError, ray.exceptions.ActorDiedError), match="/nowhere"):
        ray.get(actor.go.remote())


def test_another_interpreter_serves(place: Path) -> None:
    @ray.remote
    def which() -> list[str]:
        return sys.orig_argv[:1]

    own = which.options(runtime_env={"py_executable": sys.executable + " -X dev"})
    assert ray.get(own.remote())[0] == sys.executable


@pytest.mark.parametrize(
    ("env", "error", "text"),
    [
        ({"env_vars": {"A": 1}}, TypeError, "Dict.str, str., but the value 1 is of type"),
        ({"env_vars": [1]}, TypeError, "Dict.str, str., got <class 'list'>"),
        ({"working_dir": "/nope"}, ValueError, "/nope is not a valid path."),
        ({"working_dir": 3}, TypeError, "`working_dir` must be a string"),
        ({"working_dir": "s3://a/b"}, ValueError, "Only .zip, .tar.gz"),
        ({"working_dir": "/tmp"}, ValueError, "only supported at the job level"),
        ({"py_modules": "x"}, TypeError, "`py_modules` must be a list of strings"),
        ({"py_modules": ["/nope"]}, ValueError, "/nope is not a valid path."),
        ({"pip": 3}, TypeError, "must be of type str or List.str.*int"),
        ({"pip": "/nope.txt"}, ValueError, "/nope.txt is not a valid file"),
        ({"pip": {"packages": 1}}, ValueError, "of type str of list"),
        ({"pip": {"packages": [], "colour": 1}}, ValueError, "can only have these fields"),
        ({"uv": {"uv_check": True}}, ValueError, "must include field 'packages'"),
        ({"pip": ["a"], "conda": "x"}, ValueError, "cannot be specified at the same time"),
        ({"excludes": "x"}, TypeError, "must be of type List.str.*str"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "greater than zero"),
        ({"config": 3}, TypeError, "must be of type dict or RuntimeEnvConfig"),
        ({"container": {"image": "x"}, "pip": ["y"]}, ValueError, "'container' field currently"),
    ],
)
def test_wrong_environments_are_refused_at_once(
    env: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        variables.options(runtime_env=env).remote()


def test_runtime_env_is_a_dict_that_checks() -> None:
    env = RuntimeEnv(pip=["x", "x"], config=RuntimeEnvConfig(setup_timeout_seconds=3), foo=1)
    assert env["pip"] == {"packages": ["x"], "pip_check": False}
    assert env["config"]["setup_timeout_seconds"] == 3
    assert env.plugins() == [("foo", 1)]
    assert env.has_pip()
    assert not env.has_uv()
    assert not env.has_working_dir()
    assert RuntimeEnv.deserialize(env.serialize()) == env
    assert RuntimeEnv(env_vars={}) == {}
    assert RuntimeEnv(uv=["x"])["uv"] == {"packages": ["x"], "uv_check": False}
    assert RuntimeEnvConfig() == {
        "setup_timeout_seconds": 600, "eager_install": True, "log_files": []
    }  # fmt: skip
    with pytest.raises(TypeError, match="must be of type int"):
        RuntimeEnvConfig(setup_timeout_seconds=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Dict"):
        env["env_vars"] = {"A": 1}


def test_an_archive_is_a_working_folder_and_progress_is_shown(tmp_path: Path) -> None:
    archive = tmp_path / "work.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("inside.py", "W = 4\n" * 100)
        out.writestr("deep/text.txt", "text")
    wanted = wheel(tmp_path, "shown")
    done = run_program(
        "import os, sys, time, polyray as ray\n"
        "archive, wheel = sys.argv[1:]\n"
        "env = {'working_dir': archive, 'pip': {'packages': [wheel], "
        "'pip_install_options': ['--no-index']}}\n"
        "ray.init(num_cpus=1, runtime_env=env)\n"
        "@ray.remote\n"
        "def f():\n"
        "    import inside, shown\n"
        "    return inside.W, shown.VERSION, open('deep/text.txt').read()\n"
        "print('value', ray.get(f.remote()))\n"
        "time.sleep(0.3)\n",
        str(archive),
        wanted,
        env={"POLYRAY_TMPDIR": str(tmp_path)},
    )
    assert "value (4, '1.0', 'text')" in done.stdout
    assert "installing" in done.stderr
    assert "ready" in done.stderr
