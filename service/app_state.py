"""The objects that the routes use and that live as long as the app: model, engine, decoders, threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from fastapi import FastAPI

from cvivit.metrics import prepare_ssim
from cvivit.tokenizer import VideoTokenizer
from cvivit.video.settings import ClipFormat, Fit, VideoLimits
from service.decoding import DecodedClips, DecodingLimits, DecodingPool
from service.engine import Engine
from service.errors import NotReadyError
from service.lifecycle import Lifecycle, Phase
from service.server.sizes import Sizes, limit_compute_threads, resident_bytes
from service.settings import Settings
from service.telemetry.engine_metrics import EngineMetrics, LiveState
from service.telemetry.prometheus_metrics import Metrics
from service.threads import on_daemon

log = logging.getLogger("service")

Result = TypeVar("Result")


class AppState:
    """Everything that lives as long as the app. Entering it as a context starts it, and leaving it stops it.

    Args:
        settings: the settings of the app.
        tokenizers: already loaded, one per device. They are used in place of `settings.model`.
        in_background: whether entering returns before the start is complete. `failure` then keeps its error.
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
        """The error that ended the start, if it has failed."""
        self.sizes = Sizes.of(settings)
        """The sizes that follow from the machine's cores and memory where the settings do not give them."""
        self.metrics = Metrics()
        self.lifecycle = Lifecycle(max_requests=settings.max_requests, backlog_seconds=self.backlog_seconds)
        self._pool: DecodingPool | None = None
        self._engine: Engine | None = None
        self._engine_metrics = EngineMetrics(self.metrics)
        self._tokenizers = list(tokenizers)
        self.parsing: asyncio.Semaphore
        """Held while tokens are parsed. Parsing keeps the interpreter's lock, so two at once would slow
        the event loop down."""
        self._threads: ThreadPoolExecutor
        self._task: asyncio.Task[None]
        self.metrics.ready.set_function(lambda: self.lifecycle.ready)
        self.metrics.registry.register(
            LiveState(
                engine=lambda: None if self._engine is None else self._engine.snapshot(),
                pool=lambda: None if self._pool is None else self._pool.snapshot(),
                device_memory=lambda: device_memory(self._tokenizers),
                kernels=lambda: device_kernels(self._tokenizers),
            )
        )

    @property
    def engine(self) -> Engine:
        """The engine, which runs the clips."""
        assert self._engine is not None, "the app is not running"
        return self._engine

    @property
    def tokenizer(self) -> VideoTokenizer:
        """The model that is served, on its first device.

        Raises:
            NotReadyError: the model is still being loaded.
        """
        if not self._tokenizers:
            raise NotReadyError("the server is starting: its model is not loaded yet")
        return self._tokenizers[0]

    @property
    def pool(self) -> DecodingPool:
        """The processes that read videos."""
        assert self._pool is not None, "the app is not running"
        return self._pool

    def read(
        self, source: BinaryIO, *, fit: Fit = "crop", start: float = 0.0, seconds: float | None = None
    ) -> DecodedClips:
        """Return the clips of an uploaded video, read within the limits of the settings.

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
        """Return how long the clips that wait for a batch will take at the measured rates."""
        return sum(self.engine.snapshot().queued_seconds.values())

    async def run_blocking(self, work: Callable[[], Result]) -> Result:
        """Run `work` on a thread, so that the event loop goes on meanwhile, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def __aenter__(self) -> Self:
        """Load the model, warm it up and accept requests.

        Raises, unless this happens in the background:
            WeightsError: the weights cannot be loaded.
            DeviceError, EngineUnavailableError: the device does not run them.
            DecodingError: the decoders do not start.
        """
        self.lifecycle.begin()
        self.failure = None
        self.parsing = asyncio.Semaphore()
        self._threads = ThreadPoolExecutor(self.sizes.request_threads, "service")
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
        """Accept no more requests, and end those that are left."""
        self.lifecycle.become(Phase.DRAINING)
        await self._stop()

    async def _run(self) -> None:
        """Start everything, and then wait for the engine to fail. This task runs until the app stops."""
        try:
            await self._start()
        except Exception as error:
            self.failure = error
        else:
            self.lifecycle.become(Phase.READY)
            cause = await self.engine.wait_failed()
            log.error("the engine has failed", exc_info=cause)
        self.lifecycle.become(Phase.FAILED)

    async def _start(self) -> None:
        limit_compute_threads(self.sizes)
        preparing = asyncio.ensure_future(self.run_blocking(prepare_ssim))
        if not self._tokenizers:
            # On a daemon thread: loading may take minutes, and a signal to stop does not wait for it.
            self._tokenizers = await on_daemon(lambda: load(self.settings))
        log.info("sizes: %s", self.sizes)
        self._engine = Engine(
            [tokenizer.runner for tokenizer in self._tokenizers], observer=self._engine_metrics
        )
        self._pool = DecodingPool(decoding_limits(self.settings, self.sizes))
        self._engine.start()  # the device warms up while the decoders start
        await self._pool.start()
        await self._engine.wait_ready()
        await preparing
        for warning in self.sizes.memory_warnings(
            server_bytes=resident_bytes(), max_pixels=self.settings.max_pixels
        ):
            log.warning(warning)

    async def _stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._engine is not None:
            await self._engine.stop()
        if self._pool is not None:
            await self._pool.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)


def load(settings: Settings) -> list[VideoTokenizer]:
    """Return the model that `settings` name, once for each of their devices.

    Raises:
        WeightsError: the weights cannot be loaded.
    """
    return [
        VideoTokenizer.from_pretrained(
            settings.model,
            revision=settings.revision,
            device=device.strip(),
            precision=settings.precision,
            kernels=settings.kernels,
        )
        for device in settings.device.split(",")
    ]


def decoding_limits(settings: Settings, sizes: Sizes) -> DecodingLimits:
    """Return the limits of the decoding processes."""
    return DecodingLimits(
        processes=sizes.decoders,
        memory_bytes=sizes.decoder_memory_bytes,
        cpu_seconds=settings.reading_seconds,
        deadline_seconds=settings.reading_seconds,
        waiting_seconds=settings.decoder_wait_seconds,
        folder=settings.spool_dir,
    )


def video_limits(settings: Settings) -> VideoLimits:
    """Return the limits of a video."""
    return VideoLimits(
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        max_seconds=settings.max_seconds,
        max_streams=settings.max_streams,
        max_clips=settings.max_clips,
    )


def device_kernels(tokenizers: list[VideoTokenizer]) -> Iterator[tuple[str, str]]:
    """Yield each CUDA device and what computes on it between the products, "triton" or "plain"."""
    for tokenizer in tokenizers:
        if tokenizer.runner.kernels is not None:
            yield str(tokenizer.device), tokenizer.runner.kernels.name


def device_memory(tokenizers: list[VideoTokenizer]) -> Iterator[tuple[str, int]]:
    """Yield each CUDA device, and how many bytes of its memory this process has reserved."""
    import torch

    for tokenizer in tokenizers:
        device = torch.device(tokenizer.runner.device)
        if device.type == "cuda":
            yield str(device), torch.cuda.memory_reserved(device)


def app_state_of(app: FastAPI) -> AppState:
    """Return the state of an app made by `create_app`."""
    app_state: AppState = app.state.app_state
    return app_state
