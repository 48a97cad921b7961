# SPDX-License-Identifier: Apache-2.0
"""Goal: values come back as they went; numpy and Arrow lie in the shared segment, read-only and
uncopied.

Method: addresses are compared with /proc/self/maps; memory is RssAnon, because touched shared pages
count in RSS.
"""

from __future__ import annotations

import gc
import pickle
import time
import tracemalloc
import weakref
from fractions import Fraction

import numpy as np
import polyray as ray
import pyarrow as pa
import pytest
from polyray import runtime
from polyray.exceptions import OufOfBandObjectRefSerializationException

pytestmark = pytest.mark.usefixtures("runtime")


def in_segment(address: int) -> bool:
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            begin, end = (int(part, 16) for part in fields[0].split("-"))
            if begin <= address < end:
                return len(fields) > 5 and fields[5].startswith("/memfd:") and "w" not in fields[1]
    return False


def rss_anon_bytes() -> int:
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        -(2**80),
        1.5,
        "text",
        b"x" * 70000,
        [1, [2]],
        {"a": (1, 2)},
        {1, 2},
        Fraction(1, 3),
        range(3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_come_back_equal(value: object) -> None:
    assert ray.get(ray.put(value)) == value


def test_a_numpy_array_is_a_read_only_view_of_the_segment() -> None:
    array = np.arange(1_000_000, dtype=np.float64)
    back = ray.get(ray.put(array))
    assert np.array_equal(back, array)
    address = back.__array_interface__["data"][0]
    assert in_segment(address)
    assert address % 64 == 0
    assert not back.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        back.flags.writeable = True


def test_a_view_outlives_its_ref() -> None:
    ref = ray.put(np.full(200_000, 7.0))
    view = ray.get(ref)
    del ref
    gc.collect()
    filler = [ray.put(np.zeros(200_000)) for _ in range(20)]
    assert float(view.sum()) == 1_400_000.0
    del filler


def test_a_large_arrow_table_crosses_without_growing_anonymous_memory() -> None:
    rows = 7_000_000
    table = pa.table({"a": np.arange(rows, dtype=np.float64), "b": np.ones(rows, dtype=np.float64)})
    assert table.nbytes >= 112_000_000
    ref = ray.put(table)
    ray.get(ray.put(pa.table({"a": [1]})))  # pyarrow's own set-up
    before = rss_anon_bytes()
    back = ray.get(ref)
    for column in back.columns:
        for buffer in column.chunk(0).buffers():
            assert buffer is None or in_segment(buffer.address)
    assert back.num_rows == rows
    assert back["a"][rows - 1].as_py() == rows - 1
    assert rss_anon_bytes() - before < 5_000_000


def test_large_arguments_and_results_are_views_in_the_worker() -> None:
    @ray.remote
    def look(array: np.ndarray) -> tuple[bool, np.ndarray]:
        return in_segment(array.__array_interface__["data"][0]), array * 2

    by_value = np.ones((1000, 1000))
    inside, doubled = ray.get(look.remote(by_value))
    assert inside
    assert doubled.sum() == 2e6
    inside, _ = ray.get(look.remote(ray.put(by_value)))
    assert inside


def test_big_arguments_are_written_into_the_store_and_nowhere_else() -> None:
    @ray.remote
    def look(table: pa.Table, ref: list[ray.ObjectRef], *, array: np.ndarray) -> object:
        inside = [in_segment(b.address) for b in table["x"].chunk(0).buffers() if b is not None]
        return (inside, ray.get(ref[0]), array.sum())

    table = pa.table({"x": np.arange(3_000_000, dtype=np.float64)})
    array = np.ones(2_000_000)
    inner = ray.put("inner")
    expected = ([True], "inner", 2e6)
    assert ray.get(look.remote(table, [inner], array=array)) == expected  # imports and first uses
    tracemalloc.start()
    try:
        ref = look.remote(table, [inner], array=array)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert ray.get(ref) == expected


def test_big_arguments_are_freed_with_their_call() -> None:
    @ray.remote
    def size(array: np.ndarray, ref: int) -> int:
        return array.nbytes + ref

    def used() -> int:
        return int(ray.runtime.current().request("store.stats")["stats"]["storeUsedBytes"])

    one = ray.put(1)
    before = used()
    for _ in range(30):  # 1.5 GB in all
        assert ray.get(size.remote(np.zeros(50_000_000 // 8), one)) == 50_000_001
    deadline = time.monotonic() + 60
    while used() > before + 60_000_000 and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert used() <= before + 60_000_000


def test_an_actor_may_keep_a_view_of_its_arguments() -> None:
    @ray.remote
    class Keeper:
        def keep(self, array: np.ndarray) -> None:
            self.array = array

        def total(self) -> float:
            return float(self.array.sum())

    keeper = Keeper.remote()
    ray.get(keeper.keep.remote(np.full(300_000, 2.0)))
    ray.get([ray.put(np.zeros(300_000)) for _ in range(20)])
    assert ray.get(keeper.total.remote()) == 600_000.0


def test_memory_comes_back_when_refs_are_dropped() -> None:
    for _ in range(30):
        ray.put(np.zeros(50_000_000 // 8))  # 1.5 GB in all


def test_refs_inside_values_are_counted() -> None:
    inner = ray.put("kept")
    outer = ray.put([inner])
    del inner
    gc.collect()
    assert ray.get(ray.get(outer)[0]) == "kept"


def test_a_ref_pickled_outside_of_the_runtime_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ray.cloudpickle.dumps({"ref": ray.put("kept")})
    gc.collect()
    assert ray.get(pickle.loads(data)["ref"]) == "kept"

    @ray.remote
    def unpack(data: bytes) -> object:
        return ray.get(pickle.loads(data)["ref"])

    assert ray.get(unpack.remote(data)) == "kept"
    monkeypatch.setenv("RAY_allow_out_of_band_object_ref_serialization", "0")
    with pytest.raises(OufOfBandObjectRefSerializationException):
        pickle.dumps(ray.put(1))
    with pytest.raises(TypeError):
        ray.put(ray.put(1))


def test_live_refs_cost_the_garbage_collector_nothing() -> None:
    ref = ray.put(1)
    task_refs = ray.remote(lambda: (1, 2)).options(num_returns=2).remote()
    contained = ray.get(ray.put([ref]))
    for one in [ref, *task_refs, *contained]:
        assert not gc.is_tracked(one), "a full collection would visit it"
    seen = weakref.ref(ref)
    del ref, contained, one
    assert seen() is None, "its end is its last reference, no collection"


def test_a_ref_is_an_ordinary_python_object() -> None:
    class Named(ray.ObjectRef):  # type: ignore[type-arg]
        def __init__(self, id: bytes, name: str) -> None:
            super().__init__(id)
            self.name = name

    ref = ray.put("kept")
    named = Named(ref.binary(), "one")
    counted = runtime.current().client.object_info
    assert named.name == "one"
    assert named == ref
    assert not named != ref  # noqa: SIM202
    assert hash(named) == hash(ref)
    assert ref != 1
    assert ref != ray.put("kept")
    with pytest.raises(TypeError):
        assert ref < named
    named.__init__(ray.put("other").binary(), "two")  # type: ignore[misc]
    ref.__init__(ref.binary())  # type: ignore[misc]
    assert ray.get(ref) == "kept", "it holds what it held"
    assert counted(ref)["refs"] == 1
    held = [ray.put(i) for i in range(3)]
    assert ray.wait(held, num_returns=3) == (held, [])
    assert ray.wait(held[::-1], num_returns=3) == (held[::-1], [])
    with pytest.raises(ValueError, match="unique"):
        ray.wait([held[0], held[0]], num_returns=2)
    for wrong in (1, b"short"):
        with pytest.raises((TypeError, ValueError)):
            ray.ObjectRef(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ObjectRef is needed"):
        runtime.current().client.status(1)  # type: ignore[arg-type]


def test_wrong_arguments_are_typed_errors() -> None:
    with pytest.raises(ValueError, match="ObjectRef"):
        ray.get(5)
    with pytest.raises(TypeError, match="value 5"):
        ray.get([5])
    with pytest.raises(ValueError, match="num_returns"):
        ray.wait([ray.put(1)], num_returns=2)
