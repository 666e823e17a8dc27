"""TokenGrid: the tokens of a video, with what it takes to turn them back into one."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from cvivit.config import MAX_FPS, MIN_FPS, CViViTConfig
from cvivit.errors import (
    ModelMismatchError,
    TokenFieldError,
    TokenRangeError,
    TokenShapeError,
)
from cvivit.files import replacing
from cvivit.tokens import token_file, token_json
from cvivit.tokens.strict_json import shown

UINT16_CODES = 2**16
"""The largest codebook whose tokens are stored in two bytes."""
MAX_CODES = 2**32
MAX_FRAMES = 2**53 - 1
"""The largest integer that every JSON reader takes exactly."""
MAX_MODEL_CHARACTERS = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenGrid:
    """The tokens of one video: clip after clip, each a grid of latent frames, rows and columns.

    Attributes:
        indices: `(clips, T, H, W)` uint16, or uint32 where the codebook has more than 65,536 codes. Any
            integer array is taken, copied and made read-only; `indices.astype(np.int64)` is what torch wants.
        frames: how many frames are real. The last clip was padded by repeating its last frame.
        fps: frames a second, in [0.01, 1000].
        model: the fingerprint of the weights that made the tokens.

    Raises:
        TokenShapeError: the indices are not four-dimensional, or there are none.
        TokenRangeError: they are not integers in [0, 2**32).
        TokenFieldError: `frames`, `fps` or `model` is of another type or out of range.
    """

    indices: np.ndarray
    frames: int
    fps: float
    model: str

    def __post_init__(self) -> None:
        indices = _stored(self.indices)
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "frames", _frames(self.frames, clips=indices.shape[0]))
        object.__setattr__(self, "fps", _fps(self.fps))
        _check_model_name(self.model)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenGrid):
            return NotImplemented
        mine, theirs = (self.frames, self.fps, self.model), (other.frames, other.fps, other.model)
        return mine == theirs and np.array_equal(self.indices, other.indices)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.indices.flags.writeable = False  # numpy's pickles forget it

    def check(self, config: CViViTConfig, *, model: str | None = None) -> None:
        """Make sure that the network of `config`, with the weights of fingerprint `model`, can decode this.

        Raises:
            ModelMismatchError: the tokens are those of other weights than `model`, where that is given.
            TokenShapeError: a clip's grid is not `config.grid`.
            TokenRangeError: a token is outside the codebook.
            TokenFieldError: `frames` is more than the clips hold, or so few that a clip would hold none.
        """
        if model is not None and self.model != model:
            raise ModelMismatchError(
                f"the tokens are those of model {shown(self.model)}, not of {shown(model)}"
            )
        if self.indices.shape[1:] != config.grid:
            raise TokenShapeError(
                f"a clip's grid (T, H, W) must be {config.grid}, not {self.indices.shape[1:]}"
            )
        _check_range(self.indices, config.codebook_size)
        clips = self.indices.shape[0]
        most = clips * config.clip_frames
        fewest = most - config.clip_frames + 1
        if not fewest <= self.frames <= most:
            raise TokenFieldError(
                f"frames must be in [{fewest}, {most}] for {clips} clips of {config.clip_frames} frames, "
                f"not {self.frames}"
            )

    # The JSON form

    def to_json(self) -> str:
        """Return the JSON form: one object, in ASCII, on one line."""
        return token_json.write(self.indices, {"model": self.model, "frames": self.frames, "fps": self.fps})

    @classmethod
    def from_json(
        cls,
        text: str | bytes,
        *,
        config: CViViTConfig | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
    ) -> Self:
        """Read the JSON form.

        Args:
            text: one JSON object; bytes are UTF-8.
            config: the network that is to decode the tokens. With it only `indices` is required (`frames` is
                all of them and `fps` the network's where they are left out) and the grid is checked.
            model: the fingerprint that `model` must be, and is where it is left out.
            max_tokens: refuse more tokens than this, before they are parsed.

        Raises:
            TokensError: one of its subclasses for each cause; see also `check`.
        """
        indices, fields = token_json.read(text, max_tokens=max_tokens)
        return cls._read(indices, fields, config, model)

    # The safetensors form

    def to_bytes(self) -> bytes:
        """Return the safetensors form: the same bytes for equal grids of one type."""
        return token_file.write(self.indices, {"model": self.model, "frames": self.frames, "fps": self.fps})

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        config: CViViTConfig | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
    ) -> Self:
        """Read the safetensors form. Arguments and errors are those of `from_json`."""
        return cls.load(BytesIO(data), config=config, model=model, max_tokens=max_tokens)

    def save(self, destination: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the safetensors form to a path, whole or not at all, or to a file object.

        Raises:
            OSError: it cannot be written; what was at the path is still there.
        """
        if isinstance(destination, (str, os.PathLike)):
            with replacing(destination) as file:
                file.write(self.to_bytes())
        else:
            destination.write(self.to_bytes())

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        config: CViViTConfig | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
    ) -> Self:
        """Read the safetensors form from a path or a file object. Otherwise like `from_json`.

        Raises:
            OSError: the path cannot be read.
            TokensError: one of its subclasses for each cause; see also `check`.
        """
        if isinstance(source, (str, os.PathLike)):
            with Path(source).open("rb") as file:
                indices, fields = token_file.read(file, max_tokens=max_tokens)
        else:
            indices, fields = token_file.read(source, max_tokens=max_tokens)
        return cls._read(indices, fields, config, model)

    @classmethod
    def _read(
        cls, indices: np.ndarray, fields: dict[str, Any], config: CViViTConfig | None, model: str | None
    ) -> Self:
        """Complete what either form holds, and check it against the network where that is known."""
        defaults: dict[str, Any] = {} if model is None else {"model": model}
        if config is not None:
            defaults |= {"frames": indices.shape[0] * config.clip_frames, "fps": config.fps}
        fields = defaults | fields
        for name in ("frames", "fps", "model"):
            if name not in fields:
                raise TokenFieldError(f"{name} is missing")
        try:
            grid = cls(indices=indices, **fields)
        except TokenRangeError:
            if config is not None:
                _check_range(indices, config.codebook_size)  # whose range says more than that of any codebook
            raise
        if config is None:
            grid._check_model(model)
            return grid
        grid.check(config, model=model)
        return replace(grid, indices=grid.indices.astype(token_dtype(config.codebook_size)))

    def _check_model(self, model: str | None) -> None:
        if model is not None and self.model != model:
            raise ModelMismatchError(f"the tokens are of model {shown(self.model)}, not of {shown(model)}")


