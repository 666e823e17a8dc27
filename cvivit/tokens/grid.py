"""TokenGrid: the tokens of a video, with everything that is needed to decode them."""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Mapping
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
"""The most codes of a codebook whose tokens are stored in two bytes."""
MAX_CODES = 2**32
"""The most codes of any codebook, since tokens are stored in at most four bytes."""
MAX_FRAMES = 2**53 - 1
"""The largest integer that every JSON reader reads exactly."""
MAX_MODEL_CHARACTERS = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenGrid:
    """The tokens of one video: a sequence of clips, each a grid of latent frames, rows and columns.

    Attributes:
        indices: `(clips, T, H, W)` uint16, or uint32 for a codebook of more than 65,536 codes. The
            constructor accepts any integer array, and keeps a read-only copy. For torch, convert it with
            `indices.astype(np.int64)`.
        frames: how many frames are real. The last clip was padded by repeating its last frame.
        fps: the frame rate in frames a second, in [0.01, 1000].
        model: the fingerprint of the weights that made the tokens.

    Raises:
        TokenShapeError: the indices are not four-dimensional, or there are none.
        TokenRangeError: the indices are not integers in [0, 2**32).
        TokenFieldError: `frames`, `fps` or `model` has another type or is out of range.
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
        self.indices.flags.writeable = False  # numpy does not pickle this flag

    def check(
        self, config: CViViTConfig, *, model: str | None = None, tokens_of: Collection[str] = ()
    ) -> None:
        """Check that the network of `config`, with the weights of fingerprint `model`, can decode the tokens.

        Raises:
            ModelMismatchError: the tokens were made by other weights than `model` and those in `tokens_of`,
                which have the same encoder and codebook. Without `model` this is not checked.
            TokenShapeError: a clip's grid is not `config.grid`.
            TokenRangeError: a token is outside the codebook.
            TokenFieldError: `frames` is more than the clips have, or so few that the last clip has none.
        """
        self._check_model(model, tokens_of)
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
        """Return the JSON form: one object in ASCII on one line."""
        return token_json.write(self.indices, {"model": self.model, "frames": self.frames, "fps": self.fps})

    @classmethod
    def from_json(
        cls,
        text: str | bytes,
        *,
        config: CViViTConfig | None = None,
        model: str | None = None,
        tokens_of: Collection[str] = (),
        max_tokens: int | None = None,
    ) -> Self:
        """Read the JSON form.

        Args:
            text: one JSON object. Bytes are read as UTF-8.
            config: the network that will decode the tokens. If it is given, the grid is checked, and only
                `indices` is required: `frames` defaults to all frames, and `fps` to that of the network.
            model: the fingerprint that the tokens must have. It is also the default for tokens without one.
            tokens_of: fingerprints that are accepted too, from `VideoTokenizer.tokens_of`.
            max_tokens: the most tokens to accept. More are refused before they are parsed.

        Raises:
            TokensError: the subclass names the cause. Those of `check` are included.
        """
        indices, fields = token_json.read(text, max_tokens=max_tokens)
        return cls._read(indices, fields, config, model, tokens_of)

    # The safetensors form

    def to_bytes(self, *, metadata: Mapping[str, str] | None = None) -> bytes:
        """Return the safetensors form. Equal grids of one type give the same bytes.

        `metadata` is kept under its own names beside that of the form. Readers of tokens ignore it.
        """
        fields = {"model": self.model, "frames": self.frames, "fps": self.fps}
        return token_file.write(self.indices, fields, metadata)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        config: CViViTConfig | None = None,
        model: str | None = None,
        tokens_of: Collection[str] = (),
        max_tokens: int | None = None,
    ) -> Self:
        """Read the safetensors form from bytes. The arguments and errors are those of `from_json`."""
        return cls.load(BytesIO(data), config=config, model=model, tokens_of=tokens_of, max_tokens=max_tokens)

    def save(
        self,
        destination: str | os.PathLike[str] | BinaryIO,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write the safetensors form to a path, whole or not at all, or to a file object.

        `metadata` is as for `to_bytes`.

        Raises:
            OSError: it cannot be written. What was at the path before is unchanged.
        """
        if isinstance(destination, (str, os.PathLike)):
            with replacing(destination) as file:
                file.write(self.to_bytes(metadata=metadata))
        else:
            destination.write(self.to_bytes(metadata=metadata))

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        config: CViViTConfig | None = None,
        model: str | None = None,
        tokens_of: Collection[str] = (),
        max_tokens: int | None = None,
    ) -> Self:
        """Read the safetensors form from a path or a file object. Other arguments are those of `from_json`.

        Raises:
            OSError: the path cannot be read.
            TokensError: the subclass names the cause. Those of `check` are included.
        """
        if isinstance(source, (str, os.PathLike)):
            with Path(source).open("rb") as file:
                indices, fields = token_file.read(file, max_tokens=max_tokens)
        else:
            indices, fields = token_file.read(source, max_tokens=max_tokens)
        return cls._read(indices, fields, config, model, tokens_of)

    @classmethod
    def _read(
        cls,
        indices: np.ndarray,
        fields: dict[str, Any],
        config: CViViTConfig | None,
        model: str | None,
        tokens_of: Collection[str],
    ) -> Self:
        """Add defaults to the fields of either form, and check the tokens against a network that is known."""
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
                _check_range(indices, config.codebook_size)  # this error names the range of the codebook
            raise
        if config is None:
            grid._check_model(model, tokens_of)
            return grid
        grid.check(config, model=model, tokens_of=tokens_of)
        return replace(grid, indices=grid.indices.astype(token_dtype(config.codebook_size)))

    def _check_model(self, model: str | None, tokens_of: Collection[str]) -> None:
        if model is None or self.model == model or self.model in tokens_of:
            return
        raise ModelMismatchError(f"the tokens were made by model {shown(self.model)}, not by {shown(model)}")


def token_dtype(codebook_size: int) -> type[np.uint16] | type[np.uint32]:
    """Return the type in which the tokens of a codebook are stored."""
    return np.uint16 if codebook_size <= UINT16_CODES else np.uint32


def _stored(indices: np.ndarray) -> np.ndarray:
    """Return a read-only copy of the indices in the type in which they are stored."""
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
    """Raise an error that names the first token outside [0, codes), if there is one."""
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
