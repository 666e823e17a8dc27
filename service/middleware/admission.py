"""The middleware that decides, before a byte of a body is read, whether a request's work is taken."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from service.lifecycle import Lifecycle

WORK_PATHS = frozenset({"/encode", "/decode", "/reconstruct"})


class AdmissionMiddleware:
    """Holds a place in flight for each request that is work; refuses it where there is none."""

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise what `Lifecycle.admit` raises."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in WORK_PATHS:
            with self.lifecycle.admit(asyncio.current_task()):
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)
