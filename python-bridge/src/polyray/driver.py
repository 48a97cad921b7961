# SPDX-License-Identifier: Apache-2.0
"""init and shutdown: starting or joining a runtime as a driver.

With no address and none in POLYRAY_ADDRESS or RAY_ADDRESS, a runtime is started for this process
and ends with it. A program that runs inside a worker (a Spark executor below one, say) joins as a
driver of its own. Invariant: one runtime a process; a second init raises unless
ignore_reinit_error.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from polyray import _native, runtime
from polyray._native import __version__
from polyray.exceptions import InvalidOptionError, RaySystemError
from polyray.runtime import DRIVER, KeyBase, Place, Runtime

# Arguments of Ray's init that are accepted and have no effect here (docs/api-python.md).
_NO_EFFECT = frozenset(
    {
        "configure_logging", "dashboard_host", "dashboard_port", "include_dashboard",
        "job_config", "logging_config", "logging_format", "logging_level",  # see _Job
        "enable_resource_isolation", "cgroup_path", "system_reserved_cpu",
        "system_reserved_memory", "proxy_server_url", "_system_config", "_temp_dir",
        "_node_ip_address", "_redis_password", "_metrics_export_port",
        "_driver_object_store_memory", "_enable_object_reconstruction",
        "_node_name", "_skip_env_hook", "_redis_username", "object_spilling_directory",
        "_plasma_directory", "_memory",
    }
)  # fmt: skip


COMMIT = "unknown"

_RESOURCE_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU"}
_OPTION_NAMES = {
    "CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory",
    "object_store_memory": "object_store_memory",
}  # fmt: skip


class RayContext(Mapping[str, Any]):
    """What init() gives: the address of the runtime, as attributes and as a mapping.

    As a context manager it shuts down at the end.
    """

    dashboard_url = ""
    ray_version = __version__
    ray_commit = COMMIT

    def __init__(self, place: Place) -> None:
        self.python_version = ".".join(str(part) for part in sys.version_info[:3])
        self.address_info: dict[str, Any] = {
            "node_ip_address": "127.0.0.1",
            "redis_address": None,
            "object_store_address": place.socket_name,
            "raylet_socket_name": place.socket_name,
            "webui_url": "",
            "session_dir": place.session_dir,
            "metrics_export_port": -1,
            "gcs_address": place.address,
            "address": place.address,
            "dashboard_agent_listen_port": -1,
            "node_id": place.node_id,
            "session_name": f"session-{place.session_id}",
            "namespace": place.namespace,
        }
        self.namespace = place.namespace

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *exc: object) -> None:
        shutdown()

    def disconnect(self) -> None:
        """Shut down, as the end of a `with` block does."""
        shutdown()

    def __repr__(self) -> str:
        return (
            f"RayContext(dashboard_url={self.dashboard_url!r}, "
            f"python_version={self.python_version!r}, ray_version={self.ray_version!r}, "
            f"ray_commit={self.ray_commit!r})"
        )


class _Job:
    """What the arguments of init say of the whole job; raises for values that are not allowed."""

    def __init__(self, namespace: Any, kwargs: Mapping[str, Any]) -> None:
        config, logs = kwargs.get("job_config"), kwargs.get("logging_config")
        if config is not None:
            from polyray.job_config import JobConfig

            if not isinstance(config, JobConfig):
                raise TypeError(f"job_config must be a JobConfig, not {type(config).__name__}.")
        if logs is not None:
            from polyray.logging_config import LoggingConfig

            if not isinstance(logs, LoggingConfig):
                raise TypeError(
                    f"logging_config must be a LoggingConfig, not {type(logs).__name__}."
                )
        space = namespace if namespace is not None or config is None else config.ray_namespace
        if space is not None and not isinstance(space, str):
            raise TypeError("namespace must be None or a string.")
        if space == "":
            raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
        self.namespace: str | None = space
        self.logs = logs
        self.level = kwargs.get("logging_level")
        self.paths = tuple(config.code_search_path) if config is not None else ()
        self.runtime_env = config.runtime_env if config is not None else {}
        self.env_vars: dict[str, str] = {}
        if config is not None and config._default_actor_lifetime == "detached":
            self.env_vars["POLYRAY_ACTOR_LIFETIME"] = "detached"
        if logs is not None:
            self.env_vars["POLYRAY_LOGGING"] = logs.to_wire()
        self.hook = kwargs.get("_tracing_startup_hook")
        self.tracing: Mapping[str, str] | None = None
        if self.hook is not None or os.environ.get("POLYRAY_TRACING"):
            from polyray import tracing

            self.tracing = tracing.asked(self.hook)
            self.env_vars.update(tracing.variables(self.tracing))

    def set_up_tracing(self, runtimes: Mapping[str, str] | None = None) -> None:
        """Spans of this process: as it asks for, else as the runtime that it joins does.

        InvalidOptionError when that cannot be. One that lacks the packages and did not ask for
        them goes on without spans, and so do its Python workers when they lack them too."""
        if runtimes is not None and "POLYRAY_TRACING" in self.env_vars:
            return
        if runtimes is not None:
            self.tracing = runtimes
        if self.tracing is not None:
            from polyray import tracing

            needed = runtimes is None and tracing.asks_here(self.tracing)
            if not tracing.turn_on(self.tracing, needed=needed):
                self.tracing = {k: v for k, v in self.tracing.items() if k != "pythonSetup"}
            self.env_vars.update(tracing.variables(self.tracing))

    def set_up_logs(self) -> None:
        """The loggers of this process. ValueError for an unknown level."""
        if self.level is not None:
            import logging

            level = self.level.upper() if isinstance(self.level, str) else self.level
            logging.getLogger("polyray").setLevel(level)
        if self.logs is not None:
            self.logs.apply()


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> RayContext:
    """Start a runtime for this program, or join the one at `address`.

    `address`: None (POLYRAY_ADDRESS or RAY_ADDRESS when set, else start one), "local" (start one),
    "auto" (the newest of this user), "session:<id>" or "host:port". Other arguments as Ray's;
    docs/api-python.md lists them. Raises RaySystemError when there is none at the address,
    InvalidOptionError for values that are not allowed.
    """
    # Underscore names are internals of one Ray or another: unknown ones have no effect.
    unknown = [name for name in kwargs if name not in _NO_EFFECT and not name.startswith("_")]
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")
    for name, amount in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if isinstance(amount, float) and not abs(amount) < float("inf"):
            raise ValueError(f"{name} must be a finite number, not {amount}.")
    if local_mode:
        raise RuntimeError(
            "`local_mode` is no longer supported. For interactive debugging consider using "
            "the Ray distributed debugger."
        )
    existing = runtime.peek()
    if existing is not None:
        if ignore_reinit_error:
            return RayContext(existing.place)
        raise RuntimeError(
            "Maybe you called ray.init twice by accident? This error can be suppressed by "
            "passing in 'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to "
            "'ray.init()'."
        )
    shutdown()  # what is left of one whose runtime ended
    job = _Job(namespace, kwargs)
    namespace = job.namespace
    job.set_up_logs()
    job.set_up_tracing()
    from polyray.sessions import find_session, start_runtime

    wanted = _address(address)
    node = _node_flags(num_cpus, num_gpus, resources, labels, object_store_memory, kwargs, wanted)
    environment = _job_environment(runtime_env if runtime_env is not None else job.runtime_env)
    embedded = None
    if wanted is None:
        if namespace is not None:
            node += ["--namespace", namespace]
        # Its workers' Python boots beside the node, unless the job's environment may want another.
        if not environment:
            node += ["--python", _python()]
        embedded, place = start_runtime(node)
    else:
        if num_cpus is not None or num_gpus is not None:
            raise ValueError(
                "When connecting to an existing cluster, num_cpus and num_gpus must not be "
                "provided."
            )
        if node:
            raise InvalidOptionError(
                f"[invalid option] {', '.join(flag for flag in node if flag.startswith('--'))}: "
                f"a program that joins the runtime at {wanted} does not set its size. "
                "Leave these out, or start one with address='local'."
            )
        place = find_session(wanted)
    try:
        _attach(place, job, environment, log_to_driver is not False, embedded)
    except BaseException:
        if embedded is not None:
            embedded.stop()
        raise
    return RayContext(runtime.current().place)


def _attach(place: Place, job: _Job, environment: Any, log: bool, embedded: Any) -> None:
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (AttributeError, ValueError):  # a host program without standard streams
        pass
    client = _native.attach(place.socket_name, place.token, DRIVER, 0, 0, log)
    space = (
        job.namespace
        if job.namespace is not None
        else os.environ.get("POLYRAY_NAMESPACE") or place.namespace
    )
    base = KeyBase(
        job=client.job,
        cwd=os.getcwd(),
        sys_path=tuple(os.path.abspath(path) for path in (*sys.path, *job.paths)),
        python=_python(),
        namespace=space,
        env_vars=job.env_vars,
    )
    found = Runtime(client, place, base)
    found.embedded = embedded
    # The first worker is forked while the program still defines its functions. One that has to be
    # set up first starts with its first call: that one is told what fails.
    prestart = {"prestart": base.text("py")} if embedded is not None and not environment else {}
    answer = found.request(
        "job.info",
        job=client.job,
        namespace=space,
        entrypoint=" ".join(sys.argv),
        cwd=base.cwd,
        language="py",
        pid=os.getpid(),
        logToDriver=log,
        **prestart,
    )
    found.place = Place(
        address=answer.get("address") or place.address,
        socket_name=place.socket_name,
        token=place.token,
        session_dir=answer.get("sessionDir") or place.session_dir,
        session_id=answer.get("sessionId") or place.session_id,
        node_id=answer.get("nodeId") or place.node_id,
        namespace=space,
    )
    try:
        if answer.get("tracing") is not None:
            job.set_up_tracing(answer["tracing"])
            found.key_base = base._replace(env_vars=job.env_vars)
        if environment:
            from polyray.runtime_env.merging import prepare_job

            prepare_job(found, environment)
    except BaseException:
        client.detach()
        raise
    runtime.set_current(found)


def _python() -> str:
    """The Python of this job's workers."""
    return os.environ.get("POLYRAY_PYTHON") or sys.executable


