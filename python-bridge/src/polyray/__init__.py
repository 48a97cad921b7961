# SPDX-License-Identifier: Apache-2.0
"""polyray: one runtime for TypeScript and Python programs."""

from polyray._native import __version__

__all__ = ["__version__"]
