# SPDX-License-Identifier: Apache-2.0
"""This process's connection to a runtime: the slot that the whole package reads, encoding context,
requests, values.

A driver fills the slot by init(), a worker when it starts; a forked child attaches again, as an
endpoint of its own, when it is first used. Imports nothing heavy. Invariants: (1) one runtime a
process; (2) after detach nothing is submitted; (3) requests to the node service are MessagePack
maps (docs/design/0001-core.md).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from polyray import _native
from polyray._native import NOT_PLAIN, ObjectRef
from polyray.base_error import BY_NAME
from polyray.exceptions import (
    CrossLanguageError,
    GetTimeoutError,
    RayError,
    RayTaskError,
    error_of_code,
    make_error,
)
from polyray.serialize import Encoded, decode, encode, encode_args

DRIVER = 3
WORKER = 4
CLIENT = 5
KEEP = 1 << 13
COPY_BYTES = 64 * 1024
_PUT_WAIT_MS = 10_000
_REQUEST_MS = 60_000
_ERROR = 1


class KeyBase(NamedTuple):
    """What the workers of this process have in common (the worker key of 0001-core.md)."""

    job: int
    cwd: str
    sys_path: Sequence[str]
    python: str
    namespace: str
    env_vars: Mapping[str, str] = {}
    exec_argv: Sequence[str] = ()
    # Fields of the runtime environment beside its variables; {}: none.
    runtime_env: Mapping[str, Any] = {}

    def text(
        self,
        language: str,
        env_vars: Mapping[str, str] | None = None,
        exec_argv: Sequence[str] = (),
        runtime_env: Mapping[str, Any] | None = None,
    ) -> str:
        """The key's JSON. Equal needs give equal text."""
        merged = {**self.env_vars, **(env_vars or {})}
        fields = {**self.runtime_env, **(runtime_env or {})}
        key = {
            "language": language,
            "job": self.job,
            "cwd": self.cwd,
            "envVars": dict(sorted(merged.items())),
            "execArgv": [*self.exec_argv, *exec_argv],
            "sysPath": list(self.sys_path),
            "python": self.python,
            "namespace": self.namespace,
        }
        if fields:
            key["runtimeEnv"] = dict(sorted(fields.items()))
        return json.dumps(key, separators=(",", ":"), ensure_ascii=False)


def key_base_of(text: str) -> KeyBase:
    """The base that a worker takes over from the key it was started for."""
    key = json.loads(text)
    return KeyBase(
        job=int(key.get("job", 0)),
        cwd=key.get("cwd") or os.getcwd(),
        sys_path=tuple(key.get("sysPath", ())),
        python=key.get("python", ""),
        namespace=key.get("namespace", ""),
        env_vars=dict(key.get("envVars", {})),
        exec_argv=tuple(key.get("execArgv", ())),
        runtime_env=dict(key.get("runtimeEnv", {})),
    )


class Place(NamedTuple):
    """Where a runtime is."""

    address: str
    socket_name: str
    token: str
    session_dir: str
    session_id: str
    node_id: str
    namespace: str


