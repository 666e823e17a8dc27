"""Every error that training raises on purpose, as branches of the library's tree.

    CViViTError                     (in `cvivit.errors`, which has the other branches)
    ├── CodecError                  a tokenizer or codec that `evaluate` was given cannot be compared
    ├── DataError                   a set of files cannot be made or read
    │   ├── NoDataError             a path or pattern matches nothing, or nothing usable
    │   ├── ShardError              a shard cannot be opened, or it is cut short
    │   ├── SampleError             a sample is not a clip or a still of the requested size
    │   ├── TooManyBadSamplesError  more unusable shards and samples than allowed (`limit`, `actual`)
    │   ├── OutputMismatchError     the output folder holds data of other inputs or settings
    │   └── DataWriteError          a shard or a report cannot be written; what was there stays
    └── TrainingError               a training run cannot go on
        ├── NonFiniteLossError      a loss or a gradient is infinite or not a number (`keys` of the clips)
        ├── CheckpointError         a checkpoint cannot be used
        │   ├── CheckpointWriteError      it could not be written; earlier ones are untouched
        │   ├── CheckpointCorruptError    every checkpoint of the run is truncated or damaged
        │   └── CheckpointMismatchError   it was saved by another model, configuration or topology
        └── TrainingInterrupted     the run was asked to stop and was saved; start it again to continue

Those that training shares with the library can be imported from here, too. Messages are one line, written for
the person who started the command.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from cvivit.errors import CViViTError as CViViTError
from cvivit.errors import DataError as DataError
from cvivit.errors import DataWriteError as DataWriteError
from cvivit.errors import NoDataError as NoDataError
from cvivit.errors import OutputMismatchError as OutputMismatchError
from cvivit.errors import ShardError as ShardError


class CodecError(CViViTError):
    """A tokenizer or codec that `evaluate` was given cannot be compared."""

    code = "invalid_codec"


class SampleError(DataError):
    """A sample is not a clip or a still of the requested size."""

    code = "invalid_sample"


class TooManyBadSamplesError(DataError):
    """More shards and samples are unusable than allowed. `limit` and `actual` count them."""

    code = "too_many_bad_samples"


class TrainingError(CViViTError):
    """A training run cannot go on."""

    code = "training_error"


class NonFiniteLossError(TrainingError):
    """A loss or a gradient is infinite or not a number. `keys` name the clips that it came from."""

    code = "non_finite_loss"

    def __init__(self, message: str, *, keys: tuple[str, ...]) -> None:
        super().__init__(message)
        self.keys = keys

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), keys=self.keys), self.args, self.__dict__


class CheckpointError(TrainingError):
    """A checkpoint cannot be used."""

    code = "checkpoint_error"


class CheckpointWriteError(CheckpointError):
    """A checkpoint could not be written. Earlier checkpoints are untouched."""

    code = "checkpoint_write"


class CheckpointCorruptError(CheckpointError):
    """Every checkpoint of the run is truncated or damaged."""

    code = "checkpoint_corrupt"


class CheckpointMismatchError(CheckpointError):
    """The checkpoint was saved by another model, configuration or topology than the run has now."""

    code = "checkpoint_mismatch"


class TrainingInterrupted(TrainingError):  # noqa: N818 - nothing went wrong
    """The run was asked to stop and was saved. Start it again to continue."""

    code = "training_interrupted"
