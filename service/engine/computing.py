"""Runs a batch on a device, and finds out which clips are to blame if it fails.

A bad clip fails alone: if the network raises on a batch, its clips are run again one by one. If the device
runs out of memory, the clips of the batch fail and the device goes on. Any other error of the device is
raised, because the device is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt

from cvivit.errors import CViViTError, DeviceError, DeviceMemoryError
from service.engine.engine_errors import ClipFailedError
from service.engine.request import Operation

Array = npt.NDArray[Any]
Outcome = Array | CViViTError
"""The result of one clip, or the error to tell its client."""


class BatchRunner(Protocol):
    """A device as the engine sees it (`cvivit.runtime.runner.Runner`). One thread at a time calls it.

    The arrays that it returns belong to the caller: the next call does not change them.
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


def run_batch(runner: BatchRunner, operation: Operation, stacked: Array) -> Sequence[Outcome]:
    """Run the clips of one batch (n ...) and return the outcome of each.

    Raises:
        DeviceError: the device is lost.
    """
    try:
        return _run(runner, operation, stacked)
    except DeviceError as error:
        return [_survived(error) for _ in stacked]
    except Exception as error:
        if len(stacked) == 1:
            return [_failed_alone(error)]
    # This is outside the handler, because the exception keeps the memory of the failed batch alive there.
    return [run_batch(runner, operation, clip[None])[0] for clip in stacked]


def _run(runner: BatchRunner, operation: Operation, stacked: Array) -> Sequence[Array]:
    call = runner.encode_clips if operation is Operation.ENCODE else runner.decode_clips
    results = call(stacked)
    assert len(results) == len(stacked), f"{len(results)} results for {len(stacked)} clips"
    return list(results)


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
