# SPDX-License-Identifier: Apache-2.0
"""What Ray has under ray.experimental and is built here."""
