"""What a device does with a batch, and whose fault it is when it does not.

A bad clip fails alone: where the network raises on a batch, its clips are run one by one. Too little memory
fails the clips at hand, and the device lives. Any other error of the device is raised: it is lost.
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
"""Of one clip: its result, or what to tell its client."""


class Runner(Protocol):
    """A device as the engine sees it (`cvivit.runtime.runner.Runner`). One thread calls it.

    What it returns is the caller's: the next call leaves it alone.
    """

    @property
    def batch_sizes(self) -> Sequence[int]:
        """How many clips are run at once, in the shapes that warm-up prepares."""

    def warm_up(self) -> None:
        """Prepare every shape."""

    def encode_clips(self, clips: Array, /) -> Array:
        """Turn uint8 (n t h w c) into integers (n T H W)."""

    def decode_clips(self, indices: Array, /) -> Array:
        """Turn integers (n T H W) into uint8 (n t h w c)."""


def run_batch(runner: Runner, operation: Operation, stacked: Array) -> Sequence[Outcome]:
    """Run the clips of one batch (n ...) and return what became of each.

    Raises:
        DeviceError: the device is lost.
    """
    try:
        return _run(runner, operation, stacked)
    except DeviceError as error:
        return [_mendable(error) for _ in stacked]
    except Exception as error:
        if len(stacked) == 1:
            return [_blamed(error)]
    # Outside the handler: the exception would keep alive what the failed batch has allocated.
    return [run_batch(runner, operation, clip[None])[0] for clip in stacked]


def _run(runner: Runner, operation: Operation, stacked: Array) -> Sequence[Array]:
    call = runner.encode_clips if operation is Operation.ENCODE else runner.decode_clips
    results = call(stacked)
    assert len(results) == len(stacked), f"{len(results)} results for {len(stacked)} clips"
    return list(results)


def _mendable(error: DeviceError) -> CViViTError:
    """Return what to tell one client of a device error that the device survives, or raise it."""
    if not isinstance(error, DeviceMemoryError):
        raise error
    return DeviceMemoryError(str(error))


def _blamed(error: Exception) -> CViViTError:
    """Return what to tell the client whose clip alone made the network raise."""
    if isinstance(error, CViViTError):
        return error
    failure = ClipFailedError("the network failed on this clip")
    failure.__cause__ = error
    return failure
