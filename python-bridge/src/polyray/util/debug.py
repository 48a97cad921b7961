# SPDX-License-Identifier: Apache-2.0
"""log_once and its switches, which belong to this process."""

from __future__ import annotations

import time
from typing import ClassVar

_PERIOD_S = 60.0


class _State:
    seen: ClassVar[set[str]] = set()
    disabled = False
    periodic = False
    last = 0.0


def log_once(key: str) -> bool:
    """True for the first call with a key; with periodic logging again after a minute."""
    if _State.disabled:
        return False
    if key not in _State.seen:
        _State.seen.add(key)
        _State.last = time.time()
        return True
    if _State.periodic and time.time() - _State.last > _PERIOD_S:
        _State.seen.clear()
        _State.last = time.time()
    return False


def disable_log_once_globally() -> None:
    """Make log_once() give False in this process from now on."""
    _State.disabled = True


def enable_periodic_logging() -> None:
    """Make log_once() give True again for a key after a minute."""
    _State.periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Forget that a key was seen; all keys without one."""
    if key is None:
        _State.seen.clear()
    else:
        _State.seen.discard(key)