def _address(address: str | None) -> str | None:
    """What to join; None starts a runtime."""
    if address is not None and not isinstance(address, str):
        raise InvalidOptionError(f"[invalid option] address must be a text, not {address!r}.")
    if address == "local":
        return None
    given = os.environ.get("POLYRAY_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if address is None or address == "auto":
        if given and given != "local":
            return given
        return None if address is None or given == "local" else "auto"
    if address.startswith("ray://"):
        raise InvalidOptionError(
            "[invalid option] ray:// addresses are not supported yet: "
            "join a runtime of this machine."
        )
    return address


def _node_flags(
    num_cpus: float | None,
    num_gpus: float | None,
    resources: Mapping[str, float] | None,
    labels: Mapping[str, str] | None,
    object_store_memory: int | None,
    kwargs: Mapping[str, Any],
    joined: str | None,
) -> list[str]:
    flags: list[str] = []
    numbers = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "object_store_memory": object_store_memory,
        "memory": kwargs.get("_memory"),
        "metrics_port": kwargs.get("_metrics_export_port") if joined is None else None,
    }
    for name, value in numbers.items():
        if value is None:
            continue
        resource = _RESOURCE_NAMES.get(name, name)
        assert isinstance(value, (int, float)), f"{resource} ({type(value)}): {value}"
        if value < 0:
            raise ValueError(
                f"Resource quantities must be nonnegative. Violated by resource '{resource}' "
                f"in {{'{resource}': {value}}}."
            )
        if value != int(value) and name != "num_gpus":
            raise ValueError(
                "Resource quantities must all be whole numbers. Violated by resource "
                f"'{resource}' in {{'{resource}': {value}}}."
            )
        if value >= 2**53:
            raise InvalidOptionError(f"[invalid option] {name} is too large: {value!r}.")
        flags += [f"--{name.replace('_', '-')}", str(int(value) if value == int(value) else value)]
    if resources is not None and not isinstance(resources, Mapping):
        raise TypeError(f"resources must be a mapping of names to amounts, not {resources!r}.")
    if resources:
        for name in ("CPU", "GPU", "memory", "object_store_memory"):
            assert name not in resources, (
                f"{dict(resources)} -> `{name}` cannot be a custom resource because it is one of "
                "the default resources ({'object_store_memory', 'CPU', 'GPU', 'memory'}). "
                f"Use `{_OPTION_NAMES[name]}` instead."
            )
        for name, amount in resources.items():
            assert isinstance(amount, (int, float)), f"{name} ({type(amount)}): {amount}"
            if not abs(amount) < float("inf"):
                raise ValueError(f"resources[{name!r}] must be a finite number, not {amount}.")
            if amount < 0:
                raise ValueError(
                    "Resource quantities must be nonnegative. Violated by resource "
                    f"'{name}' in {dict(resources)}."
                )
        flags += ["--resources", json.dumps(dict(resources))]
    if labels is not None:
        wrong = not isinstance(labels, Mapping) or not all(
            isinstance(part, str) for pair in labels.items() for part in pair
        )
        if wrong:
            raise TypeError(f"labels must be a mapping of texts to texts, not {labels!r}.")
    if labels:
        flags += ["--labels", ",".join(f"{name}={value}" for name, value in labels.items())]
    if joined is not None:  # its folders are as they are
        return flags
    if kwargs.get("_plasma_directory"):
        flags += ["--plasma-directory", str(kwargs["_plasma_directory"])]
    for folder in _spill_folders(kwargs):
        flags += ["--object-spilling-directory", folder]
    settings = kwargs.get("_system_config") or {}
    memory = {name: settings[name] for name in _MEMORY_SETTINGS if name in settings}
    if memory:
        flags += ["--system-config", json.dumps(memory)]
    if kwargs.get("_temp_dir"):
        flags += ["--temp-dir", str(kwargs["_temp_dir"])]
    return flags


