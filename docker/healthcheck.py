"""Exits 0 where the service on this machine takes work: the image's HEALTHCHECK, by the standard library."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_SECONDS = 4
"""Less than HEALTHCHECK's own, so that the exit code is ours."""


def healthy(port: int) -> bool:
    """Return whether `/readyz` on `port` answers 200. No proxy is asked, whatever the environment says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(int(os.environ["CVIVIT_PORT"])) else 1)
