# SPDX-License-Identifier: Apache-2.0
"""Actor classes: classes whose instances live in workers; finding, ending and leaving actors.

What a handle knows of its class is described once per class (`Description`). Calls of one process
to one actor arrive in order. Handles and their methods are in handle.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

from polyray import runtime
from polyray.exceptions import (
    ActorAlreadyExistsError,
    ActorHandleNotFoundError,
    AsyncioActorExit,
    InvalidOptionError,
    TaskCancelledError,
)
from polyray.handle import CALL_OPTIONS, ActorHandle, ActorMethod, Shell, shells_of
from polyray.options import (
    METHOD_OPTIONS,
    TASK_OPTIONS,
    amounts,
    check_actor,
    check_namespace,
    check_returns,
    environment,
)
from polyray.placement import Placed, place
from polyray.remote_function import Target, code_flags, options_key, put_spec
from polyray.runtime import COPY_BYTES, Runtime
from polyray.signatures import signature_of, signature_text

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


def method(*args: Any, **options: Any) -> Any:
    """Options of one method: `@method(num_returns=2)`, or `@method` alone.

    An unknown option is an AssertionError, as in Ray.
    """

    def decorate(function: Any) -> Any:
        if "num_returns" in options:
            check_returns(options["num_returns"], bool(code_flags(function) & _GENERATOR))
        if "_num_objects_per_yield" in options:
            name = "_num_objects_per_yield"
            TASK_OPTIONS[name].validate(name, options[name])
        function.__polyray_method__ = {
            **getattr(function, "__polyray_method__", {}),
            **options,
        }
        return function

    if len(args) == 1 and callable(args[0]) and not options:
        return decorate(args[0])
    names = list(METHOD_OPTIONS)
    assert not args, (
        "The @ray.method decorator must be applied using no arguments or at "
        f"least one of the arguments in the list {names}, for example "
        "'@ray.method(num_returns=2)'."
    )
    for key in options:
        assert key in METHOD_OPTIONS, (
            f"Unexpected keyword argument to @ray.method: '{key}'. The "
            f"supported keyword arguments are {names}"
        )
    return decorate


ActorProxy = ActorHandle  # in annotations: ActorProxy[Counter]


class ActorClassInheritanceException(TypeError):
    """A class was derived from an actor class."""


class ActorClassMetadata:
    """What Ray's programs read of an actor class."""

    def __init__(self, class_name: str, modified_class: Any, options: Mapping[str, Any]) -> None:
        self.class_name = class_name
        self.modified_class = modified_class
        self.max_restarts = options.get("max_restarts") or 0
        self.max_task_retries = options.get("max_task_retries") or 0
        self.num_cpus = options.get("num_cpus")
        self.num_gpus = options.get("num_gpus")
        self.memory = options.get("memory")
        self.resources = options.get("resources")
        self.runtime_env = options.get("runtime_env")
        self.concurrency_groups = options.get("concurrency_groups")
        self.scheduling_strategy = options.get("scheduling_strategy")


