"""Runs a batch on a device, and finds out which clips are to blame if it fails.

A bad clip fails alone: if the network raises on a batch, its clips are run again one by one. If the device
runs out of memory, the clips of the batch fail and the device goes on. Any other error of the device is
raised, because the device is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from cvivit.errors import CViViTError, DeviceError, DeviceMemoryError
from service.engine.engine_errors import ClipFailedError
from service.engine.request import Operation

Array = npt.NDArray[Any]
Outcome = Array | CViViTError
"""The result of one clip, or the error to tell its client."""


class BatchRunner(Protocol):
    """A device as the engine sees it (`cvivit.runtime.runner.Runner`).

    One thread at a time calls it, unless it is a `SubmittingRunner`. The arrays that it returns belong
    to the caller: the next call does not change them.
    """

    @property
    def batch_sizes(self) -> Sequence[int]:
        """The batch sizes that warm-up prepares."""

    def warm_up(self) -> None:
        """Prepare every batch size, so that no request waits for it."""

    def encode_clips(self, clips: Array, /) -> Array:
        """Turn uint8 (n t h w c) into integers (n T H W)."""

    def decode_clips(self, indices: Array, /) -> Array:
        """Turn integers (n T H W) into uint8 (n t h w c)."""


@runtime_checkable
class SubmittingRunner(BatchRunner, Protocol):
    """A device that takes its next batch while it computes one (`cvivit.runtime.runner.SubmittingRunner`).

    One thread submits batches while another waits for their results, in the order of submission.
    """

    def submit_encode(self, clips: Array, /) -> Callable[[], Array]:
        """Send clips to the device without waiting, and return what waits for their tokens."""

    def submit_decode(self, indices: Array, /) -> Callable[[], Array]:
        """Send tokens to the device without waiting, and return what waits for their clips."""


def run_batch(runner: BatchRunner, operation: Operation, stacked: Array) -> Sequence[Outcome]:
    """Run the clips of one batch (n ...) and return the outcome of each.

    Raises:
        DeviceError: the device is lost.
    """
    call = runner.encode_clips if operation is Operation.ENCODE else runner.decode_clips
    return _outcomes(partial(call, stacked), runner, operation, stacked)


def submit_batch(
    runner: SubmittingRunner, operation: Operation, stacked: Array
) -> Callable[[], Sequence[Outcome]]:
    """Send one batch (n ...) to the device, and return what waits for its outcomes.

    The two together do what `run_batch` does. An error of the first is handled or raised
    by the second, so that batches end in order.
    """
    submit = runner.submit_encode if operation is Operation.ENCODE else runner.submit_decode
    try:
        result = submit(stacked)
    except BaseException as error:
        result = partial(_raise, error)
    return partial(_outcomes, result, runner, operation, stacked)


def _outcomes(
    run: Callable[[], Array], runner: BatchRunner, operation: Operation, stacked: Array
) -> Sequence[Outcome]:
    """Return the outcome of each clip of a batch that `run` runs, or waits for."""
    try:
        results = run()
        assert len(results) == len(stacked), f"{len(results)} results for {len(stacked)} clips"
        return list(results)
    except DeviceError as error:
        return [_survived(error) for _ in stacked]
    except Exception as error:
        if len(stacked) == 1:
            return [_failed_alone(error)]
    # This is outside the handler, because the exception keeps the memory of the failed batch alive there.
    return [run_batch(runner, operation, clip[None])[0] for clip in stacked]


def _raise(error: BaseException) -> Array:
    raise error


def _survived(error: DeviceError) -> CViViTError:
    """Return the error to tell one client if the device survives it; raise the error otherwise."""
    if not isinstance(error, DeviceMemoryError):
        raise error
    return DeviceMemoryError(str(error))


def _failed_alone(error: Exception) -> CViViTError:
    """Return the error to tell the client whose clip made the network raise on its own."""
    if isinstance(error, CViViTError):
        return error
    failure = ClipFailedError("the network failed on this clip")
    failure.__cause__ = error
    return failure
