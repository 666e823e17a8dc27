"""The definition of a picture in plain float64 code. It is slow, and serves only to check the fast code.

The steps from the planes of a frame to a picture (h w 3): crop, resize each plane at the positions of its own
samples, apply matrix and range, convert high dynamic range, clip once, round once, add bars, rotate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BT709, BT601, BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A frame, and all that its file states about it."""

    planes: list[np.ndarray]
    """Y; or Y, Cb, Cr; or R, G, B."""
    bits: int
    rgb: bool = False
    full_range: bool = False
    luma: tuple[float, float] = BT601
    """How much red and blue count in luma."""
    ycgco: bool = False
    siting: tuple[float, float] = (0.5, 0.0)
    """Where a sample of chroma lies among the pixels it is for, vertically and horizontally, from 0 to 1."""
    aspect: float = 1.0
    cropping: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Rows at the top and bottom, columns at the left and right that are not shown."""
    turns: int = 0
    """Quarter turns against the clock that make it upright."""
    transfer: str = "sdr"
    primaries: str = "bt2020"
    peak: float = 1000.0
    shared: tuple[int, int] = field(default=(1, 1))
    """Rows and columns of pixels that share a sample of chroma."""


def picture(source: Source, size: tuple[int, int], fit: str = "crop") -> np.ndarray:
    """Return uint8 (h w 3)."""
    height, width = size[::-1] if source.turns % 2 else size
    top, bottom, left, right = source.cropping
    rows, columns = source.planes[0].shape
    high, wide = rows - top - bottom, columns - left - right
    seen = wide * source.aspect
    inner = (height, width)
    cut_rows = cut_columns = 0.0
    if fit == "crop":
        scale = max(width / seen, height / high)
        cut_columns = max(0.0, (wide - width / scale / source.aspect) / 2)
        cut_rows = max(0.0, (high - height / scale) / 2)
    elif fit == "pad":
        scale = min(width / seen, height / high)
        inner = max(1, round(high * scale)), max(1, round(seen * scale))
    vertical = (top + cut_rows, rows - bottom - cut_rows)
    horizontal = (left + cut_columns, columns - right - cut_columns)
    planes = []
    for index, plane in enumerate(source.planes):
        shared = source.shared if index and not source.rgb else (1, 1)
        plane = plane.astype(np.float64)
        plane = _resize(plane, vertical, inner[0], shared[0], source.siting[0], (top, rows - bottom))
        plane = _resize(plane.T, horizontal, inner[1], shared[1], source.siting[1], (left, columns - right)).T
        planes.append(plane)
    colours = 255 * np.stack(_rgb(source, planes), -1)
    fitted = np.floor(np.clip(colours, 0, 255) + 0.5).astype(np.uint8)
    whole = np.zeros((height, width, 3), np.uint8)
    row, column = (height - inner[0]) // 2, (width - inner[1]) // 2
    whole[row : row + inner[0], column : column + inner[1]] = fitted
    return np.rot90(whole, source.turns)


def _resize(
    plane: np.ndarray,
    box: tuple[float, float],
    count: int,
    shared: int,
    position: float,
    window: tuple[int, int],
) -> np.ndarray:
    """Resize the first axis. All lengths are in pixels of the frame, from the edge of the first."""
    scale = (box[1] - box[0]) / count
    support = max(1.0, scale / shared) * shared
    centres = np.arange(len(plane)) * shared + 0.5 + (shared - 1) * position
    shown = slice(window[0] // shared, -(-window[1] // shared))
    result = []
    for index in range(count):
        centre = box[0] + (index + 0.5) * scale
        weights = np.maximum(0.0, 1 - np.abs(centres[shown] - centre) / support)
        result.append(weights @ plane[shown] / weights.sum())
    return np.stack(result)


def _rgb(source: Source, planes: list[np.ndarray]) -> list[np.ndarray]:
    top, step = 2**source.bits - 1, 2 ** (source.bits - 8)
    if source.rgb or source.full_range:
        planes = [plane / top for plane in planes]
        middle = 2 ** (source.bits - 1) / top
        chroma = [plane - middle for plane in planes[1:]]
    else:
        chroma = [(plane - 128 * step) / (224 * step) for plane in planes[1:]]
        planes = [(plane - 16 * step) / (219 * step) for plane in planes]
    if source.rgb:
        values = planes
    elif len(planes) == 1:
        values = planes * 3
    else:
        luma, (blue, red) = planes[0], chroma
        if source.ycgco:  # Cg in the place of Cb, Co in that of Cr
            values = [luma - blue + red, luma + blue, luma - blue - red]
        else:
            of_red, of_blue = source.luma
            r = luma + 2 * (1 - of_red) * red
            b = luma + 2 * (1 - of_blue) * blue
            values = [r, (luma - of_red * r - of_blue * b) / (1 - of_red - of_blue), b]
    return values if source.transfer == "sdr" else _standard_range(source, values)


def pq_light(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: light in cd/m²."""
    power = np.clip(signal, 0, 1) ** (32 / 2523)
    return 1e4 * (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (8192 / 1305)


def pq_signal(light: np.ndarray) -> np.ndarray:
    power = (np.maximum(light, 0) / 1e4) ** (1305 / 8192)
    return ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg_scene(signal: np.ndarray) -> np.ndarray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.clip(signal, 0, 1)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def _standard_range(source: Source, values: list[np.ndarray]) -> list[np.ndarray]:
    if source.transfer == "pq":
        light = [pq_light(value) for value in values]
    else:
        scene = [hlg_scene(value) for value in values]
        luminance = 0.2627 * scene[0] + 0.6780 * scene[1] + 0.0593 * scene[2]
        light = [1000 * luminance**0.2 * value for value in scene]
    brightest = np.maximum(np.maximum(*light[:2]), light[2])
    peak = 1000.0 if source.transfer == "hlg" else source.peak
    factor = eetf(brightest, peak) / np.maximum(brightest, 1e-9)
    red, green, blue = (np.maximum(value * factor / 203, 0) for value in light)
    if source.primaries == "bt2020":  # ITU-R BT.2087
        red, green, blue = (
            1.6605 * red - 0.5876 * green - 0.0728 * blue,
            -0.1246 * red + 1.1329 * green - 0.0083 * blue,
            -0.0182 * red - 0.1006 * green + 1.1187 * blue,
        )
    return [np.clip(value, 0, 1) ** (1 / 2.4) for value in (red, green, blue)]


def eetf(light: np.ndarray, peak: float, white: float = 203.0) -> np.ndarray:
    """ITU-R BT.2390, section 5.4.1: light of a display of `peak` on one of `white`, both in cd/m²."""
    top = pq_signal(np.array(peak))
    most = pq_signal(np.array(white)) / top
    if peak <= white:
        return np.minimum(light, white)
    e1 = np.minimum(pq_signal(light) / top, 1)
    knee = 1.5 * most - 0.5
    t = (e1 - knee) / (1 - knee)
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    )
    return pq_light(np.where(e1 < knee, e1, curve) * top)
