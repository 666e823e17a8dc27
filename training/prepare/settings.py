"""Every setting of `python -m training prepare`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from cvivit.config import MAX_FPS, MIN_FPS, Pair

Share = Annotated[float, Field(gt=0, le=1)]


class PrepareSettings(BaseModel):
    """What clips are cut from videos and stills. The defaults are the clips that the release was trained on.

    Raises:
        pydantic.ValidationError: (a ValueError) a field is unknown, of another type or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clip_frames: PositiveInt = 11
    """Frames of a clip. Longer ones than the model's give the loader time offsets to choose from."""
    fps: Annotated[float, Field(ge=MIN_FPS, le=MAX_FPS)] = 8
    """Frames picked from a second, by presentation time."""
    image_size: Pair = (128, 128)
    """Height and width of a clip in pixels. Both are even: H.264 halves them for its colours."""

    overlap: NonNegativeInt = 0
    """Frames that a clip shares with the one before it."""
    stride: PositiveInt | None = None
    """Frames from the start of a clip to the start of the next; by default, `clip_frames - overlap`."""
    offsets: PositiveInt = 1
    """Times that a video is cut, each shifted by that fraction of a frame: other moments are picked."""
    scene_threshold: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of a picture's colours that changes at once at a scene cut. No clip spans one; 0 ignores them."""

    scales: Annotated[tuple[Share, ...], Field(min_length=1)] = (1.0,)
    """Sides of the crops, over that of the largest one of the clip's shape that fits. Those that would
    enlarge the source's pixels are left out, 1 excepted."""
    crops: PositiveInt = 1
    """Crops of every clip at each scale: the first of scale 1 in the centre, the others anywhere."""
    pans: NonNegativeInt = 0
    """Clips made of every still, by moving a crop across it slowly."""

    crf: Annotated[int, Field(ge=0, le=51)] = 12
    """Constant rate factor of the stored H.264: 0 is lossless, and each 6 more halve the size, roughly."""

    validation: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the sources that is held out. Which ones follows from their contents alone."""
    clips_per_shard: PositiveInt = 500
    seed: NonNegativeInt = 0
    """Of the crops and of the order of clips in the shards."""

    salvage: bool = False
    """Whether the clips before the place where a video is broken are kept; else such a video is rejected."""
    strict: bool = False
    """Whether every frame of a video is decoded, also those that no clip needs, to find damage in them."""
    timeout_seconds: PositiveFloat = 3600
    """Time after which a source is rejected and its process killed."""

    @model_validator(mode="after")
    def _cuts_clips(self) -> Self:
        height, width = self.image_size
        if height % 2 or width % 2:
            raise ValueError(f"image_size: shards hold H.264, whose sides are even, not {height}x{width}")
        if self.overlap >= self.clip_frames:
            raise ValueError(f"overlap: {self.overlap} frames of a clip's {self.clip_frames} leave none")
        if self.overlap and self.stride is not None:
            raise ValueError("stride: it follows from the overlap; give one of them")
        return self

    @property
    def step(self) -> int:
        """Frames from the start of a clip to the start of the next."""
        return self.stride or self.clip_frames - self.overlap

    @property
    def clip_seconds(self) -> float:
        """Duration of a clip."""
        return self.clip_frames / self.fps
