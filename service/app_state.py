"""What runs behind the routes, from the app's start to its stop: model, engine, reader, threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from fastapi import FastAPI

from cvivit.tokenizer import VideoTokenizer
from cvivit.video.settings import ClipFormat, Fit, VideoLimits
from service import quality
from service.decoding import DecodedClips, DecodingLimits, DecodingPool
from service.engine import Engine
from service.errors import NotReadyError
from service.lifecycle import Lifecycle, Phase
from service.settings import Settings
from service.telemetry.engine_metrics import EngineMetrics, LiveState
from service.telemetry.prometheus_metrics import Metrics
from service.threads import on_daemon

log = logging.getLogger("service")

Result = TypeVar("Result")

SPARE_THREADS = 8
"""Threads beyond one for each request in flight, for short work such as a spool's writes."""


class AppState:
    """Everything that lives as long as the app. Entering starts it, leaving stops it.

    Args:
        settings: of the app.
        tokenizers: already loaded, one a device, in place of `settings.model`.
        in_background: whether entering it does not wait until it is ready. What then fails is `failure`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tokenizers: Sequence[VideoTokenizer] = (),
        in_background: bool = False,
    ) -> None:
        self.settings = settings
        self.in_background = in_background
        self.failure: Exception | None = None
        """Why it never became ready."""
        self.metrics = Metrics()
        self.lifecycle = Lifecycle(max_requests=settings.max_requests, backlog_seconds=self.backlog_seconds)
        self._pool: DecodingPool | None = None
        self._engine: Engine | None = None
        self._engine_metrics = EngineMetrics(self.metrics)
        self._tokenizers = list(tokenizers)
        self.parsing: asyncio.Semaphore
        """Held while tokens are parsed: that keeps other threads from running, so one at a time does."""
        self._threads: ThreadPoolExecutor
        self._task: asyncio.Task[None]
        self.metrics.ready.set_function(lambda: self.lifecycle.ready)
        self.metrics.registry.register(
            LiveState(
                engine=lambda: None if self._engine is None else self._engine.snapshot(),
                pool=lambda: None if self._pool is None else self._pool.snapshot(),
                device_memory=lambda: device_memory(self._tokenizers),
            )
        )

    @property
    def engine(self) -> Engine:
        """What runs the clips."""
        assert self._engine is not None, "the app is not running"
        return self._engine

    @property
    def tokenizer(self) -> VideoTokenizer:
        """The model that is served, on its first device.

        Raises:
            NotReadyError: it is still being loaded.
        """
        if not self._tokenizers:
            raise NotReadyError("the server is starting: its model is not loaded yet")
        return self._tokenizers[0]

    @property
    def pool(self) -> DecodingPool:
        """What reads videos."""
        assert self._pool is not None, "the app is not running"
        return self._pool

    def read(
        self, source: BinaryIO, *, fit: Fit = "crop", start: float = 0.0, seconds: float | None = None
    ) -> DecodedClips:
        """Return the clips of a stranger's video, read within the limits of the settings.

        Args:
            source: the video, which must stay open.
            fit: how its frames are made to fit the model's size.
            start: seconds of the video that are skipped.
            seconds: how much is read from there. None means up to the end.
        """
        clip_format = ClipFormat.of(self.tokenizer.config, fit=fit)
        limits = video_limits(self.settings)
        return self.pool.read(source, clip_format, limits=limits, start=start, seconds=seconds)

    def backlog_seconds(self) -> float:
        """Return how long the clips that wait for a batch will take, at the measured rates."""
        snapshot = self.engine.snapshot()
        rates = snapshot.clips_per_second
        return sum(snapshot.queued.get(operation, 0) / rate for operation, rate in rates.items() if rate > 0)

    async def run_blocking(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, called on a thread: the event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def __aenter__(self) -> Self:
        """Load, warm up and take requests.

        Raises, unless this is done in the background:
            WeightsError: the weights cannot be loaded.
            DeviceError, EngineUnavailableError: the device does not run them.
            DecodingError: the decoders do not start.
        """
        self.lifecycle.begin()
        self.failure = None
        self.parsing = asyncio.Semaphore()
        self._threads = ThreadPoolExecutor(self.settings.max_requests + SPARE_THREADS, "service")
        self._task = asyncio.create_task(self._run())
        try:
            if not self.in_background:
                await self.lifecycle.begun()
                if self.failure is not None:
                    raise self.failure
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take no more requests and end what is left of them."""
        self.lifecycle.become(Phase.DRAINING)
        await self._stop()

    async def _run(self) -> None:
        """Start, and watch over what was started."""
        try:
            await self._start()
        except Exception as error:
            self.failure = error
        else:
            self.lifecycle.become(Phase.READY)
            cause = await self.engine.wait_failed()
            log.error("the engine is lost", exc_info=cause)
        self.lifecycle.become(Phase.FAILED)

    async def _start(self) -> None:
        preparing = asyncio.ensure_future(self.run_blocking(quality.prepare))
        if not self._tokenizers:
            self._tokenizers = await on_daemon(lambda: load(self.settings))
        self._engine = Engine(
            [tokenizer.runner for tokenizer in self._tokenizers], observer=self._engine_metrics
        )
        self._pool = DecodingPool(decoding_limits(self.settings))
        self._engine.start()
        await self._pool.start()
        await self._engine.wait_ready()
        await preparing

    async def _stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._engine is not None:
            await self._engine.stop()
        if self._pool is not None:
            await self._pool.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)


def load(settings: Settings) -> list[VideoTokenizer]:
    """Return the model that `settings` name, on each of their devices.

    Raises:
        WeightsError: the weights cannot be loaded.
    """
    return [
        VideoTokenizer.from_pretrained(
            settings.model, revision=settings.revision, device=device.strip(), precision=settings.precision
        )
        for device in settings.device.split(",")
    ]


def decoding_limits(settings: Settings) -> DecodingLimits:
    """Return what the decoding processes may use."""
    return DecodingLimits(
        processes=settings.decoders,
        memory_bytes=settings.decoder_memory_bytes,
        cpu_seconds=settings.reading_seconds,
        deadline_seconds=settings.reading_seconds,
        waiting_seconds=settings.decoder_wait_seconds,
        folder=settings.spool_dir,
    )


def video_limits(settings: Settings) -> VideoLimits:
    """Return what a video may cost."""
    return VideoLimits(
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        max_seconds=settings.max_seconds,
        max_streams=settings.max_streams,
        max_clips=settings.max_clips,
    )


def device_memory(tokenizers: list[VideoTokenizer]) -> Iterator[tuple[str, int]]:
    """Yield each CUDA device and the bytes that this process has reserved of it."""
    import torch

    for tokenizer in tokenizers:
        device = torch.device(tokenizer.runner.device)
        if device.type == "cuda":
            yield str(device), torch.cuda.memory_reserved(device)


def app_state_of(app: FastAPI) -> AppState:
    """Return the state of an app made by `create_app`."""
    app_state: AppState = app.state.app_state
    return app_state
