# SPDX-License-Identifier: Apache-2.0
"""What runs in the Python workers of bench/ts/python-rows.ts; found on PYTHONPATH."""


def small_value():
    return b"ok"


class Server:
    def small_value(self):
        return b"ok"


class AsyncServer:
    async def small_value(self):
        return b"ok"

    async def small_value_with_arg(self, x):
        return b"ok"


class Mirror:
    def same(self, value):
        return value

    def anonymous_kb(self):
        """Memory of this process that is nobody else's."""
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
