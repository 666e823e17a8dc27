"""Which clips wait and which run next: requests in turns, batches by size and wait, as pure bookkeeping.

There is no clock, thread or device here: every call is told the time, and is made by one caller at a time.
Requests of one operation stand in a circle and give one clip each in turn until a batch is full, so that a
long video takes no more of a batch than a short one while both wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from itertools import chain

from service.engine.capacity import Admission
from service.engine.engine_errors import QueueFullError
from service.engine.engine_limits import EngineLimits
from service.engine.pacing import ArrivalGaps, BatchTimes
from service.engine.request import Batch, Clip, Listener, Operation, Request

RETRY_AFTER_SECONDS = (1.0, 300.0)
"""Least and most that a refused client is told to wait."""
WORTHWHILE_LEAD = 0.02
"""Share of a batch's time that assembling it has to take for this to be done before its device is free:
a clip that arrives just then comes too late for the batch."""


class Batcher:
    """Admission, one circle of requests per operation, and the forming of batches.

    Args:
        limits: what is held at most.
        devices: how many devices share the work, for estimates of time.
    """

    def __init__(self, limits: EngineLimits, *, devices: int = 1) -> None:
        self.admission = Admission(limits)
        self.queued = dict.fromkeys(Operation, 0)
        """Clips that wait for a batch."""
        self.computing = 0
        """Clips in batches that were taken and are not done."""
        self.requests: dict[Request, None] = {}
        """Those open, in order of admission."""
        self.times = {operation: BatchTimes() for operation in Operation}
        self.assembly_times = BatchTimes()
        self.largest_batch = 1
        self._devices = devices
        self._circles: dict[Operation, deque[Request]] = {operation: deque() for operation in Operation}
        self._served: dict[Operation, list[Request]] = {operation: [] for operation in Operation}
        """Requests of the last batch that have more clips queued."""
        self._order = list(Operation)
        """Operations, the one least recently served first."""
        self._gaps = {operation: ArrivalGaps() for operation in Operation}

    # Requests

    def open(
        self,
        operation: Operation,
        listener: Listener,
        now: float,
        *,
        clips: int | None = None,
        deadline: float | None = None,
    ) -> Request:
        """Admit a request.

        Args:
            operation: what is to be done to its clips.
            listener: who is told of room and results.
            now: the time.
            clips: how many it will put, where that is known.
            deadline: when its time runs out, on the clock of `now`.

        Raises:
            QueueFullError: there is no room for a clip, or those before it leave it no time.
        """
        backlog = self._backlog_seconds()
        if self.admission.full:
            raise QueueFullError(
                f"all of the {self.admission.limits.clips} clips that may wait are taken",
                retry_after_seconds=_retry_after(backlog),
            )
        own = (clips or 1) * self._seconds_per_clip(operation)
        if deadline is not None and now + backlog + own > deadline:
            late = now + self._seconds_before(clips or 1) + own - deadline
            if late > 0:
                raise QueueFullError(
                    f"by what waits already, the request would be answered {late:.1f} s too late",
                    retry_after_seconds=_retry_after(late),
                )
        request = Request(operation, listener, deadline)
        self.requests[request] = None
        self.admission.recount(request)
        return request

    def offer(self, request: Request, payload: object, shape: Hashable, now: float) -> bool:
        """Queue a request's next clip, or return False where it waits for room (`Admission.take_slot`)."""
        if not self.admission.take_slot(request):
            return False
        request.queued.append(Clip(request, request.put, payload, shape, now))
        request.put += 1
        self.queued[request.operation] += 1
        self._gaps[request.operation].add(now)
        if not request.in_circle:
            request.in_circle = True
            self._circles[request.operation].append(request)
        return True

    def finish(self, request: Request) -> None:
        """Note that no clip of a request will follow."""
        request.finished = True
        self.admission.recount(request)

    def read(self, request: Request) -> None:
        """Note that a client has read one result."""
        request.held -= 1
        self.admission.recount(request)

    def close(self, request: Request) -> int:
        """Forget a request, answered or not, and return how many queued clips that drops. May be repeated."""
        dropped = len(request.queued)
        self._drop_queued(request)
        self.requests.pop(request, None)
        self.admission.forget(request)
        return dropped

    def _drop_queued(self, request: Request) -> None:
        self.queued[request.operation] -= len(request.queued)
        request.queued.clear()

    # Estimates

    def clips_per_second(self, operation: Operation) -> float | None:
        """Return the measured rate of full batches over all devices, or None before the first batch."""
        seconds = self._seconds_per_clip(operation)
        return 1 / seconds if seconds else None

    def _seconds_per_clip(self, operation: Operation) -> float:
        return self.times[operation].seconds(self.largest_batch) / self.largest_batch / self._devices

    def _backlog_seconds(self) -> float:
        """Return how long all that is held will take."""
        return sum(
            clips * self._seconds_per_clip(operation) for operation, clips in self.admission.counted.items()
        )

    def _seconds_before(self, turns: int) -> float:
        """Return how long it takes until everyone admitted has had up to `turns` turns."""
        per_clip = {operation: self._seconds_per_clip(operation) for operation in Operation}
        return sum(min(request.counted, turns) * per_clip[request.operation] for request in self.requests)

    # Batches

    def due(self, now: float, *, size: int, free_at: float | None = None) -> float | None:
        """Return when the next batch should be formed.

        Args:
            now: the time.
            size: how many clips the device takes at most.
            free_at: when the device is expected to be free; None where it is.

        Returns:
            A time, or None where no clip waits, or the device has to be free first.
        """
        waiting = (operation for operation, queued in self.queued.items() if queued)
        due = min((self._due(operation, now, size, free_at) for operation in waiting), default=math.inf)
        return None if due == math.inf else due

    def take(self, now: float, *, size: int, free_at: float | None = None) -> Batch | None:
        """Form the batch that is due, or return None. Clips of requests whose time ran out are left out."""
        for operation in self._order:
            while self.queued[operation] and self._due(operation, now, size, free_at) <= now:
                if clips := self._next_clips(operation, now, size):
                    self._order.remove(operation)
                    self._order.append(operation)
                    self.computing += len(clips)
                    return Batch(operation, clips)
        return None

    def done(self, batch: Batch, seconds: float | None) -> None:
        """Note that a batch is done. `seconds` is what it took, or None where the next will differ."""
        self.computing -= len(batch.clips)
        if seconds is not None:
            self.times[batch.operation].add(len(batch.clips), seconds)

    def _due(self, operation: Operation, now: float, size: int, free_at: float | None) -> float:
        """Return when the next batch of an operation should be formed.

        While the device is busy: just early enough to be assembled when it comes free, if that saves time
        worth naming, so that a clip which arrives until then still has its turn. When it is free: at once,
        unless the next clip is expected so soon that waiting for it costs those queued less than the fixed
        cost of a batch of its own.
        """
        queued, gaps = self.queued[operation], self._gaps[operation]
        start = now
        if free_at is not None:
            lead = 2 * self.assembly_times.seconds(size)
            if lead < WORTHWHILE_LEAD * self.times[operation].seconds(min(queued, size)):
                return math.inf
            start = max(now, free_at - lead)
        saving = self.times[operation].fixed_seconds
        if queued >= size or gaps.last is None or queued * gaps.seconds >= saving:
            return start
        return max(start, min(gaps.last + 2 * gaps.seconds, self._first(operation).put_at + saving))

    def _first(self, operation: Operation) -> Clip:
        """Return the clip whose turn is next. There is one."""
        in_turn = chain(self._circles[operation], self._served[operation])
        return next(request.queued[0] for request in in_turn if request.queued)

    def _next_clips(self, operation: Operation, now: float, size: int) -> list[Clip]:
        """Take one clip per request in turn, all of the shape of the first, until `size` or none is left.

        Whoever was served joins the end of the circle only when the next batch is formed: behind those that
        came meanwhile. So a newcomer waits for the batch that runs, not for one more clip of a long video.
        """
        circle = deque(chain(self._circles[operation], self._served[operation]))
        served: deque[Request] = deque()
        passed_over: list[Request] = []
        clips: list[Clip] = []
        first_round = True
        while len(clips) < size and (circle or served):
            if not circle:
                circle, served, first_round = served, deque(), False
            request = circle.popleft()
            if request.expired(now):
                self._drop_queued(request)
            if request.queued and clips and request.queued[0].shape != clips[0].shape:
                passed_over.append(request)
                continue
            if request.queued:
                clips.append(request.queued.popleft())
                self.queued[operation] -= 1
            if request.queued:
                served.append(request)
            else:
                request.in_circle = False
        unserved, served_before = (circle, ()) if first_round else ((), circle)
        self._circles[operation] = deque(chain(passed_over, unserved))
        self._served[operation] = [*served_before, *served]
        return clips


def _retry_after(seconds: float) -> float:
    least, most = RETRY_AFTER_SECONDS
    return min(max(seconds, least), most)
