"""Stills for joint image training, and clips made by panning slowly across them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from cvivit.errors import CorruptVideoError, UnsupportedMediaError, VideoTooLargeError
from cvivit.video import ClipFormat, VideoLimits, display_size, read_frames
from cvivit.video.pictures.stills import rgb_of
from training.prepare.crops import Box, crop, crop_boxes, crop_side, enlarges, place_box
from training.prepare.settings import PrepareSettings

MAX_STILL_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Pillow's own limit, past which it opens nothing."""
HEAD_BYTES = 4096
"""Bytes of a file's beginning that its brands are looked for in."""
_BROKEN = "the picture is truncated or broken"

PAN_TRAVEL = 0.3
"""How far a pan goes at most in one clip, over the side of its crop."""
PAN_ZOOM = 0.15
"""By how much of its side a pan's crop grows or shrinks at most in one clip."""


_STILLS = frozenset((b"avif", b"heic", b"heim", b"heis", b"heix", b"miaf", b"mif1", b"mif2"))
_SEQUENCES = frozenset((b"avis", b"hevc", b"hevm", b"hevs", b"hevx", b"msf1"))
"""Brands of AVIF and HEIF files that hold a picture, and of those that hold one that moves."""


def is_sequence(path: str) -> bool:
    """Return whether a file is AVIF or HEIC, and moves.

    Raises:
        OSError: the system does not let us read it.
    """
    return bool(_brands(path) & _SEQUENCES)


def read_still(path: str) -> np.ndarray:
    """Return a picture as uint8 (h w 3), upright as it says; transparent parts become black.

    AVIF and HEIC are read as `cvivit encode` reads them: as a video of one frame, without its alpha.

    Raises:
        UnsupportedMediaError: not a picture, or one of a kind that is not read.
        CorruptVideoError: a picture that is broken.
        VideoTooLargeError: more than MAX_STILL_PIXELS.
        OSError: the system does not let us read it.
    """
    if _brands(path) & _STILLS:
        limits = VideoLimits(max_pixels=MAX_STILL_PIXELS)
        clip_format = ClipFormat(image_size=display_size(path, limits=limits), fit="stretch")
        return next(read_frames(path, clip_format, limits=limits, threads=1))
    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        raise UnsupportedMediaError("not a picture that is read") from error
    except Image.DecompressionBombError as error:
        message = f"a still of more than {MAX_STILL_PIXELS} pixels"
        raise VideoTooLargeError(message, limit_name="max_still_pixels", limit=MAX_STILL_PIXELS) from error
    except Exception as error:  # each of Pillow's readers has its own
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptVideoError(_BROKEN) from error
    with image:
        try:
            return rgb_of(image)
        except UnsupportedMediaError:
            raise
        except Exception as error:
            raise CorruptVideoError(_BROKEN) from error


def _brands(path: str) -> set[bytes]:
    """Return the brands that a file of the family of MP4 states, or none if it is of another family."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def still_crops(still: np.ndarray, settings: PrepareSettings, rng: np.random.Generator) -> Iterator[bytes]:
    """Yield the crops of a picture (h w 3) as PNG files."""
    for box in crop_boxes(still.shape[:2], settings, rng):
        buffer = io.BytesIO()
        Image.fromarray(crop(still, box, settings.image_size)).save(buffer, "PNG", optimize=True)
        yield buffer.getvalue()


def pans(still: np.ndarray, settings: PrepareSettings, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `settings.pans` clips, uint8 (t h w 3), of a crop that moves and zooms across a picture."""
    for _ in range(settings.pans):
        start, end = _pan(still.shape[:2], settings, rng)
        shares = np.linspace(0, 1, settings.clip_frames)[:, None]
        boxes = (1 - shares) * np.array(start) + shares * np.array(end)
        yield np.stack([crop(still, tuple(box), settings.image_size) for box in boxes])


def _pan(size: tuple[int, ...], settings: PrepareSettings, rng: np.random.Generator) -> tuple[Box, Box]:
    """Return the first and the last box of a pan across a picture of (height, width)."""
    detailed = [scale for scale in settings.scales if not enlarges(size, scale, settings)] or [1.0]
    scale = rng.uniform(min(detailed), max(detailed))
    zoomed = min(1.0, scale * (1 + rng.uniform(-PAN_ZOOM, PAN_ZOOM)))
    first, last = (crop_side(size, one, settings) for one in (scale, zoomed))
    where = rng.random(2)
    # Places are shares of the room that the crop leaves; the travel is in crops.
    room = np.maximum(np.subtract(size, first), 1e-9)
    towards = np.clip(where + rng.uniform(-1, 1, 2) * PAN_TRAVEL * np.array(first) / room, 0, 1)
    return place_box(size, first, where), place_box(size, last, towards)
