# SPDX-License-Identifier: Apache-2.0
"""Actors: classes whose instances live in workers, and handles to them.

A handle owns a reference to the actor's lifetime object: when every handle is gone the actor ends,
unless it is detached. Its wire form (docs/values.md) is that reference and plain data, the same in
both languages. Calls of one process to one actor arrive in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polyray import runtime
from polyray.exceptions import AsyncioActorExit, InvalidOptionError, make_error
from polyray.options import ACTOR_OPTIONS, METHOD_OPTIONS, amounts, checked, env_vars, fixed_amounts
from polyray.remote_function import Target, code_flags, options_key, put_spec
from polyray.runtime import COPY_BYTES, Runtime

_STREAMING = 1
_ASYNC = 0x80 | 0x200
_GENERATOR = 0x20 | 0x200
_DEFAULT_ASYNC_CONCURRENCY = 1000
# What actor.create or the handle carries. The name is in the spec: its worker shows it.
_NOT_IN_SPEC = frozenset(
    {
        "_labels",
        "_metadata",
        "enable_task_events",
        "get_if_exists",
        "max_pending_calls",
        "runtime_env",
    }
)
_OWN_METHODS = frozenset({"__ray_ready__", "__ray_terminate__", "__ray_call__", "__call__"})


def method(*args: Any, **options: Any) -> Any:
    """Options of one method: `@method(num_returns=2)`."""
    if args or not options:
        raise InvalidOptionError("[invalid option] use @method(option=value, ...).")
    checked(options, METHOD_OPTIONS, "a method")

    def decorate(function: Any) -> Any:
        function.__polyray_method__ = options
        return function

    return decorate


class ActorMethod:
    """A method of a handle."""

    __slots__ = ("_flags", "_handle", "_name", "_retries", "_returns")

    def __init__(
        self, handle: ActorHandle, name: str, returns: int, flags: int, retries: int = -2
    ) -> None:
        self._handle = handle
        self._name = name
        self._returns = returns
        self._flags = flags
        self._retries = retries

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a call; gives a ref at once."""
        rt = runtime._current
        if rt is None:
            rt = runtime.current()
        handle = self._handle
        if handle._max_pending >= 0:
            handle._check_room(rt)
        ref = rt.client.submit_actor_call(
            handle._ref,
            self._name,
            rt.encode_args(args, kwargs),
            self._returns or 1,
            self._flags,
            self._retries,
        )
        if self._flags:
            from polyray.streams import ObjectRefGenerator

            return ObjectRefGenerator(ref)
        return ref if self._returns else None

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options."""
        checked(options, METHOD_OPTIONS, "a method")
        returns = options.get("num_returns")
        flags, count = self._flags, self._returns
        if returns in ("streaming", "dynamic"):
            flags, count = _STREAMING, 1
        elif returns is not None:
            flags, count = 0, int(returns)
        retries = options.get("max_task_retries")
        return ActorMethod(
            self._handle, self._name, count, flags, self._retries if retries is None else retries
        )

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Not built yet."""
        raise NotImplementedError(
            "task graphs (.bind) are not built yet: call .remote() with refs as arguments"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"a method of an actor cannot be called directly: use {self._name}.remote()"
        )


class ActorHandle:
    """A reference to an actor; its methods have `.remote()`."""

    def __init__(self, ref: Any, meta: Mapping[str, Any], max_pending: int = -1) -> None:
        self._ref = ref
        self._meta = dict(meta)
        self._max_pending = max_pending

    def __polyray_handle__(self) -> tuple[bytes | None, Any]:
        return (None if self._ref is None else self._ref.binary()), self._meta

    def __getattr__(self, name: str) -> ActorMethod:
        meta = self.__dict__.get("_meta")
        if meta is None or (name.startswith("__") and name not in _OWN_METHODS):
            raise AttributeError(name)
        methods: Sequence[str] = meta.get("methods") or ()
        if methods and name not in methods and name not in _OWN_METHODS:
            known = ", ".join(methods)
            raise AttributeError(f"{meta.get('className')} has no method {name!r}; it has: {known}")
        own = (meta.get("methodOptions") or {}).get(name) or {}
        flags = _STREAMING if own.get("stream") else 0
        returns = own.get("numReturns")
        retries = own.get("maxTaskRetries")
        made = ActorMethod(
            self, name, 1 if returns is None else returns, flags, -2 if retries is None else retries
        )
        return made

    def _check_room(self, rt: Runtime) -> None:
        if rt.client.actor_pending_calls(self._ref) >= self._max_pending:
            raise make_error(
                "PENDING_CALLS_LIMIT",
                f"{self._meta.get('className')}: {self._max_pending} calls are waiting already",
            )

    @property
    def _actor_id(self) -> Any:
        return self._ref

    @property
    def _ray_actor_id(self) -> Any:
        return self._ref

    def __hash__(self) -> int:
        return hash(self._ref)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._ref == other._ref

    def __repr__(self) -> str:
        return (
            f"Actor({self._meta.get('className')}, {'' if self._ref is None else self._ref.hex()})"
        )

    def __reduce__(self) -> Any:
        from polyray.exceptions import OufOfBandObjectRefSerializationException

        raise OufOfBandObjectRefSerializationException(
            f"[out of band] {self!r} was pickled outside of the runtime, which cannot count it. "
            "Pass handles as arguments, results or inside put values."
        )


