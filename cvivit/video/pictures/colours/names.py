"""The names of what frames state of their colours, for reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cvivit.video.pictures.colours.matrices import (
    CONSTANT_LUMINANCE,
    DERIVED,
    ICTCP,
    IDENTITY,
    YCGCO,
    Colours,
)

_MATRIX_NAMES: Final = {
    IDENTITY: "RGB",
    1: "BT.709",
    4: "FCC",
    5: "BT.601",
    6: "BT.601",
    7: "SMPTE 240M",
    YCGCO: "YCgCo",
    9: "BT.2020",
    CONSTANT_LUMINANCE: "BT.2020 of constant luminance",
    DERIVED: "derived from the primaries",
    ICTCP: "ICtCp",
}
_TRANSFER_NAMES: Final = {
    1: "BT.709",
    4: "gamma 2.2",
    5: "gamma 2.8",
    6: "BT.601",
    7: "SMPTE 240M",
    8: "linear",
    11: "xvYCC",
    13: "sRGB",
    14: "BT.2020",
    15: "BT.2020",
    16: "PQ",
    18: "HLG",
}
_PRIMARIES_NAMES: Final = {
    1: "BT.709",
    4: "BT.470 M",
    5: "BT.601 (625 lines)",
    6: "BT.601 (525 lines)",
    7: "SMPTE 240M",
    8: "film",
    9: "BT.2020",
    11: "DCI-P3",
    12: "Display P3",
}
_UNSPECIFIED: Final = 2


@dataclass(frozen=True, kw_only=True)
class ColourNames:
    """The names of what a frame states of its colours; None is unspecified."""

    matrix: str
    transfer: str | None
    primaries: str | None

    @classmethod
    def of(cls, colours: Colours) -> ColourNames:
        """Name the numbers of ISO/IEC 23091-2. Those without a usual name stay numbers."""
        return cls(
            matrix=_name(_MATRIX_NAMES, colours.matrix) or "BT.709",
            transfer=_name(_TRANSFER_NAMES, colours.transfer),
            primaries=_name(_PRIMARIES_NAMES, colours.primaries),
        )


def _name(names: dict[int, str], number: int) -> str | None:
    return names.get(number, None if number in (0, _UNSPECIFIED) else f"number {number}")
