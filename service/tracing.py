"""OpenTelemetry spans of requests, sent only where an endpoint is configured."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from cvivit.errors import ConfigError

OPEN_ROUTES = "livez,readyz,metrics"
"""Routes that are polled: they make no spans."""
FLUSH_MILLISECONDS = 5000


def trace_requests(app: FastAPI, endpoint: str) -> Callable[[], None]:
    """Send a span of each request to `endpoint` over OTLP/HTTP. `OTEL_*` variables configure the rest.

    Returns:
        What sends the spans that still wait; it blocks until they are gone or given up.

    Raises:
        ConfigError: the extra `otel` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError("otel_endpoint: the extra `otel` of phenaki-cvivit is not installed") from error

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: app.title}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=OPEN_ROUTES)

    def flush() -> None:
        provider.force_flush(FLUSH_MILLISECONDS)

    return flush
