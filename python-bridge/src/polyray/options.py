# SPDX-License-Identifier: Apache-2.0
"""Options of tasks and actors: names, types, ranges, and what they ask of a worker.

A name that is not an option, or a value out of range, is an InvalidOptionError that says what is
allowed. Options of Ray that have no effect here yet are accepted when their value asks for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from polyray.exceptions import InvalidOptionError
from polyray.limits import RESOURCE_UNIT

Check = Callable[[Any], "str | None"]


def _number(value: Any) -> str | None:
    ok = value is None or (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**53
    )
    return None if ok else "a number >= 0"


def _text(value: Any) -> str | None:
    return (
        None
        if value is None or (isinstance(value, str) and value != "")
        else "a text that is not empty"
    )


def _flag(value: Any) -> str | None:
    return None if value is None or isinstance(value, bool) else "True or False"


def _whole(least: int) -> Check:
    def check(value: Any) -> str | None:
        ok = value is None or (
            isinstance(value, int) and not isinstance(value, bool) and value >= least
        )
        return None if ok else f"a whole number >= {least}"

    return check


def _amounts(value: Any) -> str | None:
    if value is None:
        return None
    ok = isinstance(value, Mapping) and all(
        isinstance(name, str) and _number(amount) is None and amount is not None
        for name, amount in value.items()
    )
    return None if ok else 'a dict of names and numbers >= 0, such as {"alice": 1}'


def _returns(value: Any) -> str | None:
    if value is None or value in ("streaming", "dynamic"):
        return None
    ok = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1000
    return None if ok else '0 to 1000, or "streaming"'


def _retry(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    ok = isinstance(value, (list, tuple)) and all(
        isinstance(c, type) and issubclass(c, BaseException) for c in value
    )
    return None if ok else "True, False or a list of exception classes"


def _lifetime(value: Any) -> str | None:
    return None if value in (None, "detached", "non_detached") else '"detached" or "non_detached"'


def _runtime_env(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return 'a dict such as {"env_vars": {"A": "1"}}'
    for key, part in value.items():
        if key != "env_vars" and part:
            return f"a dict with env_vars ({key!r} is not built yet)"
    variables = value.get("env_vars") or {}
    ok = isinstance(variables, Mapping) and all(
        isinstance(x, str) for pair in variables.items() for x in pair
    )
    return None if ok else "env_vars of strings"


def _no_effect(*allowed: Any) -> Check:
    def check(value: Any) -> str | None:
        return (
            None if value is None or value in allowed else f"left out ({value!r} is not built yet)"
        )

    return check


def _groups(value: Any) -> str | None:
    if value is None:
        return None
    ok = isinstance(value, Mapping) and all(
        isinstance(k, str) and _whole(1)(n) is None for k, n in value.items()
    )
    return None if ok else 'a dict such as {"io": 2}'


def _anything(value: Any) -> str | None:
    return None


_SHARED: dict[str, Check] = {
    "num_cpus": _number,
    "num_gpus": _number,
    "resources": _amounts,
    "memory": _number,
    "object_store_memory": _number,
    "name": _text,
    "runtime_env": _runtime_env,
    "scheduling_strategy": _no_effect("DEFAULT", "SPREAD"),
    "placement_group": _no_effect("default"),
    "placement_group_bundle_index": _no_effect(-1),
    "placement_group_capture_child_tasks": _no_effect(False),
    "accelerator_type": _no_effect(),
    "label_selector": _no_effect(),
    "fallback_strategy": _no_effect(),
    "enable_task_events": _flag,
    "_metadata": _anything,
    "_labels": _anything,
}
TASK_OPTIONS: dict[str, Check] = {
    **_SHARED,
    "num_returns": _returns,
    "max_retries": _whole(-1),
    "retry_exceptions": _retry,
    "max_calls": _whole(0),
    "_generator_backpressure_num_objects": _whole(-1),
}
ACTOR_OPTIONS: dict[str, Check] = {
    **_SHARED,
    "namespace": _text,
    "get_if_exists": _flag,
    "lifetime": _lifetime,
    "max_restarts": _whole(-1),
    "max_task_retries": _whole(-1),
    "max_concurrency": _whole(1),
    "max_pending_calls": _whole(-1),
    "concurrency_groups": _groups,
    "allow_out_of_order_execution": _flag,
    "enable_tensor_transport": _no_effect(False),
}
METHOD_OPTIONS: dict[str, Check] = {
    "num_returns": _returns,
    "concurrency_group": _text,
    "max_task_retries": _whole(-1),
    "retry_exceptions": _retry,
    "enable_task_events": _flag,
    "tensor_transport": _no_effect(),
    "name": _text,
    "_generator_backpressure_num_objects": _whole(-1),
}


def checked(options: Mapping[str, Any], table: Mapping[str, Check], what: str) -> dict[str, Any]:
    """The options, or InvalidOptionError."""
    for name, value in options.items():
        check = table.get(name)
        if check is None:
            names = ", ".join(sorted(key for key in table if not key.startswith("_")))
            raise InvalidOptionError(
                f"[invalid option] {what} has no option {name!r}. Valid options: {names}."
            )
        wanted = check(value)
        if wanted is not None:
            raise InvalidOptionError(
                f"[invalid option] {what} option {name} must be {wanted}, not {value!r}."
            )
    return dict(options)


def amounts(options: Mapping[str, Any], default_cpus: float) -> dict[str, float]:
    """What a worker for this asks of the node, by resource name, in whole units."""
    found: dict[str, float] = {}
    cpus = options.get("num_cpus")
    found["CPU"] = default_cpus if cpus is None else cpus
    found["GPU"] = options.get("num_gpus") or 0
    found["memory"] = options.get("memory") or 0
    for name, amount in (options.get("resources") or {}).items():
        if name in ("CPU", "GPU", "memory"):
            option = {"CPU": "num_cpus", "GPU": "num_gpus"}.get(name, name)
            raise InvalidOptionError(
                f"[invalid option] {name} is a built-in resource: use {option}."
            )
        found[name] = amount
    return {name: amount for name, amount in found.items() if amount > 0}


def fixed_amounts(whole: Mapping[str, float]) -> list[tuple[str, int]]:
    """The same in the fixed-point unit of the wire, smallest amounts kept."""
    return sorted((name, max(1, round(amount * RESOURCE_UNIT))) for name, amount in whole.items())


def env_vars(options: Mapping[str, Any]) -> dict[str, str]:
    """Variables that a worker gets before user code runs."""
    return dict((options.get("runtime_env") or {}).get("env_vars") or {})
