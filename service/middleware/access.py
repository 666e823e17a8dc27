"""Who may call: keys from a file, pages of other origins. Every answer has the headers that harden a page."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cvivit.errors import ConfigError
from service.errors import CrossOriginError, UnauthorizedError
from service.middleware.observation import tell

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""Those that need no key, whatever is set."""


def open_paths(*, metrics_open: bool) -> frozenset[str]:
    """Return the paths that need no key."""
    return OPEN_PATHS | {"/metrics"} if metrics_open else OPEN_PATHS


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of an answer whose route sets none: it may load nothing."""


class Keys:
    """The bearer keys that are let in, kept as digests.

    Args:
        keys: at least one.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    @classmethod
    def from_file(cls, path: Path) -> Keys:
        """Read one key a line; empty lines and those that start with `#` are passed over.

        Raises:
            ConfigError: the file cannot be read, or holds no key.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"api_keys_file: {path} cannot be read as text") from error
        keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise ConfigError(f"api_keys_file: {path} holds no key")
        return cls(keys)

    def allow(self, key: str) -> bool:
        """Return whether a header's `key` is one of them, in a time that does not depend on which."""
        digest = _digest(key.encode("latin-1"))
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


class AccessMiddleware:
    """Lets only requests with a key through, `/livez` and `/readyz` (and `/metrics`, if open) aside."""

    def __init__(self, app: ASGIApp, *, keys: Keys, metrics_open: bool) -> None:
        self.app = app
        self.keys = keys
        self.open_paths = open_paths(metrics_open=metrics_open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise UnauthorizedError."""
        if scope["type"] == "http" and scope["path"] not in self.open_paths:
            scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not self.keys.allow(key.strip()):
                raise UnauthorizedError(
                    "a known key is needed: Authorization: Bearer <key>",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        await self.app(scope, receive, send)


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's, but for the answer to a preflight that it refuses, which is plain text there."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight."""
        response = super().preflight_response(request_headers)
        return response if response.status_code == HTTPStatus.OK else _Refusal(response)


class _Refusal(Response):
    """The problem in place of a plain refusal, with the headers of that."""

    def __init__(self, plain: Response) -> None:
        super().__init__()
        headers = {name: value for name, value in plain.headers.items() if not name.startswith("content-")}
        self._error = CrossOriginError(bytes(plain.body).decode(), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the problem."""
        await tell(self._error, scope).response()(scope, receive, send)


class SecurityHeadersMiddleware:
    """Adds the headers that keep a browser from sniffing, framing or loading what it should not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its answer."""

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", DEFAULT_POLICY)
            await send(message)

        await self.app(scope, receive, send_hardened if scope["type"] == "http" else send)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
