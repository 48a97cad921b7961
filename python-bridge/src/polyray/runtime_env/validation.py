# SPDX-License-Identifier: Apache-2.0
"""What each field of a runtime environment may be: the checks, and the form that it is kept in.

Texts and types of the errors are Ray's. Pure apart from looking whether named files exist.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

_PACKAGES = (".zip", ".tar.gz", ".tgz", ".tar.xz")
_EXTENSIONS = {
    "working_dir": _PACKAGES,
    "py_modules": (".zip", ".whl", ".tar.gz", ".tgz", ".tar.xz"),
}


def is_uri(text: str) -> bool:
    """True for scheme://..., false for a path."""
    scheme, mark, _ = text.partition("://")
    return mark != "" and scheme.replace("+", "").replace("-", "").isalnum()


def _check_uri(uri: str, field: str) -> None:
    if uri.startswith(("local://", "file://")):
        return
    formats = _EXTENSIONS[field]
    path = uri.split("?", 1)[0]
    if not path.endswith(formats):
        raise ValueError(
            f"Only {', '.join(formats)} files are supported for {field} URIs; got {path}."
        )


def _check_place(text: str, field: str) -> None:
    if is_uri(text):
        _check_uri(text, field)
    elif not os.path.exists(text):
        raise ValueError(f"{text} is not a valid path.")


def no_local_paths(env: Mapping[str, Any]) -> None:
    """Folders and modules of tasks and actors must be packages already: raises ValueError."""
    places = [env["working_dir"]] if env.get("working_dir") else []
    for text in [*places, *(env.get("py_modules") or ())]:
        if not is_uri(text):
            raise ValueError(
                f"{text} is not a valid URI. Passing directories or modules to be dynamically "
                "uploaded is only supported at the job level (i.e., passed to `ray.init`)."
            )


def _working_dir(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`working_dir` must be a string, got {type(value)}.")
    _check_place(value, "working_dir")
    return value


def _py_modules(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"`py_modules` must be a list of strings, got {type(value)}.")
    for module in value:
        if not isinstance(module, str):
            raise TypeError(f"`py_module` must be a string, got {type(module)}.")
        _check_place(module, "py_modules")
    return value


def _excludes(value: Any) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value or None
    raise TypeError(f"runtime_env['excludes'] must be of type List[str], got {type(value)}")


def _env_vars(value: Any) -> dict[str, str] | None:
    if isinstance(value, (dict, list, tuple, str)) and len(value) == 0:
        return None
    wanted = "runtime_env['env_vars'] must be of type Dict[str, str]"
    if not isinstance(value, dict):
        raise TypeError(f"{wanted}, got {type(value)}")
    for key, text in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{wanted}, but the key {key} is of type {type(key)}")
        if not isinstance(text, str):
            raise TypeError(f"{wanted}, but the value {text} is of type {type(text)}")
    return value


def _conda(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        raise TypeError(f"runtime_env['conda'] must be of type str or dict, got {type(value)}.")
    if value.endswith((".yaml", ".yml")):
        if not os.path.isfile(value):
            raise ValueError(f"Can't find conda YAML file {value}.")
    elif os.path.isabs(value) and not os.path.isdir(value):
        raise ValueError(f"Can't find conda env directory {value}.")
    return value


def _requirement_file(path: str) -> list[str]:
    if not os.path.isfile(path):
        raise ValueError(f"{path} is not a valid file")
    with open(path) as file:
        return file.read().strip().split("\n")


def _texts(tool: str, field: str, value: Any) -> None:
    wanted = f"runtime_env['{tool}']['{field}'] must be of type list[str]"
    if not isinstance(value, list):
        raise TypeError(f"{wanted} got {type(value)}")
    for at, one in enumerate(value):
        if not isinstance(one, str):
            raise TypeError(f"{wanted} got {type(one)} for {at}-th item.")


def _tool_dict(tool: str, value: dict[str, Any], names: str, fields: Mapping[str, type]) -> None:
    if set(value) - {"packages", *fields}:
        raise ValueError(
            f"runtime_env['{tool}'] can only have these fields: {names}, but got: {list(value)}"
        )
    for field, kind in fields.items():
        if field not in value:
            continue
        if kind is list:
            _texts(tool, field, value[field])
        elif not isinstance(value[field], kind):
            raise TypeError(
                f"runtime_env['{tool}']['{field}'] must be of type {kind.__name__}, "
                f"got {type(value[field])}"
            )
    if "packages" not in value:
        raise ValueError(f"runtime_env['{tool}'] must include field 'packages', but got {value}")


def _without_doubles(found: dict[str, Any]) -> dict[str, Any] | None:
    found["packages"] = list(dict.fromkeys(found["packages"]))
    return found if found["packages"] else None


def _plain_packages(tool: str, value: Any) -> dict[str, Any] | None:
    """The form of a requirements file or a list of packages; None: the value is neither."""
    check = f"{tool}_check"
    if isinstance(value, str):
        return {"packages": _requirement_file(value), check: False}
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return {"packages": value, check: False}
    return None


def _pip(value: Any) -> dict[str, Any] | None:
    plain = _plain_packages("pip", value)
    if plain is not None:
        return _without_doubles(plain)
    if not isinstance(value, dict):
        raise TypeError(f"runtime_env['pip'] must be of type str or List[str], got {type(value)}")
    names = "packages, pip_check, pip_install_options and pip_version"
    fields = {"pip_check": bool, "pip_version": str, "pip_install_options": list}
    _tool_dict("pip", value, names, fields)
    found = {**value, "pip_check": value.get("pip_check", False)}
    if isinstance(value["packages"], str):
        found["packages"] = _requirement_file(value["packages"])
    elif not isinstance(value["packages"], list):
        raise ValueError(
            "runtime_env['pip']['packages'] must be of type str of list, "
            f"got: {type(value['packages'])}"
        )
    return _without_doubles(found)


def _uv(value: Any) -> dict[str, Any] | None:
    plain = _plain_packages("uv", value)
    if plain is not None:
        return _without_doubles(plain)
    if not isinstance(value, dict):
        raise TypeError(f"runtime_env['uv'] must be of type List[str], or dict, got {type(value)}")
    names = "packages, uv_check, uv_version and uv_pip_install_options"
    fields = {"uv_check": bool, "uv_version": str, "uv_pip_install_options": list}
    _tool_dict("uv", value, names, fields)
    if not isinstance(value["packages"], list):
        raise ValueError(
            f"runtime_env['uv']['packages'] must be of type list, got: {type(value['packages'])}"
        )
    _texts("uv", "packages", value["packages"])
    return _without_doubles(
        {
            **value,
            "uv_check": value.get("uv_check", False),
            "uv_pip_install_options": value.get("uv_pip_install_options", ["--no-cache"]),
        }
    )


CHECKS: dict[str, Callable[[Any], Any]] = {
    "py_modules": _py_modules,
    "working_dir": _working_dir,
    "excludes": _excludes,
    "conda": _conda,
    "pip": _pip,
    "uv": _uv,
    "env_vars": _env_vars,
}
