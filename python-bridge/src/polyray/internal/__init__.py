# SPDX-License-Identifier: Apache-2.0
"""What Ray has under ray.internal: taking values away while refs to them are alive."""

from polyray.objects import free

__all__ = ["free"]
