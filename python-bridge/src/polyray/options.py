# SPDX-License-Identifier: Apache-2.0
"""Options of tasks, actors and methods: names, types, ranges, and what they ask of a worker.

The tables have Ray's names in Ray's order, and refusals have Ray's texts: programs match them. A
wrong type is a TypeError; an unknown name or a value out of range is an InvalidOptionError, which
is a ValueError.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from polyray.exceptions import InvalidOptionError
from polyray.limits import RESOURCE_UNIT

if TYPE_CHECKING:
    from polyray.runtime import Runtime

Check = Callable[[Any], "str | None"]
_NONE = type(None)
_SMALLEST = 1.0 / RESOURCE_UNIT


class _Named:
    """A class of a module that is imported only when a program uses it, told by its name."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def holds(self, value: Any) -> bool:
        """Whether the value is of that class."""
        return any(
            base.__name__ == self.name and base.__module__ == self.module
            for base in type(value).__mro__
        )

    def __repr__(self) -> str:
        return f"<class '{self.module}.{self.name}'>"


class Option:
    """One option: the types it takes and what more must hold."""

    __slots__ = ("check", "default", "types")

    def __init__(self, types: Any = None, check: Check | None = None, default: Any = None) -> None:
        self.types = types
        self.check = check
        self.default = default

    def validate(self, name: str, value: Any) -> None:
        """Raises TypeError or InvalidOptionError."""
        if self.types is not None and not self._is_of_type(value):
            raise TypeError(
                f"The type of keyword '{name}' must be {self.types}, "
                f"but received type {type(value)}"
            )
        wrong = None if self.check is None else self.check(value)
        if wrong:
            raise InvalidOptionError(wrong)

    def _is_of_type(self, value: Any) -> bool:
        types = self.types if isinstance(self.types, tuple) else (self.types,)
        return any(t.holds(value) if isinstance(t, _Named) else isinstance(value, t) for t in types)


def _count(name: str, endless: bool = True, default: Any = None) -> Option:
    def check(value: Any) -> str | None:
        if value is None or value >= (-1 if endless else 0):
            return None
        if endless:
            return (
                f"The keyword '{name}' only accepts None, 0, -1"
                " or a positive integer, where -1 represents infinity."
            )
        return f"The keyword '{name}' only accepts None, 0 or a positive integer."

    return Option((int, _NONE), check, default)


def _quantity(name: str, value: Any) -> str | None:
    if value < 0:
        return f"The quantity of resource {name} cannot be negative"
    if isinstance(value, float) and value != 0.0 and value < _SMALLEST:
        return (
            f"The precision of the fractional quantity of resource {name}"
            f" cannot go beyond {_SMALLEST}"
        )
    return None


def _resource(name: str, default: Any = None) -> Option:
    return Option(
        (float, int, _NONE),
        lambda value: None if value is None else _quantity(name, value),
        default,
    )


def _resources(value: Any) -> str | None:
    if value is None:
        return None
    if "CPU" in value or "GPU" in value:
        return (
            "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' "
            "in 'resources' keyword"
        )
    for name, amount in value.items():
        wrong = _quantity(name, amount)
        if wrong:
            return wrong
    return None


# Labels follow the rules of Kubernetes.
_LABEL = r"([a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?)"
_PREFIX = rf"^({_LABEL}?(\.{_LABEL}?)*)$"
_SELECTOR = rf"^!?(?:in)?\({_LABEL}(?:, ?{_LABEL})*\)$|^!?{_LABEL}$"
_LABEL_FORM = (
    "63 chars or less beginning and ending with an alphanumeric character ([a-z0-9A-Z]) "
    "with dashes (-), underscores (_),dots (.), and alphanumerics between."
)


def _label_key(key: str) -> str | None:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not re.fullmatch(_PREFIX, prefix)):
        return (
            f"Invalid label key prefix `{prefix}`. Prefix must be a series of DNS labels "
            "separated by dots (.), not longer than 253 characters in total."
        )
    if len(name) > 63 or not re.fullmatch(_LABEL, name):
        return f"Invalid label key name `{name}`. Name must be {_LABEL_FORM}"
    return None


