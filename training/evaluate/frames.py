"""Every figure of a reconstruction frame by frame, and what a set of clips shows at each place in a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from einops import reduce
from torch import Tensor

from cvivit.metrics import (
    error_change_by_transition,
    luma_shift_by_frame,
    mse_by_frame,
    psnr_capped,
    ssim_by_frame,
)

FRAME_FIGURES: Final = ("psnr", "ssim", "lpips", "brightness_shift")
"""The figures that each frame has."""
CLIP_FIGURES: Final = (*FRAME_FIGURES, "flicker")
"""The figures that each clip has."""


@dataclass(frozen=True, kw_only=True)
class FrameMeasures:
    """The figures of the frames of clips, each `b t`."""

    mse: Tensor
    """Squared grey levels."""
    ssim: Tensor
    brightness_shift: Tensor
    """Signed grey levels of luma."""
    flicker: Tensor
    """Grey levels, `b t-1`: from each frame to the next."""
    lpips: Tensor | None = None

    def cpu(self) -> FrameMeasures:
        """Return the same figures in the memory of the CPU."""
        tensors: dict[str, Any] = {
            name: None if value is None else value.cpu() for name, value in vars(self).items()
        }
        return FrameMeasures(**tensors)

    def by_frame(self) -> dict[str, Tensor]:
        """Return FRAME_FIGURES that were measured, each `b t`."""
        figures = {
            "psnr": psnr_capped(self.mse),
            "ssim": self.ssim,
            "lpips": self.lpips,
            "brightness_shift": self.brightness_shift,
        }
        return {name: values for name, values in figures.items() if values is not None}

    def by_clip(self) -> dict[str, Tensor]:
        """Return CLIP_FIGURES that were measured, each `b`. A clip of one frame has no flicker.

        PSNR is that of the mean squared error of the whole clip, and not the mean over its frames.
        """
        figures = self.by_frame() | {"psnr": self.mse}
        if self.flicker.shape[1]:
            figures["flicker"] = self.flicker
        means = {name: reduce(values, "b t -> b", "mean") for name, values in figures.items()}
        return means | {"psnr": psnr_capped(means["psnr"])}


def measure_frames(video: Tensor, reconstruction: Tensor, lpips: Tensor | None = None) -> FrameMeasures:
    """Return the figures of the frames of uint8 clips `b t h w c`, with their LPIPS `b t` if it is known."""
    return FrameMeasures(
        mse=mse_by_frame(video, reconstruction),
        ssim=ssim_by_frame(video, reconstruction),
        brightness_shift=luma_shift_by_frame(video, reconstruction),
        flicker=error_change_by_transition(video, reconstruction),
        lpips=lpips,
    )


class FrameMeans:
    """The means over clips at each index of a frame. Clips may have fewer frames than others."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._clips = np.zeros(0)

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Add the figures `t` of the frames of one clip, each by its name. All clips have the same names."""
        lengths = {len(values) for values in figures.values()}
        self._clips = _added(self._clips, np.ones(max(lengths, default=0)))
        for name, values in figures.items():
            self._sums[name] = _added(self._sums.get(name, np.zeros(0)), values.double().cpu().numpy())

    @property
    def clips(self) -> list[int]:
        """How many clips have a frame at each index."""
        return [int(count) for count in self._clips]

    def means(self) -> dict[str, list[float]]:
        """Return the mean of each figure at each index."""
        return {name: (sums / self._clips).tolist() for name, sums in self._sums.items()}


def _added(sums: np.ndarray, values: np.ndarray) -> np.ndarray:
    longer, shorter = (sums, values) if len(sums) >= len(values) else (values, sums)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total
