"""The actor by which the replicas of a deployment agree on one model."""

from __future__ import annotations

import ray

NAME = "agreement"


@ray.remote
class Agreement:
    """Keeps the fingerprint that all replicas must have: the given one, or that of the first replica.

    Serve starts one for a deployment. Should its process end, Serve starts another, to which the replicas
    tell their fingerprint again with their next health check.

    Args:
        fingerprint: the fingerprint that the weights must have, if it is known.
    """

    def __init__(self, fingerprint: str | None) -> None:
        self._fingerprint = fingerprint

    def agree(self, fingerprint: str) -> str:
        """Return the fingerprint that holds, which is `fingerprint` if none did."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint
        return self._fingerprint
