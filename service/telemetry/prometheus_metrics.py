"""The Prometheus metrics of an app, and the forms in which `/metrics` gives them.

Each app has a registry of its own, so that several apps may run in one process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The metrics of one app. Labels take values from short fixed lists, so that their number is bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.gather: Callable[[], Awaitable[Collector]] = self._own
        """Returns what a page shows: the registry, unless one page speaks for several processes."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "cvivit_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "cvivit_request_seconds",
            "Time from a request's headers to the last byte of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "cvivit_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self.rejections = Counter(
            "cvivit_rejections",
            "Requests answered with an error, by its code.",
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
            "Time spent in the stages of requests.",
            ["route", "stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.clips = Counter(
            "cvivit_clips", "Clips encoded and decoded.", ["operation"], registry=self.registry
        )
        self.body_bytes = Counter(
            "cvivit_body_bytes",
            "Bytes of request and response bodies.",
            ["direction"],
            registry=self.registry,
        )
        self.ready = Gauge("cvivit_ready", "1 if work is accepted, 0 if not.", registry=self.registry)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the form that a scraper asks for, and the media type of that form.

        Args:
            accept: the `Accept` header. Prometheus' text format 0.0.4 is the default; version 1.0.0 and
                OpenMetrics are given to those who ask for them.
        """
        shown = await self.gather()
        try:
            encode, media_type = choose_encoder(accept)
            return encode(shown), media_type
        except (TypeError, ValueError):  # the header names a version that is no number
            encode, media_type = choose_encoder("")
            return encode(shown), media_type

    async def _own(self) -> Collector:
        return self.registry
