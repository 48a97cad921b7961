# SPDX-License-Identifier: Apache-2.0
"""What Ray's programs ask of tracing."""

from __future__ import annotations

import sys


def _is_tracing_enabled() -> bool:
    tracing = sys.modules.get("polyray.tracing")
    return tracing is not None and tracing.is_on()


__all__ = ["_is_tracing_enabled"]