class Runtime:
    """One attached endpoint; also the context by which the value model knows refs, handles."""

    def __init__(
        self, client: _native.Client, place: Place, key_base: KeyBase, is_worker: bool = False
    ) -> None:
        self.client = client
        self.place = place
        self.key_base = key_base
        self.is_worker = is_worker
        self.job: int = key_base.job
        self.node_labels: Mapping[str, str] | None = None  # asked for when first needed
        self.embedded: Any = None  # the process that this driver started, if any
        # What was registered stays: calls of it may be under way.
        self.specs: list[ObjectRef[Any]] = []
        # The names of tasks by the number of their spec.
        self.names: dict[int, str] = {}
        # Refs that were pickled outside of the runtime, which cannot count the copies.
        self.pinned: set[ObjectRef[Any]] = set()

    @property
    def default_lifetime(self) -> str | None:
        """The lifetime of actors that name none (JobConfig); None: as long as their handles."""
        return self.key_base.env_vars.get("POLYRAY_ACTOR_LIFETIME")

    # -- context of the value model

    def ref_id_of(self, value: object) -> bytes | None:
        """The id of an ObjectRef."""
        return value.store_id() if type(value) is ObjectRef else None

    def handle_of(self, value: object) -> tuple[bytes | None, Any] | None:
        """The wire form of an actor handle."""
        form = getattr(type(value), "__polyray_handle__", None)
        return None if form is None else form(value)

    def make_ref(self, object_id: bytes) -> ObjectRef[Any]:
        """A counted ref to an object of a received value."""
        return self.client.ref_of(object_id)

    def make_handle(self, meta: Any, ref: bytes | None) -> Any:
        """A handle of a received value."""
        from polyray.actor import ActorHandle

        return ActorHandle(self.client.ref_of(ref) if ref is not None else None, meta)

    def arg_value(self, object_id: bytes) -> Any:
        """The value of a top-level ref argument, which is sealed."""
        return self.value_of(self.client.read_id(object_id))

    # -- values

    def value_of(self, data: Any, ref: ObjectRef[Any] | None = None) -> Any:
        """The value of an envelope, that of `ref`; raises the error of an error envelope."""
        plain = _native.decode_plain(data, self.client)
        if plain is not NOT_PLAIN:
            return plain
        if type(data) is not bytes:
            data = memoryview(data)
        value = decode(data, self)
        if data[1] & _ERROR:
            raise value if ref is None else self._error_of(value, ref)
        if isinstance(value, RayError) and not isinstance(value, CrossLanguageError):
            raise value  # stored as a value, it is raised all the same, as in Ray
        return value

    def _error_of(self, error: Any, ref: ObjectRef[Any]) -> Any:
        # The task of a ref whose argument failed has its argument's error: tell that it waited.
        if not isinstance(error, RayTaskError) or error.task_id is None:
            return error
        name = self.names.get(ref.spec)
        if name is None or error.task_id == ref.task_bytes().hex():
            return error
        from polyray.errors import of_waiting_task

        return of_waiting_task(error, name)

    def get(self, ref: ObjectRef[Any], timeout_ms: int = -1) -> Any:
        """The value of one ref."""
        data = self.client.fetch(ref, timeout_ms, runs_task.get() is not None)
        if data is None:
            raise timed_out(ref)
        return self.value_of(data, ref)

    def put(self, value: Any, flags: int = 0, name: str = "value") -> ObjectRef[Any]:
        """Put a value."""
        plain = _native.encode_plain(value)
        if plain is not None:
            if len(plain) <= COPY_BYTES:
                return self.client.put(plain, flags)
            buffer = self.client.put_begin(len(plain), _PUT_WAIT_MS)
            with memoryview(buffer) as view:
                view[:] = plain
            return self.client.put_seal(buffer, flags)
        return self.put_encoded(encode(value, self, name), flags)

    def put_encoded(self, encoded: Encoded, flags: int = 0) -> ObjectRef[Any]:
        """Put an envelope; a big one is written straight into the store."""
        if encoded.size <= COPY_BYTES:
            return self.client.put(encoded.to_bytes(), flags)
        buffer = self.client.put_begin(encoded.size, _PUT_WAIT_MS)
        with memoryview(buffer) as view:
            encoded.write_into(view)
        return self.client.put_seal(buffer, flags)

    def encode_args(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None
    ) -> bytes | ObjectRef[Any]:
        """The envelope of a call's arguments; a big one as the object that it was put as."""
        plain = _native.encode_plain_args(args, kwargs)
        if plain is not None:
            return plain
        encoded = encode_args(args, kwargs, self)
        return encoded.to_bytes() if encoded.size <= COPY_BYTES else self.put_encoded(encoded)

    # -- the node service

    def request(self, method: str, **fields: Any) -> dict[str, Any]:
        """Ask the node service; raises the typed error of its answer."""
        payload = msgpack.packb({"m": method, **fields}, use_bin_type=True)
        answer = msgpack.unpackb(
            self.client.request(payload, _REQUEST_MS), raw=False, strict_map_key=False
        )
        if answer.get("ok"):
            return dict(answer)
        code = answer.get("code")
        raise error_of_code(code if code in BY_NAME else "SYSTEM", str(answer.get("message", "")))

    def namespace(self) -> str:
        """The namespace of this job."""
        return self.key_base.namespace


