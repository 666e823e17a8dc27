"""The Prometheus metrics of the engine, of the memory of its devices, and of the decoding pool."""

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
    """Counts what the engine reports. Metrics are thread-safe, as the hooks of an observer must be."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._clips = metrics.clips
        self.batch_clips = Histogram(
            "cvivit_batch_clips", "Clips of a batch.", ["operation"], buckets=BATCH_CLIPS, registry=registry
        )
        self.batch_seconds = Histogram(
            "cvivit_batch_seconds",
            "Time from a batch's start to its results, on its device.",
            ["operation", "device"],
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "cvivit_queue_seconds",
            "Time that a clip waited for its batch.",
            ["operation"],
            buckets=SECONDS,
            registry=registry,
        )
        self.failed = Counter(
            "cvivit_clips_failed", "Clips whose computation failed.", ["operation"], registry=registry
        )
        self.refused = Counter(
            "cvivit_engine_refused",
            "Requests that the engine refused.",
            ["operation", "code"],
            registry=registry,
        )
        self.dropped = Counter(
            "cvivit_clips_dropped",
            "Queued clips that were dropped because their request ended.",
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
        """Count a refused request."""
        self.refused.labels(operation.value, code).inc()

    def clips_dropped(self, operation: Operation, count: int) -> None:
        """Count queued clips that were dropped."""
        self.dropped.labels(operation.value).inc(count)


class LiveState(Collector):
    """Gauges that are computed when `/metrics` is read: engine, decoding pool and memory of devices.

    Args:
        engine: returns what the engine holds, or None if there is no engine yet.
        pool: returns what the decoding pool does, or None if there is no pool yet.
        device_memory: returns pairs of a device and the bytes of its memory in use. CPUs are left out.
        kernels: returns pairs of a CUDA device and what computes on it, "triton" or "plain".
    """

    def __init__(
        self,
        *,
        engine: Callable[[], EngineSnapshot | None],
        pool: Callable[[], PoolSnapshot | None],
        device_memory: Callable[[], Iterable[tuple[str, int]]],
        kernels: Callable[[], Iterable[tuple[str, str]]] = tuple,
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._device_memory = device_memory
        self._kernels = kernels

    def describe(self) -> Iterator[Metric]:
        """Yield nothing, because the gauges are not known before they are collected."""
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
        kernels = GaugeMetricFamily(
            "cvivit_device_kernels",
            "1 for what computes on a CUDA device: Triton kernels, or the plain modules where those failed.",
            labels=["device", "kernels"],
        )
        for device, name in self._kernels():
            kernels.add_metric([device, name], 1)
        yield kernels

    def _engine_gauges(self, snapshot: EngineSnapshot) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "cvivit_engine_clips",
            "Clips that the engine holds: queued, computing, or not yet taken by their client.",
            value=snapshot.clips,
        )
        yield GaugeMetricFamily(
            "cvivit_engine_computing", "Clips in batches that are being computed.", value=snapshot.computing
        )
        depth = GaugeMetricFamily("cvivit_queue_depth", "Clips that wait for a batch.", labels=["operation"])
        depth_seconds = GaugeMetricFamily(
            "cvivit_queue_depth_seconds",
            "Time that the clips which wait for a batch will take, at the measured rate.",
            labels=["operation"],
        )
        rate = GaugeMetricFamily(
            "cvivit_clips_per_second",
            "Measured rate of full batches, over all devices.",
            labels=["operation"],
        )
        for operation in Operation:
            depth.add_metric([operation.value], snapshot.queued.get(operation, 0))
            if operation in snapshot.queued_seconds:
                depth_seconds.add_metric([operation.value], snapshot.queued_seconds[operation])
            if operation in snapshot.clips_per_second:
                rate.add_metric([operation.value], snapshot.clips_per_second[operation])
        yield depth
        yield depth_seconds
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
        restarts = CounterMetricFamily(
            "cvivit_decoder_restarts", "Decoders that were replaced, by cause.", labels=["cause"]
        )
        for cause, count in snapshot.restarts.items():
            restarts.add_metric([cause], count)
        yield restarts
