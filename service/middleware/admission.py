"""Decide whether there is room for a request's work, before a byte of its body is read."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from service.lifecycle import Lifecycle
from service.middleware.proxy import route_path

WORK_PATHS = frozenset({"/encode", "/decode", "/reconstruct"})


def is_work(scope: Scope) -> bool:
    """Return whether a request is work for the model. Only such requests count for the limits."""
    return scope["type"] == "http" and scope["method"] == "POST" and route_path(scope) in WORK_PATHS


class AdmissionMiddleware:
    """Holds one of the places for requests in flight while a request is worked on.

    Args:
        app: the next application.
        lifecycle: counts the requests in flight.
    """

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise what `Lifecycle.admit` raises if there is no place."""
        if is_work(scope):
            with self.lifecycle.admit(asyncio.current_task()):
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)
