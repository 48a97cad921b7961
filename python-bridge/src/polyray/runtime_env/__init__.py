# SPDX-License-Identifier: Apache-2.0
"""Environments of jobs, tasks and actors: RuntimeEnv and RuntimeEnvConfig, with Ray's names.

Both are dicts that check what is put into them; a plain dict does as well wherever one is taken.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from polyray.runtime_env.validation import CHECKS

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]


class RuntimeEnvConfig(dict[str, Any]):
    """How an environment is made.

    `setup_timeout_seconds`: whole seconds, -1 for no limit (default 600). `eager_install`: begin
    when the job starts, not at its first task (default True). `log_files`: accepted.
    """

    known_fields = frozenset({"setup_timeout_seconds", "eager_install", "log_files"})

    def __init__(
        self,
        setup_timeout_seconds: int = 600,
        eager_install: bool = True,
        log_files: list[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(setup_timeout_seconds, int):
            raise TypeError(
                f"setup_timeout_seconds must be of type int, got: {type(setup_timeout_seconds)}"
            )
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(
                "setup_timeout_seconds must be greater than zero or equals to -1, "
                f"got: {setup_timeout_seconds}"
            )
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be a boolean. got {type(eager_install)}")
        if log_files is not None and not isinstance(log_files, list):
            raise TypeError(
                "log_files must be a list of strings or None, got "
                f"{log_files} with type {type(log_files)}."
            )
        if not all(isinstance(name, str) for name in log_files or ()):
            raise TypeError("Each item in log_files must be a string.")
        self["setup_timeout_seconds"] = setup_timeout_seconds
        self["eager_install"] = eager_install
        self["log_files"] = log_files or []

    @staticmethod
    def parse_and_validate_runtime_env_config(config: Any) -> RuntimeEnvConfig:
        """The config of a dict; unknown entries are ignored with a warning."""
        if isinstance(config, RuntimeEnvConfig):
            return config
        if not isinstance(config, dict):
            raise TypeError(
                "runtime_env['config'] must be of type dict or RuntimeEnvConfig, "
                f"got: {type(config)}"
            )
        unknown = set(config) - RuntimeEnvConfig.known_fields
        if unknown:
            import logging

            logging.getLogger(__name__).warning(
                "The following unknown entries in the runtime_env_config dictionary "
                f"will be ignored: {unknown}."
            )
        known = {name: config[name] for name in config if name not in unknown}
        return RuntimeEnvConfig(**known)

    @classmethod
    def default_config(cls) -> RuntimeEnvConfig:
        """The defaults."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return dict(copy.deepcopy(self))


