"""The server process: uvicorn, its signals turned into a drain, its exit code into what happened."""

from __future__ import annotations

import asyncio
import contextvars
import math
import signal
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from service.app_state import app_state_of
from service.lifecycle import Phase
from service.server.connection import guarded
from service.settings import Settings

log = structlog.get_logger("service")

FAILED_GRACE_SECONDS = 5.0
"""Time for answers to leave after the engine was lost: nothing in flight can succeed any more."""

DROP_SECONDS = 2.0
"""Time for work that is dropped at the end of a drain to be answered so."""

HURRIED_DROP_SECONDS = 0.5
"""The same once a second signal has come."""


class Server(uvicorn.Server):
    """uvicorn that keeps listening while it drains, so that `/readyz` can say so.

    uvicorn closes its sockets at the first signal and raises it again at the end. Here a signal only
    starts the drain: what is in flight finishes, what is new is answered 503, and then uvicorn stops. A
    second signal ends the grace time: what is still in flight is answered so. A third stops at once.

    Args:
        app: made by `create_app`.
        settings: of the same app.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=guarded(settings, app_state_of(app).metrics),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=math.ceil(settings.idle_seconds),
                timeout_graceful_shutdown=math.ceil(FAILED_GRACE_SECONDS),
            )
        )
        self.settings = settings
        self.app_state = app_state_of(app)
        self.lifecycle = self.app_state.lifecycle
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self._hurried = False
        self._grace: asyncio.Timeout | None = None

    @property
    def exit_code(self) -> int:
        """0 after a drain that was asked for, 1 where the service never started or lost its engine."""
        return 0 if self.started and not self.lifecycle.failed else 1

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Drain at the first signal, drop what is in flight at the second, stop at once at the third."""
        self._signals += 1
        if self._loop is None:
            self.should_exit = True
        elif self._signals > 2 or self.should_exit:
            self.should_exit = self.force_exit = True
        elif self._signals == 2:
            self._loop.call_soon_threadsafe(self._hurry)
        else:
            # A signal comes in the middle of whatever runs: the line is not of that request.
            nobodys = contextvars.Context()
            nobodys.run(log.info, "draining", signal=signal.Signals(sig).name)
            self._loop.call_soon_threadsafe(self.lifecycle.become, Phase.DRAINING, context=nobodys)

    def _hurry(self) -> None:
        self._hurried = True
        if self._grace is not None and not self._grace.expired():
            self._grace.reschedule(0)

    async def main_loop(self) -> None:
        """Serve until drained or failed."""
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(work) for work in (self._announce(), self._drain())]
        try:
            await super().main_loop()
        finally:
            for task in tasks:
                task.cancel()

    async def _announce(self) -> None:
        await self.lifecycle.begun()
        if self.lifecycle.ready:
            host, port, *_ = self.servers[0].sockets[0].getsockname()
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            log.info("serving", url=url, model=self.app_state.tokenizer.fingerprint)

    async def _drain(self) -> None:
        await self.lifecycle.ending()
        grace = FAILED_GRACE_SECONDS if self.lifecycle.failed else self.settings.grace_seconds
        with suppress(TimeoutError):
            await self._idle_within(grace)
        if self.lifecycle.in_flight:
            log.warning(
                "the grace time is over: work in flight is dropped", requests=self.lifecycle.in_flight
            )
            seconds = HURRIED_DROP_SECONDS if self._hurried else DROP_SECONDS
            for _ in range(2):  # streams end by themselves; the second time cuts those that nobody reads
                self.lifecycle.drop()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.lifecycle.idle(), seconds)
        self.should_exit = True

    async def _idle_within(self, grace: float) -> None:
        try:
            async with asyncio.timeout(0 if self._hurried else grace) as self._grace:
                await asyncio.gather(
                    asyncio.sleep(min(grace, self.settings.drain_seconds)), self.lifecycle.idle()
                )
        finally:
            self._grace = None
