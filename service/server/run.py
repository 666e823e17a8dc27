"""The server process. It runs uvicorn, drains on signals, and says by its exit code what happened.

This relies on the inside of uvicorn's `Server`, whose minor version pyproject.toml pins for that reason:

- `serve` calls `startup`, `main_loop` and `shutdown` in this order, and installs `handle_exit` for SIGTERM
  and SIGINT before `startup`. `main_loop` returns within a fraction of a second after `should_exit` is set.
- `startup` sets `lifespan`, `servers` and `started`; connections are made with `config.http_protocol_class`,
  given `config`, `server_state`, `app_state` and `_loop`. `server_state.connections` holds them.
- `shutdown` closes `servers`, waits for the connections, and ends the lifespan unless `force_exit` is set.

tests/service/server/test_uvicorn.py tests all of this.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from cvivit.errors import ConfigError
from cvivit.starting import INTERRUPTED
from service.app_state import app_state_of
from service.environment import UnknownVariable
from service.lifecycle import Phase
from service.server.connection import GuardedProtocol, guarded
from service.server.listening import (
    close_listeners,
    load_certificate,
    open_listeners,
    tls_context,
    url_of,
)
from service.settings import Settings

log = structlog.get_logger("service")

FAILED_GRACE_SECONDS = 5.0
"""Time for answers to leave after the engine was lost; nothing in flight can succeed any more."""

DROP_SECONDS = 2.0
"""Time for requests that are dropped at the end of a drain to be answered 503."""

HURRIED_DROP_SECONDS = 0.5
"""The same after a second signal."""

DELIVERY_CHECK_SECONDS = 0.1
"""Time between two looks at whether answers have reached their clients, while the server drains."""

BACKLOG = 2048
"""Connections that the system holds until the server takes them."""


class Server(uvicorn.Server):
    """A uvicorn server that keeps listening while it drains, so that `/readyz` can say so.

    uvicorn closes its sockets at the first signal and raises the signal again at the end. Here the first
    signal only starts a drain: requests in flight finish, new ones are answered 503, and then uvicorn stops.
    A second signal ends the time that they have for that, and a third stops at once. SIGHUP reloads keys and
    certificate.

    Args:
        app: made by `create_app`.
        settings: the settings of the same app.

    Raises:
        ConfigError: the certificate cannot be used.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=guarded(settings, app_state_of(app).metrics),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # `service.middleware.proxy` reads them
                timeout_keep_alive=math.ceil(settings.idle_seconds),
                timeout_graceful_shutdown=math.ceil(FAILED_GRACE_SECONDS),
            )
        )
        self.settings = settings
        self.app_state = app_state_of(app)
        self.lifecycle = self.app_state.lifecycle
        self._keys = app.state.api_keys
        self._tls = tls_context(settings)
        self._listeners: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self._interrupted = False
        self._hurried = False
        self._grace: asyncio.Timeout | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def exit_code(self) -> int:
        """0 after a drain that was asked for; 1 if the service never started or lost its engine.

        130 after SIGINT before the service was ready, as for any command that is interrupted.
        """
        if self._interrupted:
            return INTERRUPTED
        return 0 if self.started and not self.lifecycle.failed else 1

    def warn_of_variables(self, unknown: Sequence[UnknownVariable]) -> None:
        """Log the environment variables that look like settings and are none."""
        for variable in unknown:
            log.warning(str(variable), variable=variable.name, nearest=variable.nearest)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until drained or failed.

        Raises:
            ConfigError: the system does not let the process listen where the settings say.
        """
        self._listeners = sockets or open_listeners(self.settings)
        try:
            super().run()
        finally:
            close_listeners(self._listeners)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Start the app, then take connections.

        uvicorn's own `startup` gives a TLS handshake a minute, and would bind the sockets itself.
        """
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(1)
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
                _loop=loop,
            )

        handshake = None if self._tls is None else self.settings.header_seconds
        self.servers = []
        for listener in self._listeners:
            start = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
            self.servers.append(
                await start(
                    connection,
                    sock=listener,
                    ssl=self._tls,
                    backlog=BACKLOG,
                    ssl_handshake_timeout=handshake,
                )
            )
        self.started = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Drain at the first signal, drop what is in flight at the second, stop at once at the third."""
        self._signals += 1
        if sig == signal.SIGINT and self.lifecycle.phase is Phase.STARTING:
            self._interrupted = True
        if self._loop is None:
            self.should_exit = True
        elif self._signals > 2:
            self.should_exit = self.force_exit = True
        elif self._signals == 2:
            self._loop.call_soon_threadsafe(self._hurry)
        else:
            # A signal interrupts whatever runs. In a context of its own the line does not carry the id of the
            # request that happened to run.
            nobodys = contextvars.Context()
            nobodys.run(log.info, "draining", signal=signal.Signals(sig).name)
            self._loop.call_soon_threadsafe(self.lifecycle.become, Phase.DRAINING, context=nobodys)

    def handle_reload(self, sig: int = 0, frame: FrameType | None = None) -> None:  # noqa: ARG002
        """Read the keys and the certificate again. Requests in flight go on, and none is lost."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._start_reload, context=contextvars.Context())

    def _start_reload(self) -> None:
        # The set holds the task: the event loop itself holds only a weak reference to it.
        task = asyncio.get_running_loop().create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        if self._keys is not None:
            await self._keys.reload()
        if self._tls is not None:
            try:
                await asyncio.to_thread(load_certificate, self._tls, self.settings)
            except ConfigError as error:
                log.error("the certificate was not reloaded and stays as it was", reason=str(error))
            else:
                log.info("the certificate was reloaded")

    def _hurry(self) -> None:
        self._hurried = True
        if self._grace is not None and not self._grace.expired():
            self._grace.reschedule(0)

    async def main_loop(self) -> None:
        """Serve until drained or failed."""
        self._loop = asyncio.get_running_loop()
        works = (self._announce(), self._drain())
        tasks = [asyncio.create_task(work) for work in works]
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread:  # the only one that Python lets set a handler
            signal.signal(signal.SIGHUP, self.handle_reload)
        try:
            await super().main_loop()
        finally:
            if in_main_thread:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for task in tasks:
                task.cancel()

    async def _announce(self) -> None:
        await self.lifecycle.begun()
        if self.lifecycle.ready:
            url = url_of(self._listeners[0], tls=self._tls is not None)
            keys = None if self._keys is None else len(self._keys)
            log.info("serving", url=url, model=self.app_state.tokenizer.fingerprint, keys=keys)

    async def _drain(self) -> None:
        await self.lifecycle.ending()
        grace = FAILED_GRACE_SECONDS if self.lifecycle.failed else self.settings.grace_seconds
        with suppress(TimeoutError):
            await self._idle_within(grace)
        if self.lifecycle.in_flight:
            log.warning(
                "the grace time is over: requests in flight are dropped", requests=self.lifecycle.in_flight
            )
            seconds = HURRIED_DROP_SECONDS if self._hurried else DROP_SECONDS
            # The first drop lets streams end by themselves and say why. The second cuts those nobody reads.
            for _ in range(2):
                self.lifecycle.drop()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.lifecycle.idle(), seconds)
        self.should_exit = True

    def _connections(self) -> list[GuardedProtocol]:
        return [c for c in self.server_state.connections if isinstance(c, GuardedProtocol)]

    async def _idle_within(self, grace: float) -> None:
        """Wait until nothing is in flight and all answers have been taken.

        Raises:
            TimeoutError: that took longer than `grace` seconds, or a second signal came.
        """
        try:
            async with asyncio.timeout(0 if self._hurried else grace) as self._grace:
                await asyncio.gather(
                    asyncio.sleep(min(grace, self.settings.drain_seconds)), self.lifecycle.idle()
                )
                # A request is over when its answer is written, which a slow client may still be reading. What
                # lies in this process's buffers would be lost with it.
                while any(connection.undelivered() for connection in self._connections()):
                    await asyncio.sleep(DELIVERY_CHECK_SECONDS)
        finally:
            self._grace = None