class RuntimeEnv(dict[str, Any]):
    """An environment: packages, folders and variables that workers start with.

    `working_dir` (folder or archive that becomes the working folder), `excludes`, `py_modules`,
    `pip` or `uv` (list, requirements file or dict), `env_vars`, `py_executable`,
    `worker_process_setup_hook` (function or "module.function"), `config`. `conda` may name the
    folder of an existing environment. `container`, `image_uri`, `nsight` and `rocprof_sys` are
    accepted here and refused when a worker starts. Raises TypeError and ValueError.
    """

    known_fields = frozenset(
        {
            "py_modules", "py_executable", "java_jars", "working_dir", "conda", "pip", "uv",
            "container", "excludes", "env_vars", "_ray_release", "_ray_commit",
            "_inject_current_ray", "config", "worker_process_setup_hook", "_nsight",
            "_rocprof_sys", "image_uri",
        }
    )  # fmt: skip

    def __init__(
        self,
        *,
        py_modules: list[str] | None = None,
        py_executable: str | None = None,
        working_dir: str | None = None,
        pip: Any = None,
        conda: Any = None,
        container: dict[str, str] | None = None,
        env_vars: dict[str, str] | None = None,
        worker_process_setup_hook: Any = None,
        nsight: Any = None,
        rocprof_sys: Any = None,
        config: Any = None,
        _validate: bool = True,
        image_uri: str | None = None,
        uv: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        given = {
            **kwargs,
            "py_modules": py_modules,
            "py_executable": py_executable,
            "working_dir": working_dir,
            "pip": pip,
            "uv": uv,
            "conda": conda,
            "_nsight": nsight,
            "_rocprof_sys": rocprof_sys,
            "container": container,
            "env_vars": env_vars,
            "config": config,
            "worker_process_setup_hook": worker_process_setup_hook,
            "image_uri": image_uri,
        }
        given = {name: v for name, v in given.items() if v is not None or name in kwargs}
        if not _validate:
            super().update(given)
            return
        self._check_together(given)
        for name, value in given.items():
            self[name] = value
        if all(value is None for value in self.values()):
            self.clear()

    @staticmethod
    def _check_together(given: dict[str, Any]) -> None:
        tools = [name for name in ("conda", "pip", "uv") if given.get(name) is not None]
        if len(tools) > 1:
            raise ValueError(
                "The 'pip' field, 'uv' field, and 'conda' field of "
                "runtime_env cannot be specified at the same time.\n"
                f"specified pip field: {given.get('pip')}\n"
                f"specified conda field: {given.get('conda')}\n"
                f"specified uv field: {given.get('uv')}\n"
                "To use pip with conda, name the pip packages within the conda environment."
            )
        alone = {"container": {"container", "config", "env_vars"}}
        alone["image_uri"] = {"image_uri", "config", "env_vars"}
        for name, allowed in alone.items():
            others = set(given) - allowed
            if given.get(name) and others:
                raise ValueError(
                    f"The '{name}' field currently cannot be used together with other fields of "
                    f"runtime_env. Specified fields: {others}"
                )

    def __setitem__(self, key: str, value: Any) -> None:
        check = CHECKS.get(key)
        if value is None:
            pass
        elif key == "config":
            value = RuntimeEnvConfig.parse_and_validate_runtime_env_config(value)
        elif check is not None:
            value = check(value)
            if value is None:
                return
        super().__setitem__(key, value)

    def set(self, name: str, value: Any) -> None:
        """The same as env[name] = value."""
        self[name] = value

    def get(self, name: str, default: Any = None, data_class: Any = None) -> Any:
        """A field; as an instance of `data_class` (a dataclass) when one is given."""
        if name not in self:
            return default
        value = self[name]
        return value if data_class is None else data_class(**value)

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """The environment of JSON text."""
        return cls(_validate=False, **json.loads(serialized_runtime_env))

    def serialize(self) -> str:
        """JSON text with sorted keys."""
        return json.dumps(self, sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        found: dict[str, Any] = dict(copy.deepcopy(self))
        if isinstance(found.get("config"), RuntimeEnvConfig):
            found["config"] = found["config"].to_dict()
        return found

    def has_working_dir(self) -> bool:
        """True when it has one."""
        return self.get("working_dir") is not None

    def working_dir_uri(self) -> str | None:
        """The working folder or its package."""
        found: str | None = self.get("working_dir")
        return found

    def working_dir(self) -> str:
        """The working folder or its package; empty when there is none."""
        return str(self.get("working_dir", ""))

    def py_modules(self) -> list[str]:
        """The modules."""
        return list(self.get("py_modules") or ())

    py_modules_uris = py_modules

    def py_executable(self) -> str | None:
        """The interpreter."""
        found: str | None = self.get("py_executable")
        return found

    def env_vars(self) -> dict[str, str]:
        """The variables."""
        return dict(self.get("env_vars") or {})

    def has_conda(self) -> bool:
        """True when it has the field."""
        return bool(self.get("conda"))

    def has_pip(self) -> bool:
        """True when it has the field."""
        return bool(self.get("pip"))

    def has_uv(self) -> bool:
        """True when it has the field."""
        return bool(self.get("uv"))

    def pip_config(self) -> dict[str, Any]:
        """The pip field as a dict."""
        return dict(self.get("pip") or {})

    def uv_config(self) -> dict[str, Any]:
        """The uv field as a dict."""
        return dict(self.get("uv") or {})

    def image_uri(self) -> str | None:
        """The container image."""
        found: str | None = self.get("image_uri")
        return found

    def plugins(self) -> list[tuple[str, Any]]:
        """Fields that nobody here knows."""
        return [(name, value) for name, value in self.items() if name not in self.known_fields]
