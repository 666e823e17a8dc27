"""Choose the matrix and the range that turn samples into R'G'B'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from av import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

from cvivit.errors import UnsupportedMediaError
from cvivit.video.pictures.layouts import Model
from cvivit.video.pictures.stated import UNSPECIFIED, Stated

Matrix: TypeAlias = Sequence[Sequence[Fraction]]

IDENTITY: Final = 0
YCGCO: Final = 8
CONSTANT_LUMINANCE: Final = 10
ICTCP: Final = 14
"""Numbers of matrices in ISO/IEC 23091-2, which streams use."""

BT709: Final = (Fraction("0.2126"), Fraction("0.0722"))
BT601: Final = (Fraction("0.299"), Fraction("0.114"))
SMPTE240M: Final = (Fraction("0.212"), Fraction("0.087"))
BT2020: Final = (Fraction("0.2627"), Fraction("0.0593"))
_LUMA: Final = {
    1: BT709,
    4: (Fraction("0.30"), Fraction("0.11")),
    5: BT601,
    6: BT601,
    7: SMPTE240M,
    9: BT2020,
}
"""How much red and blue count in luma, by the number of the matrix."""

_LUMA_OF_PRIMARIES: Final = {1: BT709, 5: BT601, 6: BT601, 7: SMPTE240M, 9: BT2020}
"""What "derived from the primaries" means, by the number of the primaries."""
DERIVED: Final = 12

_REFUSED: Final = {
    11: "Y'D'zD'x",
    13: "constant luminance derived from the primaries",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}

_FULL_GREY: Final = frozenset(("ffv1", "mjpeg", "rawvideo"))
"""Codecs whose grey is of full range where nothing states it: JPEG by definition, the others by custom."""

_HDR: Final = {int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)}


@dataclass(frozen=True, kw_only=True)
class Colours:
    """What the samples of a frame mean, by the numbers of ISO/IEC 23091-2."""

    matrix: int
    full_range: bool
    transfer: int
    primaries: int

    @property
    def is_hdr(self) -> bool:
        """Whether the frame is of high dynamic range: PQ or HLG."""
        return self.transfer in _HDR

    @classmethod
    def of(cls, frame: VideoFrame, model: Model, stated: Stated) -> Colours:
        """Read the colours that a frame states, or else its container, and else take the customary ones.

        Where neither states a matrix, it is BT.709 if the frame is more than 576 high or at least 1280 wide,
        and otherwise BT.601, as in players. Without a range it is limited range, but for the grey of some
        codecs. RGB is always of full range, because encoders tag it with the range that they would give to
        Y'CbCr.
        """
        own = int(frame.colorspace), int(frame.color_trc), int(frame.color_primaries)
        matrix, transfer, primaries = (
            second if first == UNSPECIFIED else first
            for first, second in zip(own, (stated.matrix, stated.transfer, stated.primaries), strict=True)
        )
        subsampled = frame.format.chroma_width() < frame.width or frame.format.chroma_height() < frame.height
        known = matrix in _LUMA or matrix in _REFUSED
        known = known or matrix in (YCGCO, CONSTANT_LUMINANCE, ICTCP, DERIVED)
        if not known and not (matrix == IDENTITY and not subsampled and model == "yuv"):
            matrix = 1 if frame.height > 576 or frame.width >= 1280 else 6
        return cls(
            matrix=matrix,
            full_range=model == "rgb" or _is_full(frame, model, stated, own),
            transfer=transfer,
            primaries=primaries,
        )


def _is_full(frame: VideoFrame, model: Model, stated: Stated, own: tuple[int, int, int]) -> bool:
    """Return whether the samples of a frame are of full range."""
    if frame.format.name.startswith("yuvj"):
        return True
    # FFmpeg reports limited range of an HEVC stream that states nothing at all.
    if stated.codec == "hevc" and stated.full_range and own == (UNSPECIFIED,) * len(own):
        return True
    if frame.color_range != ColorRange.UNSPECIFIED:
        return frame.color_range == ColorRange.JPEG
    if stated.full_range is not None:
        return stated.full_range
    return model == "grey" and stated.codec in _FULL_GREY


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A matrix and an offset that turn three samples of a pixel into three other values."""

    rows: tuple[tuple[float, float, float], ...]
    offsets: tuple[float, float, float]


def decoding(colours: Colours, model: Model, bits: int, *, scale: int = 1) -> Affine:
    """Return the map from samples of `bits` to R'G'B' from 0 to `scale`, or to an intermediate colour space.

    That is L'M'S' for ICtCp, and Y'CbCr with chroma from -0.5 to 0.5 for constant luminance.

    Raises:
        UnsupportedMediaError: the matrix is one that is not converted.
    """
    step = Fraction(1 << bits, 256)
    peak = (1 << bits) - 1
    if colours.full_range:
        luma, chroma = (Fraction(0), Fraction(1, peak)), (Fraction(1 << bits, 2), Fraction(1, peak))
    else:
        luma, chroma = (16 * step, 1 / (219 * step)), (128 * step, 1 / (224 * step))
    if model == "grey":
        return _affine([[Fraction(1), Fraction(0), Fraction(0)]] * 3, [luma] * 3, scale)
    if model == "rgb":
        return _affine(_UNIT, [luma] * 3, scale)
    if colours.matrix == IDENTITY:  # G, B and R in the place of Y, Cb and Cr
        return _affine([_UNIT[2], _UNIT[0], _UNIT[1]], [luma] * 3, scale)
    return _affine(_matrix(colours), [luma, chroma, chroma], scale)