def label_selector_error(value: Mapping[str, str] | None) -> str | None:
    """What is wrong with a label selector; None when nothing is."""
    for key, wanted in (value or {}).items():
        wrong = _label_key(key)
        if wrong:
            return wrong
        if wanted and not re.fullmatch(_SELECTOR, wanted):
            return (
                f"Invalid label selector value `{wanted}`. The label selector value should contain "
                "optional operators and a label value. Supported operators are: ! and {'in'}. "
                f"Value must be {_LABEL_FORM}"
            )
        if wanted is not None and not isinstance(wanted, str):
            raise TypeError(f"expected string or bytes-like object, got '{type(wanted).__name__}'")
    return None


def _fallback(value: Any) -> str | None:
    for strategy in value or ():
        if not isinstance(strategy, dict):
            return "Each element in fallback_strategy must be a dictionary."
        if not strategy:
            return "Empty dictionary found in `fallback_strategy`."
        for name in strategy:
            if name != "label_selector":
                return (
                    f"Unsupported option found: '{name}'. "
                    "Only ['label_selector'] is currently supported."
                )
        selector = strategy.get("label_selector")
        if selector and not isinstance(selector, dict):
            return 'The value of "label_selector" must be a dictionary.'
        wrong = label_selector_error(selector)
        if wrong:
            return wrong
    return None


def _returns(value: Any) -> str | None:
    if value is None or value in ("dynamic", "streaming") or value >= 0:
        return None
    return (
        "Default None. When None is passed, "
        "The default value is 1 for a task and actor task, and "
        "'streaming' for generator tasks and generator actor tasks. "
        "The keyword 'num_returns' only accepts None, a non-negative integer, "
        "'streaming' (for generators), or 'dynamic'. 'dynamic' flag "
        "will be deprecated in the future, and it is recommended to use "
        "'streaming' instead."
    )


def _retry(value: Any) -> str | None:
    if isinstance(value, bool) or all(
        isinstance(cls, type) and issubclass(cls, Exception) for cls in value
    ):
        return None
    return "retry_exceptions must be either a boolean or a list of exceptions"


def _lifetime(value: Any) -> str | None:
    if value in (None, "detached", "non_detached"):
        return None
    return "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."


def _backpressure(value: Any) -> str | None:
    if value != 0:
        return None
    return (
        "_generator_backpressure_num_objects=0 is not allowed. "
        "Use a value > 0. If the value is equal to 1, the behavior "
        "is identical to Python generator (generator 1 object "
        "whenever `next` is called). Use -1 to disable this feature. "
    )


def _actor_backpressure(value: Any) -> str | None:
    if value is None or value > 0 or value == -1:
        return None
    return (
        "_actor_generator_backpressure_num_objects must be > 0 to cap the "
        f"actor's total unconsumed generator objects, or -1 to disable. Got {value}."
    )


def _per_yield(value: Any) -> str | None:
    if value is None or value > 0:
        return None
    return (
        "_num_objects_per_yield is a private streaming generator option "
        "that must be set to a positive integer."
    )


def _runtime_env(value: Any) -> str | None:
    if value is not None:
        from polyray.runtime_env.merging import of_task

        of_task(value)  # raises what Ray raises
    return None


def _strategy(name: str) -> _Named:
    return _Named("polyray.util.scheduling_strategies", name)


