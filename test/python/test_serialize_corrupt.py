# SPDX-License-Identifier: Apache-2.0
"""Goal: bytes of any content give a value or a CorruptValueError, nothing else.

Method: every cut of the shared cases, seeded random damage, and hand-made lies. Opaque payloads are
left out of the damage: a pickle is trusted, its bytes come from an authenticated peer.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from polyray.exceptions import CorruptValueError, RayError
from polyray.serialize import decode, encode
from polyray.task_spec import TaskSpecFields, decode_task_spec, encode_task_spec
from tagged_values import CONTEXT

VALUES = Path(__file__).parents[1] / "contract" / "values"
CASES = [
    c for c in json.loads((VALUES / "cases.json").read_text())["cases"] if len(c["hex"]) < 4000
]


def test_every_cut_of_every_case_is_refused() -> None:
    for case in CASES:
        data = bytes.fromhex(case["hex"])
        for end in range(len(data)):
            with pytest.raises(CorruptValueError):
                decode(data[:end], CONTEXT)


def test_damaged_envelopes_give_a_value_or_a_typed_error() -> None:
    seed = int(os.environ.get("POLYRAY_SEED", "20261122"))
    source = random.Random(seed)
    refused = 0
    for _ in range(8000):
        case = source.choice(CASES)
        data = bytearray.fromhex(case["hex"])
        for _ in range(source.randint(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        try:
            decode(bytes(data), CONTEXT)
        except RayError:
            refused += 1
        except Exception as error:
            pytest.fail(f"seed {seed}, {case['name']}, {data.hex()}: {error!r}")
    assert refused > 1000


def envelope(body: bytes) -> bytes:
    """An envelope around a body."""
    return bytes([1, 0, 0, 0]) + len(body).to_bytes(4, "little") + bytes(8) + body


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\x00\x00\x01\x00a",
        b"\xd4\x63\x00",
        b"\xc1",
        b"\xd6\x01\x00\x00\x00\x00",
        b"\xd6\x04\x09\x00\x00\x00",
        b"\xd4\x10\x01",
        b"\x01\x02",
        b"",
        b"\xa2\xff\xfe",
        b"\x91" * 5000,
        b"\x81\x90\x01",
    ],
    ids=lambda body: body[:6].hex(),
)
def test_lies_in_lengths_and_numbers_are_refused(body: bytes) -> None:
    with pytest.raises(CorruptValueError):
        decode(envelope(body), CONTEXT)


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 2), (1, 128), (2, 5), (8, 255), (16, 1), (16, 0), (24, 255), (31, 255)],
)
def test_headers_that_lie_are_refused(at: int, value: int) -> None:
    data = bytearray(encode({"b": b"x" * 300}).to_bytes())
    data[at] = value
    with pytest.raises(CorruptValueError):
        decode(bytes(data))


def test_damaged_task_specs_give_fields_or_a_typed_error() -> None:
    spec = TaskSpecFields(
        "actor_class", "py", "n", payload=b"abc", resources={"CPU": 1}, sys_path=["/a"]
    )
    good = encode_task_spec(spec)
    source = random.Random(7)
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(source.randint(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        try:
            decode_task_spec(bytes(data[: source.randint(0, len(data))]))
        except CorruptValueError:
            continue
