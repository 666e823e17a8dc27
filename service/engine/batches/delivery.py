"""Sends the outcomes of a batch to the requests that its clips came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvivit.errors import CViViTError
from service.engine.batches.assembly import AssembledBatch
from service.engine.computing import Array, Outcome
from service.engine.observer import BatchReport, EngineObserver
from service.engine.request import ClipResult, EngineRequest


@dataclass(frozen=True, kw_only=True)
class ComputedBatch:
    """A batch whose outcomes wait to be sent."""

    assembled: AssembledBatch
    outcomes: Sequence[Outcome]
    started: float
    seconds: float


def deliver(computed: ComputedBatch, device: int, observer: EngineObserver) -> None:
    """Tell each request of the results of its clips, all at once, and report the batch."""
    batch = computed.assembled.batch
    by_request: dict[EngineRequest, list[ClipResult]] = {}
    for clip, outcome in zip(batch.clips, computed.outcomes, strict=True):
        error = outcome if isinstance(outcome, CViViTError) else None
        value = None if isinstance(outcome, CViViTError) else _own(outcome)
        by_request.setdefault(clip.request, []).append(
            ClipResult(
                index=clip.index,
                value=value,
                error=error,
                queue_seconds=computed.started - clip.put_at,
                compute_seconds=computed.seconds,
            )
        )
    for request, results in by_request.items():
        request.listener.on_results(results)
    observer.batch_done(
        BatchReport(
            device=device,
            operation=batch.operation,
            clips=len(batch.clips),
            queue_seconds=tuple(computed.started - clip.put_at for clip in batch.clips),
            assembly_seconds=computed.assembled.assembly_seconds,
            compute_seconds=computed.seconds,
            failed_clips=sum(isinstance(outcome, CViViTError) for outcome in computed.outcomes),
        )
    )


def _own(row: Array) -> Array:
    """Copy a row out of its batch. A view would keep the whole batch in memory until its client reads it."""
    return row if row.base is None or row.base.size == row.size else row.copy()
