# SPDX-License-Identifier: Apache-2.0
"""Serializers for classes that pickle cannot do, or not well; they belong to this process and
travel with the values.
"""

from polyray.serialize import deregister_serializer, register_serializer

__all__ = ["deregister_serializer", "register_serializer"]