_MEMORY_SETTINGS = ("memory_usage_threshold", "memory_monitor_refresh_ms")


def _spill_folders(kwargs: Mapping[str, Any]) -> list[str]:
    """The folders for spilled objects, in Ray's newer or its older form (JSON inside a mapping)."""
    folders: Any = kwargs.get("object_spilling_directory")
    older = (kwargs.get("_system_config") or {}).get("object_spilling_config")
    if folders is None and older:
        try:
            config = json.loads(older) if isinstance(older, str) else older
            kind, params = config.get("type"), config.get("params") or {}
            folders = params.get("directory_path")
        except (AttributeError, ValueError) as error:
            raise InvalidOptionError(
                f"[invalid option] object_spilling_config is not as it should be: {error}. "
                'For example: json.dumps({"type": "filesystem", '
                '"params": {"directory_path": "/tmp/spill"}}).'
            ) from error
        if kind != "filesystem":
            raise InvalidOptionError(
                f'[invalid option] object_spilling_config: type must be "filesystem", not {kind!r}.'
            )
    if folders is None:
        return []
    found = [folders] if isinstance(folders, (str, os.PathLike)) else folders
    if not isinstance(found, (list, tuple)) or not all(
        isinstance(folder, (str, os.PathLike)) for folder in found
    ):
        raise InvalidOptionError(
            "[invalid option] object_spilling_directory must be a folder's path or a list of them, "
            f"not {folders!r}."
        )
    return [os.path.abspath(folder) for folder in found]


