# SPDX-License-Identifier: Apache-2.0
"""multiprocessing.Pool over actors."""

from multiprocessing import JoinableQueue, TimeoutError

from polyray.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
