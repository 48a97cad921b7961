# SPDX-License-Identifier: Apache-2.0
"""Goal: what surrounds the start of a runtime does not break it: prints of sitecustomize, folders
given to a runtime that is joined.

Method: programs in processes of their own.
"""

from __future__ import annotations

from pathlib import Path

import polyray as ray
import pytest
from support import run_program

_TASK = """
import polyray as ray
ray.init(num_cpus=1)
@ray.remote
def f():
    return 5
print("value", ray.get(f.remote()))
"""


@pytest.mark.parametrize(
    "noise",
    [
        'import sys\nif "polyray.zygote" in sys.orig_argv: print("hello", end="")',
        'print("hello")',
        # while the zygote preloads and forks
        'import os; os.register_at_fork(before=lambda: print("fork", end="", flush=True))',
    ],
)
def test_a_print_of_sitecustomize_does_not_break_the_start_process(
    tmp_path: Path, noise: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(noise)
    done = run_program(_TASK, env={"PYTHONPATH": str(tmp_path)})
    assert "value 5" in done.stdout


def test_folders_have_no_effect_when_a_runtime_is_joined(tmp_path: Path) -> None:
    with ray.init(num_cpus=1) as context:
        done = run_program(
            "import sys, polyray as ray\n"
            "folder = sys.argv[2]\n"
            "context = ray.init(sys.argv[1], _temp_dir=folder, _plasma_directory=folder)\n"
            "print(context['session_name'])\n",
            context["address"],
            str(tmp_path),
        )
        assert done.stdout.strip().endswith(context["session_name"])
    assert list(tmp_path.iterdir()) == []
