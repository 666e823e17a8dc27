"""Exit 0 if the service on this machine takes work: the image's HEALTHCHECK. It needs only Python."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import sys
from collections.abc import Mapping

TIMEOUT_SECONDS = 4
"""Less than HEALTHCHECK's own timeout, so that the exit code is ours."""


class UnixConnection(http.client.HTTPConnection):
    """A connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection(environment: Mapping[str, str]) -> http.client.HTTPConnection:
    """Return a connection to where the settings in `environment` let the service listen.

    No proxy is asked, whatever the environment says.
    """
    setting = {name: value for name, value in environment.items() if value.strip()}
    if "CVIVIT_UDS" in setting:
        return UnixConnection(setting["CVIVIT_UDS"])
    # As the service does: CVIVIT_PORT unless it is an address that Kubernetes sets, then PORT, then 8000.
    ports = (setting.get("CVIVIT_PORT", ""), setting.get("PORT", ""), "8000")
    port = next(int(port) for port in ports if re.fullmatch(r"\s*\d+\s*", port))
    if "CVIVIT_TLS_CERTIFICATE" in setting:
        # The certificate names the service's public host, which 127.0.0.1 is not.
        unverified = ssl._create_unverified_context()  # noqa: S323
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=unverified)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)


def healthy(asked: http.client.HTTPConnection) -> bool:
    """Return whether `/readyz` answers 200."""
    try:
        asked.request("GET", "/readyz")
        return asked.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(connection(os.environ)) else 1)
