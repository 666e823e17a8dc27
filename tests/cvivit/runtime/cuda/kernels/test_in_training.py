"""Training uses the kernels only where they give torch's results and gradients."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cvivit.network import depthwise
from cvivit.network.depthwise import set_convolution
from cvivit.runtime.cuda.kernels.in_training import use_kernels_where_they_agree

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.kernels import position_gradient

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    yield
    set_convolution("cpu", None)


@pytest.mark.slow
def test_kernels_that_agree_are_used() -> None:
    assert use_kernels_where_they_agree(CPU)
    assert depthwise._convolutions["cpu"] is position_gradient.convolve


@pytest.mark.parametrize("how", ["wrong", "raises"])
def test_others_are_not(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str) -> None:
    def other(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if how == "raises":
            raise FileNotFoundError("ptxas")
        return x * weight.sum() * bias.sum()

    monkeypatch.setattr(position_gradient, "convolve", other)
    with caplog.at_level(logging.WARNING):
        assert not use_kernels_where_they_agree(CPU)
    assert "cpu" not in depthwise._convolutions
    assert "torch's own convolution" in caplog.text
