# SPDX-License-Identifier: Apache-2.0
"""Goal: task specs keep all their fields, in both languages.

Method: the bytes that each language wrote (test/contract/values/task-spec.json), and defaults.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from polyray.task_spec import (
    MethodFields,
    TaskSpecFields,
    decode_task_spec,
    encode_task_spec,
    to_fixed_point,
)

FILE = Path(__file__).parents[1] / "contract" / "values" / "task-spec.json"
FULL = TaskSpecFields(
    kind="actor_class",
    language="ts",
    form="value",
    module="file:///app/model.ts",
    export_name="Model",
    payload=bytes([1, 2, 3]),
    content_hash="abc",
    name="Model é",
    num_returns=-1,
    max_retries=-1,
    retry_exceptions=True,
    retry_exception_list=b"\x04",
    max_calls=5,
    max_concurrency=6,
    max_restarts=-1,
    max_task_retries=7,
    is_async=True,
    is_generator=True,
    resources={"CPU": 0.5, "alice": 2, "tiny": 0.0001},
    env_vars={"A": "b", "EMPTY": ""},
    working_dir="/app",
    loader_args=["--import", "tsx"],
    sys_path=["/a", "/b"],
    concurrency_groups={"io": 2, "compute": 4},
    scheduling="SPREAD",
    priority=-3,
    timeout_ms=1500.5,
    stream_high_water_mark=16,
    methods=[
        MethodFields("predict", num_returns=2, is_async=True, concurrency_group="io"),
        MethodFields("items", is_generator=True, timeout_ms=5),
    ],
    labels={"zone": "a"},
    namespace="ns",
    actor_name="m",
    lifetime="detached",
    max_pending_calls=9,
    runtime_env_hash="h",
)


@pytest.mark.parametrize("language", ["ts", "py"])
def test_what_each_language_wrote_is_read_alike(language: str) -> None:
    assert decode_task_spec(bytes.fromhex(json.loads(FILE.read_text())[language])) == FULL


def test_every_field_comes_back() -> None:
    assert decode_task_spec(encode_task_spec(FULL)) == FULL


def test_fields_that_are_left_out_have_their_defaults() -> None:
    fields = decode_task_spec(encode_task_spec(TaskSpecFields("task", "py", "f")))
    assert fields == TaskSpecFields("task", "py", "f", loader_args=[], sys_path=[], methods=[])


def test_amounts_of_resources_are_whole_ten_thousandths() -> None:
    assert to_fixed_point(0.1 + 0.2) == 3000
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises((ValueError, OverflowError)):
            to_fixed_point(bad)
