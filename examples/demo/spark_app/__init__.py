# SPDX-License-Identifier: Apache-2.0
"""The Python half of the demo.

- ``driver``: the actor that holds the PySpark session; created from TypeScript.
- ``partition``: what runs inside Spark's Python workers.
- ``training``: the tasks that run in polyray's Python workers.
- ``datasets``, ``java_home``, ``shared_memory``: what these need.
"""