def token_dtype(codebook_size: int) -> type[np.uint16] | type[np.uint32]:
    """Return the type that tokens of a codebook are stored in."""
    return np.uint16 if codebook_size <= UINT16_CODES else np.uint32


def _stored(indices: np.ndarray) -> np.ndarray:
    if not isinstance(indices, np.ndarray) or indices.ndim != 4:
        raise TokenShapeError("indices must be an array (clips, T, H, W)")
    if not indices.size:
        raise TokenShapeError(f"there are no indices in a grid of {indices.shape}")
    if indices.dtype.kind not in "iu":
        raise TokenRangeError(f"indices must be integers, not {indices.dtype}")
    _check_range(indices, MAX_CODES)
    kept = indices.dtype.type in (np.uint16, np.uint32)
    dtype = indices.dtype.type if kept else token_dtype(int(indices.max()) + 1)
    stored = np.array(indices, dtype=dtype, order="C")
    stored.flags.writeable = False
    return stored


def _check_range(indices: np.ndarray, codes: int) -> None:
    if int(indices.min()) >= 0 and int(indices.max()) < codes:
        return
    place = np.unravel_index(int(np.argmax((indices < 0) | (indices >= codes))), indices.shape)
    clip, frame, row, column = (int(i) for i in place)
    raise TokenRangeError(
        f"token {indices[place]} (clip {clip}, T {frame}, H {row}, W {column}) is outside [0, {codes})"
    )


def _frames(value: Any, *, clips: int) -> int:
    try:
        frames = operator.index(value)
    except TypeError:
        frames = 0
    if isinstance(value, (bool, np.bool_)) or not clips <= frames <= MAX_FRAMES:
        raise TokenFieldError(
            f"frames must be an integer of at least 1 for each of {clips} clips, not {shown(value)}"
        )
    return frames


def _fps(value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not MIN_FPS <= value <= MAX_FPS:
        raise TokenFieldError(f"fps must be a number in [{MIN_FPS:g}, {MAX_FPS:g}], not {shown(value)}")
    return float(value)


def _check_model_name(value: Any) -> None:
    fit = isinstance(value, str) and 0 < len(value) <= MAX_MODEL_CHARACTERS
    if not fit or not (value.isascii() and value.isprintable()):
        raise TokenFieldError(
            f"model must be a fingerprint of 1 to {MAX_MODEL_CHARACTERS} characters, not {shown(value)}"
        )
