# SPDX-License-Identifier: Apache-2.0
"""What runs in the Python workers of bench/ts/python-rows.ts; found on PYTHONPATH."""


def small_value():
    return b"ok"


def same(value):
    return value


class Server:
    def small_value(self):
        return b"ok"


class AsyncServer:
    async def small_value(self):
        return b"ok"

    async def small_value_with_arg(self, x):
        return b"ok"
