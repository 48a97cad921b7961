# SPDX-License-Identifier: Apache-2.0
"""Goal: a program that gives options at every call keeps one spec for equal options.

Method: counts the specs that the runtime keeps.
"""

from __future__ import annotations

import polyray as ray
import pytest
from polyray import runtime as runtime_module

pytestmark = pytest.mark.usefixtures("runtime")


def kept() -> int:
    return len(runtime_module.current().specs)


def test_equal_options_of_a_function_share_a_spec() -> None:
    @ray.remote
    def answer() -> int:
        return 42

    before = kept()
    for _ in range(20):
        ref = answer.options(
            num_cpus=0.5,
            resources={"alice": 0.1},
            retry_exceptions=[ValueError],
            runtime_env={"env_vars": {"A": "1"}},
        ).remote()
        assert ray.get(ref) == 42
    assert kept() == before + 1


def test_different_options_of_a_function_do_not() -> None:
    @ray.remote
    def pair() -> tuple[int, int]:
        return 1, 2

    assert ray.get(pair.remote()) == (1, 2)
    assert ray.get(pair.options(num_returns=2).remote()) == [1, 2]
    assert ray.get(pair.options(num_returns=1).remote()) == (1, 2)


def test_variables_are_part_of_the_options() -> None:
    @ray.remote
    def variable() -> str | None:
        import os

        return os.environ.get("POLYRAY_TEST_VALUE")

    for value in ("a", "b", "a"):
        env = {"env_vars": {"POLYRAY_TEST_VALUE": value}}
        assert ray.get(variable.options(runtime_env=env).remote()) == value


def test_equal_options_of_an_actor_share_a_spec() -> None:
    @ray.remote
    class Thing:
        def ping(self) -> int:
            return 1

    before = kept()
    for i in range(5):
        made = Thing.options(num_cpus=0, max_pending_calls=10 + i)
        assert ray.get(made.remote().ping.remote()) == 1
    for i in range(2):
        named = Thing.options(num_cpus=0, name=f"thing-{i}").remote()
        assert ray.get(named.ping.remote()) == 1
        assert ray.get(ray.get_actor(f"thing-{i}").ping.remote()) == 1
    assert kept() == before + 3
