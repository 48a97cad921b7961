# SPDX-License-Identifier: Apache-2.0
"""Goal: the state API, timeline, metrics, the key-value table and the test cluster do as Ray's.

Method: one runtime of two CPUs with a known history; then the modules that need none.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import polyray as ray
import pytest
from polyray.exceptions import InvalidOptionError
from polyray.experimental import internal_kv as kv
from polyray.util import metrics, state
from polyray.util.state.exception import RayStateApiException
from support import eventually, run_program


@ray.remote
def double(x: int) -> int:
    return 2 * x


@ray.remote(max_retries=0)
def fail() -> None:
    raise ValueError("no such luck")


@ray.remote
def sleep(_mark: Any = None) -> None:
    time.sleep(60)


@ray.remote
class Member:
    def get(self) -> int:
        return os.getpid()

    def die(self) -> None:
        os._exit(3)


@pytest.fixture(scope="module")
def history() -> Iterator[dict[str, Any]]:
    with ray.init(num_cpus=2) as context:
        named = Member.options(name="m").remote()
        pid = ray.get(named.get.remote())
        dead = Member.remote()
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(dead.die.remote())
        ray.get([double.remote(i) for i in range(500)])
        with pytest.raises(ValueError, match="no such luck"):
            ray.get(fail.remote())
        refs = [sleep.remote() for _ in range(3)]
        waits = double.remote(refs[0])
        big = ray.put(b"x" * 300_000)
        eventually(
            lambda: len(state.list_tasks(filters=[("state", "=", "running")])) == 2, "two run"
        )
        yield {
            "named": named,
            "pid": pid,
            "dead": dead,
            "waits": waits,
            "refs": refs,
            "big": big,
            "address": context["address"],
        }


def test_tasks_are_listed_with_their_states(history: dict[str, Any]) -> None:
    def states(name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in state.list_tasks(filters=[("name", "=", name)], limit=1000):
            found[row.state] = found.get(row.state, 0) + 1
        return found

    assert states("double") == {"FINISHED": 500, "PENDING_ARGS_AVAIL": 1}
    asleep = states("sleep")  # the third waits for a worker, or at one
    assert asleep.pop("RUNNING") == 2
    assert list(asleep.values()) == [1]
    assert set(asleep) <= {"PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER"}
    assert states("Member.get") == {"FINISHED": 1}
    assert len(state.list_tasks()) == 100
    [failed] = state.list_tasks(
        filters=[("state", "=", "FAILED"), ("func_or_class_name", "=", "fail")], detail=True
    )
    assert failed.error_type == "TASK_EXECUTION_EXCEPTION"
    assert "no such luck" in failed.error_message
    assert failed["type"] == "NORMAL_TASK"
    assert failed.worker_pid != os.getpid()
    assert failed.start_time_ms <= failed.end_time_ms
    assert failed.required_resources == {"CPU": 1}
    assert state.list_tasks(filters=[("name", "=", "fail")])[0].error_message is None
    waiting = state.get_task(history["waits"].hex())
    assert waiting.state == "PENDING_ARGS_AVAIL"
    assert state.get_task("ff" * 24) is None
    summary = state.summarize_tasks()["cluster"]
    assert summary["summary"]["double"]["state_counts"]["FINISHED"] == 500
    assert summary["total_actor_scheduled"] >= 1


def test_actors_workers_and_the_rest_are_listed(history: dict[str, Any]) -> None:
    rows = {row.actor_id: row for row in state.list_actors(detail=True)}
    named = rows[history["named"]._actor_id.hex()]
    assert (named.state, named.name, named.pid) == ("ALIVE", "m", history["pid"])
    dead = rows[history["dead"]._actor_id.hex()]
    assert dead.state == "DEAD"
    assert "exited with code 3" in str(dead.death_cause)
    assert state.list_actors(filters=[("state", "=", "dead")])[0].class_name == "Member"
    assert state.get_actor(named.actor_id).name == "m"
    assert state.summarize_actors()["cluster"]["summary"]["Member"]["state_counts"]["DEAD"] == 1
    workers = state.list_workers(detail=True)
    assert {row.worker_type for row in workers if row.is_alive} == {"DRIVER", "WORKER"}
    assert any(not row.is_alive and "code 3" in row.exit_detail for row in workers)
    own = ray.get_runtime_context().get_worker_id()
    assert state.get_worker(own).pid == os.getpid()
    assert state.get_objects(history["big"].hex())[0].object_size >= 300_000
    assert state.summarize_objects()["cluster"]["total_objects"] > 3
    assert state.list_nodes()[0].node_id == ray.get_runtime_context().get_node_id()
    job = state.list_jobs()[0]
    assert (job.status, job.job_id) == ("RUNNING", ray.get_runtime_context().get_job_id())
    group = ray.util.placement_group([{"bob": 1}], name="p")
    assert state.list_placement_groups()[0].state == "PENDING"
    assert state.get_placement_group(group.id.hex()).name == "p"


def test_wrong_questions_are_refused(history: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Available predicates: =, !="):
        state.list_tasks(filters=[("state", "~", "x")])
    with pytest.raises(ValueError, match="filter key bogus"):
        state.list_tasks(filters=[("bogus", "=", "x")])
    with pytest.raises(RayStateApiException, match="exceeds"):
        state.list_tasks(limit=20_000)
    assert all(row.name != "double" for row in state.list_tasks(filters=[("name", "!=", "double")]))


def test_the_timeline_has_what_ran(history: dict[str, Any], tmp_path: pathlib.Path) -> None:
    file = tmp_path / "trace.json"
    assert ray.timeline(str(file)) is None
    events = json.loads(file.read_text())
    runs = [event for event in events if event["ph"] == "X"]
    assert sum(1 for event in runs if event["name"] == "double") == 500
    assert len(ray.timeline()) >= len(events)


def test_keys_and_values(history: dict[str, Any]) -> None:
    assert kv._internal_kv_initialized()
    assert kv._internal_kv_get(b"a") is None
    assert kv._internal_kv_put(b"a", b"1") is False
    assert kv._internal_kv_put(b"a", b"2", overwrite=False) is True
    assert kv._internal_kv_get("a") == b"1"
    assert kv._internal_kv_put(b"ab\xff", b"\x00", namespace=b"n") is False
    assert kv._internal_kv_list(b"a", namespace=b"n") == [b"ab\xff"]
    assert kv._internal_kv_exists(b"ab\xff", namespace=b"n")
    assert kv._internal_kv_del(b"a", del_by_prefix=True, namespace=b"n") == 1
    assert kv._internal_kv_del(b"a") == 1
    assert kv._internal_kv_list(b"") == [] or b"a" not in kv._internal_kv_list(b"")


def test_metrics_check_what_they_record() -> None:
    counter = metrics.Counter("requests", "How many", tag_keys=("route",))
    counter.set_default_tags({"route": "/"})
    counter.inc()
    counter.inc(2, tags={"route": "/a"})
    metrics.Gauge("depth").set(3)
    histogram = metrics.Histogram("latency", boundaries=[0.1, 1], tag_keys=("k",))
    histogram.observe(0.5, tags={"k": "v"})
    text = metrics.prometheus_text()
    for line in (
        'polyray_requests{route="/"} 1.0',
        'polyray_requests{route="/a"} 2.0',
        "polyray_depth 3.0",
        'polyray_latency_bucket{k="v",le="1"} 1',
        'polyray_latency_count{k="v"} 1',
        "# TYPE polyray_latency histogram",
    ):
        assert line in text
    again = pickle.loads(pickle.dumps(counter))
    assert again.info == counter.info
    for call, error in (
        (lambda: counter.inc(0), ValueError),
        (lambda: counter.inc(1, tags={"no": "x"}), ValueError),
        (lambda: counter.inc("1"), TypeError),
        (lambda: histogram.observe(1), ValueError),
        (lambda: metrics.Counter(""), ValueError),
        (lambda: metrics.Counter("a", tag_keys=["x"]), TypeError),
        (lambda: metrics.Histogram("h"), ValueError),
        (lambda: metrics.Histogram("h", boundaries=[0, 1]), ValueError),
        (lambda: counter.set_default_tags({"no": "x"}), ValueError),
    ):
        with pytest.raises(error):
            call()


def test_metrics_whose_lines_would_have_one_name_are_refused() -> None:
    metrics.Histogram("clash", boundaries=[1])
    metrics.Counter("other_count")
    for make in (
        lambda: metrics.Counter("clash_count"),
        lambda: metrics.Gauge("clash_bucket"),
        lambda: metrics.Histogram("clash_sum", boundaries=[1]),
        lambda: metrics.Histogram("other", boundaries=[1]),
    ):
        with pytest.raises(InvalidOptionError, match="both write lines named"):
            make()
    metrics.Histogram("clash", boundaries=[1, 2])
    metrics.Counter("clash_total")


OTHER_DRIVER = """
import sys
import polyray as ray
ray.init("auto")
ref = ray.put("of the other")
print(ray.get_runtime_context().get_job_id(), ref.hex(), flush=True)
sys.stdin.read()
"""


def test_objects_of_another_driver_have_its_job_in_their_ids(history: dict[str, Any]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "POLYRAY_ADDRESS": history["address"]},
    ) as other:
        assert other.stdout is not None
        job, ref = other.stdout.readline().split()
        assert job != ray.get_runtime_context().get_job_id()
        ids = {row.object_id for row in state.list_objects(limit=10_000)}
        assert ref in ids
        assert history["big"].hex() in ids
        assert len(state.get_objects(ref)) == 1
        other.communicate("")


METRICS = """
import os, signal, time
import polyray as ray
from polyray import runtime
from polyray.util import metrics

