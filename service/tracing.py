"""OpenTelemetry traces, where the environment asks for them (``OTEL_EXPORTER_OTLP_ENDPOINT``); else nothing at all.

The SDK's own variables say the rest: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and so on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from index.schema import NearposeError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

STAGES = ("decode", "embed", "search", "fit")
_ASKED_FOR = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_UNTRACED = "/healthz$,/readyz$,/metrics$"


class TracingError(NearposeError):
    """Traces are asked for, and what makes them is not installed."""


class Tracing:
    """What the service tells of a request to whoever collects traces: nothing, in this class."""

    def add_stages(self, milliseconds: Mapping[str, float]) -> None:
        """Adds a span a stage to the current request's; the last stage ends now."""

    def close(self) -> None:
        """Sends what is not sent yet."""


class _OpenTelemetry(Tracing):
    def __init__(self, provider: TracerProvider) -> None:
        self._provider, self._tracer = provider, provider.get_tracer("nearpose")

    def add_stages(self, milliseconds: Mapping[str, float]) -> None:
        # Laid end to end before now: they ran one after the other, and what came before them is the wait.
        start = time.time_ns() - sum(_nanoseconds(milliseconds[stage]) for stage in STAGES)
        for stage in STAGES:
            end = start + _nanoseconds(milliseconds[stage])
            if end > start:
                self._tracer.start_span(stage, start_time=start).end(end)
            start = end

    def close(self) -> None:
        self._provider.shutdown()


def trace(app: FastAPI) -> Tracing:
    """Traces the requests of ``app``, which has not answered any yet, if the environment asks for it.

    Raises:
        TracingError: the environment asks for it, and OpenTelemetry is not installed.
    """
    if not any(os.environ.get(name) for name in _ASKED_FOR):
        return Tracing()
    try:
        return _traced(app)
    except ImportError as error:
        raise TracingError(
            f"{_ASKED_FOR[0]} is set, but {error.name} is not installed: pip install 'nearpose[otel]'"
        ) from None


def _traced(app: FastAPI) -> Tracing:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "nearpose")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=_UNTRACED,
        exclude_spans=["receive", "send"],
        server_request_hook=_note_trace_id,
    )
    return _OpenTelemetry(provider)


def _note_trace_id(span: Span, scope: dict[str, Any]) -> None:
    if span.is_recording():
        scope["trace_id"] = f"{span.get_span_context().trace_id:032x}"


def _nanoseconds(milliseconds: float) -> int:
    return round(milliseconds * 1e6)