class ActorClass:
    """A class whose instances live in workers. Made by `@remote`."""

    def __init__(
        self, target: Target, options: Mapping[str, Any], described: Description | None = None
    ) -> None:
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
        self._description = described
        self._call_options: dict[str, Any] | None = None  # of one creation (polyray.tracing)
        self._known: tuple[dict[str, Any], dict[str, Shell]] | None = None

    @property
    def _described(self) -> Description:
        # Not before it is needed: the class of a class that names itself is empty while it is
        # unpickled.
        if self._description is None:
            self._description = Description(self._target.value)
        return self._description

    @property
    def _is_async(self) -> bool:
        return self._described.is_async

    @property
    def __ray_metadata__(self) -> ActorClassMetadata:
        return ActorClassMetadata(self._short_name(), self._target.value, self._options)

    def _short_name(self) -> str:
        return str(getattr(self._target.value, "__name__", self._target.name))

    def __getattr__(self, name: str) -> Any:
        target = self.__dict__.get("_target")
        if target is not None and target.value is not None and not name.startswith("__"):
            try:
                return getattr(target.value, name)
            except AttributeError:
                pass
        shown = self._short_name() if target is not None else ""
        raise AttributeError(f"'ActorClass({shown})' object has no attribute '{name}'")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        import sys

        # The name of the class that is being made is the argument of __build_class__.
        code = sys._getframe(1).f_code
        line = sys._getframe(1).f_lineno
        raise ActorClassInheritanceException(
            f"Attempted to define subclass{_class_name_at(code, line)} of actor "
            f"class '{self._short_name()}'. "
            "Inheriting from actor classes is not currently supported. You can instead "
            "inherit from a non-actor base class and make "
            "the derived class an actor class (with @ray.remote)."
        )

    def __repr__(self) -> str:
        return f"<{self.__module__}.ActorClass({self._short_name()}) object at {id(self):#x}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Actors cannot be instantiated directly. "
            f"Instead of '{self._short_name()}()', use '{self._short_name()}.remote()'."
        )

    def options(self, **options: Any) -> ActorClass:
        """The same class with other options."""
        return ActorClass(
            self._target,
            {**self._options, **check_actor(options, in_options=True)},
            self._described,
        )

    def _remote(self, args: Any = None, kwargs: Any = None, **options: Any) -> ActorHandle:
        """Create an actor with options: the long form of Ray."""
        made = self.options(**options) if options else self
        return made.remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """The making of the actor as a node of a lazy graph (polyray.dag)."""
        from polyray.dag.class_node import ClassNode

        return ClassNode(self, args, kwargs, self._options)

    def remote(self, /, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor; gives a handle at once.

        A name that is taken raises ActorAlreadyExistsError.
        """
        constructor = self._described.constructor
        if constructor is not None:
            constructor.check(args, kwargs)
        options = self._options
        name, namespace = options.get("name"), options.get("namespace")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be None or a string, got: '{type(name)}'.")
        if name == "":
            raise InvalidOptionError("Actor name cannot be an empty string.")
        if namespace is not None:
            check_namespace(namespace)
        if self._is_async and options.get("allow_out_of_order_execution") is False:
            raise InvalidOptionError(
                "If you're using async actors, actor tasks cannot be executed in order. "
                "Set `allow_out_of_order_execution=True` to allow out-of-order execution."
            )
        rt = runtime.current()
        wanted = amounts(options, 0)
        placed = place(rt, options, wanted, self._target.name)
        if self._runtime is not rt or runtime.captured is not None:
            self._register(rt, wanted, placed)
        if self._call_options is not None:
            kwargs = {**kwargs, CALL_OPTIONS: self._call_options}
        encoded = _encoded_args(rt, args, kwargs)
        stored = rt.put_encoded(encoded) if encoded.size > COPY_BYTES // 2 else None
        lifetime = rt.client.create_actor_object()
        if self._known is None:
            meta = self._meta()
            self._known = (meta, shells_of(meta))
        meta, shells = self._known
        try:
            answer = rt.request(
                "actor.create",
                actor=lifetime.store_id(),
                spec=self._spec.store_id(),
                handle=meta,
                qualName=getattr(self._target.value, "__qualname__", None),
                job=rt.job,
                namespace=namespace or rt.namespace(),
                lifetime=options.get("lifetime") or rt.default_lifetime,
                getIfExists=bool(options.get("get_if_exists")),
                maxRestarts=options.get("max_restarts") or 0,
                maxConcurrency=self._concurrency(),
                isAsync=self._is_async,
                resources=dict(placed.amounts),
                group=placed.group,
                workerKey=rt.key_base.text(
                    self._target.language,
                    exec_argv=self._target.exec_argv,
                    **environment(rt, options),
                ),
                args=encoded.to_bytes() if stored is None else stored.store_id(),
                argsInStore=stored is not None,
                refs=list(encoded.refs),
                topRefs=encoded.arg_ref_count,
            )
        except ActorAlreadyExistsError:
            space = namespace or rt.namespace()
            raise ActorAlreadyExistsError(
                f"The name {name} (namespace={space}) is already taken. Please use "
                "a different name or get the existing actor using "
                f"ray.get_actor('{name}', namespace='{space}')"
            ) from None
        if answer["actor"] == lifetime.store_id():
            return ActorHandle(lifetime, meta, shells)
        return ActorHandle(rt.client.ref_of(answer["actor"]), answer["handle"])

    def _concurrency(self) -> int:
        asked = self._options.get("max_concurrency")
        if asked:
            return int(asked)
        return _DEFAULT_ASYNC_CONCURRENCY if self._is_async else 1

    def _meta(self) -> dict[str, Any]:
        described = self._described
        groups = self._options.get("concurrency_groups") or {}
        for name, own in described.own.items():
            group = own.get("concurrencyGroup")
            assert group is None or group in groups, (
                f"{self._short_name()}.{name}: the concurrency group {group!r} is not in "
                f"concurrency_groups of the class ({sorted(groups)})."
            )
        meta: dict[str, Any] = {
            "language": self._target.language,
            "className": self._short_name(),
            "methods": described.methods,
            "maxTaskRetries": self._options.get("max_task_retries") or 0,
            "name": self._options.get("name"),
        }
        pending = self._options.get("max_pending_calls")
        if pending and pending > 0:
            meta["maxPendingCalls"] = pending
        asked = self._options.get("allow_out_of_order_execution")
        if self._concurrency() > 1 or groups if asked is None else asked:
            meta["ordered"] = False
        if described.own:
            meta["methodOptions"] = described.own
        if described.signatures:
            meta["signatures"] = described.signatures
        return meta

    def _register(self, rt: Runtime, wanted: dict[str, float], placed: Placed) -> None:
        key = options_key(self._options, _NOT_IN_SPEC)
        if runtime.captured is not None and key is not None:
            key = (runtime.captured, key)
        self._spec = self._target.registered(rt, key, lambda: self._made(rt, wanted, placed))
        self._runtime = None if runtime.captured is not None else rt

    def _made(self, rt: Runtime, wanted: dict[str, float], placed: Placed) -> Any:
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
            scheduling=placed.scheduling,
            max_retries=0,
        )

    def __reduce__(self) -> Any:
        return ActorClass, (self._target, self._options)


def _encoded_args(rt: Runtime, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    from polyray.serialize import encode_args

    return encode_args(args, kwargs, rt)


class Description:
    """What can be told of a class: its methods, their options and signatures."""

    def __init__(self, cls: Any) -> None:
        self.methods: list[str] = []
        self.own: dict[str, Any] = {}
        self.signatures: dict[str, str] = {}
        self.rules: dict[str, dict[str, Any]] = {}  # what @method said, for the worker
        self.is_async = False
        self.constructor: Any = None
        if cls is None:
            return
        for name in dir(cls):
            function = inspect_static(cls, name)
            if function is not None:
                self._add(name, *function)
        if cls.__init__ is not object.__init__:
            self.constructor = signature_of(signature_text(cls.__init__, 1))
        elif cls.__new__ is object.__new__:
            self.constructor = signature_of("")

    def _add(self, name: str, function: Any, skip: int) -> None:
        flags = code_flags(function)
        self.methods.append(name)
        self.signatures[name] = signature_text(function, skip)
        self.is_async = self.is_async or bool(flags & _ASYNC)
        options = dict(getattr(function, "__polyray_method__", ()))
        if options:
            self.rules[name] = options
        returns = options.get("num_returns")
        found: dict[str, Any] = {}
        if returns == "streaming" or (returns is None and flags & _GENERATOR):
            found["stream"] = True
        elif isinstance(returns, int):
            found["numReturns"] = returns
        if flags & _GENERATOR:
            found["generates"] = True
        for option, key in (
            ("max_task_retries", "maxTaskRetries"),
            ("concurrency_group", "concurrencyGroup"),
        ):
            if options.get(option) is not None:
                found[key] = options[option]
        if options.get("retry_exceptions"):
            found["retryExceptions"] = True
        if found:
            self.own[name] = found


def inspect_static(cls: Any, name: str) -> tuple[Any, int] | None:
    """The function of a method of a class, and whether it takes self or cls first."""
    for base in cls.__mro__:
        if name not in base.__dict__:
            continue
        found = base.__dict__[name]
        if isinstance(found, staticmethod):
            return found.__func__, 0
        if isinstance(found, classmethod):
            return found.__func__, 1
        value = getattr(cls, name, None)
        if name.startswith("__") and base is object:
            return None
        if not isinstance(value, (FunctionType, MethodType)) and not code_flags(value):
            return None
        return found, 1
    return None


def _class_name_at(code: Any, line: int) -> str:
    # The class statement names itself among the constants of the frame that runs it.
    for constant in code.co_consts:
        if hasattr(constant, "co_firstlineno") and constant.co_firstlineno == line:
            return f" '{constant.co_name}'"
    return ""


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle to the actor of that name.

    Raises ActorHandleNotFoundError (a ValueError) when there is none.
    """
    if not name:
        raise InvalidOptionError("Please supply a non-empty value to get_actor")
    if not isinstance(name, str):
        raise TypeError(f"Expected str, got {type(name).__name__}")
    if namespace is not None:
        check_namespace(namespace)
    rt = runtime.current()
    try:
        answer = rt.request(
            "actor.byName", name=name, namespace=rt.namespace() if namespace is None else namespace
        )
    except ActorHandleNotFoundError:
        raise ActorHandleNotFoundError(
            f"Failed to look up actor with name '{name}'. This could because "
            "1. You are trying to look up a named actor you didn't create. "
            "2. The named actor died. "
            "3. You did not use a namespace matching the namespace of the actor."
        ) from None
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
            "ray.kill() only supported for actors. For tasks, try ray.cancel(). "
            f"Got: {type(actor)}."
        )
    runtime.current().request("actor.kill", actor=actor._ref.store_id(), noRestart=no_restart)


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the call that makes this ref.

    A queued one never runs, a running one gets KeyboardInterrupt.

    `force` ends its worker (tasks only). The result becomes TaskCancelledError.
    """
    from polyray._native import ObjectRef
    from polyray.serialize import encode_error

    ref = getattr(ray_waitable, "_task_ref", ray_waitable)
    if type(ref) is not ObjectRef:
        raise TypeError(
            "ray.cancel() only supported for object refs. "
            f"For actors, try ray.kill(). Got: {type(ray_waitable)}."
        )
    if force and runtime.current().client.is_actor_call(ref):
        raise InvalidOptionError("force=True is not supported for actor tasks.")
    error = encode_error(cancelled_error(ref.task_bytes())).to_bytes()
    runtime.current().client.cancel(ref, force, recursive, error)


def cancelled_error(task: bytes, reason: Any = None) -> TaskCancelledError:
    """What the caller of a cancelled call gets: `task` is the bytes that programs see.

    `reason` (of an AbortSignal) is its cause.
    """
    details = {} if reason is None else {"cause": reason}
    text = f"Task: TaskID({task.hex()}) was cancelled. "
    return TaskCancelledError(text, task_id=task.hex(), **details)


def cancel_id(rt: Runtime, task: bytes, reason: Any = None) -> None:
    """Cancel a call that this process submitted, and what it submitted."""
    from polyray.serialize import encode_error

    ref = rt.client.ref_of(task)
    try:
        error = encode_error(cancelled_error(ref.task_bytes(), reason), rt)
    except Exception:  # a reason that cannot be sent
        error = encode_error(cancelled_error(ref.task_bytes()), rt)
    rt.client.cancel(ref, False, True, error.to_bytes())


class ActorExit(SystemExit):
    """Raised by exit_actor inside a synchronous actor."""


def exit_actor() -> None:
    """End the actor that calls this, after the running call; raises to unwind."""
    from polyray import actor_process

    running = actor_process.running_actor()
    if running is None:
        raise TypeError(
            f"exit_actor API is called on a non-actor worker, {int(runtime.current().is_worker)}. "
            "Call this API inside an actor methods"
            "if you'd like to exit the actor gracefully."
        )
    running.leaves = True  # also when the method catches what is raised here
    if running.is_async:
        raise AsyncioActorExit("[actor exits] exit_actor() was called.")
    raise ActorExit(0)


__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorExit",
    "ActorHandle",
    "ActorMethod",
    "cancel",
    "exit_actor",
    "get_actor",
    "kill",
    "list_named_actors",
    "method",
]
