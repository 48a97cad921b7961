# SPDX-License-Identifier: Apache-2.0
"""Goal: three times the store goes in and comes back, as puts, arguments, results and containers;
memory and files come back with the refs; free() takes values away.

Method: one runtime of 64 MB with two spill folders; files are counted on disk.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polyray as ray
import pytest
from polyray.exceptions import InvalidOptionError, ObjectFreedError, ObjectStoreFullError
from support import eventually

MB = 1_000_000
SIZE = 8 * MB
COUNT = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    places = [tmp_path_factory.mktemp("spill"), tmp_path_factory.mktemp("spill")]
    older = json.dumps(
        {"type": "filesystem", "params": {"directory_path": [str(p) for p in places]}}
    )
    ray.init(
        num_cpus=2,
        object_store_memory=64 * MB,
        _system_config={"object_spilling_config": older, "max_io_workers": 4},
    )
    yield places
    ray.shutdown()
    assert [os.listdir(place) for place in places] == [[], []]


def files_in(folders: list[Path]) -> int:
    return sum(len(names) for place in folders for _, _, names in os.walk(place))


def used_bytes() -> int:
    stats = ray.runtime.current().request("store.stats")["stats"]
    return int(stats["storeUsedBytes"]) + int(stats["spilledBytes"])


def all_given_back(folders: list[Path]) -> None:
    gc.collect()
    eventually(lambda: files_in(folders) == 0, "every spill file is gone")
    eventually(lambda: used_bytes() < 2 * MB, "memory came back")


def filled(number: int) -> Any:
    return np.full(SIZE, number, dtype=np.uint8)


@ray.remote
def summed(array: Any) -> int:
    return int(array[0]) + int(array[-1])


@ray.remote
def made(number: int) -> Any:
    return filled(number)


def test_puts_of_three_times_the_store_come_back(folders: list[Path]) -> None:
    refs = [ray.put(filled(i)) for i in range(COUNT)]
    assert all(files_in([place]) > 3 for place in folders)
    assert ray.experimental.get_object_locations(refs[:1])[refs[0]]["did_spill"] is True
    for i, ref in enumerate(refs):
        value = ray.get(ref)
        assert value.nbytes == SIZE
        assert not value.flags.writeable
        assert int(value[0]) == int(value[-1]) == i
    del value
    # More than memory at once, and by tasks, which get them as arguments.
    views = ray.get(refs)
    assert [int(view[5]) for view in views] == list(range(COUNT))
    assert ray.get([summed.remote(ref) for ref in refs]) == [2 * i for i in range(COUNT)]
    del refs, ref
    gc.collect()
    assert [int(view[5]) for view in views] == list(range(COUNT)), "views outlive their refs"
    del views
    all_given_back(folders)


def test_results_and_arguments_of_three_times_the_store(folders: list[Path]) -> None:
    refs = [made.remote(i) for i in range(COUNT)]
    assert [int(ray.get(ref)[3]) for ref in refs] == list(range(COUNT))
    sums = [summed.remote(filled(i)) for i in range(COUNT)]
    assert ray.get(sums) == [2 * i for i in range(COUNT)]
    assert ray.get([summed.remote(ref) for ref in refs]) == [2 * i for i in range(COUNT)]
    del refs, sums
    all_given_back(folders)


def test_nested_borrowed_and_captured_refs_keep_values_and_give_them_back(
    folders: list[Path],
) -> None:
    box = ray.put([ray.put(filled(i)) for i in range(COUNT)])  # only the container holds them
    inner = ray.get(box)
    assert [int(ray.get(ref)[1]) for ref in inner] == list(range(COUNT))
    del inner

    @ray.remote
    class Keeper:
        def keep(self, held: Any) -> int:
            self.held = held
            return len(held)

        def read(self, index: int) -> int:
            return int(ray.get(self.held[index])[2])

        def drop(self) -> None:
            self.held = None

    keeper = Keeper.remote()
    assert ray.get(keeper.keep.remote(ray.get(box))) == COUNT
    del box
    gc.collect()
    assert [ray.get(keeper.read.remote(i)) for i in range(COUNT)] == list(range(COUNT))
    ray.get(keeper.drop.remote())
    all_given_back(folders)


def test_many_small_values_go_to_disk_too(folders: list[Path]) -> None:
    refs = [ray.put(np.full(50_000, i % 251, dtype=np.uint8)) for i in range(3000)]
    assert files_in(folders) > 5
    assert all(int(ray.get(ref)[9]) == i % 251 for i, ref in enumerate(refs))
    del refs


def test_garbage_that_holds_values_is_no_reason_to_find_no_room(folders: list[Path]) -> None:
    @ray.remote(num_cpus=0)
    class Reader:
        def read(self, held: list[Any]) -> list[int]:
            gc.disable()
            values = ray.get(held)
            for value in values:
                cycle: list[Any] = [value]
                cycle.append(cycle)
            return [int(value[1]) for value in values]

        def make(self, number: int, size: int) -> np.ndarray:
            return np.full(size, number, dtype=np.uint8)

    reader = Reader.remote()
    given = [ray.put(filled(i)) for i in range(7)]
    assert ray.get(reader.read.remote(given)) == list(range(7))
    del given
    made = ray.get([reader.make.remote(9, SIZE), reader.make.remote(8, 20_000)])
    assert [value[1] for value in made] == [9, 8]


def test_what_is_in_use_is_not_spilled_and_the_error_names_the_holders(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [ray.get(ray.put(np.zeros(20 * MB, dtype=np.uint8))) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr("polyray.runtime._PUT_WAIT_MS", 300)
        with pytest.raises(ObjectStoreFullError, match=f"pid {os.getpid()}"):
            ray.put(np.zeros(40 * MB, dtype=np.uint8))
    assert not any(view.any() for view in views)
    del views
    assert ray.get(ray.put(np.ones(40 * MB, dtype=np.uint8))).all()


def test_free_takes_values_away_from_everybody(folders: list[Path]) -> None:
    ref, small = ray.put(filled(1)), ray.put("x" * 100)
    view = ray.get(ref)
    ray.internal.free([ref, small])
    for freed in (ref, small):
        with pytest.raises(ObjectFreedError, match=freed.hex()):
            ray.get(freed)
        with pytest.raises(ObjectFreedError):
            ray.get([freed])
        with pytest.raises(Exception, match=r"freed|gone|lost"):
            ray.get(summed.remote(freed))
    assert int(view[0]) == 1, "what was read before stays"
    assert ray.experimental.get_object_locations([ref]) == {}
    ray.internal.free(ray.put(1))  # one ref alone
    with pytest.raises(TypeError, match="ObjectRefs"):
        ray.internal.free(["x"])
    with pytest.raises(TypeError, match="list"):
        ray.internal.free("x")
    spilled = [ray.put(filled(i)) for i in range(COUNT)]
    ray.internal.free(spilled)
    del view
    all_given_back(folders)


def test_locations_tell_size_and_node(folders: list[Path]) -> None:
    @ray.remote
    def never() -> None:
        import time

        time.sleep(100)

    big, small, pending = ray.put(filled(0)), made.remote(1), never.remote()
    ray.wait([small])
    tiny = ray.remote(lambda: 1).remote()
    ray.get(tiny)
    found = ray.experimental.get_object_locations([big, small, tiny, pending])
    node = ray.get_runtime_context().get_node_id()
    assert found[big]["node_ids"] == found[small]["node_ids"] == [node]
    assert found[big]["object_size"] > SIZE
    assert found[tiny]["node_ids"] == []
    assert found[pending] == {"node_ids": [], "object_size": None, "did_spill": False}
    assert ray.experimental.get_local_object_locations([tiny]) == {tiny: found[tiny]}
    with pytest.raises(TypeError):
        ray.experimental.get_object_locations(big)  # type: ignore[arg-type]
    ray.cancel(pending, force=True)


def test_an_owner_must_be_a_handle(folders: list[Path]) -> None:
    @ray.remote
    class Owner:
        pass

    owner = Owner.remote()
    ref = ray.put([1], _owner=owner)
    ray.kill(owner)
    assert ray.get(ref) == [1], "the value outlives its owner"
    with pytest.raises(TypeError, match="handle"):
        ray.put(1, _owner=3)


def test_captured_refs_live_as_long_as_the_function_and_a_killed_holder_is_swept(
    folders: list[Path],
) -> None:
    captured = ray.put(filled(9))

    @ray.remote
    def reads() -> int:
        return int(ray.get(captured)[0])

    @ray.remote
    class Keeper:
        def keep(self, held: Any) -> None:
            self.held = held

    keeper = Keeper.remote()
    assert ray.get(reads.remote()) == 9
    held = ray.put({"deep": [{"ref": ray.put(filled(7))}]})
    ray.get(keeper.keep.remote([held]))
    ray.kill(keeper)
    value = ray.get(ray.get(held)["deep"][0]["ref"])
    assert int(value[0]) == 7
    del held, value
    eventually(lambda: used_bytes() < 2 * SIZE, "only what the function captured is left")
    assert ray.get(reads.remote()) == 9


def test_a_wrong_spilling_configuration_is_told_at_once() -> None:
    for bad in ("{", json.dumps({"type": "s3"}), 3):
        with pytest.raises(InvalidOptionError, match="object_spilling_config"):
            ray.driver._spill_folders({"_system_config": {"object_spilling_config": bad}})
    with pytest.raises(InvalidOptionError, match="object_spilling_directory"):
        ray.driver._spill_folders({"object_spilling_directory": 5})


KILLED = """
import sys, time, numpy as np, polyray as ray
ray.init(num_cpus=1, object_store_memory=32_000_000, object_spilling_directory=sys.argv[1])
refs = [ray.put(np.full(8_000_000, i, dtype=np.uint8)) for i in range(12)]
print("ready", flush=True)
time.sleep(100)
"""


def test_a_killed_driver_leaves_no_file(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    assert files_in([tmp_path]) > 4
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    eventually(lambda: os.listdir(tmp_path) == [], "the guardian removed the folder")
