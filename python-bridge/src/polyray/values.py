# SPDX-License-Identifier: Apache-2.0
"""The words of the value model: extension numbers, element types, contexts, stand-ins.

Stand-ins are for values that only JavaScript has. Pure data; the rules are in docs/values.md.
Imports neither numpy nor pyarrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from polyray.envelope import corrupt

EXT_REF = 1
EXT_ARG_REF = 2
EXT_ACTOR_HANDLE = 3
EXT_BUFFER = 4
EXT_ND_ARRAY = 6
EXT_NP_SCALAR = 7
EXT_ARROW = 8
EXT_PY_OBJECT = 9
EXT_JS_OBJECT = 10
EXT_BIG_INT = 11
EXT_DATE = 12
EXT_SET = 13
EXT_FROZEN_SET = 14
EXT_MAP = 15
EXT_TUPLE = 16
EXT_ERROR = 17
EXT_UNDEFINED = 18
EXT_REG_EXP = 19
EXT_COMPLEX = 20
EXT_FUNCTION = 21
EXT_CODEC = 22

ND_NUMPY = 0
ARROW_TABLE = 0
ARROW_RECORD_BATCH = 1

# dtype string -> (bytes of an element, struct letter for a memoryview without numpy)
ELEMENT_TYPES: dict[str, tuple[int, str]] = {
    "|b1": (1, "?"),
    "|i1": (1, "b"),
    "|u1": (1, "B"),
    "<i2": (2, "h"),
    "<u2": (2, "H"),
    "<i4": (4, "i"),
    "<u4": (4, "I"),
    "<i8": (8, "q"),
    "<u8": (8, "Q"),
    "<f2": (2, "e"),
    "<f4": (4, "f"),
    "<f8": (8, "d"),
    "<c8": (8, ""),
    "<c16": (16, ""),
}
_TIME = r"<[mM]8(\[\d*(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"


def element_bytes(dtype: Any) -> int | None:
    """Bytes of an element of a dtype string; None when arrays of it do not cross as arrays."""
    if not isinstance(dtype, str):
        return None
    known = ELEMENT_TYPES.get(dtype)
    if known is not None:
        return known[0]
    return 8 if re.fullmatch(_TIME, dtype) else None


class _Frozen:
    """Compared by its annotated fields, in their order. (dataclasses would load inspect at every
    import of polyray.)"""

    __slots__: tuple[str, ...] = ()
    _names: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._names = tuple(cls.__annotations__)

    def __init__(self, *fields: Any) -> None:
        for name, value in zip(self._names, fields, strict=True):
            object.__setattr__(self, name, value)

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._names)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self._fields())


class JsObject(_Frozen):
    """A JavaScript object that Python cannot look into; it goes back to JavaScript as it came."""

    __slots__ = ("data",)
    data: bytes


class JsFunction:
    """A JavaScript function that came by value; Python can only hand it on."""

    __slots__ = ("envelope", "held")

    def __init__(self, envelope: bytes, held: list[Any] | None = None) -> None:
        self.envelope = envelope
        self.held = held or []

    def __reduce__(self) -> tuple[Any, ...]:
        return (JsFunction, (self.envelope,))


class JsRegExp(_Frozen):
    """A regular expression of JavaScript; its syntax differs from Python's."""

    __slots__ = ("flags", "source")
    source: str
    flags: str


class ForeignRemoteError(AttributeError, TypeError):
    """A remote function or class of TypeScript was used as one of Python. An AttributeError too:
    hasattr() gives False."""


class CodecValue(_Frozen):
    """A value of a codec whose tag this process does not know."""

    __slots__ = ("payload", "tag")
    tag: str
    payload: Any

    def __getattr__(self, name: str) -> Any:
        if name in ("remote", "options", "bind") and self.tag.startswith("polyray/Remote"):
            what = "class" if "Class" in self.tag else "function"
            maker = "js_actor_class" if what == "class" else "js_function"
            raise ForeignRemoteError(
                f"a remote {what} of TypeScript cannot be called as a value in Python: export it "
                f"from a module and name it, as in {maker}('/path/of/module.ts', 'name')."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class HandleForm(NamedTuple):
    """What an actor handle is on the wire: its lifetime object's ref and plain data."""

    ref: bytes | None
    meta: Any


class EncodeContext(Protocol):
    """How an encoder recognises what is not plain data."""

    def ref_id_of(self, value: object) -> bytes | None:
        """The id when the value is an object ref, else None."""

    def handle_of(self, value: object) -> HandleForm | tuple[bytes | None, Any] | None:
        """The wire form when the value is an actor handle, else None."""


class DecodeContext(Protocol):
    """How a decoder builds what is not plain data."""

    def make_ref(self, object_id: bytes) -> Any:
        """An object ref."""

    def make_handle(self, meta: Any, ref: bytes | None) -> Any:
        """An actor handle."""

    def arg_value(self, object_id: bytes) -> Any:
        """The value of a ref that was given as a top-level argument."""


class Codec(NamedTuple):
    """How instances of a class travel to both languages."""

    tag: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_CODEC_OF_CLASS: dict[type, Codec] = {}
_CODEC_OF_TAG: dict[str, Codec] = {}
SERIALIZERS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


def register_codec(
    cls: type, *, tag: str, encode: Callable[[Any], Any], decode: Callable[[Any], Any]
) -> None:
    """Teach this process to send and receive a class in a form that both languages read."""
    codec = Codec(tag, encode, decode)
    _CODEC_OF_CLASS[cls] = codec
    _CODEC_OF_TAG[tag] = codec


def codec_of(cls: type) -> Codec | None:
    """The codec of exactly this class."""
    return _CODEC_OF_CLASS.get(cls)


def codec_of_tag(tag: str) -> Codec | None:
    """The codec of a tag."""
    return _CODEC_OF_TAG.get(tag)


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Pickle a class by a function of one's own (Ray's ray.util.register_serializer)."""
    SERIALIZERS[cls] = (serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Forget a serializer; nothing happens when there is none."""
    SERIALIZERS.pop(cls, None)


def type_name(value: object) -> str:
    """The class of a value in words, such as `fractions.Fraction`."""
    cls = type(value)
    if cls.__module__ in ("builtins", "__main__"):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


class PlainContext:
    """A context for plain data: no refs and no handles."""

    def ref_id_of(self, value: object) -> bytes | None:
        """Nothing is a ref."""
        return None

    def handle_of(self, value: object) -> HandleForm | None:
        """Nothing is a handle."""
        return None

    def make_ref(self, object_id: bytes) -> Any:
        """A ref may not be here."""
        raise corrupt(f"a ref ({object_id.hex()}) where none may be")

    def make_handle(self, meta: Any, ref: bytes | None) -> Any:
        """A handle may not be here."""
        raise corrupt("an actor handle where none may be")

    def arg_value(self, object_id: bytes) -> Any:
        """A ref may not be here."""
        return self.make_ref(object_id)


PLAIN_CONTEXT = PlainContext()