def note(name):
    metrics.Counter(name).inc()

@ray.remote(max_calls=1)
def leaves_after_one():
    note("of_task")

@ray.remote
class Member:
    def exits(self):
        note("of_exit")
        ray.actor.exit_actor()

    def fails(self):
        note("of_failure")
        raise SystemExit(3)

    def is_terminated(self):
        note("of_terminated")
        os.kill(os.getpid(), signal.SIGTERM)

note("before_init")
time.sleep(0.3)  # it was time to report it
ray.init(num_cpus=1)
ray.get(leaves_after_one.remote())
for name in ("exits", "fails", "is_terminated"):
    try:
        ray.get(getattr(Member.remote(), name).remote())
    except ray.exceptions.RayActorError:
        pass
first = metrics.Histogram("remade", boundaries=[1.0])
first.observe(0.5)
metrics.Histogram("remade", boundaries=[1.0, 2.0]).observe(0.5)
first.observe(0.5)
metrics.Gauge("workers").set(77)  # the runtime has that
metrics.Gauge("last").set(1)
wanted = {"before_init", "of_task", "of_exit", "of_failure", "of_terminated", "last"}
missing = wanted
deadline = time.monotonic() + 20
while missing and time.monotonic() < deadline:
    found = runtime.current().request("metrics.families")["families"]
    missing = wanted - {family["name"] for family in found}
    time.sleep(0.05)