def _job_environment(runtime_env: Any) -> Any:
    if not runtime_env:
        return None
    from polyray.runtime_env.merging import checked

    return checked(runtime_env)


def shutdown(*, wait_for_processes: bool = False) -> None:
    """Leave the runtime; one that init() started ends, with all its processes.

    Also called at exit.
    """
    found = runtime._current
    metrics = sys.modules.get("polyray.util.metrics")
    if found is not None and not found.is_worker and metrics is not None:
        metrics.flush()
    runtime.set_current(None)
    if found is not None and found.is_worker:
        return
    tracing = sys.modules.get("polyray.tracing")
    if tracing is not None:
        tracing.turn_off()
    if found is None:
        return
    found.client.detach()
    if found.embedded is not None:
        found.embedded.stop()


def is_initialized() -> bool:
    """True when this process is attached to a runtime."""
    return runtime.is_attached()


def _started() -> Runtime:
    """The runtime; RaySystemError when there is none, as asking starts none."""
    if not runtime.is_attached():
        raise RaySystemError(
            "Ray has not been started yet. Trying to use state API before ray.init() has been "
            "called."
        )
    return runtime.current()


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, with Ray's keys and ours (nodeId, hostname, resources...)."""
    rt = _started()
    found = []
    for node in rt.request("nodes")["nodes"]:
        address = str(node["address"])
        found.append(
            {
                **node,
                "NodeID": node["nodeId"],
                "Alive": node["alive"],
                "NodeManagerAddress": address,
                "NodeManagerHostname": node["hostname"],
                "NodeManagerPort": 0,
                "ObjectManagerPort": 0,
                "ObjectStoreSocketName": rt.place.socket_name,
                "RayletSocketName": rt.place.socket_name,
                "MetricsExportPort": -1,
                "MetricsAgentPort": -1,
                "DashboardAgentListenPort": -1,
                "NodeName": address,
                "RuntimeEnvAgentPort": 0,
                "DeathReason": 0,
                "DeathReasonMessage": "",
                "alive": node["alive"],
                "Resources": {name: float(n) for name, n in node["resources"].items()},
                "Labels": {"ray.io/node-id": node["nodeId"], **node["labels"]},
            }
        )
    return found


def cluster_resources() -> dict[str, float]:
    """All resources of the cluster by name."""
    return {
        name: float(amount)
        for name, amount in _started().request("resources.total")["resources"].items()
    }


def available_resources() -> dict[str, float]:
    """The resources that nobody holds now."""
    free = _started().request("resources.available")["resources"]
    return {name: float(amount) for name, amount in free.items() if amount > 0}


def _auto_init() -> None:
    init()


def _at_exit() -> None:
    try:
        shutdown()
    except Exception as error:  # the interpreter is ending: say it, and let it end
        sys.stderr.write(f"polyray: shutdown at exit failed: {error}\n")


runtime.set_starter(_auto_init)
atexit.register(_at_exit)
