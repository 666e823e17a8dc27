"""Open the sockets that the server listens on: TCP or a Unix socket, with or without HTTPS."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from cvivit.errors import ConfigError
from service.settings import Settings

log = structlog.get_logger("service")

EVERY_ADDRESS = "::"
EVERY_IPV4_ADDRESS = "0.0.0.0"  # noqa: S104 - only what is written here for it, nothing that listens on it
SOCKET_MODE = 0o666
"""Of a Unix socket: any user may connect who can reach its folder, such as the user of a proxy."""
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""The machine does not have this address, or no IPv6 at all."""


class UnixListener(socket.socket):
    """A Unix socket to listen on, which knows its file even after it was closed.

    Args:
        path: the path of the file, which is made.

    Raises:
        OSError: there is something else at `path`, another process listens there, or the system refuses.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path = path
        try:
            if path.is_socket():
                if not _is_abandoned(path):
                    raise OSError(errno.EADDRINUSE, "another process listens on it")
                path.unlink()  # left behind by a process that was killed
            self.bind(str(path))
            path.chmod(SOCKET_MODE)
            self.listen()
            self._file = os.stat(path)
        except BaseException:
            self.close()
            raise

    def remove_file(self) -> None:
        """Remove the file, unless another process has put its own in its place."""
        with suppress(OSError):
            if os.path.samestat(os.stat(self.path), self._file):
                self.path.unlink()


def open_listeners(settings: Settings) -> list[socket.socket]:
    """Return the sockets to listen on, bound.

    Raises:
        ConfigError: the system does not let the process listen there.
    """
    if settings.uds is not None:
        try:
            return [UnixListener(settings.uds)]
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"uds: cannot listen on {settings.uds}: {reason}") from error
    try:
        return _tcp_listeners(settings.host, settings.port)
    except OSError as error:  # also a host whose name is not known
        number = error.errno or 0  # the codes of getaddrinfo are below 0
        reason = (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
        where = f"{settings.host}, port {settings.port}"
        raise ConfigError(f"host: cannot listen on {where}: {reason}") from error


def close_listeners(listeners: list[socket.socket]) -> None:
    """Close the sockets, and remove the file of a Unix socket unless another process has taken its place."""
    for listener in listeners:
        listener.close()
        if isinstance(listener, UnixListener):
            listener.remove_file()


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """Return the address under which a listening socket can be reached from this machine."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port, *_ = listener.getsockname()
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of the server, or None if it speaks plain HTTP.

    Raises:
        ConfigError: certificate or key cannot be read, or do not belong together.
    """
    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, settings)
    return context


def load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Read certificate and key into `context`, also where it is in use: new connections then get the new one.

    Raises:
        ConfigError: certificate or key cannot be read, or do not belong together. `context` stays as it was.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    assert certificate is not None
    # On trial first: a certificate whose key does not fit would already have taken the old one's place.
    for target in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
        try:
            target.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"tls_certificate: {certificate} and its key cannot be used: {reason}"
            ) from error


def _no_password() -> str:
    """Fail instead of asking on the terminal for the password of an encrypted key."""
    raise ValueError("the key is encrypted, and the server cannot ask for its password")


def _tcp_listeners(host: str, port: int) -> list[socket.socket]:
    if host == EVERY_ADDRESS:
        if socket.has_dualstack_ipv6():
            # One socket that takes IPv4 too. Left to the event loop it would take IPv6 alone.
            return [socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)]
        log.warning("this machine has no IPv6: the service listens on its IPv4 addresses", host=host)
        host = EVERY_IPV4_ADDRESS
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in _addresses(host, port):
            # With port 0 the first socket gets a free port, which the others of the same name take too.
            chosen = listeners[0].getsockname()[1] if listeners else port
            try:
                listeners.append(socket.create_server((address, chosen), family=family))
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                missing = error  # `localhost` is often both ::1 and 127.0.0.1, though one may be missing
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    if not listeners and missing is not None:
        raise missing
    return listeners


def _addresses(host: str, port: int) -> Iterator[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    yield from dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found)


def _is_abandoned(path: Path) -> bool:
    """Return whether no process listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False
