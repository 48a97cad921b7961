# SPDX-License-Identifier: Apache-2.0
"""Handles to actors and their methods.

A handle owns a reference to the actor's lifetime object: when every handle is gone the actor ends,
unless it is detached. Its wire form (docs/values.md) is that reference and plain data (`meta`), the
same in both languages: language, className, name, methods, methodOptions, signatures,
maxTaskRetries, maxPendingCalls, ordered (false: calls do not wait for the arguments of earlier
ones). `ActorMethod.remote` is a hot path.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import GenericAlias
from typing import Any

from polyray import runtime
from polyray.exceptions import PendingCallsLimitExceeded
from polyray.ids import ActorID
from polyray.options import check_method
from polyray.runtime import Runtime
from polyray.signatures import Signature, signature_of

STREAMING = 1
RETRY_EXCEPTIONS = 4
UNORDERED = 8
# Set when the arguments carry options of this call under CALL_OPTIONS (ts/core/call-options.ts).
HAS_CALL_OPTIONS = 0x100
CALL_OPTIONS = "__polyray_call__"
SPEC_RETRIES = -2
OWN_METHODS = {
    "__ray_ready__": signature_of(""),
    "__ray_terminate__": signature_of(""),
    "__ray_call__": signature_of("fn,*args,**kwargs"),
}
_ANY_METHODS = {"__call__"}


class Shell:
    """What every handle of a class knows of one method."""

    __slots__ = ("flags", "generates", "least", "most", "retries", "returns", "signature")

    def __init__(
        self, own: Mapping[str, Any], signature: Signature | None, unordered: bool = False
    ) -> None:
        returns = own.get("numReturns")
        # None: not known, as of a class of the other language
        self.generates: bool | None = bool(own.get("generates") or own.get("stream"))
        if not self.generates and signature is None:
            self.generates = None
        self.flags = STREAMING if own.get("stream") else 0
        if own.get("retryExceptions"):
            self.flags |= RETRY_EXCEPTIONS
        if unordered:
            self.flags |= UNORDERED
        self.returns = 1 if returns is None else int(returns)
        retries = own.get("maxTaskRetries")
        self.retries = SPEC_RETRIES if retries is None else int(retries)
        self.signature = signature
        self.least, self.most = 0, 1 << 30
        if signature is not None:
            self.least, self.most = signature.least, signature.most


class ActorMethod:
    """A method of a handle."""

    __slots__ = ("_extra", "_flags", "_handle", "_name", "_retries", "_returns", "_shell")

    def __init__(self, handle: ActorHandle, name: str, shell: Shell) -> None:
        self._handle = handle
        self._name = name
        self._shell = shell
        self._returns = shell.returns
        self._flags = shell.flags
        self._retries = shell.retries
        self._extra: dict[str, Any] | None = None

    @property
    def _method_name(self) -> str:
        return self._name

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a call; gives a ref at once. TypeError when the arguments do not fit."""
        shell = self._shell
        if (kwargs or not shell.least <= len(args) <= shell.most) and shell.signature is not None:
            shell.signature.check(args, kwargs)
        rt = runtime._current
        if rt is None:
            rt = runtime.current()
        handle = self._handle
        if handle._max_pending >= 0:
            handle._check_room(rt, self._name)
        if self._extra is not None:
            kwargs = {**kwargs, CALL_OPTIONS: self._extra}
        flags = self._flags
        ref = rt.client.submit_actor_call(
            handle._ref,
            self._name,
            rt.encode_args(args, kwargs),
            self._returns or 1,
            flags,
            self._retries,
        )
        run = runtime.runs_task.get()
        if run is not None:
            run.add_child((ref if self._returns < 2 else ref[0]).store_id())
        if flags & STREAMING:
            from polyray.streams import ObjectRefGenerator

            return ObjectRefGenerator(ref)
        return ref if self._returns else None

    def _remote(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Submit a call with options: the long form of Ray."""
        called = self.options(**options) if options else self
        return called.remote(*(args or ()), **(kwargs or {}))

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options, for one call: num_returns, max_task_retries,
        retry_exceptions, concurrency_group, name, _generator_backpressure_num_objects."""
        check_method(options, self._shell.generates)
        made = self._copy()
        returns = options.get("num_returns")
        if returns == "streaming":
            made._flags, made._returns = self._flags | STREAMING, 1
        elif returns is not None:
            made._flags = self._flags & ~STREAMING
            made._returns = 1 if returns == "dynamic" else int(returns)
        if options.get("max_task_retries") is not None:
            made._retries = int(options["max_task_retries"])
        retry = options.get("retry_exceptions")
        if retry is not None:
            made._flags = made._flags & ~RETRY_EXCEPTIONS | (RETRY_EXCEPTIONS if retry else 0)
        extra = dict(self._extra or {})
        if isinstance(retry, (list, tuple)):
            extra["retry"] = list(retry)
        elif retry is True:
            extra["retry"] = None
        if options.get("concurrency_group"):
            extra["group"] = options["concurrency_group"]
        if options.get("_generator_backpressure_num_objects"):
            extra["ahead"] = options["_generator_backpressure_num_objects"]
        if options.get("name"):
            extra["name"] = options["name"]
        if extra and self._handle._meta.get("language") == "py":
            return made._with_call_options(extra)
        return made

    def _copy(self) -> ActorMethod:
        made = ActorMethod(self._handle, self._name, self._shell)
        made._flags, made._returns = self._flags, self._returns
        made._retries, made._extra = self._retries, self._extra
        return made

    def _with_call_options(self, extra: dict[str, Any]) -> ActorMethod:
        made = self._copy()
        made._extra = extra
        made._flags |= HAS_CALL_OPTIONS
        return made

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """The call as a node of a lazy graph (polyray.dag)."""
        from polyray.dag.class_node import bind_method

        return bind_method(self, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Actor methods cannot be called directly. Instead "
            f"of running 'object.{self._name}()', try 'object.{self._name}.remote()'."
        )


def shells_of(meta: Mapping[str, Any]) -> dict[str, Shell]:
    """The methods of a handle's plain data, by name."""
    own = meta.get("methodOptions") or {}
    texts = meta.get("signatures") or {}
    found = {name: Shell({}, signature) for name, signature in OWN_METHODS.items()}
    unordered = meta.get("ordered") is False
    for name in meta.get("methods") or ():
        text = texts.get(name)
        signature = None if text is None else signature_of(text)
        found[name] = Shell(own.get(name) or {}, signature, unordered)
    return found


class ActorHandle:
    """A reference to an actor; its methods have `.remote()`."""

    __class_getitem__: Any = classmethod(GenericAlias)  # ActorHandle[Counter] in annotations

    def __init__(
        self,
        ref: Any,
        meta: Mapping[str, Any],
        shells: dict[str, Shell] | None = None,
    ) -> None:
        self._ref = ref
        self._meta = meta
        self._max_pending: int = meta.get("maxPendingCalls", -1)
        self._shells = shells

    def __polyray_handle__(self) -> tuple[bytes | None, Any]:
        return (None if self._ref is None else self._ref.store_id()), self._meta

    def __getattr__(self, name: str) -> ActorMethod:
        meta = self.__dict__.get("_meta")
        if meta is None:
            raise AttributeError(name)
        shells = self._shells
        if shells is None:
            shells = self._shells = shells_of(meta)
        shell = shells.get(name)
        if shell is None:
            # The methods of a class of the other language may be unknown here.
            if meta.get("methods") or (name.startswith("__") and name not in _ANY_METHODS):
                raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
            shell = shells[name] = Shell((meta.get("methodOptions") or {}).get(name) or {}, None)
        return ActorMethod(self, name, shell)

    def _check_room(self, rt: Runtime, name: str) -> None:
        if rt.client.actor_pending_calls(self._ref) >= self._max_pending:
            raise PendingCallsLimitExceeded(
                f"The task {name} could not be submitted to {self!r} because more than "
                f"{self._max_pending} tasks are queued on the actor. This limit can be adjusted "
                "with the `max_pending_calls` actor option."
            )

    @property
    def _ray_is_cross_language(self) -> bool:
        return self._meta.get("language") != "py"

    @property
    def _actor_id(self) -> ActorID:
        return ActorID.nil() if self._ref is None else ActorID(self._ref.store_id())

    @property
    def _ray_actor_id(self) -> ActorID:
        return self._actor_id

    def __dir__(self) -> list[str]:
        return [*(self._meta.get("methods") or ()), *OWN_METHODS]

    def __hash__(self) -> int:
        return hash(self._ref)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActorHandle):
            return NotImplemented
        return bool(self._ref == other._ref)

    def __repr__(self) -> str:
        return f"Actor({self._meta.get('className')}, {self._actor_id.hex()})"

    def __reduce__(self) -> Any:
        # Pickled by the program itself, which nobody can count: it lives as long as this process.
        if self._ref is not None:
            runtime.pin_out_of_band(self._ref, self)
        return _unpickled, self.__polyray_handle__()


def _unpickled(actor: bytes | None, meta: Mapping[str, Any]) -> ActorHandle:
    return ActorHandle(None if actor is None else runtime.current().client.ref_of(actor), meta)


for _class in (ActorMethod, ActorHandle):
    _class.__module__ = "polyray.actor"  # where Ray's programs know them
