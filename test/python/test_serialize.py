# SPDX-License-Identifier: Apache-2.0
"""Goal: values keep what docs/values.md promises, on both sides and byte for byte.

Method: the shared cases of test/contract/values in both directions, then what only Python has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pandas
import polyray
import pyarrow
import pytest
from polyray.exceptions import RaySystemError, UnserializableException
from polyray.serialize import (
    JsFunction,
    JsObject,
    decode,
    decode_args,
    deregister_serializer,
    encode,
    encode_args,
    envelope_arg_refs,
    envelope_refs,
    register_codec,
    register_serializer,
)
from tagged_values import CONTEXT, ArgValue, Ref, build, describe

VALUES = Path(__file__).parents[1] / "contract" / "values"
CASES = json.loads((VALUES / "cases.json").read_text())["cases"]
ID = bytes.fromhex("01000000020000000300000000000000")
OTHER = bytes.fromhex("02000000020000000300000000000000")


def round_trip(value: Any) -> Any:
    """The value after an envelope."""
    return decode(encode(value, CONTEXT).to_bytes(), CONTEXT)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_shared_case_is_read_as_the_table_says(case: dict[str, Any]) -> None:
    assert describe(decode(bytes.fromhex(case["hex"]), CONTEXT)) == case.get("py", case["value"])


@pytest.mark.parametrize(
    "case", [c for c in CASES if "py" in c["from"]], ids=lambda case: case["name"]
)
def test_a_shared_case_of_python_is_written_to_the_pinned_bytes(
    case: dict[str, Any],
) -> None:
    assert encode(build(case["value"]), CONTEXT).to_bytes().hex() == case["hex"]


Point = namedtuple("Point", "x y")


@dataclass
class Record:
    """A class of the tests."""

    name: str
    data: Any = None


class Words(list):  # type: ignore[type-arg]
    """A subclass of a plain type."""


@pytest.mark.parametrize(
    "value",
    [
        Fraction(1, 3),
        Decimal("1.10"),
        Point(1, 2),
        Record("a", [1]),
        Words([1, 2]),
        OrderedDict(b=1, a=2),
        datetime(2020, 1, 1),
        datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        date(2020, 1, 1),
        timedelta(seconds=1),
        numpy.str_("text"),
        range(3),
        Path("/tmp"),
        print,
        {"nested": [Fraction(1, 2), (Point(1, 2),)]},
    ],
    ids=repr,
)
def test_other_types_come_back_as_they_were(value: Any) -> None:
    back = round_trip(value)
    assert back == value
    assert type(back) is type(value)


def test_opaque_objects_of_one_value_share_identity() -> None:
    shared = Record("a")
    left, right, deep = round_trip([shared, Record("b", shared), {"k": (shared,)}])
    assert right.data is left
    assert deep["k"][0] is left


def test_cycles_and_depth_travel_as_one_payload() -> None:
    ring: list[Any] = [1]
    ring.append((ring,))
    back = round_trip(ring)
    assert back[1][0] is back
    deep: list[Any] = []
    for _ in range(700):
        deep = [deep]
    assert round_trip(deep) == deep


@pytest.mark.parametrize(
    "array",
    [
        numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
        numpy.arange(10)[::2],
        numpy.arange(3, dtype=">i4"),
        numpy.array(["a", "b"]),
        numpy.array([1, "a", None], dtype=object),
        numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        numpy.array(["2020-01-01"], dtype="M8[D]"),
        numpy.array(5),
        numpy.zeros((0, 3)),
        numpy.ma.masked_array([1, 2], mask=[True, False]),
    ],
    ids=lambda array: f"{type(array).__name__}-{array.dtype}-{array.shape}",
)
def test_arrays_of_all_kinds_come_back(array: Any) -> None:
    back = round_trip(array)
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()


def address(view: Any) -> int:
    """Where a buffer starts."""
    return int(numpy.frombuffer(view, dtype=numpy.uint8).__array_interface__["data"][0])


def test_arrays_and_tables_are_read_only_views_on_the_envelope() -> None:
    table = pyarrow.table({"x": numpy.arange(1000.0)})
    frame = pandas.DataFrame({"a": numpy.arange(1000)})
    value = {"array": numpy.ones((10, 20)), "table": table, "frame": frame}
    data = bytearray(encode(value).to_bytes())
    start, end = address(data), address(data) + len(data)
    back = decode(memoryview(data))
    assert not back["array"].flags.writeable
    for place in (
        back["array"].__array_interface__["data"][0],
        back["table"].column("x").chunk(0).buffers()[1].address,
        back["frame"]["a"].to_numpy().__array_interface__["data"][0],
    ):
        assert start <= place < end
    assert back["table"].equals(table)
    assert back["frame"].equals(frame)
    assert (back["array"] == 1).all()


def test_arrow_values_come_back_as_their_class() -> None:
    table = pyarrow.table({"a": [1, 2, None], "s": ["x", None, "z"], "l": [[1], [], None]})
    assert round_trip(table).equals(table)
    assert round_trip(table.slice(1)).equals(table.slice(1))
    batch = table.to_batches()[0]
    assert isinstance(round_trip(batch), pyarrow.RecordBatch)
    assert round_trip(table.slice(0, 0)).equals(table.slice(0, 0))


def test_the_same_array_twice_is_stored_once() -> None:
    array = numpy.zeros(1000)
    assert encode([array, array]).size < 9000


def test_neither_numpy_nor_pyarrow_is_imported_for_plain_values() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from polyray.serialize import decode, encode\n"
        "from polyray.task_spec import TaskSpecFields, decode_task_spec, encode_task_spec\n"
        "from fractions import Fraction\n"
        "assert decode(encode([1, (2,), {3}, Fraction(1, 2)]).to_bytes())[3] == Fraction(1, 2)\n"
        "assert decode_task_spec(encode_task_spec(TaskSpecFields('task', 'py', 'f'))).name == 'f'\n"
        "sys.exit(' '.join({'numpy', 'pyarrow', 'pandas'} & set(sys.modules)) or 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert result.returncode == 0, result.stderr


def test_bytes_and_their_relatives_arrive_as_bytes() -> None:
    for size in (10, 1000):
        data = bytes(range(10)) * (size // 10)
        assert round_trip(bytearray(data)) == data
        assert round_trip([memoryview(data), {"k": data}]) == [data, {"k": data}]
        assert round_trip(memoryview(data)[::2]) == data[::2]


def test_refs_and_handles_inside_of_opaque_objects_are_listed() -> None:
    encoded = encode([Record("a", Ref(ID)), {"k": Ref(OTHER)}], CONTEXT)
    data = encoded.to_bytes()
    assert sorted(envelope_refs(data)) == [ID, OTHER]
    record, plain = decode(data, CONTEXT)
    assert record.data.id == ID
    assert plain["k"].id == OTHER


def test_top_level_refs_of_a_call_become_values_and_nested_ones_stay_refs() -> None:
    data = encode_args(({"deep": Ref(OTHER)}, Ref(ID)), {"k": Ref(ID)}, CONTEXT).to_bytes()
    assert envelope_arg_refs(data) == [ID]
    assert envelope_refs(data) == [ID, OTHER]
    args, kwargs = decode_args(data, CONTEXT)
    assert type(args[1]) is ArgValue
    assert type(kwargs["k"]) is ArgValue
    assert type(args[0]["deep"]) is Ref


def test_a_cyclic_argument_does_not_change_the_others() -> None:
    ring: list[Any] = []
    ring.append(ring)
    args, _ = decode_args(encode_args((Ref(ID), ring, 3), None, CONTEXT).to_bytes(), CONTEXT)
    assert type(args[0]) is ArgValue
    assert args[1][0] is args[1]
    assert args[2] == 3


def test_what_cannot_be_sent_is_named_by_its_path() -> None:
    with pytest.raises(
        UnserializableException, match=r"args\[0\]\['a'\]\[1\]: a _thread.lock"
    ) as caught:
        encode_args(([], {"a": [1, threading.Lock()]})[1:])
    assert caught.value.path == "args[0]['a'][1]"
    assert round_trip([1]) == [1], "the next value is not spoiled"


def test_an_object_that_cannot_be_built_here_is_a_typed_error() -> None:
    module = type(sys)("module_of_another_process")
    exec("class Lost:\n    pass", module.__dict__)
    sys.modules[module.__name__] = module
    data = encode([module.Lost()]).to_bytes()
    del sys.modules[module.__name__]
    with pytest.raises(RaySystemError, match="module_of_another_process"):
        decode(data)


def test_registered_classes_take_their_own_way() -> None:
    register_serializer(
        Record,
        serializer=lambda r: r.name,
        deserializer=lambda name: Record(name, "restored"),
    )
    try:
        assert round_trip([Record("a", threading.Lock())]) == [Record("a", "restored")]
    finally:
        deregister_serializer(Record)
    register_codec(
        Record,
        tag="test/Record",
        encode=lambda r: [r.name],
        decode=lambda p: Record(p[0], "codec"),
    )
    try:
        assert round_trip({"r": Record("b")}) == {"r": Record("b", "codec")}
    finally:
        polyray.values._CODEC_OF_CLASS.pop(Record)
        polyray.values._CODEC_OF_TAG.pop("test/Record")


def test_opaque_javascript_values_pass_through_unchanged() -> None:
    inner = encode({"ref": Ref(ID), "data": b"x" * 300}, CONTEXT).to_bytes()
    function = JsFunction(inner)
    data = encode([JsObject(b"js" * 200), function], CONTEXT).to_bytes()
    assert envelope_refs(data) == [ID]
    js_object, back = decode(data, CONTEXT)
    assert js_object == JsObject(b"js" * 200)
    assert back.envelope == inner
    assert [ref.id for ref in back.held] == [ID], "the refs inside stay alive"
    assert encode([js_object, back], CONTEXT).to_bytes() == data


def test_eight_threads_encode_at_once() -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(300):
                value = {
                    "n": [number, i, (number, Fraction(i, 7)), {number}],
                    "a": numpy.full(40, number),
                }
                back = round_trip(value)
                assert back["n"] == value["n"]
                assert (back["a"] == number).all()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
