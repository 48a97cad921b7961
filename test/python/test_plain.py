# SPDX-License-Identifier: Apache-2.0
"""Goal: the extension's writer and reader of plain values agree with serialize.py to the byte.

Method: edge cases of every form, and random nested values from fixed seeds, through both; broken
and foreign bytes must be left to serialize.py. No runtime is needed.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from polyray import _native
from polyray.encoding import encode_root
from polyray.serialize import decode, decode_args, encode_args
from polyray.values import PLAIN_CONTEXT

BITS = (5, 7, 8, 15, 16, 31, 32, 62)
EDGES: list[Any] = [
    None,
    True,
    False,
    *[sign * 2**bits + d for bits in BITS for d in (-1, 0, 1) for sign in (1, -1)],
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    1.5,
    float("inf"),
    float("-inf"),
    5e-324,
    "",
    "a" * 31,
    "b" * 32,
    "c" * 255,
    "d" * 256,
    "e" * 60_000,
    "ü€𝄞",
    "with \0 zero",
    b"",
    b"x" * 255,
    b"x" * 256,
    [],
    list(range(15)),
    list(range(16)),
    [[["deep"]], {}],
    {},
    {str(i): i for i in range(15)},
    {str(i): [i, None] for i in range(16)},
    {"": {"": {"": 1}}},
]
NOT_PLAIN: list[Any] = [
    2**63,
    2**64,
    -(2**63) - 1,
    (),
    (1, 2),
    {1},
    {1: 2},
    {"a": (1,)},
    b"x" * 257,
    [b"x" * 257],
    bytearray(b"a"),
    "\ud800",
    ["\ud800"],
    1j,
    object(),
    type("Text", (str,), {})("x"),
    type("Number", (int,), {})(1),
    type("Items", (list,), {})([1]),
    "f" * 70_000,
]


def both(value: Any) -> bytes:
    """The envelope by the extension, checked against the one by serialize.py."""
    fast = _native.encode_plain(value)
    assert fast == encode_root(value, PLAIN_CONTEXT, 0, "value").to_bytes()
    return bytes(fast)


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize("value", EDGES, ids=lambda v: repr(v)[:20])
def test_edges_are_written_alike_and_read_back(value: Any) -> None:
    data = both(value)
    assert same(_native.decode_plain(data), value)
    assert same(decode(data), value)
    assert same(_native.decode_plain(memoryview(bytearray(data))), value)


@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda v: repr(v)[:20])
def test_what_is_not_plain_is_left_to_the_other(value: Any) -> None:
    assert _native.encode_plain(value) is None
    assert _native.encode_plain([value]) is None
    assert _native.encode_plain_args((1, value), {}) is None
    assert _native.encode_plain_args((), {"k": value}) is None


def grow(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(9 if depth > 0 else 7)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return rng.getrandbits(rng.randrange(1, 64)) * rng.choice([1, -1]) >> 1
    if kind == 3:
        return struct.unpack("<d", rng.randbytes(8))[0]
    if kind in (4, 5):
        return "".join(chr(rng.choice([65, 233, 8364, 119070])) for _ in range(rng.randrange(40)))
    if kind == 6:
        return rng.randbytes(rng.randrange(60))
    if kind == 7:
        return [grow(rng, depth - 1) for _ in range(rng.randrange(20))]
    return {str(rng.random()): grow(rng, depth - 1) for _ in range(rng.randrange(20))}


@pytest.mark.parametrize("seed", range(40))
def test_random_values(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(10):
        value = grow(rng, 3)
        if len(encode_root(value, PLAIN_CONTEXT, 0, "v").to_bytes()) > 50_000:
            continue
        data = both(value)
        assert same(_native.decode_plain(data), value)
        args = [grow(rng, 1) for _ in range(rng.randrange(5))]
        kwargs = {f"k{i}": grow(rng, 1) for i in range(rng.randrange(3))}
        fast = _native.encode_plain_args(tuple(args), kwargs)
        assert fast == encode_args(args, kwargs).to_bytes()
        assert same(decode_args(fast), (args, kwargs))


def test_broken_and_foreign_bytes_are_not_plain() -> None:
    rng = random.Random(7)
    good = both({"a": [1, 2.5, "text", b"bytes", None], "b": {"c": -70000}})
    foreign = [
        encode_root((1, 2), PLAIN_CONTEXT, 0, "v").to_bytes(),  # an extension
        encode_root(b"x" * 999, PLAIN_CONTEXT, 0, "v").to_bytes(),  # a buffer
        bytes([1, 1]) + good[2:],  # an error
        bytes([2]) + good[1:],  # another version
        b"",
        good[:15],
        good[:16],
    ]
    for data in foreign:
        assert _native.decode_plain(data) is _native.NOT_PLAIN
    for end in range(17, len(good)):
        assert _native.decode_plain(good[:end]) is _native.NOT_PLAIN
    for _ in range(20_000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        found = _native.decode_plain(data)
        if found is not _native.NOT_PLAIN:
            assert repr(found) == repr(decode(bytes(data)))
    for count in (
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 200 + b"\xc0",
    ):
        data = struct.pack("<BBHIII", 1, 0, 0, len(count), 0, 0) + count
        assert _native.decode_plain(data) is _native.NOT_PLAIN


def test_refs_in_values_and_arguments() -> None:
    import polyray as ray
    from polyray import runtime
    from polyray.encoding import encode_root as encode_slowly

    ray.init(num_cpus=1)
    try:
        rt = runtime.current()
        refs = [ray.put(i) for i in range(50)]
        values = [refs, [refs[0], refs[0]], {"a": refs[3], "b": [refs[3], refs[4]]}, [[], refs * 2]]
        for value in values:
            data = _native.encode_plain(value)
            assert data == encode_slowly(value, rt, 0, "value").to_bytes()
            assert _native.decode_plain(data) is _native.NOT_PLAIN
            assert _native.decode_plain(data, rt.client) == value == decode(data, rt)
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            ((refs[0],), {}),
            (([refs[1]], refs[0], refs[1], 5), {"k": refs[2], "l": [refs[0], refs[7]]}),
            ((), {"only": refs[9]}),
            (tuple(refs), {}),
        ]
        for args, kwargs in calls:
            fast = _native.encode_plain_args(args, kwargs)
            assert fast == encode_args(args, kwargs, rt).to_bytes()
        assert _native.encode_plain([refs[0], (1,)]) is None
        container = ray.put(refs * 300)
        found = ray.get(container)
        assert found == refs * 300
        assert ray.get(found[-3:]) == [47, 48, 49]
        del refs, values, calls, container
        assert ray.get(found[0]) == 0
        mixed = [ray.put(x) for x in (1, (2,), "three", b"x" * 5000, None)]
        assert ray.get(mixed) == [1, (2,), "three", b"x" * 5000, None]
    finally:
        ray.shutdown()


def test_wait_of_lists_and_tuples_in_any_order() -> None:
    import time

    import polyray as ray

    ray.init(num_cpus=2)
    try:

        @ray.remote
        def later(i: int, s: float) -> int:
            time.sleep(s)
            return i

        refs = [later.remote(i, 0.002 * (i % 3)) for i in range(40)]
        left: list[Any] = list(refs)
        seen = []
        while left:
            ready, rest = ray.wait(left)
            assert len(ready) == 1
            assert ready + rest == [r for r in left if r in ready] + [
                r for r in left if r not in ready
            ]
            seen += ray.get(ready)
            left = rest
        assert sorted(seen) == list(range(40))
        assert ray.wait(list(refs), num_returns=40) == (refs, [])
        assert ray.wait(refs, num_returns=3) == (refs[:3], refs[3:])
        slow = later.remote(1, 0.3)
        assert ray.wait([slow, *refs], num_returns=12) == (refs[:12], [slow, *refs[12:]])
        assert ray.wait([slow], timeout=0) == ([], [slow])
        assert ray.wait([slow, refs[0]], num_returns=2, timeout=0.01) == ([refs[0]], [slow])
        assert ray.wait([slow, refs[0]], num_returns=2) == ([slow, refs[0]], [])
        many = [later.remote(i, 0.0) for i in range(30)]
        assert ray.wait(many, num_returns=30) == (many, [])
        with pytest.raises(ValueError, match=r"twice|unique"):
            ray.wait([slow, slow])
    finally:
        ray.shutdown()
