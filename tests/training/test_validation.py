"""How many clips are validated, however many processes share them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cvivit import CViViTConfig
from cvivit.network import CViViT
from training import distributed
from training.batch import Batch
from training.config import ValidationConfig
from training.validation import validate


def batches(config: CViViTConfig) -> Iterator[Batch]:
    for number in range(10):
        yield Batch(video=torch.zeros(3, *config.clip_shape, dtype=torch.uint8), keys=(str(number),) * 3)


@pytest.mark.parametrize("clips", [1, 7, 12])
def test_ranks_together_measure_as_many_clips_as_were_asked_for(
    tiny_model: CViViT, monkeypatch: pytest.MonkeyPatch, clips: int
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 5)
    measured = 0.0
    for rank in range(5):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        config = ValidationConfig(clips=clips, lpips=False)
        found = validate(tiny_model, batches(tiny_model.config), config, device=torch.device("cpu"))
        measured += found.figures["clips"]
    assert measured == clips