class _NoTask:
    """Stands in for a context variable until a worker needs one."""

    def get(self) -> Any:
        return None


# What runs here now: the worker fills it with a context variable.
runs_task: Any = _NoTask()

# An async actor lives here, and was not yet told that get() blocks its event loop.
warns_of_blocking = False

# How what runs here was placed (the scheduling text of its spec), and the placement group that its
# own submissions go into; placement.enter() sets both.
placement: str | None = None
captured: str | None = None

_current: Runtime | None = None
_forked: Runtime | None = None
_starter: Callable[[], Any] | None = None


def timed_out(ref: ObjectRef[Any]) -> GetTimeoutError:
    """The error of a get that took too long."""
    return GetTimeoutError("Get timed out: some object(s) not ready.", task_id=ref.hex())


def peek() -> Runtime | None:
    """The runtime of this process if there is one now."""
    if _current is not None and _current.client.is_attached:
        return _current
    return None


def is_attached() -> bool:
    """True when this process is attached (or, in a forked child, would attach on use)."""
    return peek() is not None or _forked is not None


def current() -> Runtime:
    """The runtime of this process; attaches again in a forked child, else calls init()."""
    if _current is not None:
        return _current
    if _forked is not None:
        _attach_child()
    elif _starter is not None:
        _starter()
    found = _slot()
    if found is None:
        raise make_error(
            "NOT_INITIALIZED", "this process is not attached to a runtime. Call polyray.init()"
        )
    return found


def of_refs() -> Runtime:
    """The runtime that refs at hand belong to: like current(), but never starts one."""
    if _current is None and _forked is None:
        raise make_error(
            "NOT_INITIALIZED", "the runtime of this ref has ended. Call polyray.init()"
        )
    return current()


def _slot() -> Runtime | None:
    return _current


def set_current(runtime: Runtime | None) -> None:
    """Fill or clear the slot."""
    global _current, _forked
    _current = runtime
    _forked = None
    if runtime is not None:
        _native.set_id_job(runtime.job)
        metrics = sys.modules.get("polyray.util.metrics")
        if metrics is not None:
            metrics.report_soon()


def flush_metrics() -> None:
    """Report the metrics that this process recorded; before it leaves."""
    metrics = sys.modules.get("polyray.util.metrics")
    if metrics is not None:
        metrics.flush()


def last_words() -> None:
    """Send what this process has measured and traced; before it leaves."""
    flush_metrics()
    tracing = sys.modules.get("polyray.tracing")
    if tracing is not None:
        tracing.flush()


def pin_out_of_band(ref: ObjectRef[Any], shown: Any) -> None:
    """Keep a ref for as long as this process is attached: somebody pickles it by other ways.

    Raises OufOfBandObjectRefSerializationException when
    RAY_allow_out_of_band_object_ref_serialization (or POLYRAY_...) is 0."""
    name = "allow_out_of_band_object_ref_serialization"
    allowed = os.environ.get(f"POLYRAY_{name}", os.environ.get(f"RAY_{name}", "1"))
    if allowed in ("0", "false", "False"):
        from polyray.exceptions import OufOfBandObjectRefSerializationException

        raise OufOfBandObjectRefSerializationException(
            f"[out of band] {shown!r} was pickled outside of the runtime, which cannot count it "
            f"(RAY_{name} is 0). Pass it as an argument, a result or inside of a put value."
        )
    found = peek()
    if found is not None:
        found.pinned.add(ref)


def set_starter(start: Callable[[], Any]) -> None:
    """What current() calls when there is no runtime."""
    global _starter
    _starter = start


def _attach_child() -> None:
    parent = _forked
    assert parent is not None
    place = parent.place
    client = _native.attach(place.socket_name, place.token, CLIENT, 0, parent.job, False)
    set_current(Runtime(client, place, parent.key_base._replace(job=parent.job)))


def _after_fork() -> None:
    global _current, _forked, runs_task
    if _current is None:
        return
    if _current.embedded is not None:
        _current.embedded.forget()
    _forked, _current = _current, None
    runs_task = _NoTask()


os.register_at_fork(after_in_child=_after_fork)
