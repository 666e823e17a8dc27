"""One sample of a token dataset, and the JSON that describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvivit.errors import ShardError


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSample:
    """Successive windows of one source."""

    key: str
    """A name that no other sample of the dataset has: that of the source without its suffix, and if sources
    were cut into several samples, the number of this one."""
    tokens: np.ndarray
    """`n T H W` uint16, or uint32 for a codebook of more than 65,536 codes."""
    source: str
    """The file or URL that the windows are from."""
    model: str
    """The fingerprint of the weights that made the tokens."""
    fps: float
    """Frames a second."""
    frames: int
    """Real frames that the windows show. The last window of a source is padded with copies of its last
    frame."""
    first_frames: tuple[int, ...]
    """The frame of the source at which each window begins. Neighbours share frames where this grows by less
    than the frames of a window."""
    times: tuple[float, ...]
    """When each window begins, in seconds after the first frame of the source."""
    caption: str | None = None
    metadata: dict[str, Any] | None = None
    """What the JSON file beside the source said, or its row of a table."""


def describe(sample: TokenSample) -> dict[str, Any]:
    """Return what is known of a sample besides its key, its tokens and its caption, as JSON has it."""
    description: dict[str, Any] = {
        "source": sample.source,
        "model": sample.model,
        "fps": sample.fps,
        "frames": sample.frames,
        "windows": [
            {"first_frame": frame, "time": time}
            for frame, time in zip(sample.first_frames, sample.times, strict=True)
        ],
    }
    if sample.metadata is not None:
        description["metadata"] = sample.metadata
    return description


def description_text(sample: TokenSample) -> str:
    """Return the description as JSON on one line."""
    return dump(describe(sample))


def dump(value: Any) -> str:
    """Return a value as JSON on one line, in ASCII: names of files need not be valid Unicode."""
    return json.dumps(value, separators=(",", ":"))


def described_sample(
    *, key: str, tokens: np.ndarray, caption: str | None, description: Any, place: str
) -> TokenSample:
    """Return the sample of a description.

    Raises:
        ShardError: the description is not one, or does not fit the tokens. The message begins with `place`.
    """
    try:
        windows = description["windows"]
        sample = TokenSample(
            key=key,
            tokens=tokens,
            source=description["source"],
            model=description["model"],
            fps=float(description["fps"]),
            frames=int(description["frames"]),
            first_frames=tuple(int(window["first_frame"]) for window in windows),
            times=tuple(float(window["time"]) for window in windows),
            caption=caption,
            metadata=description.get("metadata"),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ShardError(f"{place}: sample {key!r} has no description that can be understood") from None
    if tokens.ndim != 4 or len(sample.first_frames) != len(tokens):
        raise ShardError(
            f"{place}: sample {key!r} has tokens {tokens.shape}, which its description does not fit"
        )
    return sample
