"""The runner for CUDA devices, on a real one."""

from __future__ import annotations

import numpy as np
import pytest

from cvivit.network import CViViT
from cvivit.runtime.runner import make_runner


@pytest.mark.gpu
def test_exact_tokens_do_not_depend_on_company_on_a_gpu(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = make_runner(tiny_model, device="cuda", precision="exact")
    runner.warm_up()
    alone = [runner.encode_clips(clip[None])[0] for clip in clips]
    for order in ([0, 1, 2], [2, 2, 0], [1]):
        together = runner.encode_clips(clips[order])
        assert all(np.array_equal(row, alone[i]) for row, i in zip(together, order, strict=True))