_COMMON: dict[str, Option] = {
    "label_selector": Option((dict, _NONE), label_selector_error),
    "fallback_strategy": Option((list, _NONE), _fallback),
    "accelerator_type": Option((str, _NONE)),
    "memory": _resource("memory"),
    "name": Option((str, _NONE)),
    "num_cpus": _resource("num_cpus"),
    "num_gpus": _resource("num_gpus"),
    "object_store_memory": _count("object_store_memory", False),
    "placement_group": Option(
        (_NONE, str, _Named("polyray.util.placement_group", "PlacementGroup")), default="default"
    ),
    "placement_group_bundle_index": Option(int, default=-1),
    "placement_group_capture_child_tasks": Option((bool, _NONE)),
    "resources": Option((dict, _NONE), _resources),
    "runtime_env": Option((dict, _NONE), _runtime_env),
    "scheduling_strategy": Option(
        (
            _NONE,
            str,
            _strategy("PlacementGroupSchedulingStrategy"),
            _strategy("NodeAffinitySchedulingStrategy"),
            _strategy("NodeLabelSchedulingStrategy"),
        )
    ),
    "enable_task_events": Option(bool, default=True),
    "_labels": Option((dict, _NONE)),
}
_TASK_ONLY: dict[str, Option] = {
    "max_calls": _count("max_calls", False, 0),
    "max_retries": _count("max_retries", default=3),
    "num_cpus": _resource("num_cpus", 1),
    "num_returns": Option((int, str, _NONE), _returns),
    "object_store_memory": Option(
        (int, _NONE),
        lambda value: (
            None if value is None else "Setting 'object_store_memory' is not implemented for tasks"
        ),
    ),
    "retry_exceptions": Option((bool, list, tuple), _retry, False),
    "_generator_backpressure_num_objects": Option((int, _NONE), _backpressure),
    "_num_objects_per_yield": Option((int, _NONE), _per_yield, 1),
}
_ACTOR_ONLY: dict[str, Option] = {
    "concurrency_groups": Option((list, dict, _NONE)),
    "enable_tensor_transport": Option((bool, _NONE)),
    "lifetime": Option((str, _NONE), _lifetime),
    "max_concurrency": _count("max_concurrency", False),
    "max_restarts": _count("max_restarts", default=0),
    "max_task_retries": _count("max_task_retries", default=0),
    "max_pending_calls": _count("max_pending_calls", default=-1),
    "namespace": Option((str, _NONE)),
    "get_if_exists": Option(bool, default=False),
    "allow_out_of_order_execution": Option((bool, _NONE)),
    "_actor_generator_backpressure_num_objects": Option((int, _NONE), _actor_backpressure),
}
# Options of polyray beyond Ray's: accepted everywhere, left out of the lists that refusals print.
_OWN_OPTIONS: dict[str, Option] = {
    "priority": Option(
        (int, _NONE),
        lambda value: (
            None
            if value is None or -(2**31) <= value < 2**31
            else f"priority must be a whole number from -2147483648 to 2147483647, not {value}."
        ),
    ),
}
TASK_OPTIONS: dict[str, Option] = {**_COMMON, **_TASK_ONLY}
ACTOR_OPTIONS: dict[str, Option] = {**_COMMON, **_ACTOR_ONLY}
REMOTE_OPTIONS: dict[str, Option] = {**_TASK_ONLY, **_ACTOR_ONLY, **_COMMON}
METHOD_OPTIONS = (
    "num_returns",
    "concurrency_group",
    "max_task_retries",
    "retry_exceptions",
    "_generator_backpressure_num_objects",
    "_num_objects_per_yield",
    "enable_task_events",
    "tensor_transport",
)
_METHOD_CALL_OPTIONS = (*METHOD_OPTIONS, "name")


def _check(options: Mapping[str, Any], table: Mapping[str, Option], of: str) -> None:
    for name, value in options.items():
        option = table.get(name) or _OWN_OPTIONS.get(name)
        if option is None:
            raise InvalidOptionError(
                f"Invalid option keyword {name} for {of}. Valid ones are {list(table)}."
            )
        option.validate(name, value)
    if (
        options.get("placement_group", "default") not in ("default", None)
        and options.get("scheduling_strategy") is not None
    ):
        raise InvalidOptionError(
            "Placement groups should be specified via the scheduling_strategy option. "
            "The placement_group option is deprecated."
        )


def check_task(
    options: Mapping[str, Any], in_options: bool = False, generates: bool | None = None
) -> dict[str, Any]:
    """Options of a task: a copy, or TypeError or InvalidOptionError. `generates`: whether the
    function is a generator, None when that is not known."""
    if in_options and options.get("_num_objects_per_yield", 1) != 1:
        raise InvalidOptionError(
            "_num_objects_per_yield cannot be overridden per task call. "
            "Use @ray.remote(_num_objects_per_yield=...) instead."
        )
    _check(options, TASK_OPTIONS, "remote functions")
    if in_options and "max_calls" in options:
        raise InvalidOptionError("Setting 'max_calls' is not supported in '.options()'.")
    if generates is not None:
        check_returns(options.get("num_returns"), generates)
    return dict(options)


