"""OpenTelemetry spans of requests, sent only where an endpoint is configured."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fastapi import FastAPI

from cvivit.errors import ConfigError

OPEN_ROUTES = "livez,readyz,health,metrics"
"""Routes that are polled: they make no spans."""
FLUSH_SECONDS = 5.0
"""Time for spans that wait to be sent at the end. A collector that does not answer is tried for longer."""


def trace_requests(app: FastAPI, endpoint: str) -> Callable[[], None]:
    """Send a span of each request to `endpoint` over OTLP/HTTP. `OTEL_*` variables configure the rest.

    Returns:
        What sends the spans that still wait; it blocks until they are gone or given up.

    Raises:
        ConfigError: the extra `otel` is not installed, or the endpoint is no address.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigError(f"otel_endpoint: {endpoint!a} is no http:// or https:// address")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError("otel_endpoint: the extra `otel` of phenaki-cvivit is not installed") from error

    # At the end of the process the SDK would wait for its exporter, which tries again and again.
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: app.title}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=OPEN_ROUTES,
        exclude_spans=["receive", "send"],  # one for each piece of a body
    )

    def flush() -> None:
        sending = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)

    return flush
