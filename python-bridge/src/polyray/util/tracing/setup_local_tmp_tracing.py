# SPDX-License-Identifier: Apache-2.0
"""A set-up for a first look: `init(_tracing_startup_hook=
"ray.util.tracing.setup_local_tmp_tracing:setup_tracing")` writes the spans of each process into a
file of its own, one JSON object a line.
"""

from __future__ import annotations

import os
import tempfile

spans_dir = os.path.join(tempfile.gettempdir(), "spans", "")


def setup_tracing() -> None:
    """Write the spans of this process into spans_dir. Needs opentelemetry-sdk."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    os.makedirs(spans_dir, exist_ok=True)
    out = open(f"{spans_dir}{os.getpid()}.txt", "w", encoding="utf-8")  # noqa: SIM115 (stays open)
    exporter = ConsoleSpanExporter(
        out=out, formatter=lambda span: span.to_json(indent=None) + os.linesep
    )
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


__all__ = ["setup_tracing", "spans_dir"]
