"""A clip with motion, to measure."""

from __future__ import annotations

import numpy as np
from PIL import Image

from training.evaluate.clips import EvaluationClip


def moving(seed: int, frames: int = 5) -> EvaluationClip:
    """Return a clip of soft blobs that drift, 64x64."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(blobs).resize((96, 64), Image.Resampling.BICUBIC))
    shown = np.stack([scene[:, 2 * number : 2 * number + 64] for number in range(frames)])
    return EvaluationClip(key=f"clip {seed}", frames=shown, real=frames)
