# SPDX-License-Identifier: Apache-2.0
"""What holds for a whole job: JobConfig, given to init as `job_config`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LIFETIMES = ("detached", "non_detached")


class JobConfig:
    """The namespace, the lifetime of actors that name none, the runtime environment, folders for
    the workers' `sys.path` and free texts of a job.

    Raises ValueError for another lifetime, TypeError for metadata that are no texts.
    """

    def __init__(
        self,
        jvm_options: Sequence[str] | None = None,
        code_search_path: Sequence[str] | str | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        _client_job: bool = False,
        metadata: Mapping[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        _py_driver_sys_path: Sequence[str] | None = None,
    ) -> None:
        self.jvm_options = list(jvm_options or [])
        paths = [code_search_path] if isinstance(code_search_path, str) else code_search_path
        self.code_search_path = list(paths or [])
        self.runtime_env: dict[str, Any] = {}
        self.metadata: dict[str, str] = {}
        self.ray_namespace = ray_namespace
        self._client_job = _client_job
        self._py_driver_sys_path = list(_py_driver_sys_path or [])
        self.set_runtime_env(runtime_env)
        self.set_default_actor_lifetime(default_actor_lifetime)
        for key, value in (metadata or {}).items():
            self.set_metadata(key, value)

    def set_metadata(self, key: str, value: str) -> None:
        """One free text; it is kept in the driver."""
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata must be texts, not {key!r}: {value!r}.")
        self.metadata[key] = value

    def set_runtime_env(
        self, runtime_env: Mapping[str, Any] | None, validate: bool = False
    ) -> None:
        """The environment of the job's workers."""
        self.runtime_env = dict(runtime_env or {})
        if validate and self.runtime_env:
            from polyray.runtime_env.merging import checked

            checked(self.runtime_env)

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """The namespace of the job's named actors."""
        self.ray_namespace = ray_namespace

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """The lifetime of actors that name none: "detached" or "non_detached"."""
        if default_actor_lifetime not in _LIFETIMES:
            raise ValueError(
                "Default actor lifetime must be one of `detached`, `non_detached`, "
                f"not {default_actor_lifetime!r}"
            )
        self._default_actor_lifetime = default_actor_lifetime

    @classmethod
    def from_json(cls, job_config_json: Mapping[str, Any]) -> JobConfig:
        """One of its fields as a mapping."""
        fields = dict(job_config_json)
        namespace = fields.pop("ray_namespace", None) or fields.pop("namespace", None)
        names = ("jvm_options", "code_search_path", "runtime_env", "metadata")
        known = {name: fields[name] for name in names if name in fields}
        return cls(ray_namespace=namespace, **known)


__all__ = ["JobConfig"]
