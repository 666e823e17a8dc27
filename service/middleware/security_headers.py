"""Headers that keep a browser from guessing types, framing pages or loading from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "Content-Security-Policy"
NO_FRAMES = "frame-ancestors 'none'"
DEFAULT_POLICY = f"default-src 'none'; {NO_FRAMES}"
"""Policy of an answer whose route sets none: a browser may load nothing from it."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

_FRAME_DIRECTIVE = re.compile(r"frame-ancestors [^;]*")


class SecurityHeadersMiddleware:
    """Adds the headers to every answer.

    Args:
        app: the next application.
        frame_ancestors: the origins that may show a page in a frame, as sources of the policy; none if empty.
            The policies that routes write allow no origin, and this replaces that part of them.
    """

    def __init__(self, app: ASGIApp, *, frame_ancestors: Sequence[str] = ()) -> None:
        self.app = app
        self.headers = dict(SECURITY_HEADERS)
        self.frames = NO_FRAMES
        if frame_ancestors:
            self.frames = f"frame-ancestors {' '.join(frame_ancestors)}"
            # The older header can name no other origin, and DENY would contradict the policy.
            del self.headers["X-Frame-Options"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its answer."""

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)  # a page may ask for the camera
                policy = headers.get(POLICY, DEFAULT_POLICY)
                headers[POLICY] = _FRAME_DIRECTIVE.sub(lambda _: self.frames, policy)
            await send(message)

        await self.app(scope, receive, send_hardened if scope["type"] == "http" else send)
