"""Counts the clips that the engine holds, and decides which request may hold one more.

Clips count while they are queued, on a device, or done and not yet taken by their client. An open request
counts for one clip even while it holds none. So a request that was admitted can always put its next clip, and
no request can wait for ever. Any further clip is a loan from the free room. Loans stop at three quarters of
the limit, so that a few long videos leave room for other requests to be admitted.
"""

from __future__ import annotations

from service.engine.engine_limits import EngineLimits
from service.engine.request import EngineRequest, Operation

LOAN_SHARE = 0.75
"""Requests may hold more than one clip each while less than this share of the limit is in use."""


class Capacity:
    """The number of clips held, and its limit."""

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.counted = dict.fromkeys(Operation, 0)
        self._borrowers: dict[EngineRequest, None] = {}
        """Requests that wait for a loan, in order."""

    @property
    def clips(self) -> int:
        """Clips that count against the limit."""
        return sum(self.counted.values())

    @property
    def full(self) -> bool:
        """Whether no further request can be admitted."""
        return self.clips >= self.limits.clips

    def take_slot(self, request: EngineRequest) -> bool:
        """Count one more clip of a request as held, or return False if it has to wait.

        If it waits for other requests, its listener is told when its turn comes. If it holds as many clips as
        one request may, it waits only for its own client to take a result, which the session notices itself.
        """
        if request.held >= self.limits.clips_per_request:
            return False
        if request.held and not request.granted and not self._may_lend:
            self._borrowers[request] = None
            return False
        request.granted = False
        request.held += 1
        self.recount(request)
        return True

    def forget(self, request: EngineRequest) -> None:
        """Free everything that a request held."""
        self._borrowers.pop(request, None)
        request.closed = request.finished = True
        request.granted = False
        request.held = 0
        self.recount(request)

    def recount(self, request: EngineRequest) -> None:
        """Count a request again after a change, and lend the room that this has freed."""
        counted = max(request.held + request.granted, 0 if request.finished else 1)
        self.counted[request.operation] += counted - request.counted
        request.counted = counted
        while self._borrowers and self._may_lend:
            borrower = next(iter(self._borrowers))
            del self._borrowers[borrower]
            borrower.granted = True
            self.counted[borrower.operation] += 1
            borrower.counted += 1
            borrower.listener.on_room()

    @property
    def _may_lend(self) -> bool:
        return self.clips < int(self.limits.clips * LOAN_SHARE)
