# SPDX-License-Identifier: Apache-2.0
"""Goal: the error table is whole, and exceptions keep class, stacks, cause and fields.

Method: the table against the classes; exceptions through envelopes; an envelope written by
TypeScript.
"""

from __future__ import annotations

import builtins
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from polyray import exceptions
from polyray.error_codes import ROWS
from polyray.exceptions import (
    CrossLanguageError,
    GetTimeoutError,
    ObjectLostError,
    OwnerDiedError,
    RayError,
    RayTaskError,
    UnserializableException,
    error_of_code,
    error_of_number,
    make_error,
)
from polyray.serialize import (
    decode,
    encode,
    encode_error,
    encode_task_error,
    is_error_envelope,
)

ROOT = Path(__file__).parents[2]


class CustomError(ValueError):
    """An exception with a constructor of its own."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    def __reduce__(self) -> Any:
        return (CustomError, (self.args[0], self.number))


def failed(raised: BaseException, **where: Any) -> Any:
    """What the caller of a task gets."""
    try:
        raise raised
    except BaseException as error:
        return decode(encode_task_error(error, task_name="square", **where).to_bytes())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_its_class_and_makes_it(row: Any) -> None:
    error = error_of_code(row.name, "x")
    assert type(error) is getattr(exceptions, row.class_name)
    assert error.code == row.name
    assert error.retryable is row.retryable
    assert isinstance(error, RayError)


@pytest.mark.parametrize(
    "row",
    json.loads((ROOT / "proto" / "errors.json").read_text())["errors"],
    ids=lambda r: r["name"],
)
def test_every_class_has_the_bases_of_the_table(row: dict[str, Any]) -> None:
    bases = [base.__name__ for base in getattr(exceptions, row["py"]).__mro__]
    assert set(row["pyBases"]) <= set(bases)


def test_classes_are_where_ray_users_look_for_them() -> None:
    assert issubclass(GetTimeoutError, TimeoutError)
    assert issubclass(OwnerDiedError, ObjectLostError)
    assert error_of_number(65000, "x").code == "SYSTEM"
    assert (
        str(make_error("OBJECT_LOST", "abc on node 1: it died"))
        == "[object lost] abc on node 1: it died."
    )


@pytest.mark.parametrize("row", [r for r in ROWS if r.kind != "task"], ids=lambda row: row.name)
def test_errors_of_polyray_cross_with_their_details(row: Any) -> None:
    details = {
        "task_id": "t",
        "node_id": "n",
        "actor_id": "a",
        "pid": 3,
        "task_name": "f",
    }
    back = decode(encode_error(error_of_code(row.name, "why", **details)).to_bytes())
    assert type(back).__name__ == row.class_name
    assert back.code == row.name
    assert back.args == ("why",)
    assert {key: getattr(back, key) for key in details} == details


def test_a_failed_task_is_caught_by_the_class_of_the_user() -> None:
    error = failed(CustomError("bad", 7), pid=3)
    assert isinstance(error, CustomError)
    assert isinstance(error, RayTaskError)
    assert error.number == 7
    assert (error.task_name, error.pid, error.code) == ("square", 3, "TASK_FAILED")
    assert type(error.cause) is CustomError
    assert "raise raised" in str(error)
    assert "ray::square()" in str(error)
    assert str(error).endswith("CustomError: bad")


@pytest.mark.parametrize(
    "raised",
    [
        KeyError("k"),
        OSError(2, "no such file", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ZeroDivisionError("z"),
        StopIteration(5),
        ModuleNotFoundError("no module", name="m"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_built_in_exceptions_are_caught_by_their_class(raised: Exception) -> None:
    error = failed(raised)
    assert isinstance(error, type(raised))
    assert isinstance(error, RayTaskError)
    assert repr(error.cause) == repr(raised)
    assert str(error)


def test_exceptions_that_refuse_a_second_base_stay_the_cause() -> None:
    group = getattr(builtins, "ExceptionGroup", None)  # since Python 3.11
    if group is not None:
        error = failed(group("many", [ValueError("a")]))
        assert isinstance(error, RayTaskError)
        assert isinstance(error.cause, group)
    assert isinstance(failed(KeyboardInterrupt()).cause, KeyboardInterrupt)


def test_a_dual_error_can_be_pickled_and_sent_again() -> None:
    error = failed(CustomError("bad", 7))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, CustomError)
    assert again.cause.number == 7
    assert isinstance(decode(encode(error).to_bytes()), CustomError)


def test_the_chain_of_causes_comes_back() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first
    except ValueError as second:
        error = decode(encode_task_error(second, task_name="f").to_bytes())
    assert type(error.cause.__cause__) is KeyError


def test_a_failure_of_a_nested_task_keeps_its_cause_and_names_the_chain() -> None:
    inner = failed(CustomError("deep", 1))
    outer = decode(encode_task_error(inner, task_name="outer").to_bytes())
    assert isinstance(outer, CustomError)
    assert outer.chain == ("outer", "square")
    text = str(outer)
    assert text.index("ray::outer()") < text.index("ray::square()")
    assert text.endswith("CustomError: deep")


def test_an_exception_that_cannot_be_pickled_travels_as_text() -> None:
    class Odd(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("no")

        def __str__(self) -> str:
            raise RuntimeError("no text")

    error = failed(Odd())
    assert type(error) is RayTaskError
    assert isinstance(error.cause, RayError)
    assert "Odd" in str(error.cause)
    assert "isn't serializable" in str(error.cause)


def test_an_exception_with_a_constructor_of_its_own_is_made_again() -> None:
    class Wants(ValueError):
        def __init__(self, a: int, b: int) -> None:
            super().__init__("only one argument is kept")
            self.b = b

    error = failed(Wants(1, 2))
    assert isinstance(error, Wants)
    assert (error.b, error.cause.args) == (2, ("only one argument is kept",))


def test_only_raised_errors_mark_the_envelope() -> None:
    assert is_error_envelope(encode_error(OwnerDiedError("x")).to_bytes())
    assert not is_error_envelope(encode(ValueError("x")).to_bytes())
    assert repr(decode(encode([ValueError("x")]).to_bytes())[0]) == "ValueError('x')"


def test_a_javascript_error_has_its_class_name_and_stack_and_goes_back_unchanged() -> None:
    data = bytes.fromhex(
        json.loads((ROOT / "test/contract/values/js-error.json").read_text())["hex"]
    )
    error = decode(data)
    assert isinstance(error, RayTaskError)
    cause = error.cause
    assert isinstance(cause, CrossLanguageError)
    assert (cause.class_name, cause.args, cause.props) == (
        "RangeError",
        ("too big",),
        {"limit": 5},
    )
    assert "at square" in cause.js_stack
    again = decode(encode(error).to_bytes()).cause
    assert (again.class_name, again.js_stack, again.props) == (
        "RangeError",
        cause.js_stack,
        {"limit": 5},
    )


def test_a_refusal_keeps_its_path() -> None:
    refusal = UnserializableException("no")
    refusal.path = "args[0].x"
    assert decode(encode_error(refusal).to_bytes()).path == "args[0].x"