print("missing", sorted(missing))
samples = next(family["samples"] for family in found if family["name"] == "remade")
print("workers", sum(family["name"] == "workers" for family in found))
print("remade", [one["value"] for one in samples])
"""


def test_metrics_arrive_from_before_init_and_from_workers_that_leave() -> None:
    done = run_program(METRICS)
    assert "missing []\n" in done.stdout
    assert "workers 1\n" in done.stdout
    assert "remade [2, 2, 1, 2]\n" in done.stdout
    assert "is not kept: another program made a histogram" in done.stderr


def test_a_cluster_of_one_node() -> None:
    from polyray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    try:
        with pytest.raises(NotImplementedError, match="one node"):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address)
        cluster.wait_for_nodes()
        assert ray.cluster_resources()["CPU"] == 3
        assert ray.get(double.remote(4)) == 8
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert cluster.address is None
    with pytest.raises(RuntimeError, match="uninitialized"):
        Cluster(connect=True)


def test_ids_of_tasks_name_the_job_of_the_task_not_of_who_asks() -> None:
    from polyray.util.state.api import _shown

    task = {"task_id": "01" * 16, "parent_task_id": "02" * 16, "actor_id": None}
    row = _shown({**task, "type": "NORMAL_TASK", "job_id": "05000000"})
    assert row["task_id"].endswith("05000000")
    assert row["parent_task_id"].endswith("05000000")


def test_a_remote_function_of_typescript_has_no_attributes_of_python() -> None:
    from polyray.values import CodecValue

    foreign = CodecValue("polyray/RemoteFunction", None)
    assert not hasattr(foreign, "options")
    with pytest.raises(TypeError, match="cannot be called as a value"):
        foreign.remote()
