"""A network for inference has the weights and the results of one that can be trained."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from cvivit import CViViTConfig
from cvivit.network import CViViT

VARIANTS: dict[str, dict[str, Any]] = {
    "stored codes": {"codebook_matching": "stored"},
    "normalized codes": {"codebook_matching": "normalized"},
    "no projection": {"codebook_dim": 32},
    "lookup-free": {"quantizer": "lfq", "codebook_dim": 6},
    "lookup-free, no projection": {"quantizer": "lfq", "codebook_dim": 6, "dim": 6, "heads": 1},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_weights_and_results_are_those_of_a_trainable_network(
    variant: str, tiny: CViViTConfig, recipe: ModuleType
) -> None:
    config = CViViTConfig(**tiny.model_dump() | VARIANTS[variant])
    trainable = CViViT(config).eval()
    trainable.load_state_dict(recipe.fill(trainable.state_dict(), 1))
    state = trainable.state_dict()
    lean = CViViT(config, inference=True).eval()
    described = {key: (value.shape, value.dtype) for key, value in lean.state_dict().items()}
    assert list(described.items()) == [(key, (value.shape, value.dtype)) for key, value in state.items()]
    lean.load_state_dict(state)
    video = torch.rand(2, 3, 5, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = trainable.encode(video)
    assert torch.equal(lean.encode(video), tokens)
    assert torch.equal(lean.decode(tokens), trainable.decode(tokens))
    with torch.no_grad():
        result = lean(video)
    assert torch.equal(result.indices, tokens)
    assert torch.equal(result.video, trainable.decode(tokens))
    assert result.commitment == 0


def test_gradients_reach_the_decoder(tiny: CViViTConfig) -> None:
    model = CViViT(tiny, inference=True).eval()
    model(torch.rand(1, 3, 5, 32, 32)).video.sum().backward()
    assert model.to_pixels.get_parameter("0.weight").grad is not None
    assert model.to_patch_emb.get_parameter("2.weight").grad is None


def test_it_cannot_be_trained(tiny: CViViTConfig) -> None:
    model = CViViT(tiny, inference=True).train()
    with pytest.raises(RuntimeError, match="inference=True"):
        model(torch.zeros(1, 3, 5, 32, 32))


def test_a_tokenizer_loads_without_the_package_of_the_trainable_quantizer() -> None:
    program = (
        "import sys; from cvivit import VideoTokenizer;"
        "VideoTokenizer.from_pretrained('demo', device='cpu', precision='exact');"
        "sys.exit(' '.join({'vector_quantize_pytorch', 'einx', 'torch._dynamo'} & sys.modules.keys()) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
