"""Serve behind a proxy: handle a prefix of every path, and the headers that a trusted proxy adds."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.origins import ANY, UNIX, normalise_prefix

HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
SCHEMES = frozenset({"http", "https"})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def route_path(scope: Scope) -> str:
    """Return the path of a request as the routes know it, without the prefix that a proxy adds."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    return path.removeprefix(prefix) or "/" if _is_below(path, prefix) else path


class TrustedProxies:
    """The peers whose `X-Forwarded-*` headers are believed.

    Args:
        entries: addresses, networks, `unix` or `*`, as the setting holds them.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._any = ANY in entries
        self._unix = UNIX in entries
        self._networks = [ipaddress.ip_network(entry) for entry in entries if entry not in (ANY, UNIX)]

    def __contains__(self, host: str | None) -> bool:
        """Return whether a peer is trusted; None is a peer on the Unix socket."""
        if self._any or host is None:
            return self._any or self._unix
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)


class ProxyMiddleware:
    """Rewrites a request to what its client asked for, where proxies in front have changed it.

    The ASGI scope then has the prefix in `root_path` and at the start of `path`, as frameworks expect it:
    links and the document's `servers` begin with it, and routes are found without it.

    Args:
        app: what answers.
        root_path: prefix of every path; a trusted proxy's `X-Forwarded-Prefix` takes its place.
        trusted: proxies that are believed. What anyone else says of the client's request is ignored.
    """

    def __init__(self, app: ASGIApp, *, root_path: str = "", trusted: Sequence[str] = ()) -> None:
        self.app = app
        self.root_path = root_path
        self.trusted = TrustedProxies(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            # In place, not in a copy: the connection finds the request's record in the scope that it made.
            prefix = self.root_path
            client = scope.get("client")
            if (client[0] if client else None) in self.trusted:
                prefix = self._believe(scope) or prefix
            if prefix:
                _add_prefix(scope, prefix)
        await self.app(scope, receive, send)

    def _believe(self, scope: Scope) -> str:
        """Take scheme, host and client from the headers into `scope`. Returns the prefix that they name.

        A header that is not well-formed is ignored. Of several values the first is the outermost proxy's,
        which spoke to the client, and prefixes of several proxies follow each other from the outside in.
        """
        headers = Headers(scope=scope)
        scheme = _values(headers, "x-forwarded-proto")[:1]
        if scheme and scheme[0].lower() in SCHEMES:
            scope["scheme"] = scheme[0].lower()
        host = _values(headers, "x-forwarded-host")[:1]
        if host and HOST.fullmatch(host[0]):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"] = [(b"host", host[0].encode("ascii")), *others]
        # Each proxy appends whom it heard from. The first from the right that is not a trusted proxy is the
        # client.
        for hop in reversed(_values(headers, "x-forwarded-for")):
            address = _address(hop.strip("[]"))
            if address is None:
                break
            scope["client"] = (str(address), 0)
            if str(address) not in self.trusted:
                break
        with suppress(ValueError):
            return "".join(normalise_prefix(value) for value in _values(headers, "x-forwarded-prefix"))
        return ""


class MissingSlashMiddleware:
    """Redirects a request for the prefix itself, `/video`, to `/video/`, where relative links work.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or redirect."""
        root = scope.get("root_path", "") if scope["type"] == "http" else ""
        answers = RedirectResponse(f"{root}/") if root and scope["path"] == root else self.app
        await answers(scope, receive, send)


def _add_prefix(scope: Scope, prefix: str) -> None:
    scope["root_path"] = prefix
    if not _is_below(scope["path"], prefix):  # the proxy has removed it
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode("ascii") + scope.get("raw_path", b"")


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _values(headers: Headers, name: str) -> list[str]:
    values = ",".join(headers.getlist(name)).split(",")
    return [value.strip() for value in values if value.strip()]


def _address(host: str) -> Address | None:
    """Return an address, an IPv4 one also where it is written as an IPv6 one; None for anything else."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        return mapped or address
    return None
