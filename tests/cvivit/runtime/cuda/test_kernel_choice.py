"""The kernels compute only where they agree with the plain modules, which replace them after any failure."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvivit.errors import DeviceLostError
from cvivit.network import CViViT
from cvivit.runtime.cuda.comparing import Comparison
from cvivit.runtime.cuda.kernel_choice import why_unavailable
from cvivit.runtime.cuda.runner import CUDARunner
from tests.cvivit.runtime.cuda.conftest import VARIANTS, make
from tests.cvivit.runtime.cuda.simulated_device import SimulatedDevice

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.network import PackedNetwork

pytestmark = pytest.mark.usefixtures("interpreter")

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class Float32Runner(CUDARunner):
    """Computes in float32 what "fast" computes in bfloat16, which Triton's interpreter multiplies wrongly."""

    def _prepare(self, model: CViViT) -> CViViT:
        self._dtype = torch.float32
        return super()._prepare(model)


@pytest.fixture(scope="module")
def model() -> CViViT:
    return make(VARIANTS["released"])


@pytest.fixture
def clips(model: CViViT) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, *model.config.clip_shape), dtype=np.uint8)


def tolerate(network: Any, codes: int) -> None:
    """Let a network decode invalid tokens. The simulation decodes whatever is in memory, to learn a shape."""
    decode = network.decode
    network.decode = lambda tokens: decode(tokens.long() % codes)


def runner(model: CViViT, kind: type[CUDARunner] = Float32Runner, **options: Any) -> CUDARunner:
    made = kind(model, device=CPU, precision="fast", on=SimulatedDevice(), **options)
    for network in (made._plain, made._selection._packed):
        if network is not None:
            tolerate(network, model.config.codebook_size)
    return made


def test_kernels_that_agree_compute(model: CViViT, clips: np.ndarray) -> None:
    on_kernels, plain = runner(model), runner(model, kernels="plain")
    tokens = on_kernels.encode_clips(clips)
    assert on_kernels.kernels.name == "triton"
    assert on_kernels.kernels.reason is None
    assert plain.kernels.name == "plain"
    assert np.array_equal(tokens, plain.encode_clips(clips))
    found, expected = on_kernels.decode_clips(tokens), plain.decode_clips(tokens)
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_kernels_that_disagree_do_not(
    model: CViViT, clips: np.ndarray, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = PackedNetwork.encode
    monkeypatch.setattr(PackedNetwork, "encode", lambda self, x: encode(self, x).roll(1, dims=-1))
    with caplog.at_level(logging.WARNING):
        wrong = runner(model)
        tokens = wrong.encode_clips(clips)
    assert wrong.kernels.name == "plain"
    assert "disagree" in str(wrong.kernels.reason)
    assert "disagree" in caplog.text
    assert np.array_equal(tokens, runner(model, kernels="plain").encode_clips(clips))


@pytest.mark.parametrize(
    "error", [RuntimeError("out of resource: shared memory"), FileNotFoundError("ptxas"), MemoryError()]
)
@pytest.mark.parametrize("where", ["__init__", "encode"])
def test_whatever_fails_the_plain_modules_go_on(
    model: CViViT, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(PackedNetwork, where, fail)
    made = runner(model)
    assert np.array_equal(made.encode_clips(clips), runner(model, kernels="plain").encode_clips(clips))
    assert made.kernels.name == "plain"
    assert type(error).__name__ in str(made.kernels.reason)


@pytest.mark.slow
def test_kernels_that_fail_later_are_given_up(
    model: CViViT, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = runner(model)
    expected = made.encode_clips(clips)
    assert made.kernels.name == "triton"

    def fail(_self: PackedNetwork, _clips: Tensor) -> Tensor:
        raise ValueError("a shape that nobody thought of")

    monkeypatch.setattr(PackedNetwork, "encode", fail)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(made.encode_clips(clips), expected)
    assert "nobody thought of" in caplog.text
    assert "nobody thought of" not in str(made.kernels.reason)
    assert "ValueError" in str(made.kernels.reason)


def test_a_device_that_the_kernels_lose_is_lost(
    model: CViViT, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_self: PackedNetwork, _clips: Tensor) -> Tensor:
        raise RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")

    monkeypatch.setattr(PackedNetwork, "encode", lose)
    with pytest.raises(DeviceLostError):
        runner(model).encode_clips(clips)


@pytest.mark.slow
def test_clips_that_are_too_large_for_the_kernels(
    model: CViViT, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = runner(model)
    expected = made.encode_clips(clips)
    monkeypatch.setattr(PackedNetwork, "fits", lambda *_: False)
    monkeypatch.setattr(PackedNetwork, "encode", lambda *_: pytest.fail("the kernels were called"))
    assert np.array_equal(made.encode_clips(clips), expected)
    assert made.kernels.name == "triton"


def test_reasons_before_anything_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_unavailable("auto", "fast", CPU) is None
    assert "setting" in str(why_unavailable("plain", "fast", CUDA))
    assert "exact" in str(why_unavailable("auto", "exact", CUDA))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "compiler" in str(why_unavailable("auto", "fast", CUDA))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "Triton" in str(why_unavailable("auto", "fast", CUDA))


def test_an_unknown_choice(model: CViViT) -> None:
    with pytest.raises(ValueError, match="auto or plain"):
        runner(model, kernels="cuda")


@pytest.mark.parametrize(
    ("tokens", "pixels", "agrees"), [(0.03, 0.6, True), (0.05, 0.6, False), (0.03, 1.2, False)]
)
def test_tolerances(tokens: float, pixels: float, agrees: bool) -> None:
    found = Comparison(tokens=tokens, plain_tokens=0.01, pixels=pixels, plain_pixels=0.3)
    assert found.agrees is agrees
