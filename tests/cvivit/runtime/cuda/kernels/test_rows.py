"""Kernels that work on rows: layer norm, gated feed-forward, lookup and gather, against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.kernels.feed_forward import WIDTH_MULTIPLE, gated_up
from cvivit.runtime.cuda.kernels.layer_norm import layer_norm
from cvivit.runtime.cuda.kernels.lookup import gather_codes, nearest_codes, padded_width


@pytest.mark.parametrize("dim", [32, 96, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_norm_moves_rows(dim: int, dtype: torch.dtype) -> None:
    x, gamma, beta = (torch.randn(2, 3, 5, dim) * 3 + 1).to(dtype), torch.randn(dim), torch.randn(dim)
    out = torch.full((2, 6, 3, dim), torch.nan)
    layer_norm(x, gamma, beta, out[:, 1:].transpose(1, 2))
    expected = F.layer_norm(x.double(), (dim,), gamma.double(), beta.double())
    torch.testing.assert_close(out[:, 1:].transpose(1, 2).double(), expected, rtol=0, atol=1e-5)
    assert out[:, 0].isnan().all()


def test_layer_norm_can_only_move() -> None:
    x, out = torch.randn(2, 3, 5, 32), torch.empty(2, 5, 3, 32)
    layer_norm(x, x.new_empty(32), x.new_empty(32), out.transpose(1, 2), False)
    assert torch.equal(out.transpose(1, 2), x)


@pytest.mark.parametrize(("rows", "dim", "inner"), [(1, 16, WIDTH_MULTIPLE), (200, 96, 2 * WIDTH_MULTIPLE)])
def test_gated_feed_forward(rows: int, dim: int, inner: int) -> None:
    x, weight = torch.randn(rows, dim), torch.randn(2 * inner, dim) * 0.1
    value, gate = (x.double() @ weight.double().t()).chunk(2, -1)
    torch.testing.assert_close(gated_up(x, weight).double(), value * F.gelu(gate), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("codes", "width"), [(64, 8), (200, 32), (600, 80)])
@pytest.mark.parametrize("products", ["ieee", "tf32x3"])
def test_lookup_takes_the_first_of_the_nearest(codes: int, width: int, products: str) -> None:
    x, book = torch.randn(60, width), F.normalize(torch.randn(codes, width), dim=-1)
    # Triton's interpreter multiplies with NumPy, which may add in another order for each code. Here the sums
    # for the two equal codes are exact, so that they are equal in any order.
    x = (4 * x).round() / 4
    book[3] = F.pad(torch.tensor([0.5, -0.5, 0.5, 0.5]), (0, width - 4))
    book[50] = book[3]
    x[0] = 5 * book[3]
    padded = padded_width(width)
    out = torch.zeros(2, 5, 6, dtype=torch.uint16)
    nearest_codes(pad(x, padded), pad(book, padded), out.transpose(1, 2), products)
    found = out.transpose(1, 2).reshape(-1).long()
    assert found[0] == 3
    assert torch.equal(found, (x.double() @ book.double().t()).argmax(-1))


def pad(x: Tensor, width: int) -> Tensor:
    return F.pad(x, (0, width - x.shape[1]))


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int64])
def test_gather(dtype: torch.dtype) -> None:
    table, tokens = torch.randn(300, 96).bfloat16(), torch.randint(0, 300, (2, 5, 6))
    found = gather_codes(table, tokens.to(dtype).transpose(1, 2))
    assert torch.equal(found, table[tokens.transpose(1, 2).reshape(-1)])
