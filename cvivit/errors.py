"""Every error this package raises on purpose, as one tree.

::

    CViViTError
    ├── ConfigError                 a configuration that describes no network
    ├── WeightsError                weights that cannot be loaded
    │   ├── WeightsNotFoundError    no such file, folder, repository or revision
    │   ├── WeightsCorruptError     truncated, not a weights file, or another sha256 than expected
    │   ├── WeightsUnsafeError      a pickle that holds code
    │   ├── WeightsMismatchError    a key is missing, unknown, or of another shape or type
    │   ├── WeightsUnavailableError the Hub cannot be reached, and nothing of it is on this machine
    │   └── WeightsUploadError      the Hub took no weights from us
    ├── VideoError                  a video that cannot be read
    │   ├── UnsupportedMediaError   not a video, or a container or codec that is not read
    │   ├── NoVideoStreamError      audio only, or a still cover picture
    │   ├── EmptyVideoError         a video stream without a single frame
    │   ├── CorruptVideoError       truncated, or broken halfway
    │   ├── ResolutionChangedError  frames of several sizes in one stream
    │   └── VideoTooLargeError      a limit was passed (`limit_name`, `limit`, `actual`)
    ├── TokensError                 tokens that do not describe a video
    │   ├── TokenFormatError        neither the JSON nor the safetensors form
    │   │   └── TokenSyntaxError      not JSON at all, or nested too deep or too often to be read
    │   ├── TokenShapeError         wrong rank, ragged, empty, or another grid than the model's
    │   ├── TokenRangeError         a token outside the codebook
    │   ├── TokenFieldError         frames, fps or another field out of range
    │   ├── TooManyTokensError      more tokens than allowed (`limit`, `actual`)
    │   └── ModelMismatchError      tokens of other weights
    ├── DataError                   training data that cannot be made or read
    │   ├── NoDataError             a path or pattern that matches nothing, or nothing usable in it
    │   ├── ShardError              a shard that cannot be opened, or is cut short
    │   ├── SampleError             a sample that is not a clip or a still of the size asked for
    │   ├── TooManyBadSamplesError  more of the two above than allowed (`limit`, `actual`)
    │   ├── OutputMismatchError     a folder that holds data of other inputs or settings
    │   └── DataWriteError          a shard or report that cannot be written; what was there stays
    ├── DeviceError                 the device failed
    │   ├── DeviceMemoryError       out of memory at the smallest batch
    │   └── DeviceLostError         anything else: the process should be replaced
    └── TrainingError               a training run that cannot go on
        ├── NonFiniteLossError      a loss or a gradient is infinite or not a number (`keys` of the clips)
        ├── CheckpointError         a checkpoint that cannot be used
        │   ├── CheckpointWriteError      it could not be written; those before it are untouched
        │   ├── CheckpointCorruptError    every checkpoint of the run is truncated or damaged
        │   └── CheckpointMismatchError   saved by another model, configuration or topology
        └── TrainingInterrupted     asked to stop: the run was saved, start it again

Messages are one line, written for the person who gave the input. They may name a key, a shape or a limit.
Those of videos, tokens and devices never hold a path or a library's own text: a service may pass them on.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar


class CViViTError(Exception):
    """Root of the tree. `code` is a stable identifier that clients may compare."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, limit: float | None = None, actual: float | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.actual = actual


class ConfigError(CViViTError, ValueError):
    """A configuration that describes no network."""

    code = "invalid_config"


class WeightsError(CViViTError):
    """Weights that cannot be loaded."""

    code = "invalid_weights"


class WeightsNotFoundError(WeightsError):
    """No such file, folder, repository or revision."""

    code = "weights_not_found"


class WeightsCorruptError(WeightsError):
    """Truncated, not a weights file, or another sha256 than expected."""

    code = "weights_corrupt"


class WeightsUnsafeError(WeightsError):
    """A pickle that holds code. It was not run."""

    code = "weights_unsafe"


class WeightsMismatchError(WeightsError):
    """A key is missing, unknown, or of another shape or type than the configuration asks for."""

    code = "weights_mismatch"


class WeightsUnavailableError(WeightsError):
    """The Hub cannot be reached, or is ill, and nothing of the repository is on this machine."""

    code = "weights_unavailable"


class WeightsUploadError(WeightsError):
    """The Hub took no weights from us: no permission, no such owner, or it cannot be reached."""

    code = "weights_upload"


class VideoError(CViViTError):
    """A video that cannot be read."""

    code = "invalid_video"


