"""TF32 is off inside a computation whichever of torch's switches is set, and is restored afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from cvivit.runtime.precision import _convolutions, _products, _set_convolutions, _set_products, arithmetic

CUDA = torch.device("cuda", 0)
MATMUL: Any = torch.backends.cuda.matmul
CUDNN: Any = torch.backends.cudnn


@pytest.fixture(autouse=True)
def settings_are_put_back() -> Iterator[None]:
    products, convolutions = _products(), _convolutions()
    yield
    _set_products(products)
    _set_convolutions(convolutions)


def switch(owner: Any, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


SWITCHES = {
    "none": lambda: None,
    "set_float32_matmul_precision": lambda: torch.set_float32_matmul_precision("high"),
    "matmul.allow_tf32": switch(MATMUL, "allow_tf32", True),
    "matmul.fp32_precision": switch(MATMUL, "fp32_precision", "tf32"),
    "cudnn.allow_tf32": switch(CUDNN, "allow_tf32", True),
    "cudnn.conv.fp32_precision": switch(CUDNN.conv, "fp32_precision", "tf32"),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_tf32_is_off_whoever_turned_it_on(name: str) -> None:
    SWITCHES[name]()
    before = _products(), _convolutions()
    with arithmetic("exact", CUDA):
        # Each of these raises where torch's two switches contradict each other.
        assert MATMUL.fp32_precision == "ieee"
        assert not MATMUL.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
        assert CUDNN.conv.fp32_precision == "ieee"
        assert not CUDNN.allow_tf32
        assert CUDNN.deterministic
        assert not CUDNN.benchmark
    assert (_products(), _convolutions()) == before


@pytest.mark.parametrize("name", SWITCHES)
def test_the_lookup_of_fast_has_no_tf32_either(name: str) -> None:
    SWITCHES[name]()
    with arithmetic("fast", CUDA):
        assert not MATMUL.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
