"""Every error that the library raises on purpose, as one tree.

    CViViTError
    ├── ConfigError                 a configuration describes no network
    ├── WeightsError                weights cannot be loaded
    │   ├── WeightsNotFoundError    there is no such file, folder, repository or revision
    │   ├── WeightsCorruptError     the file is truncated, no weights file, or has an unexpected sha256
    │   ├── WeightsUnsafeError      a pickle contains code
    │   ├── WeightsMismatchError    a key is missing, unknown, or has another shape or type
    │   ├── WeightsUnavailableError the Hub cannot be reached, and the repository is not in the local cache
    │   └── WeightsUploadError      the Hub did not accept an upload
    ├── VideoError                  a video cannot be read
    │   ├── UnsupportedMediaError   the file is no video, or its container or codec is not supported
    │   ├── NoVideoStreamError      the file has only audio, or a still cover picture
    │   ├── EmptyVideoError         the video stream has no frame
    │   ├── CorruptVideoError       the file is truncated, or damaged in the middle
    │   ├── ResolutionChangedError  one stream has frames of several sizes
    │   └── VideoTooLargeError      the video exceeds a limit (`limit_name`, `limit`, `actual`)
    ├── TokensError                 tokens do not describe a video
    │   ├── TokenFormatError        the input is neither the JSON nor the safetensors form
    │   │   └── TokenSyntaxError    the input is not JSON, or has more nested or more lists than are read
    │   ├── TokenShapeError         wrong rank, ragged or empty lists, or another grid than the model's
    │   ├── TokenRangeError         a token is outside the codebook
    │   ├── TokenFieldError         `frames`, `fps` or another field is out of range
    │   ├── TooManyTokensError      there are more tokens than allowed (`limit`, `actual`)
    │   └── ModelMismatchError      the tokens were made by other weights
    ├── DataError                   a set of files cannot be made or read
    │   ├── NoDataError             a path or pattern matches nothing, or nothing usable
    │   ├── InputError              what was named to be read cannot be understood or reached
    │   │   ├── InputTableError       a list or table cannot be read, or lacks what it needs
    │   │   ├── InputNameError        two inputs would be written to one output
    │   │   ├── InputUnavailableError a server cannot be reached, refuses, or fails at each try
    │   │   ├── MissingPackageError   a package that reads such files or URLs is not installed
    │   │   └── SidecarError          the caption or the metadata beside a video cannot be used
    │   ├── ShardError              a shard cannot be opened, or it is cut short
    │   ├── TooManyFailedError      more inputs cannot be used than allowed (`limit`, `actual`)
    │   ├── OutputMismatchError     the output folder holds data of other inputs or settings
    │   └── DataWriteError          a shard or a report cannot be written; what was there stays
    ├── ReaderError                 the processes that read videos cannot be started
    ├── ClusterError                the Ray cluster cannot be reached, lacks what is needed, or failed
    ├── DeviceChoiceError           no device has such a name, or there is none such here
    └── DeviceError                 the device failed
        ├── DeviceMemoryError       a single clip does not fit in the device's memory
        └── DeviceLostError         the device can compute nothing more: replace the process

`training.errors` adds a branch for training runs, and the errors of training data to the branch of data.

Messages are one line, written for the person who gave the input. They may name a key, a shape or a limit.
The messages of video, token and device errors never contain a path or the text of another library's error,
so a service may send them to its clients.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar


class CViViTError(Exception):
    """The root of the tree. `code` is a stable identifier that clients may compare."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, limit: float | None = None, actual: float | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.actual = actual


class ConfigError(CViViTError, ValueError):
    """A configuration describes no network."""

    code = "invalid_config"


class WeightsError(CViViTError):
    """Weights cannot be loaded."""

    code = "invalid_weights"


class WeightsNotFoundError(WeightsError):
    """There is no such file, folder, repository or revision."""

    code = "weights_not_found"


class WeightsCorruptError(WeightsError):
    """The file is truncated, is no weights file, or has another sha256 than expected."""

    code = "weights_corrupt"


class WeightsUnsafeError(WeightsError):
    """A pickle contains code. The code was not run."""

    code = "weights_unsafe"


class WeightsMismatchError(WeightsError):
    """A key is missing, unknown, or has another shape or type than the configuration requires."""

    code = "weights_mismatch"


class WeightsUnavailableError(WeightsError):
    """The Hub cannot be reached or fails, and the repository is not in the local cache."""

    code = "weights_unavailable"


class WeightsUploadError(WeightsError):
    """The Hub did not accept an upload: no permission, no such owner, or it cannot be reached."""

    code = "weights_upload"