class UnsupportedMediaError(VideoError):
    """Not a video, or a container or codec that is not read."""

    code = "unsupported_media"


class NoVideoStreamError(VideoError):
    """The file holds no video stream: audio only, or a still cover picture."""

    code = "no_video_stream"


class EmptyVideoError(VideoError):
    """A video stream without a single frame."""

    code = "empty_video"


class CorruptVideoError(VideoError):
    """Truncated, or broken halfway."""

    code = "corrupt_video"


class ResolutionChangedError(VideoError):
    """Frames of several sizes in one stream."""

    code = "resolution_changed"


class VideoTooLargeError(VideoError):
    """A limit was passed. `limit_name` names it; `limit` and `actual` are in its unit."""

    code = "video_too_large"

    def __init__(self, message: str, *, limit_name: str, limit: float, actual: float | None = None) -> None:
        super().__init__(message, limit=limit, actual=actual)
        self.limit_name = limit_name

    def __reduce__(self) -> tuple[Any, ...]:
        # By default the message alone is handed on: an error that cannot be made again hangs a process pool.
        return (
            partial(type(self), limit_name=self.limit_name, limit=self.limit or 0),
            self.args,
            self.__dict__,
        )


class TokensError(CViViTError, ValueError):
    """Tokens that do not describe a video."""

    code = "invalid_tokens"


class TokenFormatError(TokensError):
    """Neither the JSON nor the safetensors form."""

    code = "token_format"


class TokenSyntaxError(TokenFormatError):
    """Not JSON at all, or nested too deep to be read."""

    code = "token_syntax"


class TokenShapeError(TokensError):
    """Wrong rank, ragged, empty, or another grid than the model's."""

    code = "token_shape"


class TokenRangeError(TokensError):
    """A token outside the codebook, or not an integer."""

    code = "token_range"


class TokenFieldError(TokensError):
    """`frames`, `fps` or another field out of range."""

    code = "token_field"


class TooManyTokensError(TokensError):
    """More tokens than allowed."""

    code = "too_many_tokens"


class ModelMismatchError(TokensError):
    """Tokens of other weights than those that were asked to decode them."""

    code = "model_mismatch"


class DataError(CViViTError):
    """Training data that cannot be made or read."""

    code = "invalid_data"


class NoDataError(DataError):
    """A path or pattern that matches nothing, or nothing usable in it."""

    code = "no_data"


class ShardError(DataError):
    """A shard that cannot be opened, or is cut short."""

    code = "invalid_shard"


class SampleError(DataError):
    """A sample that is not a clip or a still of the size asked for."""

    code = "invalid_sample"


class TooManyBadSamplesError(DataError):
    """More shards and samples that cannot be used than allowed."""

    code = "too_many_bad_samples"


class OutputMismatchError(DataError):
    """A folder that holds data of other inputs or settings."""

    code = "output_mismatch"


class DataWriteError(DataError):
    """A shard or a report that cannot be written. What was there before still is."""

    code = "data_write"


class DeviceError(CViViTError):
    """The device failed."""

    code = "device_error"


class DeviceMemoryError(DeviceError):
    """Out of device memory at the smallest batch."""

    code = "device_memory"


class DeviceLostError(DeviceError):
    """A device error that halving a batch cannot mend: the process should be replaced."""

    code = "device_lost"


class TrainingError(CViViTError):
    """A training run that cannot go on."""

    code = "training_error"


class NonFiniteLossError(TrainingError):
    """A loss or a gradient is infinite or not a number. `keys` are those of the clips it came from."""

    code = "non_finite_loss"

    def __init__(self, message: str, *, keys: tuple[str, ...]) -> None:
        super().__init__(message)
        self.keys = keys

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), keys=self.keys), self.args, self.__dict__


class CheckpointError(TrainingError):
    """A checkpoint that cannot be used."""

    code = "checkpoint_error"


class CheckpointWriteError(CheckpointError):
    """A checkpoint could not be written. Those before it are untouched."""

    code = "checkpoint_write"


class CheckpointCorruptError(CheckpointError):
    """Every checkpoint of the run is truncated or damaged."""

    code = "checkpoint_corrupt"


class CheckpointMismatchError(CheckpointError):
    """Saved by another model, configuration or topology than the run has now."""

    code = "checkpoint_mismatch"


class TrainingInterrupted(TrainingError):  # noqa: N818 - nothing went wrong
    """The run was asked to stop, and was saved: start it again to go on."""

    code = "training_interrupted"
