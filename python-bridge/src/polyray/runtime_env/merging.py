# SPDX-License-Identifier: Apache-2.0
"""How environments of job, task and actor come together, and what of them goes into a worker key.

A field of the task or actor replaces the same field of the job (or of the task that submits it);
env_vars are merged name by name. Set-up hooks travel as a variable (Ray's name): "module.function",
or the key under which a pickled function lies in the runtime's key-value store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polyray.exceptions import RuntimeEnvSetupError
from polyray.runtime_env import RuntimeEnv
from polyray.runtime_env.validation import no_local_paths

if TYPE_CHECKING:
    from polyray.runtime import Runtime

HOOK_VARIABLE = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
_HOOK_FUNCTION = "ray_runtime_env_func::"
# By these the workers know what init was told of the whole job (JobConfig, LoggingConfig).
JOB_VARIABLES = frozenset({"POLYRAY_ACTOR_LIFETIME", "POLYRAY_LOGGING"})
_HOOK_SPACE = "polyray.setup_hook"


def checked(value: Any) -> RuntimeEnv:
    """The environment of a dict or RuntimeEnv; raises TypeError and ValueError as Ray does."""
    if isinstance(value, RuntimeEnv):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"runtime_env must be dict or RuntimeEnv, but got: {type(value)}")
    return RuntimeEnv(**{str(name): part for name, part in value.items()})


def of_task(value: Any) -> RuntimeEnv | None:
    """The checked environment of a task or actor; None: nothing of its own."""
    if not value:
        return None
    env = checked(value)
    no_local_paths(env)
    return env


def fields_of(rt: Runtime, env: Mapping[str, Any] | None) -> tuple[dict[str, str], dict[str, Any]]:
    """Variables and other fields, as a worker key wants them."""
    if not env:
        return {}, {}
    fields = {name: value for name, value in env.items() if value is not None}
    variables = dict(fields.pop("env_vars", None) or {})
    hook = fields.get("worker_process_setup_hook")
    if hook is not None and HOOK_VARIABLE not in variables:
        if isinstance(hook, str):
            variables[HOOK_VARIABLE] = hook
        elif callable(hook):
            variables[HOOK_VARIABLE] = _export(rt, hook)
            fields["worker_process_setup_hook"] = hook.__name__
        else:
            raise TypeError(f"worker_process_setup_hook must be a function, got {type(hook)}.")
    return variables, fields


def _export(rt: Runtime, hook: Any) -> str:
    import hashlib

    import cloudpickle

    try:
        data = cloudpickle.dumps(hook)
    except Exception as error:
        raise RuntimeEnvSetupError("Failed to export the setup function.") from error
    key = hashlib.sha256(data).hexdigest()
    rt.request("kv.put", ns=_HOOK_SPACE, key=key, value=data, overwrite=False)
    return _HOOK_FUNCTION + key


def prepare_job(rt: Runtime, env: RuntimeEnv) -> None:
    """Make the environment that of all workers of this driver: its folders become packages."""
    variables, fields = fields_of(rt, env)
    if fields:
        key = {
            "language": "py",
            "cwd": rt.key_base.cwd,
            "python": rt.key_base.python,
            "job": rt.job,
        }
        fields = rt.request("env.prepare", runtimeEnv=_plain(fields), cwd=os.getcwd(), key=key)[
            "runtimeEnv"
        ]
    rt.key_base = rt.key_base._replace(
        env_vars={**rt.key_base.env_vars, **variables}, runtime_env=fields
    )


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()
    }


def current_env(rt: Runtime) -> RuntimeEnv:
    """The environment of this process's job, or of the worker that this is."""
    fields = dict(rt.key_base.runtime_env)
    variables = rt.key_base.env_vars.items()
    told = {name: value for name, value in variables if name not in JOB_VARIABLES}
    if told:
        fields["env_vars"] = told
    return RuntimeEnv(_validate=False, **fields)


def run_setup_hook(rt: Runtime) -> str | None:
    """In a new worker: run the hook; gives what went wrong."""
    hook = rt.key_base.env_vars.get(HOOK_VARIABLE)
    if hook is None:
        return None
    import traceback

    try:
        if hook.startswith(_HOOK_FUNCTION):
            import pickle

            found = rt.request("kv.get", ns=_HOOK_SPACE, key=hook[len(_HOOK_FUNCTION) :])
            pickle.loads(found["value"])()
        else:
            import importlib

            module, _, name = hook.rpartition(".")
            getattr(importlib.import_module(module), name)()
    except Exception:
        return (
            f"Failed to execute the setup hook method {hook}: it must be importable in the "
            f"workers and must not raise.\n{traceback.format_exc()}"
        )
    return None