class VideoError(CViViTError):
    """A video cannot be read."""

    code = "invalid_video"


class UnsupportedMediaError(VideoError):
    """The file is no video, or its container or codec is not supported."""

    code = "unsupported_media"


class NoVideoStreamError(VideoError):
    """The file has no video stream, but only audio or a still cover picture."""

    code = "no_video_stream"


class EmptyVideoError(VideoError):
    """The video stream has no frame."""

    code = "empty_video"


class CorruptVideoError(VideoError):
    """The file is truncated, or damaged in the middle."""

    code = "corrupt_video"


class ResolutionChangedError(VideoError):
    """One stream has frames of several sizes."""

    code = "resolution_changed"


class VideoTooLargeError(VideoError):
    """The video exceeds a limit. `limit_name` names it, and `limit` and `actual` are in its unit."""

    code = "video_too_large"

    def __init__(self, message: str, *, limit_name: str, limit: float, actual: float | None = None) -> None:
        super().__init__(message, limit=limit, actual=actual)
        self.limit_name = limit_name

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle only their positional arguments by default. Unpickling would then fail for want of
        # `limit_name`, and a process pool whose result cannot be unpickled hangs.
        return (
            partial(type(self), limit_name=self.limit_name, limit=self.limit or 0),
            self.args,
            self.__dict__,
        )


class TokensError(CViViTError, ValueError):
    """Tokens do not describe a video."""

    code = "invalid_tokens"


class TokenFormatError(TokensError):
    """The input is neither the JSON nor the safetensors form."""

    code = "token_format"


class TokenSyntaxError(TokenFormatError):
    """The input is not JSON, or its lists are too deeply nested or too many to be read."""

    code = "token_syntax"


class TokenShapeError(TokensError):
    """The rank is wrong, the lists are ragged or empty, or the model has another grid."""

    code = "token_shape"


class TokenRangeError(TokensError):
    """A token is outside the codebook, or is not an integer."""

    code = "token_range"


class TokenFieldError(TokensError):
    """`frames`, `fps` or another field is out of range."""

    code = "token_field"


class TooManyTokensError(TokensError):
    """There are more tokens than allowed. `limit` and `actual` count them."""

    code = "too_many_tokens"


class ModelMismatchError(TokensError):
    """The tokens were made by other weights than those that were asked to decode them."""

    code = "model_mismatch"


class DataError(CViViTError):
    """A set of files cannot be made or read. Its message may contain a path, unlike those of videos."""

    code = "invalid_data"


class NoDataError(DataError):
    """A path or pattern matches nothing, or nothing usable."""

    code = "no_data"


class InputError(DataError):
    """What was named to be read cannot be understood or reached."""

    code = "invalid_input"


class InputTableError(InputError):
    """A list or table cannot be read, or lacks what it needs."""

    code = "invalid_table"


class InputNameError(InputError):
    """Two inputs would be written to one output."""

    code = "same_output"


class InputUnavailableError(InputError):
    """A server cannot be reached, refuses, or fails at each try."""

    code = "input_unavailable"


class MissingPackageError(InputError):
    """A package that reads such files or URLs is not installed. The message names it."""

    code = "missing_package"


class SidecarError(InputError):
    """The caption or the metadata beside a video cannot be used."""

    code = "invalid_sidecar"


class ShardError(DataError):
    """A shard cannot be opened, or it is cut short."""

    code = "invalid_shard"


class TooManyFailedError(DataError):
    """More inputs cannot be used than allowed. `limit` and `actual` count them."""

    code = "too_many_failed"


class OutputMismatchError(DataError):
    """The output folder holds data of other inputs or settings."""

    code = "output_mismatch"


class DataWriteError(DataError):
    """A shard or a report cannot be written. What was there before is unchanged."""

    code = "data_write"


class ReaderError(CViViTError):
    """The processes that read videos cannot be started."""

    code = "reader_error"


class ClusterError(CViViTError):
    """The Ray cluster cannot be reached, lacks what is needed, or failed."""

    code = "cluster_error"


class DeviceChoiceError(CViViTError, ValueError):
    """No device has such a name, or this machine has no such device, or torch does not support it."""

    code = "no_such_device"


class DeviceError(CViViTError):
    """The device failed."""

    code = "device_error"


class DeviceMemoryError(DeviceError):
    """The smallest batch does not fit in the device's memory."""

    code = "device_memory"


class DeviceLostError(DeviceError):
    """The device can compute nothing more, in any batch size. The process should be replaced."""

    code = "device_lost"
