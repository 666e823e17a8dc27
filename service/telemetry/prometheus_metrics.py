"""What Prometheus is told. Each app has a registry of its own, so that several may live in one process."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
CLIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class Metrics:
    """The meters of one app. Labels take values from short fixed lists only."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "cvivit_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "cvivit_request_seconds",
            "From a request's headers to its last byte.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "cvivit_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self.rejections = Counter(
            "cvivit_rejections",
            "Requests answered with a problem, by its code.",
            ["code"],
            registry=self.registry,
        )
        self.key_requests = Counter(
            "cvivit_key_requests",
            "Requests by the name of their API key, where keys are asked for.",
            ["name", "status"],
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "cvivit_stage_seconds",
            "Stages of requests.",
            ["route", "stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.clips = Counter(
            "cvivit_clips", "Clips encoded and decoded.", ["operation"], registry=self.registry
        )
        self.body_bytes = Counter(
            "cvivit_body_bytes", "Bytes of bodies, in and out.", ["direction"], registry=self.registry
        )
        self.ready = Gauge("cvivit_ready", "1 where work is taken.", registry=self.registry)

    def page(self) -> bytes:
        """Return all meters in Prometheus' text format."""
        return generate_latest(self.registry)
