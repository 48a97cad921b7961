# SPDX-License-Identifier: Apache-2.0
"""Ray's client connections (`ray://`), which are refused: programs join a runtime by init()."""

from __future__ import annotations

from typing import Any

from polyray.exceptions import InvalidOptionError


class ClientBuilder:
    """Not supported; its making raises InvalidOptionError, which says what to do."""

    def __init__(self, address: str | None = None) -> None:
        raise InvalidOptionError(
            f"[invalid option] client connections ({address or 'ray://'}) are not supported: "
            "join a runtime by polyray.init(address=...)."
        )


def client(address: str | None = None, **kwargs: Any) -> ClientBuilder:
    """Refused as ClientBuilder: use init(address=...)."""
    return ClientBuilder(address)
