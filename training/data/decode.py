"""Decode the bytes of a shard's sample to frames as they are stored: all of them, at their own size."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from av.error import FFmpegError
from PIL import Image, UnidentifiedImageError

from cvivit.errors import UnsupportedMediaError, VideoError
from cvivit.shards.reading import RawSample
from cvivit.video import ClipFormat, VideoLimits
from cvivit.video.containers.opening import open_video, opened_track
from cvivit.video.pictures.framing import Framer, display_size_of
from cvivit.video.pictures.stills import rgb_of
from training.errors import SampleError

MAX_FRAMES = 1024
"""A sample is a clip: a film that was packed into a shard by mistake must not fill the memory."""
MAX_PIXELS = 4096 * 4096
"""Height times width of one frame or still."""

_LIMITS = VideoLimits(max_pixels=MAX_PIXELS, max_frames=MAX_FRAMES)
_BROKEN = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """The frames of a sample, and the frame rate that its file states."""

    frames: np.ndarray
    """uint8 (t h w c)."""
    fps: float | None
    """Frames a second; None where the file states no rate, or has a single frame."""


def decode_clip(sample: RawSample) -> DecodedClip:
    """Return all frames of a video.

    The file is opened as the library opens any untrusted file: it cannot refer to another file, and only the
    containers and codecs of `cvivit.video.containers.kinds` are read.

    Raises:
        SampleError: it is not a video, is broken or truncated, changes its size, or is far larger than a
            clip.
    """
    frames: list[np.ndarray] = []
    framer: Framer | None = None
    stored: tuple[int, int] | None = None
    rate = None
    try:
        # One thread: as many workers as cores are faster than threads on frames this small.
        with (
            open_video(io.BytesIO(sample.data), _LIMITS) as video,
            opened_track(video, threads=1) as track,
        ):
            rate = track.stream.average_rate
            for frame in track.container.decode(track.stream):
                _check_size(sample, frame.width, frame.height)
                if stored is not None and (frame.height, frame.width) != stored:
                    raise SampleError(f"{sample.name}: frames of several sizes")
                stored = frame.height, frame.width
                if framer is None:
                    size = display_size_of(frame, track.stream)
                    framer = Framer(ClipFormat(image_size=size, fit="stretch"), track.stream)
                frames.append(framer.picture(frame))
                if len(frames) > MAX_FRAMES:
                    raise SampleError(f"{sample.name}: more than {MAX_FRAMES} frames")
    except VideoError as error:
        raise SampleError(f"{sample.name}: not a sound video ({error})") from error
    except (FFmpegError, ValueError) as error:
        raise SampleError(f"{sample.name}: not a sound video ({type(error).__name__})") from error
    if not frames:
        raise SampleError(f"{sample.name}: no frames")
    return DecodedClip(frames=np.stack(frames), fps=float(rate) if rate and len(frames) > 1 else None)


def decode_still(sample: RawSample) -> np.ndarray:
    """Return a picture as uint8 (1 h w c).

    Raises:
        SampleError: it is not a picture, is broken, or is far larger than a still.
    """
    try:
        with Image.open(io.BytesIO(sample.data)) as image:
            _check_size(sample, *image.size)
            return rgb_of(image)[None]
    except (UnsupportedMediaError, *_BROKEN) as error:
        raise SampleError(f"{sample.name}: not a sound picture ({type(error).__name__})") from error


def _check_size(sample: RawSample, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise SampleError(f"{sample.name}: {width}x{height} is far larger than a clip")
