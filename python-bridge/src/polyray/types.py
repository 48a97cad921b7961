# SPDX-License-Identifier: Apache-2.0
"""Types for annotations: `ObjectRef[int]`."""

from polyray._native import ObjectRef

__all__ = ["ObjectRef"]
