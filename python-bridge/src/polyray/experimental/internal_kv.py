# SPDX-License-Identifier: Apache-2.0
"""The key-value table of the control service, with Ray's names. Keys and values are bytes.

Texts given as keys, values or namespaces are taken as UTF-8.
"""

from __future__ import annotations

from typing import Any

from polyray import runtime

Text = str | bytes


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise TypeError(f"keys and values are bytes or text, not {type(value).__name__}")
    return value


def _space(namespace: Text | None) -> str:
    return _bytes(namespace or b"").decode("latin-1")


def _internal_kv_initialized() -> bool:
    """Whether there is a runtime to ask."""
    return runtime.is_attached()


def _internal_kv_get(key: Text, *, namespace: Text | None = None) -> bytes | None:
    """The value of a key, or None."""
    answer = runtime.current().request("kv.get", ns=_space(namespace), key=_bytes(key))
    value = answer["value"]
    return None if value is None else bytes(value)


def _internal_kv_exists(key: Text, *, namespace: Text | None = None) -> bool:
    """Whether a key has a value."""
    return _internal_kv_get(key, namespace=namespace) is not None


def _internal_kv_put(
    key: Text, value: Text, overwrite: bool = True, *, namespace: Text | None = None
) -> bool:
    """Set a value. Returns whether the key had one before."""
    answer = runtime.current().request(
        "kv.put", ns=_space(namespace), key=_bytes(key), value=_bytes(value), overwrite=overwrite
    )
    return bool(answer["existed"])


def _internal_kv_del(
    key: Text, *, del_by_prefix: bool = False, namespace: Text | None = None
) -> int:
    """Remove a key, or all that begin so. Returns how many were removed."""
    rt = runtime.current()
    keys = _internal_kv_list(key, namespace=namespace) if del_by_prefix else [_bytes(key)]
    gone = [rt.request("kv.del", ns=_space(namespace), key=one)["deleted"] for one in keys]
    return sum(1 for one in gone if one)


def _internal_kv_list(prefix: Text, *, namespace: Text | None = None) -> list[bytes]:
    """The keys that begin so."""
    text = _bytes(prefix).decode("latin-1")
    answer = runtime.current().request("kv.keys", ns=_space(namespace), prefix=text)
    return [key.encode("latin-1") for key in answer["keys"]]


def _internal_kv_reset() -> None:
    """Nothing is cached here."""


__all__ = [
    "_internal_kv_del",
    "_internal_kv_exists",
    "_internal_kv_get",
    "_internal_kv_initialized",
    "_internal_kv_list",
    "_internal_kv_put",
    "_internal_kv_reset",
]
