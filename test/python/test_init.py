# SPDX-License-Identifier: Apache-2.0
"""Goal: what init is told of a job reaches its workers, and wrong arguments are refused first.

Method: programs of their own, each with a runtime; what their workers and loggers print.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polyray as ray
import pytest
from polyray.job_config import JobConfig
from support import run_program


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"namespace": 5}, TypeError, "namespace must be None or a string"),
        ({"namespace": ""}, ValueError, '"" is not a valid namespace'),
        ({"labels": 5}, TypeError, "labels"),
        ({"labels": {"a": 5}}, TypeError, "labels"),
        ({"resources": 5}, TypeError, "resources"),
        ({"job_config": 5}, TypeError, "JobConfig"),
        ({"logging_config": 5}, TypeError, "LoggingConfig"),
        ({"logging_level": "loud"}, ValueError, "LOUD"),
        ({"address": "127.0.0.1:1", "num_cpus": 1}, ValueError, "existing cluster"),
    ],
)
def test_wrong_arguments_start_nothing(arguments: dict[str, Any], kind: type, text: str) -> None:
    with pytest.raises(kind, match=text):
        ray.init(**arguments)
    assert not ray.is_initialized()


def test_asking_for_the_cluster_starts_nothing() -> None:
    for ask in (ray.nodes, ray.cluster_resources, ray.available_resources):
        with pytest.raises(ray.exceptions.RaySystemError, match="has not been started yet"):
            ask()
    assert not ray.is_initialized()


def test_the_context_has_the_keys_of_rays() -> None:
    with ray.init(num_cpus=1) as context:
        assert {
            "node_ip_address", "redis_address", "object_store_address", "raylet_socket_name",
            "webui_url", "session_dir", "metrics_export_port", "gcs_address", "address",
            "dashboard_agent_listen_port", "node_id",
        } <= set(context)  # fmt: skip
        assert context.ray_version == ray.__version__
        assert context["node_id"] == ray.get_runtime_context().get_node_id()
        total = ray.cluster_resources()
        node = f"node:{context['node_ip_address']}"
        assert (total["node:__internal_head__"], total[node]) == (1.0, 1.0)
        head = ray.remote(lambda: 5).options(resources={"node:__internal_head__": 0.01})
        assert ray.get(head.remote()) == 5


def test_a_job_config_holds_for_the_whole_job(tmp_path: Path) -> None:
    (tmp_path / "found_by_path.py").write_text("VALUE = 5\n")
    config = JobConfig(
        ray_namespace="of_job",
        default_actor_lifetime="detached",
        runtime_env={"env_vars": {"OF_JOB": "1"}},
        code_search_path=[str(tmp_path)],
    )

    @ray.remote
    def told() -> tuple[Any, ...]:
        import os

        import found_by_path

        context = ray.get_runtime_context()
        variables = context.runtime_env["env_vars"]
        return os.environ.get("OF_JOB"), found_by_path.VALUE, context.namespace, variables

    @ray.remote
    class Kept:
        def make(self) -> str:
            inner = Kept.options(name="inner").remote()  # the default holds in workers too
            return str(ray.get(inner.own.remote()))

        def own(self) -> str:
            return "here"

    with ray.init(num_cpus=2, job_config=config):
        assert ray.get(told.remote()) == ("1", 5, "of_job", {"OF_JOB": "1"})
        kept = Kept.options(name="outer").remote()
        assert ray.get(kept.make.remote()) == "here"
        del kept
        assert ray.get(ray.get_actor("outer").own.remote()) == "here"
        assert ray.get(ray.get_actor("inner").own.remote()) == "here"


def test_a_job_config_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="detached"):
        JobConfig(default_actor_lifetime="for_ever")
    with pytest.raises(TypeError, match="texts"):
        JobConfig(metadata={"a": 1})  # type: ignore[dict-item]


LOGS = """
import logging, polyray as ray
ray.init(num_cpus=1, logging_config=ray.LoggingConfig(
    encoding="{encoding}", log_level="DEBUG", additional_log_standard_attrs=["name"]))

@ray.remote
def work():
    logging.getLogger("mine").debug("in the task", extra={{"own": 7}})

@ray.remote
class Member:
    def work(self):
        logging.getLogger().info("in the actor")

ray.get(work.remote())
member = Member.remote()
ray.get(member.work.remote())
logging.getLogger("driver").warning("in the driver")
"""


def test_logs_are_json_with_the_place_they_come_from() -> None:
    done = run_program(LOGS.format(encoding="JSON"))
    lines = [
        line[line.index("{") :] for line in (done.stdout + done.stderr).splitlines() if "{" in line
    ]
    rows = {row["message"]: row for row in map(json.loads, lines)}
    task, actor, driver = (rows[f"in the {who}"] for who in ("task", "actor", "driver"))
    assert (task["levelname"], task["name"], task["own"]) == ("DEBUG", "mine", 7)
    assert (task["task_name"], len(task["task_id"])) == ("work", 48)
    assert (actor["task_name"], len(actor["actor_id"])) == ("Member.work", 32)
    assert task["job_id"] == actor["job_id"] == driver["job_id"]
    assert "task_id" not in driver


def test_logs_as_text_have_the_same() -> None:
    done = run_program(LOGS.format(encoding="TEXT"))
    line = next(one for one in (done.stdout + done.stderr).splitlines() if "in the task" in one)
    assert "DEBUG" in line
    assert "task_name=work" in line
    assert "own=7" in line


def test_a_logging_config_refuses_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="Invalid encoding type"):
        ray.LoggingConfig(encoding="XML")
    with pytest.raises(ValueError, match="Unknown python logging standard attribute"):
        ray.LoggingConfig(additional_log_standard_attrs=["nope"])


REPEATS = """
import polyray as ray
ray.init(num_cpus=1)

@ray.remote
def talk():
    for _ in range(5):
        print("again and again")
    print("do not show this")

ray.get(talk.remote())
"""


@pytest.mark.parametrize(
    ("env", "times", "hidden"),
    [
        ({}, 2, 1),
        ({"RAY_DEDUP_LOGS": "0"}, 5, 1),
        ({"POLYRAY_DEDUP_LOGS": "0"}, 5, 1),
        ({"RAY_DEDUP_LOGS_ALLOW_REGEX": "again"}, 5, 1),
        ({"RAY_DEDUP_LOGS_SKIP_REGEX": "not show"}, 2, 0),
    ],
    ids=["folded", "off", "off by our name", "allowed", "skipped"],
)
def test_the_environment_says_which_lines_are_folded(
    env: dict[str, str], times: int, hidden: int
) -> None:
    done = run_program(REPEATS, env=env)
    assert done.stdout.count("again and again") == times, done.stdout
    assert done.stdout.count("do not show this") == hidden
