"""Bytes of a shard's sample to frames, as they are stored: no picking, no resizing."""

from __future__ import annotations

import io

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image, UnidentifiedImageError

from cvivit.errors import SampleError, UnsupportedMediaError
from cvivit.video import ClipFormat
from cvivit.video.pictures.framing import Framer, display_size_of
from training.data.pictures import rgb_of
from training.data.shards import RawSample

MAX_FRAMES = 1024
"""A sample is a clip: a film that found its way into a shard must not fill the memory."""
MAX_PIXELS = 4096 * 4096
_BROKEN = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def decode_clip(sample: RawSample) -> np.ndarray:
    """Return the frames of a video as uint8 (t h w c).

    Raises:
        SampleError: it is not a video, is broken, changes its size, or is far larger than a clip.
    """
    frames: list[np.ndarray] = []
    framer: Framer | None = None
    try:
        with av.open(io.BytesIO(sample.data), mode="r") as container:
            if not container.streams.video:
                raise SampleError(f"{sample.name}: no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # as many workers as cores do better than threads on tiny frames
            for frame in container.decode(stream):
                _check_size(sample, frame.width, frame.height)
                if framer is None:
                    size = display_size_of(frame, stream)
                    framer = Framer(ClipFormat(image_size=size, fit="stretch"), stream)
                frames.append(framer.picture(frame))
                if len(frames) > MAX_FRAMES:
                    raise SampleError(f"{sample.name}: more than {MAX_FRAMES} frames")
    except (FFmpegError, ValueError) as error:
        raise SampleError(f"{sample.name}: not a sound video ({type(error).__name__})") from error
    if not frames:
        raise SampleError(f"{sample.name}: no frames")
    if any(frame.shape != frames[0].shape for frame in frames):
        raise SampleError(f"{sample.name}: frames of several sizes")
    return np.stack(frames)


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
