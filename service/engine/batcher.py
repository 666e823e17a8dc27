"""Decides which clips wait and which run next, as pure bookkeeping.

There is no clock, thread or device here: each method is given the time, and callers hold a lock around it.
The requests of one operation form a circle. Each gives one clip in turn until the batch is full, so that a
long video gets no larger share of a batch than a short one while both wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from itertools import chain

from service.engine.capacity import Capacity
from service.engine.engine_errors import QueueFullError
from service.engine.engine_limits import EngineLimits
from service.engine.pacing import ArrivalGaps, BatchTimes
from service.engine.request import ClipBatch, EngineRequest, Listener, Operation, QueuedClip

RETRY_AFTER_SECONDS = (1.0, 300.0)
"""Bounds of the time that a refused client is told to wait."""
WORTHWHILE_LEAD = 0.02
"""Assemble a batch ahead only if assembling takes at least this share of its run time. Clips that arrive
afterwards miss that batch."""


class Batcher:
    """Admits requests, keeps one circle of them per operation, and forms batches.

    Args:
        limits: how much is held at most.
        devices: how many devices share the work, for estimates of time.
    """

    def __init__(self, limits: EngineLimits, *, devices: int = 1) -> None:
        self.capacity = Capacity(limits)
        self.queued = dict.fromkeys(Operation, 0)
        """Clips that wait for a batch."""
        self.computing = 0
        """Clips in batches that were taken and are not done."""
        self.requests: dict[EngineRequest, None] = {}
        """Open requests in the order of their admission."""
        self.times = {operation: BatchTimes() for operation in Operation}
        self.assembly_times = BatchTimes()
        self.submission_times = BatchTimes()
        """Seconds that it takes to send a batch to a device that computes another one meanwhile."""
        self.largest_batch = 1
        self._devices = devices
        self._circles: dict[Operation, deque[EngineRequest]] = {operation: deque() for operation in Operation}
        self._served: dict[Operation, list[EngineRequest]] = {operation: [] for operation in Operation}
        """Requests that were in the last batch and have more clips queued. They rejoin the circle at the next
        batch, behind requests that came meanwhile."""
        self._order = list(Operation)
        """Operations, least recently served first."""
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
    ) -> EngineRequest:
        """Admit a request.

        Args:
            operation: what to do with its clips.
            listener: is told of free room and of results.
            now: the time.
            clips: how many clips it will put, if that is known.
            deadline: when its time runs out, on the clock of `now`.

        Raises:
            QueueFullError: there is no room for a clip, or the queue is too long to meet the deadline.
        """
        backlog = self._backlog_seconds()
        if self.capacity.full:
            raise QueueFullError(
                f"the engine already holds {self.capacity.limits.clips} clips, which is its limit",
                retry_after_seconds=_retry_after(backlog),
            )
        own = (clips or 1) * self._seconds_per_clip(operation)
        # The sum over everything held is quick, and is the most that can stand before this request. Only if
        # that is too long is the turn of each request counted.
        if deadline is not None and now + backlog + own > deadline:
            late = now + self._seconds_before(clips or 1) + own - deadline
            if late > 0:
                raise QueueFullError(
                    f"the queue is too long: the request would be answered {late:.1f} s after its deadline",
                    retry_after_seconds=_retry_after(late),
                )
        request = EngineRequest(operation, listener, deadline)
        self.requests[request] = None
        self.capacity.recount(request)
        return request

    def offer(self, request: EngineRequest, payload: object, shape: Hashable, now: float) -> bool:
        """Queue a request's next clip, or return False if it waits for room (see `Capacity.take_slot`)."""
        if not self.capacity.take_slot(request):
            return False
        request.queued.append(QueuedClip(request, request.put, payload, shape, now))
        request.put += 1
        self.queued[request.operation] += 1
        self._gaps[request.operation].add(now)
        if not request.in_circle:
            request.in_circle = True
            self._circles[request.operation].append(request)
        return True

    def finish(self, request: EngineRequest) -> None:
        """Note that a request will put no more clips."""
        request.finished = True
        self.capacity.recount(request)

    def read(self, request: EngineRequest) -> None:
        """Note that a client has taken one result."""
        request.held -= 1
        self.capacity.recount(request)

    def close(self, request: EngineRequest) -> int:
        """Forget a request, and return how many of its queued clips are dropped. May be called repeatedly."""
        dropped = len(request.queued)
        self._drop_queued(request)
        self.requests.pop(request, None)
        self.capacity.forget(request)
        return dropped

    def _drop_queued(self, request: EngineRequest) -> None:
        self.queued[request.operation] -= len(request.queued)
        request.queued.clear()

    # Estimates

    def clips_per_second(self, operation: Operation) -> float | None:
        """Return the measured rate of full batches over all devices; None before the first batch."""
        seconds = self._seconds_per_clip(operation)
        return 1 / seconds if seconds else None

    def _seconds_per_clip(self, operation: Operation) -> float:
        return self.times[operation].seconds(self.largest_batch) / self.largest_batch / self._devices

    def _backlog_seconds(self) -> float:
        """Return how long all clips that are held will take."""
        return sum(
            clips * self._seconds_per_clip(operation) for operation, clips in self.capacity.counted.items()
        )

    def _seconds_before(self, turns: int) -> float:
        """Return how long it takes until every open request has had up to `turns` turns."""
        per_clip = {operation: self._seconds_per_clip(operation) for operation in Operation}
        return sum(min(request.counted, turns) * per_clip[request.operation] for request in self.requests)

    # Batches

    def due(
        self, now: float, *, size: int, free_at: float | None = None, submits: bool = False
    ) -> float | None:
        """Return when the next batch should be formed.

        Args:
            now: the time.
            size: how many clips the device takes at most.
            free_at: when the device is expected to be free; None if it is free.
            submits: whether the device takes this batch while it computes the one before.

        Returns:
            A time; None if no clip waits, or if the batch should not be formed before the device is free.
        """
        waiting = (operation for operation, queued in self.queued.items() if queued)
        due = min(
            (self._due(operation, now, size, free_at, submits) for operation in waiting), default=math.inf
        )
        return None if due == math.inf else due

    def take(
        self, now: float, *, size: int, free_at: float | None = None, submits: bool = False
    ) -> ClipBatch | None:
        """Form the batch that is due, or return None. Clips of requests past their deadline are dropped."""
        for operation in self._order:
            while self.queued[operation] and self._due(operation, now, size, free_at, submits) <= now:
                if clips := self._next_clips(operation, now, size):
                    self._order.remove(operation)
                    self._order.append(operation)
                    self.computing += len(clips)
                    return ClipBatch(operation, clips)
        return None

    def done(self, batch: ClipBatch, seconds: float | None) -> None:
        """Note that a batch is done. `seconds` is its run time; None if that says nothing about the next."""
        self.computing -= len(batch.clips)
        if seconds is not None:
            self.times[batch.operation].add(len(batch.clips), seconds)

    def _due(
        self, operation: Operation, now: float, size: int, free_at: float | None, submits: bool
    ) -> float:
        """Return when the next batch of an operation should be formed.

        While the device is busy, that is just early enough for the batch to be assembled when the device
        becomes free, provided that assembling takes a share of the time worth saving. So a clip that arrives
        until then still joins the batch. A device that takes batches while it computes gets the next one just
        early enough to go on without a pause, and a full one at once, as nothing more can join that.

        When the device is free, it is now, unless the next clip is expected very soon: every batch has a
        fixed cost, and if the clips that are queued lose less by waiting (their number times the usual gap
        between arrivals) than a batch saved would bring, waiting is better for all.
        """
        queued, gaps = self.queued[operation], self._gaps[operation]
        start = now
        if free_at is not None:
            lead = 2 * self.assembly_times.seconds(size)  # twice the usual time: being late leaves it idle
            if submits:
                lead += 2 * self.submission_times.seconds(size)
            elif lead < WORTHWHILE_LEAD * self.times[operation].seconds(min(queued, size)):
                return math.inf
            start = now if submits and queued >= size else max(now, free_at - lead)
        saving = self.times[operation].fixed_seconds
        if queued >= size or gaps.last is None or queued * gaps.seconds >= saving:
            return start
        # Wait for the next arrival, but no longer than twice the usual gap, and never so long that the clip
        # first in turn has waited for what the wait can save.
        return max(start, min(gaps.last + 2 * gaps.seconds, self._first(operation).put_at + saving))

    def _first(self, operation: Operation) -> QueuedClip:
        """Return the clip whose turn is next. There must be one."""
        in_turn = chain(self._circles[operation], self._served[operation])
        return next(request.queued[0] for request in in_turn if request.queued)

    def _next_clips(self, operation: Operation, now: float, size: int) -> list[QueuedClip]:
        """Take one clip per request in turn, all of the first one's shape, until there are `size` or no more.

        A request that was served rejoins the end of the circle only when the next batch is formed, behind the
        requests that came meanwhile. So a newcomer waits for the running batch, and not for one more clip of
        a long video.
        """
        circle = deque(chain(self._circles[operation], self._served[operation]))
        served: deque[EngineRequest] = deque()
        passed_over: list[EngineRequest] = []
        clips: list[QueuedClip] = []
        first_round = True
        while len(clips) < size and (circle or served):
            if not circle:  # each request had a turn, and there is room left: go round again
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
        # Those whose turn did not come stay in front. After the first round, what is left of the circle was
        # served in an earlier round of this batch, so it rejoins like the others that were served.
        unserved, served_before = (circle, ()) if first_round else ((), circle)
        self._circles[operation] = deque(chain(passed_over, unserved))
        self._served[operation] = [*served_before, *served]
        return clips


def _retry_after(seconds: float) -> float:
    least, most = RETRY_AFTER_SECONDS
    return min(max(seconds, least), most)
