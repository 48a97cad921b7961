# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry, under Ray's names; polyray.tracing does the work."""
