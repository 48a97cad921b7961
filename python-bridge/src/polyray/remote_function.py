# SPDX-License-Identifier: Apache-2.0
"""Remote functions: the spec is put once per function and options, a call sends ids and arguments
only. Specs are kept with the target, so that `f.options(...).remote()` in a loop puts one.

The spec object is the envelope of [TaskSpec bytes, payload]; the payload is the function itself
(cloudpickle), None for a function named by module and export. The `remote` method is the hot path.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from polyray import runtime
from polyray.exceptions import UnserializableException
from polyray.options import (
    REMOTE_FORM_ERROR,
    amounts,
    check_task,
    environment,
)
from polyray.placement import place
from polyray.runtime import KEEP, Runtime
from polyray.signatures import Signature, signature_of, signature_text

_STREAMING = 1
_LANGUAGE = {"ts": 1, "py": 2}
_COROUTINE = 0x80
_GENERATOR = 0x20 | 0x200
_LARGE_BYTES = 10 << 20
_TOO_LARGE_BYTES = 95 << 20
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

    def __reduce__(self) -> Any:
        return Target, (self.value, self.language, self.module, self.export, self.exec_argv)

    @property
    def name(self) -> str:
        """The name shown in errors and logs."""
        if self.value is not None:
            name = str(getattr(self.value, "__qualname__", type(self.value).__name__))
            return name.rsplit(".", 1)[-1]
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
    _check_size(spec.name, "function" if kind == "task" else "actor", rt.client.object_size(ref))
    rt.specs.append(ref)
    return ref


def _check_size(name: str, what: str, size: int) -> None:
    """Warn of a function or class that carries much along; ValueError when it is far too much."""
    if size < _LARGE_BYTES:
        return
    text = (
        "Check that its definition is not implicitly capturing a large array or other object in "
        "scope. Tip: use ray.put() to put large objects in the Ray object store."
    )
    mib = size >> 20
    if size > _TOO_LARGE_BYTES:
        raise ValueError(
            f"The remote {what} {name} is too large ({mib} MiB > "
            f"FUNCTION_SIZE_ERROR_THRESHOLD={_TOO_LARGE_BYTES >> 20} MiB). {text}"
        )
    import logging

    logging.getLogger(__name__).warning(
        "The remote %s %s is very large (%d MiB). %s", what, name, mib, text
    )


class RemoteFunction:
    """A function whose calls run in workers. Made by `@remote`."""

    def __init__(
        self, target: Target, options: Mapping[str, Any], signature: Signature | None = None
    ) -> None:
        self._target = target
        self._default_options = self._options = dict(options)
        self._runtime: Runtime | None = None
        self._number = 0
        self._spec: Any = None
        function = target.value
        flags = code_flags(function)
        if flags & _COROUTINE and not flags & 0x200:
            raise ValueError(
                "'async def' should not be used for remote tasks. You can wrap the "
                "async function with `asyncio.run(f())`. See more at:"
                "https://docs.ray.io/en/latest/ray-core/actors/async_api.html "
            )
        self._generates = bool(flags & _GENERATOR)
        returns = options.get("num_returns")
        self._streams = returns == "streaming" or (returns is None and self._generates)
        self._flags = _STREAMING if self._streams else 0
        self._returns = 1 if not isinstance(returns, int) else int(returns)
        self._function = function
        self._signature = signature
        self._least, self._most = 0, 1 << 30
        if function is None:
            self._function_name = target.name
            return
        # Read at the first call: a function that names itself has no defaults yet while it is
        # unpickled. Until then no count of arguments fits.
        self._least, self._most = (0, -1) if signature is None else signature.range
        functools.update_wrapper(self, function, updated=())
        self._function_name = f"{self.__module__}.{getattr(self, '__name__', target.name)}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Remote functions cannot be called directly. Instead "
            f"of running '{self._function_name}()', try '{self._function_name}.remote()'."
        )

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a call; gives a ref at once (a list of refs when num_returns > 1).

        Raises TypeError when the arguments do not fit the function.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            self._check(args, kwargs)
        rt = runtime._current
        if rt is None:
            rt = runtime.current()
        if self._runtime is not rt or runtime.captured is not None:
            self._register(rt)
        envelope = rt.encode_args(args, kwargs)
        refs = rt.client.submit_task(self._number, envelope, self._returns or 1, self._flags, -2)
        run = runtime.runs_task.get()
        if run is not None:
            run.add_child((refs if self._returns < 2 else refs[0]).store_id())
        if self._streams:
            from polyray.streams import ObjectRefGenerator

            return ObjectRefGenerator(refs)
        return refs if self._returns else None

    def _check(self, args: Any, kwargs: Any) -> None:
        if self._function is None:
            return
        if self._signature is None:
            self._signature = signature_of(signature_text(self._function))
            self._least, self._most = self._signature.range
        if kwargs or not self._least <= len(args) <= self._most:
            self._signature.check(args, kwargs)

    def _remote(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Submit a call with options: the long form of Ray."""
        called = self.options(**options) if options else self
        return called.remote(*(args or ()), **(kwargs or {}))

    def options(self, **options: Any) -> RemoteFunction:
        """The same function with other options."""
        generates = None if self._function is None else self._generates
        merged = {**self._options, **check_task(options, in_options=True, generates=generates)}
        return RemoteFunction(self._target, merged, self._signature)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """The call as a node of a lazy graph (polyray.dag)."""
        from polyray.dag.function_node import FunctionNode

        return FunctionNode(self, args, kwargs, self._options)

    def _register(self, rt: Runtime) -> None:
        key = options_key(self._options, _NOT_IN_SPEC)
        if runtime.captured is not None and key is not None:
            key = (runtime.captured, key)
        self._spec, self._number = self._target.registered(rt, key, lambda: self._made(rt))
        self._runtime = None if runtime.captured is not None else rt

    def _made(self, rt: Runtime) -> tuple[Any, int]:
        options = self._options
        target = self._target
        retries = options.get("max_retries")
        retries = 3 if retries is None else retries
        wanted = amounts(options, 1)
        placed = place(rt, options, wanted, target.name)
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
            scheduling=placed.scheduling,
            stream_high_water_mark=max(0, options.get("_generator_backpressure_num_objects") or 0),
        )
        key = rt.key_base.text(
            target.language, exec_argv=target.exec_argv, **environment(rt, options)
        )
        language = _LANGUAGE[target.language]
        priority = options.get("priority") or 0
        number = rt.client.register_spec(spec, language, placed.amounts, key, retries, priority)
        rt.names[number] = options.get("name") or target.name
        return spec, number

    def __reduce__(self) -> Any:
        return RemoteFunction, (self._target, self._options)


def remote(*args: Any, **options: Any) -> Any:
    """Make a function or class remote: `@remote`, `@remote(num_cpus=2)`, `remote(fn)`."""
    if len(args) == 1 and not options and callable(args[0]):
        return _make(args[0], {})
    assert not args, REMOTE_FORM_ERROR
    assert options, REMOTE_FORM_ERROR

    def decorate(target: Callable[..., Any]) -> Any:
        return _make(target, options)

    return decorate


def _make(target: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(target, (staticmethod, classmethod)):
        target = target.__func__
    if isinstance(target, type):
        from polyray.actor import ActorClass
        from polyray.options import check_actor

        return ActorClass(Target(target), check_actor(options))
    if not isinstance(target, FunctionType) and type(target).__name__ not in _CYTHON:
        raise TypeError(
            "The @ray.remote decorator must be applied to either a function or a class."
        )
    generates = bool(code_flags(target) & _GENERATOR)
    return RemoteFunction(Target(target), check_task(options, generates=generates))


_CYTHON = frozenset({"cython_function_or_method", "builtin_function_or_method_with_signature"})
