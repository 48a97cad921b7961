# SPDX-License-Identifier: Apache-2.0
"""Goal: get_runtime_context() tells drivers, tasks and actors what Ray tells them; Ray's public
names are there.

Method: one function that reads everything runs in each place; compared with Ray (test/parity).
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import polyray as ray
import pytest
from polyray.exceptions import InvalidOptionError
from polyray.util.annotations import RayDeprecationWarning

GETTERS = (
    "get_job_id", "get_node_id", "get_worker_id", "get_task_id", "get_actor_id", "get_task_name",
    "get_task_function_name", "get_actor_name", "get_assigned_resources", "get_node_labels",
    "get_session_name", "get_temp_dir", "is_canceled", "get_placement_group_id", "get",
)  # fmt: skip
PROPERTIES = (
    "namespace", "gcs_address", "job_id", "node_id", "task_id", "actor_id", "current_actor",
    "was_current_actor_reconstructed",
)  # fmt: skip


def seen() -> dict[str, Any]:
    """Everything that the context says here; the error's name and text where it raises."""
    warnings.simplefilter("ignore")
    context = ray.get_runtime_context()
    found: dict[str, Any] = {}
    for name in (*GETTERS, *PROPERTIES):
        try:
            found[name] = getattr(context, name)
            if name in GETTERS:
                found[name] = found[name]()
        except (AssertionError, RuntimeError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    found["pid"] = os.getpid()
    return found


@pytest.fixture(scope="module", autouse=True)
def _runtime() -> Iterator[None]:
    with ray.init(
        num_cpus=2,
        resources={"alice": 1},
        labels={"zone": "a"},
        namespace="ns",
        log_to_driver=False,
    ):
        yield


def test_a_driver_has_a_job_and_a_node_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        here = seen()
    assert "only available when the process is a worker. Current mode: 0" in caplog.text
    assert here["get_job_id"] == "01000000"
    assert here["get_node_id"] == ray.nodes()[0]["NodeID"]
    assert [len(here[name]) for name in ("get_node_id", "get_worker_id")] == [56, 56]
    for name in ("get_task_id", "get_task_name", "get_task_function_name", "get_actor_id",
                 "get_actor_name", "get_placement_group_id"):  # fmt: skip
        assert here[name] is None
    for name in (
        "get_assigned_resources",
        "task_id",
        "actor_id",
        "was_current_actor_reconstructed",
    ):
        assert here[name].startswith("AssertionError: This method is only available")
    assert here["is_canceled"].startswith("RuntimeError: This method is only available")
    assert here["current_actor"] == "RuntimeError: This method is only available in an actor."
    assert here["namespace"] == "ns"
    assert here["get_node_labels"] == {"zone": "a", "ray.io/node-id": here["get_node_id"]}
    assert here["job_id"] == ray.JobID.from_int(1)
    assert here["node_id"] == ray.NodeID.from_hex(here["get_node_id"])
    assert here["get"] == {"job_id": here["job_id"], "node_id": here["node_id"], "namespace": "ns"}
    with pytest.warns(RayDeprecationWarning, match="get_job_id"):
        _ = ray.get_runtime_context().job_id


def test_a_task_knows_its_name_its_ids_and_what_it_was_given() -> None:
    here = seen()
    task = ray.remote(seen)
    there, named = ray.get(
        [task.remote(), task.options(name="nm", num_cpus=2, resources={"alice": 0.5}).remote()]
    )
    assert there["get_task_name"] == "seen"
    assert named["get_task_name"] == "nm"
    assert there["get_task_function_name"] == named["get_task_function_name"]
    assert there["get_task_function_name"].endswith("test_runtime_context.seen")
    assert there["get_assigned_resources"] == {"CPU": 1.0}
    assert named["get_assigned_resources"] == {"CPU": 2.0, "alice": 0.5}
    for name in ("get_job_id", "get_node_id", "get_session_name", "get_temp_dir", "namespace",
                 "gcs_address", "job_id", "get_node_labels"):  # fmt: skip
        assert there[name] == here[name], name
    assert there["get_worker_id"] != here["get_worker_id"]
    assert there["get_task_id"] != named["get_task_id"]
    assert there["task_id"].hex() == there["get_task_id"]
    assert there["get"]["task_id"] == there["task_id"]
    assert [there[name] for name in ("get_actor_id", "actor_id", "get_actor_name")] == [None] * 3
    assert there["is_canceled"] is False
    assert there["current_actor"].startswith("RuntimeError")
    assert there["was_current_actor_reconstructed"].startswith("AssertionError")


@ray.remote
class Sync:
    def __init__(self) -> None:
        self.first = seen()

    def at_start(self) -> dict[str, Any]:
        return self.first

    def now(self) -> dict[str, Any]:
        return seen()


@ray.remote
class Async:
    async def now(self) -> dict[str, Any]:
        return seen()


def test_an_actor_knows_itself() -> None:
    actor = Sync.options(name="joe", num_cpus=1).remote()
    first, now = ray.get([actor.at_start.remote(), actor.now.remote()])
    for found in (first, now):
        assert found["get_actor_name"] == "joe"
        assert found["current_actor"] == actor
        assert found["get_actor_id"] == actor._actor_id.hex()
        assert found["actor_id"] == actor._actor_id
        assert found["get_assigned_resources"] == {"CPU": 1.0}
        assert found["was_current_actor_reconstructed"] is False
        assert set(found["get"]) == {"job_id", "node_id", "namespace", "task_id", "actor_id"}
    assert now["get_task_name"] == "Sync.now"
    assert now["get_task_function_name"].endswith("test_runtime_context.Sync.now")
    assert first["get_task_function_name"].endswith("Sync.__init__")
    assert first["get_task_id"] != now["get_task_id"]
    unnamed = ray.get(Async.remote().now.remote())
    assert unnamed["get_actor_name"] == ""
    assert unnamed["get_assigned_resources"] == {}
    assert unnamed["get_task_name"] == "Async.now"
    assert unnamed["is_canceled"] == (
        "RuntimeError: This method is not supported in an async actor."
    )


def test_nodes_have_rays_keys() -> None:
    (node,) = ray.nodes()
    assert node["Alive"] is True
    assert node["Resources"]["CPU"] == 2.0
    assert node["Labels"]["zone"] == "a"
    keys = {"NodeManagerAddress", "NodeManagerHostname", "NodeManagerPort", "NodeName", "alive"}
    assert keys | {"ObjectStoreSocketName", "RayletSocketName", "MetricsExportPort"} <= set(node)


def test_rays_names_are_there_and_other_languages_are_refused() -> None:
    assert [name for name in ray.__all__ if not hasattr(ray, name)] == []
    assert ray.util.ActorPool is not None
    assert ray.dag.InputNode is not None
    assert ray.cloudpickle.loads(ray.cloudpickle.dumps([1])) == [1]
    assert ray.util.accelerators.NVIDIA_TESLA_V100 == "V100"
    assert (ray.SCRIPT_MODE, ray.WORKER_MODE, ray.LOCAL_MODE) == (0, 1, 2)
    assert repr(ray.Language.PYTHON) == "PYTHON"
    assert ray.Language.PYTHON != ray.Language.JAVA
    assert "util" in dir(ray)
    assert ray.actor.ActorProxy[Sync] is not None
    assert ray.actor.ActorHandle[int] is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ray.nothing
    for refused in (
        lambda: ray.java_function("A", "f"),
        lambda: ray.java_actor_class("A"),
        lambda: ray.cpp_function("f"),
        lambda: ray.cpp_actor_class("f", "A"),
        lambda: ray.client("ray://x"),
        lambda: ray.ClientBuilder("x"),
        lambda: ray.util.connect("x"),
    ):
        with pytest.raises(InvalidOptionError):
            refused()


def test_progress_bars_draw_in_drivers_and_print_in_workers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from polyray.experimental import tqdm_ray

    def counted(items: list[int]) -> tuple[int, str]:
        import contextlib
        import io

        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            total = sum(tqdm_ray.tqdm(items, desc="load", flush_interval_s=0))
        return total, out.getvalue()

    assert counted([1, 2, 3])[0] == 6
    assert "load: 100%|####################| 3/3" in capsys.readouterr().err
    total, printed = ray.get(ray.remote(counted).remote([4, 5]))
    assert total == 9
    assert printed.splitlines()[-1].startswith("load: 100%|####################| 2/2")
    bar = tqdm_ray.tqdm(unit="row")
    bar.set_description("more")
    bar.update(5)
    bar.close()
    assert bar.n == 5
    assert "more: 5 row" in capsys.readouterr().err
    with pytest.raises(ValueError, match="No iterable"):
        list(bar)
