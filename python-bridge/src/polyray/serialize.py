# SPDX-License-Identifier: Apache-2.0
"""The door of the value model: values, argument lists and errors to envelopes and back.

The rules are in docs/values.md. Synchronous, touches no store; the caller copies envelopes to
where they live. Every call may come from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polyray import _native
from polyray.decoding import BROKEN, Decoder
from polyray.encoding import (
    PLAIN_TYPES,
    arg_form,
    encode_root,
    new_packer,
    pack_plain,
    release_encoder,
    take_encoder,
)
from polyray.envelope import (
    FLAG_ERROR,
    Encoded,
    Header,
    byte_view,
    corrupt,
    envelope_arg_refs,
    envelope_refs,
    is_error_envelope,
)
from polyray.errors import task_error_of
from polyray.exceptions import RayError, make_error
from polyray.limits import MAX_REF_ARGS
from polyray.values import (
    PLAIN_CONTEXT,
    CodecValue,
    DecodeContext,
    EncodeContext,
    HandleForm,
    JsFunction,
    JsObject,
    JsRegExp,
    deregister_serializer,
    register_codec,
    register_serializer,
)

__all__ = [
    "PLAIN_CONTEXT",
    "CodecValue",
    "DecodeContext",
    "EncodeContext",
    "Encoded",
    "HandleForm",
    "JsFunction",
    "JsObject",
    "JsRegExp",
    "decode",
    "decode_args",
    "deregister_serializer",
    "encode",
    "encode_args",
    "encode_error",
    "encode_task_error",
    "envelope_arg_refs",
    "envelope_refs",
    "is_error_envelope",
    "register_codec",
    "register_serializer",
]


def encode(value: Any, ctx: EncodeContext = PLAIN_CONTEXT, name: str = "value") -> Encoded:
    """Encode a value. Raises UnserializableException, naming the path, for what cannot be sent."""
    if type(value) in PLAIN_TYPES:
        try:
            return Encoded(pack_plain(value))
        except OverflowError:  # an int of more than 64 bits
            pass
    return encode_root(value, ctx, 0, name)


def encode_error(error: BaseException, ctx: EncodeContext = PLAIN_CONTEXT) -> Encoded:
    """Encode an error that `get` shall raise."""
    encoder = take_encoder(ctx)
    body = encoder.pack(encoder.error(error))
    encoded = encoder.finish(body, FLAG_ERROR, "error", error)
    release_encoder(encoder)
    return encoded


def encode_task_error(
    raised: BaseException, ctx: EncodeContext = PLAIN_CONTEXT, **where: Any
) -> Encoded:
    """Encode what a task raised for its caller; `where` as in errors.task_error_of."""
    return encode_error(task_error_of(raised, **where), ctx)


def encode_args(
    args: Sequence[Any], kwargs: Mapping[str, Any] | None = None, ctx: EncodeContext = PLAIN_CONTEXT
) -> Encoded:
    """Encode the arguments of a call; top-level refs are resolved by the receiver."""
    encoder = take_encoder(ctx)
    positional = [arg_form(encoder, value) for value in args]
    named = None if not kwargs else {key: arg_form(encoder, value) for key, value in kwargs.items()}
    arg_refs = len(encoder.refs)
    if arg_refs > MAX_REF_ARGS:
        raise make_error(
            "TABLE_FULL", f"a call takes at most {MAX_REF_ARGS} different refs as arguments"
        )
    packer = new_packer(None)
    out = [packer.pack_array_header(2), packer.pack_array_header(len(positional))]
    root = {**{f"args[{i}]": value for i, value in enumerate(args)}, **(kwargs or {})}
    out.extend(encoder.root(value, f"args[{i}]") for i, value in enumerate(positional))
    if named is None:
        out.append(b"\xc0")
    else:
        out.append(packer.pack_map_header(len(named)))
        for key, value in named.items():
            out.append(pack_plain(key))
            out.append(encoder.root(value, key))
    encoded = encoder.finish(b"".join(out), 0, "", root, arg_refs)
    release_encoder(encoder)
    return encoded


def decode(data: Any, ctx: DecodeContext = PLAIN_CONTEXT) -> Any:
    """Decode an envelope; an error envelope gives the error as a value.

    Buffers in the value are read-only views on `data`.
    """
    view = byte_view(data)
    header = Header(view if view.readonly else view.toreadonly())
    try:
        return Decoder(header, ctx).unpack(header.data[header.body_start : header.body_end])
    except RayError:
        raise
    except BROKEN as error:
        raise corrupt(f"{type(error).__name__}: {error}") from error


def decode_args(data: Any, ctx: DecodeContext = PLAIN_CONTEXT) -> tuple[list[Any], dict[str, Any]]:
    """Decode the arguments of a call; `ctx.arg_value` gives the values of top-level refs."""
    body = _native.decode_plain(data, getattr(ctx, "client", None))
    if body is _native.NOT_PLAIN:
        body = decode(data, ctx)
    if type(body) is not list or len(body) != 2 or type(body[0]) is not list:
        raise corrupt("these are no arguments")
    kwargs = {} if body[1] is None else body[1]
    if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
        raise corrupt("these are no keyword arguments")
    return body[0], kwargs
