# SPDX-License-Identifier: Apache-2.0
"""Generated FlatBuffers classes; polyray.task_spec is their door."""
