"""How many clips are held, and who may hold one more.

What counts are clips queued, on a device, or done and not yet read. An open request counts for one clip even
while it holds none: so whatever is admitted can always put its next clip, and always ends. More than one
is a loan from what is free. Loans stop at three quarters of the limit, so that a few long videos leave room
for others to be admitted.
"""

from __future__ import annotations

from service.engine.engine_limits import EngineLimits
from service.engine.request import Operation, Request

LOAN_SHARE = 0.75
"""Share of the held clips up to which a request may hold more than one."""


class Admission:
    """The count of held clips against its limit."""

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.counted = dict.fromkeys(Operation, 0)
        self._borrowers: dict[Request, None] = {}
        """Requests that were declined a loan, in order."""

    @property
    def clips(self) -> int:
        """Clips that count against the limit."""
        return sum(self.counted.values())

    @property
    def full(self) -> bool:
        """Whether no request can be admitted."""
        return self.clips >= self.limits.clips

    def take_slot(self, request: Request) -> bool:
        """Count one more clip of a request as held, or return False where it has to wait.

        Where it has to wait for others, its listener is told in its turn. Where it holds all that one request
        may, it waits for nobody but its own client.
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

    def forget(self, request: Request) -> None:
        """Return all that a request held."""
        self._borrowers.pop(request, None)
        request.closed = request.finished = True
        request.granted = False
        request.held = 0
        self.recount(request)

    def recount(self, request: Request) -> None:
        """Count a request anew after a change, and lend what that has freed."""
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
