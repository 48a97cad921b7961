# SPDX-License-Identifier: Apache-2.0
"""What Ray has under ray.experimental and is built here."""

from polyray.experimental.locations import get_local_object_locations, get_object_locations

__all__ = ["get_local_object_locations", "get_object_locations"]
