"""The form of the clips to read, and the limits that a video must keep."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from cvivit.config import MAX_FPS, MIN_FPS
from cvivit.errors import ConfigError

if TYPE_CHECKING:
    from cvivit.config import CViViTConfig

Fit: TypeAlias = Literal["crop", "pad", "stretch"]
"""How a picture of another shape is made to fit: cut off at the sides, black bars, or distorted."""


@dataclass(frozen=True, kw_only=True)
class ClipFormat:
    """The form of a clip. The defaults are those of the released model.

    Raises:
        ConfigError: (a ValueError) a field is out of range.
    """

    image_size: tuple[int, int] = (128, 128)
    """Height and width of a frame in pixels."""
    clip_frames: int = 11
    """Frames of a clip."""
    fps: float = 8.0
    """Frames picked from a second."""
    fit: Fit = "crop"
    tone_map: bool = True
    """Whether high dynamic range (PQ, HLG) is mapped to what a display of standard range shows. Otherwise its
    values are taken as they are, which looks pale and dark."""

    def __post_init__(self) -> None:
        if min(self.image_size) < 1:
            raise ConfigError(f"image_size: {self.image_size} is not a size in pixels")
        if self.clip_frames < 1:
            raise ConfigError(f"clip_frames: a clip has one frame or more, not {self.clip_frames}")
        if not MIN_FPS <= self.fps <= MAX_FPS:
            raise ConfigError(f"fps: {self.fps} is not in [{MIN_FPS:g}, {MAX_FPS:g}]")
        if self.fit not in get_args(Fit):
            raise ConfigError(f"fit: {self.fit!r} is none of {', '.join(get_args(Fit))}")

    @classmethod
    def of(cls, config: CViViTConfig, *, fit: Fit = "crop") -> ClipFormat:
        """Return the form of the clips that a network takes."""
        return cls(
            image_size=config.image_size, clip_frames=config.clip_frames, fps=float(config.fps), fit=fit
        )


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """Limits of a video. None means no limit. A video that exceeds one raises VideoTooLargeError.

    Raises:
        ConfigError: (a ValueError) a limit is not positive.
    """

    max_pixels: int | None = None
    """Height times width of a frame of the source."""
    max_frames: int | None = None
    """Frames of the source that are decoded."""
    max_seconds: float | None = None
    """Length of the video."""
    max_streams: int | None = None
    """Streams in the file, of any kind."""
    max_clips: int | None = None
    """Clips that are cut from it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise ConfigError(f"{field.name}: {value} is not a limit")


def check_span(start: float, seconds: float | None) -> None:
    """Check the part of a video that is asked for.

    Raises:
        ConfigError: (a ValueError) the start is negative, or the length not positive.
    """
    if not 0 <= start < inf:
        raise ConfigError(f"start: {start} is not a time of 0 seconds or more")
    if seconds is not None and not 0 < seconds < inf:
        raise ConfigError(f"seconds: {seconds} is not a positive number of seconds")


def check_overlap(overlap: int, clip_frames: int) -> None:
    """Check how many frames neighbouring clips share.

    Raises:
        ConfigError: (a ValueError) it is negative, or not less than the frames of a clip.
    """
    if not 0 <= overlap < clip_frames:
        raise ConfigError(
            f"overlap: {overlap} is not in [0, {clip_frames - 1}], for clips of {clip_frames} frames"
        )