class ActorClass:
    """A class whose instances live in workers. Made by `@remote`."""

    def __init__(self, target: Target, options: Mapping[str, Any]) -> None:
        self._target = target
        self._options = dict(options)
        self._runtime: Runtime | None = None
        self._spec: Any = None
        cls = target.value
        if cls is not None:
            self.__doc__ = cls.__doc__
            self.__name__ = cls.__name__
            self.__qualname__ = cls.__qualname__
            self.__module__ = cls.__module__
        self._methods, self._method_options, self._is_async = _describe(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"an actor cannot be made by a call of its class: use {self._target.name}.remote()"
        )

    def options(self, **options: Any) -> ActorClass:
        """The same class with other options."""
        return ActorClass(
            self._target, {**self._options, **checked(options, ACTOR_OPTIONS, "an actor")}
        )

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Not built yet."""
        raise NotImplementedError("task graphs (.bind) are not built yet")

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor; gives a handle at once.

        A name that is taken raises ActorAlreadyExistsError.
        """
        rt = runtime.current()
        options = self._options
        if options.get("get_if_exists") and not options.get("name"):
            raise InvalidOptionError("[invalid option] get_if_exists needs a name.")
        wanted = amounts(options, 0)
        if self._runtime is not rt:
            self._register(rt, wanted)
        encoded = _encoded_args(rt, args, kwargs)
        stored = rt.put_encoded(encoded) if encoded.size > COPY_BYTES // 2 else None
        lifetime = rt.client.create_actor_object()
        meta = self._meta()
        answer = rt.request(
            "actor.create",
            actor=lifetime.binary(),
            spec=self._spec.binary(),
            handle=meta,
            job=rt.job,
            namespace=options.get("namespace") or rt.namespace(),
            lifetime=options.get("lifetime"),
            getIfExists=bool(options.get("get_if_exists")),
            maxRestarts=options.get("max_restarts") or 0,
            maxConcurrency=self._concurrency(),
            isAsync=self._is_async,
            resources=dict(fixed_amounts(wanted)),
            workerKey=rt.key_base.text(
                self._target.language, env_vars(options), self._target.exec_argv
            ),
            args=encoded.to_bytes() if stored is None else stored.binary(),
            argsInStore=stored is not None,
            refs=list(encoded.refs),
            topRefs=encoded.arg_ref_count,
        )
        pending = options.get("max_pending_calls")
        limit = -1 if pending is None else pending
        if answer["actor"] == lifetime.binary():
            return ActorHandle(lifetime, meta, limit)
        return ActorHandle(rt.client.ref_of(answer["actor"]), answer["handle"], limit)

    def _concurrency(self) -> int:
        asked = self._options.get("max_concurrency")
        if asked is not None:
            return int(asked)
        return _DEFAULT_ASYNC_CONCURRENCY if self._is_async else 1

    def _meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = {
            "language": self._target.language,
            "className": self._target.name,
            "methods": self._methods,
            "maxTaskRetries": self._options.get("max_task_retries") or 0,
            "name": self._options.get("name"),
        }
        if self._method_options:
            meta["methodOptions"] = self._method_options
        return meta

    def _register(self, rt: Runtime, wanted: dict[str, float]) -> None:
        key = options_key(self._options, _NOT_IN_SPEC)
        self._spec = self._target.registered(rt, key, lambda: self._made(rt, wanted))
        self._runtime = rt

    def _made(self, rt: Runtime, wanted: dict[str, float]) -> Any:
        options = self._options
        return put_spec(
            rt,
            self._target,
            "actor_class",
            name=self._target.name,
            actor_name=options.get("name"),
            namespace=options.get("namespace") or rt.namespace(),
            lifetime=options.get("lifetime"),
            max_restarts=options.get("max_restarts") or 0,
            max_task_retries=options.get("max_task_retries") or 0,
            max_concurrency=self._concurrency(),
            concurrency_groups=options.get("concurrency_groups") or {},
            is_async=self._is_async,
            resources=wanted,
            max_retries=0,
        )

    def __reduce__(self) -> Any:
        target = self._target
        return _rebuild, (
            target.value,
            target.language,
            target.module,
            target.export,
            target.exec_argv,
            self._options,
        )


