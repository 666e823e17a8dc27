"""Bring origins, prefixes of paths and addresses of proxies into one form, or refuse them with a reason."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

ANY = "*"
UNIX = "unix"
"""The entry of the trusted proxies that means every peer on the Unix socket, which has no address."""

DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?")
SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
"""A segment of a path that needs no percent-encoding (RFC 3986)."""


def normalise_origin(text: str, *, wildcard_host: bool = False) -> str:
    """Return an origin as browsers send it: lower case, no slash at the end, no default port.

    `*`, which stands for every origin, is returned as it is.

    Args:
        text: what an operator wrote, such as `https://Page.Example:443/`.
        wildcard_host: whether the host may begin with `*.`, as a policy for frames allows.

    Raises:
        ValueError: it is not an origin. A browser would never send it, so it could never match.
    """
    if text == ANY:
        return ANY
    wanted = f"{text!a} is not an origin: write the scheme and the host, such as https://page.example"
    parts = urlsplit(text)
    host = parts.hostname
    if "://" not in text or not parts.scheme or not host:
        raise ValueError(wanted)
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{wanted}, and nothing after the host but a port")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{wanted}; its port is not a number from 0 to 65535") from None
    prefix = "*." if wildcard_host and host.startswith("*.") else ""
    shown = prefix + _host(host.removeprefix(prefix), wanted)
    return f"{parts.scheme}://{shown}" + (
        "" if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    )


def normalise_frame_source(text: str) -> str:
    """Return a source of the policy `frame-ancestors`: an origin, `'self'`, `*` or a scheme such as `https:`.

    Raises:
        ValueError: it is none of them.
    """
    if text.strip("'").lower() == "self":
        return "'self'"
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
        return text.lower()
    return normalise_origin(text, wildcard_host=True)


def normalise_prefix(text: str) -> str:
    """Return a prefix of paths with a slash before it and none after it; "" is no prefix.

    Raises:
        ValueError: it is not a path whose segments are plain letters, digits and marks.
    """
    segments = text.strip("/").split("/") if text.strip("/") else []
    if text.startswith("//") or any(
        not SEGMENT.fullmatch(segment) or segment in (".", "..") for segment in segments
    ):
        raise ValueError(f"{text!a} is not a prefix of paths, such as /video")
    return "".join(f"/{segment}" for segment in segments)


def check_proxy(text: str) -> str:
    """Return an entry of the trusted proxies: an address, a network, `unix` or `*`.

    Raises:
        ValueError: it is none of them. Names of hosts are not looked up.
    """
    if text in (ANY, UNIX):
        return text
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(
            f"{text!a} is not the address of a proxy: write 10.0.0.7, 10.0.0.0/8, ::1, unix or *"
        ) from None


def _host(host: str, wanted: str) -> str:
    """Return a host in lower case and in ASCII, as browsers send it."""
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            raise ValueError(wanted) from None
    try:
        ascii_host = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        raise ValueError(wanted) from None
    if not HOST.fullmatch(ascii_host):
        raise ValueError(wanted)
    return ascii_host
