"""Read any picture that Pillow opens as uint8 RGB, upright, with transparent parts on black."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageCms

from cvivit.errors import UnsupportedMediaError

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an orientation of EXIF. Pillow's own function also writes the EXIF anew, which may fail."""

_DEEP: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow's modes of grey of 16 bits. Its own conversion clips them at 255."""
_DEEP_WHITE: Final = 65_535


def rgb_of(image: Image.Image) -> np.ndarray:
    """Return a picture as uint8 (h w 3), turned upright by its EXIF, with transparent parts on black.

    Raises:
        UnsupportedMediaError: its samples are of a kind without a known white, such as floats.
        Exception: whatever Pillow raises for a broken file; it has no common class for these errors.
    """
    picture = _coloured(image)
    orientation = None
    with suppress(Exception):  # not even EXIF that cannot be read makes a picture unusable
        orientation = _UPRIGHT.get(image.getexif()[ExifTags.Base.Orientation])
    return np.asarray(picture if orientation is None else picture.transpose(orientation))


def _coloured(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        return _on_black(_shallow(image))
    if image.mode == "F" or image.mode == "LAB":
        raise UnsupportedMediaError(f"a picture of Pillow's mode {image.mode} is not read")
    if image.mode == "CMYK":
        return _from_inks(image)
    if image.has_transparency_data:
        return _on_black(image.convert("RGBA"))
    return image.convert("RGB")


def _shallow(image: Image.Image) -> Image.Image:
    """Return grey of 16 bits in 8, rounded, with the one level that may be transparent made so."""
    levels = np.asarray(image).astype(np.int64)
    if levels.size and not 0 <= levels.min() <= levels.max() <= _DEEP_WHITE:
        raise UnsupportedMediaError("a picture whose grey levels have more than 16 bits is not read")
    grey = ((levels * 255 + _DEEP_WHITE // 2) // _DEEP_WHITE).astype(np.uint8)
    alpha = np.full_like(grey, 255)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        alpha[levels == clear] = 0
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).convert("RGBA")


def _on_black(image: Image.Image) -> Image.Image:
    """Lay a picture with alpha on black."""
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")


def _from_inks(image: Image.Image) -> Image.Image:
    """Convert CMYK as its profile says, or plainly where it has none that can be used."""
    image.load()
    profile = image.info.get("icc_profile")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):
            inks = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, inks, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
    return image.convert("RGB")