_UNIT: Final[Matrix] = [[Fraction(int(row == column)) for column in range(3)] for row in range(3)]


def _affine(matrix: Matrix, samples: list[tuple[Fraction, Fraction]], scale: int) -> Affine:
    """Combine a matrix with (zero, unit) of the samples it takes. All of it is exact until the end."""
    rows = [[scale * entry * unit for entry, (_, unit) in zip(row, samples, strict=True)] for row in matrix]
    offsets = [-sum(entry * zero for entry, (zero, _) in zip(row, samples, strict=True)) for row in rows]
    red, green, blue = (float(offset) for offset in offsets)
    return Affine(rows=tuple((float(a), float(b), float(c)) for a, b, c in rows), offsets=(red, green, blue))


def _matrix(colours: Colours) -> Matrix:
    if colours.matrix in _REFUSED:
        raise UnsupportedMediaError(f"the video's colours are {_REFUSED[colours.matrix]}, which is not read")
    if colours.matrix == YCGCO:
        return [[Fraction(sign) for sign in row] for row in ((1, -1, 1), (1, 1, 0), (1, -1, -1))]
    if colours.matrix == CONSTANT_LUMINANCE:
        return _UNIT
    if colours.matrix == ICTCP:
        return inverse(_ICTCP_HLG if colours.transfer == ColorTrc.ARIB_STD_B67 else _ICTCP_PQ)
    weights = _LUMA.get(colours.matrix) or _LUMA_OF_PRIMARIES.get(colours.primaries)
    if weights is None:
        raise UnsupportedMediaError("the video's matrix is derived from primaries that are not read")
    red, blue = weights
    green = 1 - red - blue
    of_red, of_blue = 2 * (1 - red), 2 * (1 - blue)
    return [
        [Fraction(1), Fraction(0), of_red],
        [Fraction(1), -of_blue * blue / green, -of_red * red / green],
        [Fraction(1), of_blue, Fraction(0)],
    ]


def _over_4096(*rows: tuple[int, int, int]) -> Matrix:
    return [[Fraction(entry, 4096) for entry in row] for row in rows]


# ITU-R BT.2100-2, table 7.
_ICTCP_PQ: Final = _over_4096((2048, 2048, 0), (6610, -13613, 7003), (17933, -17390, -543))
_ICTCP_HLG: Final = _over_4096((2048, 2048, 0), (3625, -7465, 3840), (9500, -9212, -288))
LMS_OF_BT2020: Final = _over_4096((1688, 2146, 262), (683, 2951, 462), (99, 309, 3688))

# Chromaticities x and y of red, green and blue; the white of all is D65.
_CHROMATICITIES: Final = {
    int(ColorPrimaries.BT709): ("0.64 0.33", "0.30 0.60", "0.15 0.06"),
    int(ColorPrimaries.BT2020): ("0.708 0.292", "0.170 0.797", "0.131 0.046"),
    int(ColorPrimaries.SMPTE431): ("0.680 0.320", "0.265 0.690", "0.150 0.060"),
    int(ColorPrimaries.SMPTE432): ("0.680 0.320", "0.265 0.690", "0.150 0.060"),
}
_D65: Final = "0.3127 0.3290"


def to_bt709(primaries: int) -> Matrix:
    """Return what turns linear RGB of some primaries into BT.709's. Unknown ones are those of BT.2020."""
    source = primaries if primaries in _CHROMATICITIES else int(ColorPrimaries.BT2020)
    return product(inverse(_xyz_of(int(ColorPrimaries.BT709))), _xyz_of(source))


def _xyz_of(primaries: int) -> Matrix:
    """Return what turns linear RGB into XYZ, so that R = G = B = 1 is white of Y = 1."""
    columns = [_xyz(text) for text in _CHROMATICITIES[primaries]]
    bare = [[column[row] for column in columns] for row in range(3)]
    white = [[part] for part in _xyz(_D65)]
    amounts = [row[0] for row in product(inverse(bare), white)]
    return [[entry * amount for entry, amount in zip(row, amounts, strict=True)] for row in bare]


def _xyz(chromaticity: str) -> list[Fraction]:
    x, y = (Fraction(part) for part in chromaticity.split())
    return [x / y, Fraction(1), (1 - x - y) / y]


def product(left: Matrix, right: Matrix) -> Matrix:
    """Return the product of two matrices."""
    return [
        [
            sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0))
            for column in zip(*right, strict=True)
        ]
        for row in left
    ]


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse of a matrix of three rows, by its cofactors."""

    def cofactor(row: int, column: int) -> Fraction:
        a, b = (row + 1) % 3, (row + 2) % 3
        c, d = (column + 1) % 3, (column + 2) % 3
        return matrix[a][c] * matrix[b][d] - matrix[a][d] * matrix[b][c]

    determinant = sum(matrix[0][column] * cofactor(0, column) for column in range(3))
    return [[cofactor(row, column) / determinant for row in range(3)] for column in range(3)]
