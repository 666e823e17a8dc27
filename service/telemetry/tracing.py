"""OpenTelemetry spans of requests. They are sent only if an endpoint is configured."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fastapi import FastAPI

from cvivit.errors import ConfigError

OPEN_ROUTES = "livez,readyz,health,metrics"
"""Routes that are polled all the time. They get no spans."""
FLUSH_SECONDS = 5.0
"""How long the app waits, when it stops, for its last spans to be sent. The exporter itself would go on
trying for longer if the collector does not answer."""


def trace_requests(app: FastAPI, endpoint: str) -> Callable[[], None]:
    """Send a span of each request to `endpoint` over OTLP/HTTP. `OTEL_*` variables configure the rest.

    Returns:
        A function that sends the spans still waiting. It blocks until they are sent or given up.

    Raises:
        ConfigError: the extra `otel` is not installed, or the endpoint is not an address.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigError(f"otel_endpoint: {endpoint!a} is not an http:// or https:// address")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError("otel_endpoint: the extra `otel` of phenaki-cvivit is not installed") from error

    # With shutdown_on_exit, the SDK would wait for its exporter, which tries again and again.
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: app.title}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=OPEN_ROUTES,
        exclude_spans=["receive", "send"],  # there would be one for each piece of a body
    )

    def flush() -> None:
        sending = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)

    return flush
