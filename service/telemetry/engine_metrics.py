"""Tells Prometheus of the engine, of its devices' memory, and of the decoding pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.decoding import PoolSnapshot
from service.engine import BatchReport, EngineObserver, EngineSnapshot, Operation
from service.telemetry.prometheus_metrics import SECONDS, Metrics

BATCH_CLIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class EngineMetrics(EngineObserver):
    """The engine's observer. Meters are thread-safe, as its hooks must be."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._clips = metrics.clips
        self.batch_clips = Histogram(
            "cvivit_batch_clips", "Clips of a batch.", ["operation"], buckets=BATCH_CLIPS, registry=registry
        )
        self.batch_seconds = Histogram(
            "cvivit_batch_seconds",
            "From a batch's start to its results, on its device.",
            ["operation", "device"],
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "cvivit_queue_seconds",
            "Wait of a clip for its batch.",
            ["operation"],
            buckets=SECONDS,
            registry=registry,
        )
        self.failed = Counter(
            "cvivit_clips_failed", "Clips that failed alone.", ["operation"], registry=registry
        )
        self.refused = Counter(
            "cvivit_engine_refused",
            "Requests that the engine refused.",
            ["operation", "code"],
            registry=registry,
        )
        self.dropped = Counter(
            "cvivit_clips_dropped",
            "Queued clips whose request ended first.",
            ["operation"],
            registry=registry,
        )

    def batch_done(self, report: BatchReport) -> None:
        """Count a batch."""
        operation = report.operation.value
        self.batch_clips.labels(operation).observe(report.clips)
        self.batch_seconds.labels(operation, str(report.device)).observe(report.compute_seconds)
        for seconds in report.queue_seconds:
            self.queue_seconds.labels(operation).observe(seconds)
        self._clips.labels(operation).inc(report.clips - report.failed_clips)
        if report.failed_clips:
            self.failed.labels(operation).inc(report.failed_clips)

    def request_refused(self, operation: Operation, code: str) -> None:
        """Count a refusal."""
        self.refused.labels(operation.value, code).inc()

    def clips_dropped(self, operation: Operation, count: int) -> None:
        """Count clips that nobody waits for."""
        self.dropped.labels(operation.value).inc(count)


class LiveState(Collector):
    """What is read at the moment somebody asks: the engine, the pool, the memory of devices.

    Args:
        engine: returns what the engine holds, or None where there is none.
        pool: returns what the decoding pool does, or None where there is none.
        device_memory: returns pairs of a device and the bytes it has in use; a CPU has none.
    """

    def __init__(
        self,
        *,
        engine: Callable[[], EngineSnapshot | None],
        pool: Callable[[], PoolSnapshot | None],
        device_memory: Callable[[], Iterable[tuple[str, int]]],
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._device_memory = device_memory

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the families are not known before they are collected."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        if (engine := self._engine()) is not None:
            yield from self._engine_gauges(engine)
        if (pool := self._pool()) is not None:
            yield from self._pool_gauges(pool)
        memory = GaugeMetricFamily(
            "cvivit_device_memory_bytes", "Memory of a device in use.", labels=["device"]
        )
        for device, used in self._device_memory():
            memory.add_metric([device], used)
        yield memory

    def _engine_gauges(self, snapshot: EngineSnapshot) -> Iterator[Metric]:
        yield GaugeMetricFamily("cvivit_engine_clips", "Clips held by the engine.", value=snapshot.clips)
        yield GaugeMetricFamily("cvivit_engine_computing", "Clips in batches.", value=snapshot.computing)
        depth = GaugeMetricFamily("cvivit_queue_depth", "Clips that wait for a batch.", labels=["operation"])
        rate = GaugeMetricFamily(
            "cvivit_clips_per_second", "Measured rate of full batches.", labels=["operation"]
        )
        for operation in Operation:
            depth.add_metric([operation.value], snapshot.queued.get(operation, 0))
            if operation in snapshot.clips_per_second:
                rate.add_metric([operation.value], snapshot.clips_per_second[operation])
        yield depth
        yield rate

    def _pool_gauges(self, snapshot: PoolSnapshot) -> Iterator[Metric]:
        states = {"alive": snapshot.processes, "busy": snapshot.busy}
        decoders = GaugeMetricFamily("cvivit_decoders", "Decoding processes.", labels=["state"])
        for state, count in states.items():
            decoders.add_metric([state], count)
        yield decoders
        yield GaugeMetricFamily(
            "cvivit_videos_waiting", "Videos that wait for a decoder.", value=snapshot.waiting
        )
        restarts = CounterMetricFamily("cvivit_decoder_restarts", "Decoders replaced.", labels=["cause"])
        for cause, count in snapshot.restarts.items():
            restarts.add_metric([cause], count)
        yield restarts
