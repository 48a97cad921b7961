# SPDX-License-Identifier: Apache-2.0
"""Values as tagged JSON, the language of test/contract/values.

The twin is test/ts/object/tagged.ts. `build` makes the value that a case describes, `describe` says
how Python sees a value.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import numpy
from polyray.serialize import CodecValue, JsFunction, JsObject, JsRegExp

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Ref:
    """A ref of the tests: what the context makes and recognises."""

    def __init__(self, object_id: bytes) -> None:
        self.id = object_id


class ArgValue(Ref):
    """The value of a ref argument."""


class Handle:
    """An actor handle of the tests."""

    def __init__(self, ref: bytes | None, meta: Any) -> None:
        self.ref = ref
        self.meta = meta


class Context:
    """Both contexts of the tests."""

    def ref_id_of(self, value: object) -> bytes | None:
        """The id of a Ref."""
        return value.id if isinstance(value, Ref) else None

    def handle_of(self, value: object) -> tuple[bytes | None, Any] | None:
        """The form of a Handle."""
        return (value.ref, value.meta) if isinstance(value, Handle) else None

    def make_ref(self, object_id: bytes) -> Ref:
        """A Ref."""
        return Ref(object_id)

    def make_handle(self, meta: Any, ref: bytes | None) -> Handle:
        """A Handle."""
        return Handle(ref, meta)

    def arg_value(self, object_id: bytes) -> ArgValue:
        """An ArgValue."""
        return ArgValue(object_id)


CONTEXT = Context()


def build(tagged: list[Any]) -> Any:
    """The value of a description."""
    tag, *rest = tagged
    return _BUILDERS[tag](*rest)


def _array(dtype: str, data: str) -> Any:
    return numpy.frombuffer(bytes.fromhex(data), dtype=dtype)


def _hex(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


_BUILDERS: dict[str, Any] = {
    "null": lambda: None,
    "bool": lambda x: x,
    "int": int,
    "bigint": int,
    "float": float,
    "str": lambda x: x,
    "bytes": bytes.fromhex,
    "list": lambda x: [build(item) for item in x],
    "tuple": lambda x: tuple(build(item) for item in x),
    "record": lambda x: {build(key): build(value) for key, value in x},
    "map": lambda x: {build(key): build(value) for key, value in x},
    "set": lambda x: {build(item) for item in x},
    "frozenset": lambda x: frozenset(build(item) for item in x),
    "date": lambda x: EPOCH + timedelta(microseconds=int(x)),
    "array": _array,
    "nd": lambda dtype, shape, data: _array(dtype, data).reshape(shape),
    "npscalar": lambda dtype, data: _array(dtype, data)[0],
    "complex": complex,
    "regexp": JsRegExp,
    "ref": lambda x: Ref(bytes.fromhex(x)),
    "handle": lambda ref, meta: Handle(_hex(ref), build(meta)),
    "codec": lambda tag, payload: CodecValue(tag, build(payload)),
    "fraction": Fraction,
}


def describe(value: Any) -> list[Any]:
    """How Python sees a value."""
    write = _DESCRIBERS.get(type(value))
    if write is not None:
        return write(value)
    if isinstance(value, numpy.ndarray):
        if value.ndim == 1:
            return ["array", value.dtype.str, value.tobytes().hex()]
        return ["nd", value.dtype.str, list(value.shape), value.tobytes().hex()]
    if isinstance(value, numpy.generic):
        return ["npscalar", value.dtype.str, value.tobytes().hex()]
    raise TypeError(f"cannot describe {value!r}")


def _float(value: float) -> list[Any]:
    if value != value:
        return ["float", "NaN"]
    if value in (float("inf"), float("-inf")):
        return ["float", "Infinity" if value > 0 else "-Infinity"]
    if value == int(value) and abs(value) < 2**53:
        return ["float", "-0" if str(value) == "-0.0" else str(int(value))]
    return ["float", re.sub(r"e([+-])0+", r"e\1", repr(value))]


def _dict(value: dict[Any, Any]) -> list[Any]:
    return ["record", [[describe(key), describe(item)] for key, item in value.items()]]


_DESCRIBERS: dict[type, Any] = {
    type(None): lambda x: ["null"],
    bool: lambda x: ["bool", x],
    int: lambda x: ["int", str(x)],
    float: _float,
    str: lambda x: ["str", x],
    bytes: lambda x: ["bytes", x.hex()],
    list: lambda x: ["list", [describe(item) for item in x]],
    tuple: lambda x: ["tuple", [describe(item) for item in x]],
    dict: _dict,
    set: lambda x: ["set", [describe(item) for item in x]],
    frozenset: lambda x: ["frozenset", [describe(item) for item in x]],
    datetime: lambda x: ["date", str((x - EPOCH) // timedelta(microseconds=1))],
    complex: lambda x: ["complex", x.real, x.imag],
    JsRegExp: lambda x: ["regexp", x.source, x.flags],
    ArgValue: lambda x: ["argvalue", x.id.hex()],
    Ref: lambda x: ["ref", x.id.hex()],
    Handle: lambda x: ["handle", x.ref and x.ref.hex(), describe(x.meta)],
    CodecValue: lambda x: ["codec", x.tag, describe(x.payload)],
    JsObject: lambda x: ["jsobject"],
    JsFunction: lambda x: ["function"],
    Fraction: lambda x: ["fraction", str(x)],
}
