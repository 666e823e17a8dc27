"""What torch.compile makes of the network, with the options that training gives it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cvivit import CViViT, CViViTConfig
from training.run.compiling import compiler_options


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler warns of torch's own code
def test_two_layers_over_time_give_the_same_in_compiled_code() -> None:
    """On a CPU with AVX-512, torch's default gave NaN here."""
    torch.manual_seed(0)
    model = CViViT(CViViTConfig.demo(image_size=(64, 64))).train()
    features = torch.randn(4, 6, 8, 8, model.config.dim)

    def over_time(x: Tensor) -> Tensor:
        return model._over_time(model.dec_temporal_transformer, x)

    compiled = torch.compile(over_time, **compiler_options())
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = over_time(features), compiled(features)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.05)
