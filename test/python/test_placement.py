# SPDX-License-Identifier: Apache-2.0
"""Goal: placement groups, node affinity and labels behave as Ray's on one node.

Method: one runtime of four CPUs; groups are removed at the end of each test.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from typing import Any

import polyray as ray
import pytest
from polyray import exceptions
from polyray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from polyray.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)
from support import eventually

Strategy = PlacementGroupSchedulingStrategy


@pytest.fixture(scope="module", autouse=True)
def runtime4() -> Iterator[None]:
    with ray.init(num_cpus=4, resources={"bob": 2}, labels={"zone": "a"}):
        yield


@pytest.fixture(autouse=True)
def no_groups_left() -> Iterator[None]:
    yield
    for group, row in placement_group_table().items():
        if row["state"] != "REMOVED":
            ray.util.remove_placement_group(PlacementGroup(type(pg_id()).from_hex(group)))
    eventually(lambda: ray.available_resources().get("CPU") == 4, "all CPUs are free again")


def pg_id() -> Any:
    return PlacementGroup.empty().id


@ray.remote(num_cpus=1)
def where() -> tuple[Any, Any]:
    group = get_current_placement_group()
    return group and group.id.hex(), ray.get_runtime_context().get_placement_group_id()


@ray.remote(num_cpus=1, max_retries=0)
def sleeper(started: str = "") -> None:
    if started:
        pathlib.Path(started).touch()
    time.sleep(60)


@ray.remote(num_cpus=1)
class Member:
    def group(self) -> str:
        return get_current_placement_group().id.hex()

    def sleep(self) -> None:
        time.sleep(60)


def test_bundles_are_reserved_and_work_runs_in_them() -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 1, "bob": 1}], name="g")
    assert ray.get(group.ready()) == group
    assert group.wait(5)
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 1.0, "bob": 1.0}]
    assert group.bundle_count == 2
    assert not group.is_empty
    assert PlacementGroup.empty().is_empty
    text = group.id.hex()
    for options in (
        {"scheduling_strategy": Strategy(group)},
        {"scheduling_strategy": Strategy(group, 1)},
        {"placement_group": group, "placement_group_bundle_index": 0},
    ):
        assert ray.get(where.options(**options).remote()) == (text, text)
    assert ray.get(where.remote()) == (None, None)
    assert (
        ray.get(Member.options(scheduling_strategy=Strategy(group)).remote().group.remote()) == text
    )
    total = ray.cluster_resources()
    assert total[f"CPU_group_{text}"] == 2
    assert total[f"bob_group_1_{text}"] == 1
    assert ray.available_resources()["CPU"] == 2
    row = placement_group_table(group)
    assert row["state"] == "CREATED"
    assert row["strategy"] == "PACK"
    assert row["name"] == "g"
    assert row["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 1.0, "bob": 1.0}}
    assert row["bundles_to_node_id"][0] == ray.get_runtime_context().get_node_id()
    assert ray.util.get_placement_group("g") == group
    assert ray.get(ray.put(group)) == group


def test_what_is_not_allowed_is_said() -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ([], {}, "non-empty list"),
        ([{}], {}, "empty dictionary or resources with only 0 values"),
        ([{"CPU": 0}], {}, "only 0 values"),
        ("x", {}, "must be a list"),
        ([{"CPU": "a"}], {}, "list of resource dictionaries"),
        ([{"CPU": 1}], {"strategy": "FOO"}, "Invalid placement group strategy FOO"),
        ([{"CPU": 1}], {"lifetime": "foo"}, "`lifetime` argument must be either"),
    ]
    for bundles, options, text in wrong:
        with pytest.raises(ValueError, match=text):
            placement_group(bundles, **options)
    group = placement_group([{"CPU": 1}, {"CPU": 1}], name="taken")
    for strategy, text in (
        (Strategy(group, 5), "placement group bundle index 5 is invalid"),
        (Strategy(group, -2), "Valid placement group indexes: 0-2"),
    ):
        with pytest.raises(ValueError, match=text):
            where.options(scheduling_strategy=strategy).remote()
    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        where.options(num_cpus=3, scheduling_strategy=Strategy(group)).remote()
    with pytest.raises(exceptions.RaySystemError, match="because name 'taken' already exists"):
        placement_group([{"CPU": 1}], name="taken")
    with pytest.raises(ValueError, match="Failed to look up placement group with name: nope"):
        ray.util.get_placement_group("nope")
    with pytest.raises(ValueError, match="non-empty value"):
        ray.util.get_placement_group("")
    for call, text in (
        (lambda: In(), "non-empty tuple"),
        (lambda: In(1), "must be str"),
        (lambda: NodeLabelSchedulingStrategy({}), "cannot both be empty"),
        (lambda: NodeLabelSchedulingStrategy("x"), "must be a map"),
        (lambda: NodeLabelSchedulingStrategy({"a": "b"}), "must be one of the `In`"),
        (lambda: NodeAffinitySchedulingStrategy("abc", False), "Invalid node_id 'abc'"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


def test_a_removed_group_ends_what_runs_in_it(tmp_path: pathlib.Path) -> None:
    group = placement_group([{"CPU": 1}])
    ray.get(group.ready())
    mark = tmp_path / "started"
    running = sleeper.options(scheduling_strategy=Strategy(group)).remote(str(mark))
    eventually(mark.exists, "it runs")
    queued = sleeper.options(scheduling_strategy=Strategy(group)).remote()
    remove_placement_group(group)
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(running)
    for ref in (queued, where.options(scheduling_strategy=Strategy(group)).remote()):
        with pytest.raises(exceptions.TaskPlacementGroupRemoved):
            ray.get(ref)
    assert placement_group_table(group)["state"] == "REMOVED"
    with pytest.raises(Exception, match="does not exist"):
        group.wait(1)
    remove_placement_group(group)  # again: nothing happens

    other = placement_group([{"CPU": 1}])
    ray.get(other.ready())
    strategy = Strategy(other)
    member = Member.options(scheduling_strategy=strategy, max_restarts=-1).remote()
    assert ray.get(member.group.remote()) == other.id.hex()
    waiting = Member.options(num_cpus=1, scheduling_strategy=strategy).remote()
    calls = [member.sleep.remote(), waiting.group.remote()]
    remove_placement_group(other)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(calls[0])
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(member.group.remote())


def test_a_group_waits_for_room_and_bundles_are_all_or_nothing() -> None:
    first = placement_group([{"CPU": 3}])
    assert first.wait(5)
    second = placement_group([{"CPU": 1}, {"CPU": 1}])
    task = where.options(scheduling_strategy=Strategy(second)).remote()
    assert not second.wait(0.2)
    assert placement_group_table(second)["state"] == "PENDING"
    assert ray.get(where.remote()) == (None, None)  # nothing of it is reserved
    remove_placement_group(first)
    assert second.wait(10)
    assert ray.get(task)[0] == second.id.hex()
    for impossible in (
        placement_group([{"CPU": 100}]),
        placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD"),
    ):
        assert not impossible.wait(0.1)
    for strategy in ("SPREAD", "STRICT_PACK", "STRICT_SPREAD"):
        assert placement_group([{"bob": 0.1}], strategy=strategy).wait(5)


def test_children_run_in_the_group_when_it_captures_them() -> None:
    group = placement_group([{"CPU": 2}])

    @ray.remote(num_cpus=0)
    def child() -> Any:
        found = get_current_placement_group()
        return found and found.id.hex()

    @ray.remote(num_cpus=1)
    def parent() -> tuple[Any, ...]:
        apart = child.options(scheduling_strategy="DEFAULT")
        context = ray.get_runtime_context()
        return (
            ray.get(child.remote()),
            ray.get(apart.remote()),
            context.should_capture_child_tasks_in_placement_group,
        )

    text = group.id.hex()
    captured = Strategy(group, placement_group_capture_child_tasks=True)
    assert ray.get(parent.options(scheduling_strategy=captured).remote()) == (text, None, True)
    plain = parent.options(scheduling_strategy=Strategy(group))
    assert ray.get(plain.remote()) == (None, None, False)
    assert ray.get(parent.remote()) == (None, None, False)


def test_nodes_and_labels_are_matched() -> None:
    here = ray.get_runtime_context().get_node_id()
    elsewhere = "ab" * (len(here) // 2)
    good = [
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)},
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(elsewhere, soft=True)},
        {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": In("a", "b")})},
        {
            "scheduling_strategy": NodeLabelSchedulingStrategy(
                {"zone": Exists(), "x": DoesNotExist()}
            )
        },
        {"scheduling_strategy": NodeLabelSchedulingStrategy({}, soft={"zone": In("q")})},
        {"label_selector": {"zone": "a"}},
        {"label_selector": {"zone": "in(a,b)", "rack": "!7"}},
        {"scheduling_strategy": "SPREAD"},
    ]
    assert ray.get([where.options(**options).remote() for options in good]) == [(None, None)] * 8
    bad = [
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(elsewhere, soft=False)},
        {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": NotIn("a")})},
        {"label_selector": {"zone": "!a"}},
        {"accelerator_type": "A100"},
    ]
    for options in bad:
        with pytest.raises(exceptions.TaskUnschedulableError):
            ray.get(where.options(**options).remote())
    actor = Member.options(scheduling_strategy=bad[0]["scheduling_strategy"]).remote()
    with pytest.raises(exceptions.ActorUnschedulableError, match="NodeAffinity"):
        ray.get(actor.group.remote())