def check_actor(options: Mapping[str, Any], in_options: bool = False) -> dict[str, Any]:
    """Options of an actor: a copy, or TypeError or InvalidOptionError."""
    _check(options, ACTOR_OPTIONS, "actors")
    if in_options and "concurrency_groups" in options:
        raise InvalidOptionError("Setting 'concurrency_groups' is not supported in '.options()'.")
    if options.get("get_if_exists") and not options.get("name"):
        raise InvalidOptionError("The actor name must be specified to use `get_if_exists`.")
    return dict(options)


def check_method(options: Mapping[str, Any], generates: bool | None) -> dict[str, Any]:
    """Options of one call of a method."""
    if "_num_objects_per_yield" in options:
        raise InvalidOptionError(
            "_num_objects_per_yield cannot be overridden per actor method "
            "call. Use @ray.method(_num_objects_per_yield=...) instead."
        )
    for name in options:
        if name not in _METHOD_CALL_OPTIONS:
            raise TypeError(f"ActorMethod._remote() got an unexpected keyword argument '{name}'")
    if "num_returns" in options:
        check_returns(options["num_returns"], generates)
    return dict(options)


def check_returns(returns: Any, generates: bool | None) -> None:
    """A num_returns that fits the function; None when that is not known."""
    if returns is None:
        return
    if isinstance(returns, int) and returns < 0:
        raise InvalidOptionError(f"num_returns must be >= 0, but got {returns}.")
    if returns == "dynamic":
        warnings.warn(
            "num_returns='dynamic' is deprecated and will be removed in a future "
            "release. Use num_returns='streaming' instead.",
            DeprecationWarning,
            stacklevel=4,
        )
    if returns in ("streaming", "dynamic") and generates is False:
        raise InvalidOptionError(
            f"num_returns='{returns}' can only be used with generator functions "
            "(functions that use 'yield'). "
            "The decorated function is not a generator function."
        )


def check_namespace(namespace: Any) -> None:
    """A namespace that is not None."""
    if not isinstance(namespace, str):
        raise TypeError("namespace must be None or a string.")
    if namespace == "":
        raise InvalidOptionError(
            '"" is not a valid namespace. Pass None to not specify a namespace.'
        )


REMOTE_FORM_ERROR = (
    "The @ray.remote decorator must be applied either with no arguments and no "
    "parentheses, for example '@ray.remote', or it must be applied using some of "
    f"the arguments in the list {list(REMOTE_OPTIONS)}, for example "
    "'@ray.remote(num_returns=2, resources={\"CustomResource\": 1})'."
)


def amounts(options: Mapping[str, Any], default_cpus: float) -> dict[str, float]:
    """What a worker for this asks of the node, by resource name, in whole units."""
    found: dict[str, float] = {}
    cpus = options.get("num_cpus")
    found["CPU"] = default_cpus if cpus is None else cpus
    found["GPU"] = options.get("num_gpus") or 0
    found["memory"] = options.get("memory") or 0
    for name, amount in (options.get("resources") or {}).items():
        if name == "memory":
            raise InvalidOptionError("memory is a built-in resource: use the memory option.")
        found[name] = amount
    if options.get("accelerator_type"):
        found[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    return {name: amount for name, amount in found.items() if amount > 0}


def fixed_amounts(whole: Mapping[str, float]) -> list[tuple[str, int]]:
    """The same in the fixed-point unit of the wire, smallest amounts kept."""
    return sorted((name, max(1, round(amount * RESOURCE_UNIT))) for name, amount in whole.items())


def environment(rt: Runtime, options: Mapping[str, Any]) -> dict[str, Any]:
    """Variables and fields of the options' runtime_env, as arguments of KeyBase.text."""
    env = options.get("runtime_env")
    if not env:
        return {}
    from polyray.runtime_env.merging import fields_of, of_task

    variables, fields = fields_of(rt, of_task(env))
    return {"env_vars": variables, "runtime_env": fields}
