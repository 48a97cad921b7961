# SPDX-License-Identifier: Apache-2.0
"""Remote functions: the spec is put once per function and options, a call sends ids and arguments
only. Specs are kept with the target, so that `f.options(...).remote()` in a loop puts one.

The spec object is the envelope of [TaskSpec bytes, payload]; the payload is the function itself
(cloudpickle), None for a function named by module and export. The `remote` method is the hot path.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from polyray import runtime
from polyray.exceptions import UnserializableException
from polyray.options import TASK_OPTIONS, amounts, checked, env_vars, fixed_amounts
from polyray.runtime import KEEP, Runtime

_STREAMING = 1
_LANGUAGE = {"ts": 1, "py": 2}
_COROUTINE = 0x80
_GENERATOR = 0x20 | 0x200
_NOT_IN_SPEC = frozenset({"_labels", "_metadata", "enable_task_events"})


class Target:
    """What runs: a Python function or class, or an export of a module of either language."""

    __slots__ = ("_specs", "exec_argv", "export", "language", "module", "value")

    def __init__(
        self,
        value: Any = None,
        language: str = "py",
        module: str | None = None,
        export: str | None = None,
        exec_argv: tuple[str, ...] = (),
    ) -> None:
        self.value = value
        self.language = language
        self.module = module
        self.export = export
        self.exec_argv = exec_argv
        self._specs: tuple[Runtime | None, dict[Any, Any]] = (None, {})

    def registered(self, rt: Runtime, key: Any, make: Callable[[], Any]) -> Any:
        """What make() gave for this runtime and key; a key of None is not remembered."""
        if key is None:
            return make()
        owner, specs = self._specs
        if owner is not rt:
            specs = {}
            self._specs = (rt, specs)
        found = specs.get(key)
        if found is None:
            found = specs[key] = make()
        return found

    @property
    def name(self) -> str:
        """The name shown in errors and logs."""
        if self.value is not None:
            return str(getattr(self.value, "__qualname__", type(self.value).__name__)).replace(
                "<locals>.", ""
            )
        return str(self.export)


def code_flags(function: Any) -> int:
    """co_flags of a function, through wrappers; 0 when it has no code."""
    seen = 0
    while not hasattr(function, "__code__") and seen < 8:
        inner = (
            getattr(function, "__wrapped__", None)
            or getattr(function, "func", None)
            or getattr(function, "__func__", None)
        )
        if inner is None:
            return 0
        function, seen = inner, seen + 1
    return int(getattr(getattr(function, "__code__", None), "co_flags", 0))


def options_key(options: Mapping[str, Any], without: frozenset[str]) -> Any:
    """Equal for equal options; None when a value has no such form."""
    key = _frozen({name: value for name, value in options.items() if name not in without})
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        items = ((name, _frozen(item)) for name, item in value.items() if item is not None)
        return tuple(sorted(items, key=lambda item: str(item[0])))
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    return value


def put_spec(rt: Runtime, target: Target, kind: str, **fields: Any) -> Any:
    """Put a spec object; raises UnserializableException for a function that cannot be pickled."""
    from polyray.task_spec import TaskSpecFields, encode_task_spec

    retry = fields.pop("retry", None)
    if isinstance(retry, (list, tuple)):
        from polyray.serialize import encode

        fields["retry_exceptions"] = True
        fields["retry_exception_list"] = encode(list(retry), rt).to_bytes()
    else:
        fields["retry_exceptions"] = bool(retry)
    spec = TaskSpecFields(
        kind=kind,
        language=target.language,
        form="module" if target.value is None else "value",
        module=target.module,
        export_name=target.export,
        **fields,
    )
    try:
        ref = rt.put([encode_task_spec(spec), target.value], KEEP, spec.name)
    except UnserializableException:
        raise
    except TypeError as error:
        raise UnserializableException(f"[cannot be sent] {spec.name}: {error}.") from error
    rt.specs.append(ref)
    return ref


class RemoteFunction:
    """A function whose calls run in workers. Made by `@remote`."""

    def __init__(self, target: Target, options: Mapping[str, Any]) -> None:
        self._target = target
        self._options = dict(options)
        self._runtime: Runtime | None = None
        self._number = 0
        self._spec: Any = None
        function = target.value
        flags = code_flags(function)
        if flags & _COROUTINE and not flags & 0x200:
            raise ValueError(
                f"'async def' functions are not tasks, only methods of actors: {target.name}. "
                "Use asyncio.run inside."
            )
        self._generates = bool(flags & _GENERATOR)
        returns = options.get("num_returns")
        self._streams = returns in ("streaming", "dynamic") or (returns is None and self._generates)
        self._returns = 1 if self._streams or returns is None else int(returns)
        if function is not None:
            functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"a remote function cannot be called directly: use {self._target.name}.remote()"
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a call; gives a ref at once (a list of refs when num_returns > 1)."""
        rt = runtime._current
        if rt is None:
            rt = runtime.current()
        if self._runtime is not rt:
            self._register(rt)
        envelope = rt.encode_args(args, kwargs)
        if self._streams:
            from polyray.streams import ObjectRefGenerator

            return ObjectRefGenerator(
                rt.client.submit_task(self._number, envelope, 1, _STREAMING, -2)
            )
        if self._returns == 1:
            return rt.client.submit_task(self._number, envelope, 1, 0, -2)
        refs = rt.client.submit_task(self._number, envelope, self._returns or 1, 0, -2)
        return refs if self._returns else None

    def options(self, **options: Any) -> RemoteFunction:
        """The same function with other options."""
        merged = {**self._options, **checked(options, TASK_OPTIONS, "a task")}
        return RemoteFunction(self._target, merged)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Not built yet."""
        raise NotImplementedError(
            "task graphs (.bind) are not built yet: call .remote() with refs as arguments"
        )

    def _register(self, rt: Runtime) -> None:
        key = options_key(self._options, _NOT_IN_SPEC)
        self._spec, self._number = self._target.registered(rt, key, lambda: self._made(rt))
        self._runtime = rt

    def _made(self, rt: Runtime) -> tuple[Any, int]:
        options = self._options
        target = self._target
        retries = options.get("max_retries")
        retries = 3 if retries is None else retries
        wanted = amounts(options, 1)
        spec = put_spec(
            rt,
            target,
            "task",
            name=options.get("name") or target.name,
            num_returns=-1 if self._streams else self._returns,
            max_retries=retries,
            retry=options.get("retry_exceptions"),
            max_calls=options.get("max_calls") or 0,
            is_generator=self._generates,
            resources=wanted,
            stream_high_water_mark=max(0, options.get("_generator_backpressure_num_objects") or 0),
        )
        key = rt.key_base.text(target.language, env_vars(options), target.exec_argv)
        language = _LANGUAGE[target.language]
        number = rt.client.register_spec(spec, language, fixed_amounts(wanted), key, retries, 0)
        return spec, number

    def __reduce__(self) -> Any:
        return _rebuild, (
            self._target.value,
            self._target.language,
            self._target.module,
            self._target.export,
            self._target.exec_argv,
            self._options,
        )


def _rebuild(
    value: Any,
    language: str,
    module: str | None,
    export: str | None,
    argv: tuple[str, ...],
    options: dict[str, Any],
) -> RemoteFunction:
    return RemoteFunction(Target(value, language, module, export, argv), options)


def remote(*args: Any, **options: Any) -> Any:
    """Make a function or class remote: `@remote`, `@remote(num_cpus=2)`, `remote(fn)`."""
    if len(args) == 1 and not options and callable(args[0]):
        return _make(args[0], {})
    if args:
        raise TypeError("use @remote, or @remote(option=value, ...) with keyword arguments only")

    def decorate(target: Callable[..., Any]) -> Any:
        return _make(target, options)

    return decorate


def _make(target: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(target, (staticmethod, classmethod)):
        target = target.__func__
    if isinstance(target, type):
        from polyray.actor import ActorClass
        from polyray.options import ACTOR_OPTIONS

        return ActorClass(Target(target), checked(options, ACTOR_OPTIONS, "an actor"))
    if isinstance(target, RemoteFunction) or not callable(target):
        raise TypeError(f"remote() takes a function or a class, not a {type(target).__name__}")
    return RemoteFunction(Target(target), checked(options, TASK_OPTIONS, "a task"))
