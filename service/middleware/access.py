"""Check API keys: requests to routes that are not open need one, and a key may have limits of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import UnauthorizedError
from service.middleware.admission import is_work
from service.middleware.api_keys import ApiKeys
from service.middleware.proxy import route_path
from service.record import SCOPE_KEY, RequestRecord

HEALTH_PATHS = frozenset({"/livez", "/readyz", "/health"})
"""Paths that never need a key: load balancers and orchestrators have none."""
METRICS_PATH = "/metrics"
READING = frozenset({"GET", "HEAD"})


def open_paths(pages: Iterable[str] = (), *, metrics_open: bool) -> frozenset[str]:
    """Return the paths that need no key.

    Args:
        pages: paths of pages that a browser shows, which hold nothing secret and ask for a key when they
            call. A path with a parameter, such as `/docs/{name}`, opens everything below `/docs/`.
        metrics_open: whether the metrics are among them.
    """
    opened = HEALTH_PATHS | {page.partition("{")[0] for page in pages}
    return opened | {METRICS_PATH} if metrics_open else opened


class AccessMiddleware:
    """Lets requests with a known key through, and those that read an open path.

    Args:
        app: the next application.
        keys: the keys that are accepted.
        opened: paths that need no key, as `open_paths` returns them.
    """

    def __init__(self, app: ASGIApp, *, keys: ApiKeys, opened: Collection[str]) -> None:
        self.app = app
        self.keys = keys
        self.opened = frozenset(opened)
        self.folders = tuple(path for path in opened if path.endswith("/") and path != "/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise UnauthorizedError or KeyLimitError."""
        if scope["type"] != "http" or self._is_open(scope):
            await self.app(scope, receive, send)
            return
        scheme, _, sent = Headers(scope=scope).get("authorization", "").partition(" ")
        # Headers arrive as bytes, which Starlette reads as latin-1; a key may hold any letters, in UTF-8.
        key = self.keys.find(sent.strip().encode("latin-1")) if scheme.lower() == "bearer" else None
        if key is None:
            raise UnauthorizedError(
                "a known key is needed: Authorization: Bearer <key>", headers={"WWW-Authenticate": "Bearer"}
            )
        record: RequestRecord = scope[SCOPE_KEY]
        record.key_name = key.shown
        if is_work(scope):
            with self.keys.use(key):
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path = route_path(scope)
        return scope["method"] in READING and (path in self.opened or path.startswith(self.folders))
