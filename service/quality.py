"""How close a reconstruction is: PSNR of the whole, SSIM as a mean over frames."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Clip = npt.NDArray[np.uint8]


def prepare() -> None:
    """Import what takes seconds to import, before the first request needs it."""
    import torchmetrics.functional.image  # noqa: F401


class Quality:
    """Adds up clips as they come. Pixels are uint8: the peak is 255."""

    def __init__(self) -> None:
        self._squared_error = 0.0
        self._values = 0
        self._ssim = 0.0
        self._frames = 0

    def add(self, original: Clip, reconstruction: Clip) -> None:
        """Count the frames of a clip (t h w c) and of its reconstruction."""
        import torch
        from torchmetrics.functional.image import structural_similarity_index_measure

        difference = original.astype(np.float32) - reconstruction
        self._squared_error += float(np.square(difference).sum(dtype=np.float64))
        self._values += difference.size
        first, second = (
            torch.from_numpy(clip).permute(0, 3, 1, 2).float()
            for clip in (reconstruction.copy(), original.copy())
        )
        by_frame = structural_similarity_index_measure(first, second, data_range=255.0, reduction="none")
        assert isinstance(by_frame, torch.Tensor)
        self._ssim += float(by_frame.sum())
        self._frames += len(original)

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB: infinite where not a value differs."""
        if not self._squared_error:
            return math.inf
        return 10 * math.log10(255**2 * self._values / self._squared_error)

    @property
    def ssim(self) -> float:
        """Structural similarity, at most 1 (Wang et al. 2004: Gaussian window of 11 pixels)."""
        return self._ssim / max(1, self._frames)