def _rebuild(
    value: Any,
    language: str,
    module: str | None,
    export: str | None,
    argv: tuple[str, ...],
    options: dict[str, Any],
) -> ActorClass:
    return ActorClass(Target(value, language, module, export, argv), options)


def _encoded_args(rt: Runtime, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    from polyray.serialize import encode_args

    return encode_args(args, kwargs, rt)


def _describe(cls: Any) -> tuple[list[str], dict[str, Any], bool]:
    names: list[str] = []
    own: dict[str, Any] = {}
    is_async = False
    for name in dir(cls) if cls is not None else ():
        if (name.startswith("__") and name != "__call__") or not callable(getattr(cls, name, None)):
            continue
        function = getattr(cls, name)
        flags = code_flags(function)
        if name == "__call__" and not flags:
            continue
        names.append(name)
        is_async = is_async or bool(flags & _ASYNC)
        options = dict(getattr(function, "__polyray_method__", ()))
        returns = options.get("num_returns")
        found: dict[str, Any] = {}
        if returns in ("streaming", "dynamic") or (returns is None and flags & _GENERATOR):
            found["stream"] = True
        elif returns is not None:
            found["numReturns"] = returns
        for option, key in (
            ("max_task_retries", "maxTaskRetries"),
            ("concurrency_group", "concurrencyGroup"),
        ):
            if options.get(option) is not None:
                found[key] = options[option]
        if found:
            own[name] = found
    return names, own, is_async


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle to the actor of that name.

    Raises ActorHandleNotFoundError (a ValueError) when there is none.
    """
    if not isinstance(name, str) or not name:
        raise InvalidOptionError(
            f"[invalid option] the name of an actor is a text that is not empty, not {name!r}."
        )
    rt = runtime.current()
    answer = rt.request(
        "actor.byName", name=name, namespace=rt.namespace() if namespace is None else namespace
    )
    return ActorHandle(rt.client.ref_of(answer["actor"]), answer["handle"])


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Names of live named actors; with all_namespaces, dicts of name and namespace."""
    rt = runtime.current()
    found = rt.request("actor.list", allNamespaces=all_namespaces, namespace=rt.namespace())[
        "actors"
    ]
    return [dict(row) for row in found] if all_namespaces else [row["name"] for row in found]


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor now; its running and queued calls fail.

    With no_restart=False it restarts if it may.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(
            f"kill() takes an actor handle, not a {type(actor).__name__}; use cancel() for tasks"
        )
    runtime.current().request("actor.kill", actor=actor._ref.binary(), noRestart=no_restart)


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the call that makes this ref.

    A queued one never runs, a running one gets KeyboardInterrupt.

    `force` ends its worker (tasks only). The result becomes TaskCancelledError.
    """
    from polyray._native import ObjectRef
    from polyray.serialize import encode_error

    ref = getattr(ray_waitable, "_task_ref", ray_waitable)
    if type(ref) is not ObjectRef:
        raise TypeError(f"cancel() takes an ObjectRef, not a {type(ray_waitable).__name__}")
    error = make_error(
        "TASK_CANCELLED", f"the task of {ref.hex()} was cancelled", task_id=ref.hex()
    )
    runtime.current().client.cancel(ref, force, recursive, encode_error(error).to_bytes())


class ActorExit(SystemExit):
    """Raised by exit_actor inside a synchronous actor."""


def exit_actor() -> None:
    """End the actor that calls this, after the running call; raises to unwind."""
    from polyray import executor

    running = executor.running_actor()
    if running is None:
        raise TypeError("exit_actor() is for methods of actors")
    if running.is_async:
        raise AsyncioActorExit("[actor exits] exit_actor() was called.")
    raise ActorExit(0)
