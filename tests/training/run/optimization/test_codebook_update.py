"""The codebook's training step against VectorQuantize's own, and what it adds."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

from training.config.schema import QuantizerConfig
from training.run.optimization.codebook_update import CodebookTraining, rotation


def make_vq(codes: int = 32) -> VectorQuantize:
    torch.manual_seed(0)
    vq = VectorQuantize(
        dim=12,
        codebook_size=codes,
        codebook_dim=6,
        use_cosine_sim=True,
        commitment_weight=0.25,
        rotation_trick=False,
    )
    vq._codebook.cluster_size.fill_(10)
    return vq


def features(seed: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 4, 4, 12, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gradient", ["straight_through", "rotation"])
def test_ten_steps_equal_those_of_vector_quantize(gradient: Literal["straight_through", "rotation"]) -> None:
    reference = make_vq()
    reference.rotation_trick = gradient == "rotation"
    ours = copy.deepcopy(reference)
    codebook = CodebookTraining(ours, QuantizerConfig(gradient=gradient, update="micro_batch"))
    for step in range(10):
        x, y = features(step).requires_grad_(), features(step).requires_grad_()
        quantized, _, loss = reference(x.flatten(1, 3))
        mine = codebook(y)
        codebook.update(step)
        torch.testing.assert_close(mine.features.flatten(1, 3), quantized)
        torch.testing.assert_close(mine.commitment, loss)
        (quantized.square().sum() + loss).backward()
        (mine.features.square().sum() + mine.commitment).backward()
        torch.testing.assert_close(y.grad, x.grad)
        for name, value in reference.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value)


def test_rotation_has_the_value_and_the_gradient_of_the_reference() -> None:
    source = F.normalize(torch.randn(5, 6), dim=-1)
    target = F.normalize(torch.randn(5, 6), dim=-1)
    a, b = source.clone().requires_grad_(), source.clone().requires_grad_()
    upstream = torch.randn(5, 6)
    mine, reference = rotation(a, target), rotate_to(b, target)
    torch.testing.assert_close(mine, reference)
    torch.testing.assert_close(mine.detach(), target)
    (mine * upstream).sum().backward()
    (reference * upstream).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_updating_once_a_step_takes_both_micro_batches_as_one() -> None:
    whole, halves = make_vq(), make_vq()
    one, two = CodebookTraining(whole, QuantizerConfig()), CodebookTraining(halves, QuantizerConfig())
    x = features(3, batch=4)
    one(x)
    one.update(0)
    two(x[:2])
    two(x[2:])
    two.update(0)
    torch.testing.assert_close(halves.state_dict(), whole.state_dict())


def test_nothing_moves_without_quantizing() -> None:
    vq = make_vq()
    before = copy.deepcopy(vq.state_dict())
    codebook = CodebookTraining(vq, QuantizerConfig())
    passed = codebook(features(0), quantize=False)
    codebook.update(0)
    assert passed.commitment.item() == 0
    torch.testing.assert_close(vq.state_dict(), before)
    unit = F.normalize(vq.project_in(features(0)), dim=-1)
    torch.testing.assert_close(passed.features, vq.project_out(unit))


def test_kmeans_starts_the_codes_once_where_the_tokens_are() -> None:
    vq = make_vq(codes=8)
    codebook = CodebookTraining(vq, QuantizerConfig(kmeans=True))
    assert not vq._codebook.initted
    codebook(features(0))
    codes = vq._codebook.embed.clone()
    assert vq._codebook.initted
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(1, 8))
    assert vq._codebook.cluster_size.sum() == 2 * 3 * 4 * 4
    codebook(features(1))
    assert torch.equal(vq._codebook.embed, codes)


def test_kmeans_waits_for_enough_tokens_and_gives_different_codes() -> None:
    vq = make_vq(codes=200)
    before = copy.deepcopy(vq.state_dict())
    codebook = CodebookTraining(vq, QuantizerConfig(kmeans=True))
    for step in range(4):  # 96 tokens each, of the 400 that 200 codes need
        passed = codebook(features(step))
        codebook.update(step)
        assert passed.commitment.item() == 0
        assert codebook.take_use() == (0, 0)
        resumed = CodebookTraining(make_vq(codes=200), QuantizerConfig(kmeans=True))
        resumed.load_state_dict(codebook.state_dict())
        assert resumed.state_dict()["first_tokens"].shape == (96 * (step + 1), 6)
    assert torch.equal(vq._codebook.embed, before["_codebook.embed"])
    assert codebook(features(4)).commitment.item() > 0
    codes = vq._codebook.embed[0]
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(200))
    assert len(codes.unique(dim=0)) == 200
    assert codebook.state_dict() == {"first_tokens": None}


def test_a_frozen_codebook_quantizes_and_counts_but_does_not_move() -> None:
    vq = make_vq()
    before = copy.deepcopy(vq.state_dict())
    config = QuantizerConfig(kmeans=True, dead_code_threshold=0.5)
    codebook = CodebookTraining(vq, config, learns=False)
    codebook(features(0))
    codebook.update(0)
    torch.testing.assert_close(vq.state_dict(), before)
    assert codebook.take_use().used > 0


@pytest.mark.parametrize("batch", [2, 8])
def test_a_code_is_dead_by_its_share_whatever_the_batch(batch: int) -> None:
    """The same codes are dead whether the features come once or four times."""
    x = features(0).repeat(batch // 2, 1, 1, 1, 1)
    vq = make_vq()
    vq._codebook.cluster_size.zero_()
    codebook = CodebookTraining(vq, QuantizerConfig(dead_code_threshold=0.4))
    taken = torch.bincount(
        (F.normalize(vq.project_in(x), dim=-1) @ vq.codebook.t()).argmax(-1).flatten(), minlength=32
    )
    dead = taken < 0.4 * taken.sum() / 32
    assert 0 < dead.sum() < 32
    before = vq._codebook.embed[0].clone()
    codebook(x)
    codebook.update(0)
    restarted = vq._codebook.cluster_size[0] == 0.4 * (0.2 * taken).mean()
    assert torch.equal(restarted, dead)
    assert (vq._codebook.embed[0][dead] != before[dead]).any(dim=1).all()


def test_dead_codes_restart_at_tokens_of_the_step() -> None:
    vq = make_vq()
    vq._codebook.cluster_size[0, :4] = 0
    vq._codebook.embed[0, :4] = F.normalize(torch.full((4, 6), -1.0), dim=-1)
    codebook = CodebookTraining(vq, QuantizerConfig(dead_code_threshold=0.25))
    x = features(0)
    tokens = F.normalize(vq.project_in(x), dim=-1).flatten(0, 3)
    codebook(x)
    codebook.update(0)
    threshold = vq._codebook.cluster_size[0, :4].max()
    dead = vq._codebook.cluster_size[0] == threshold
    assert dead[:4].any()
    nearest = (vq._codebook.embed[0][dead] @ tokens.t()).max(dim=1).values
    torch.testing.assert_close(nearest, torch.ones_like(nearest))
    torch.testing.assert_close(vq._codebook.embed_avg[0][dead], threshold * vq._codebook.embed[0][dead])


def test_use_is_of_the_step_and_starts_again() -> None:
    vq = make_vq()
    codebook = CodebookTraining(vq, QuantizerConfig())
    assert codebook.take_use() == (0, 0)
    x = features(0)
    codebook(x)
    codebook.update(0)
    taken = (F.normalize(make_vq().project_in(x), dim=-1) @ make_vq().codebook.t()).argmax(-1).flatten()
    frequencies = torch.bincount(taken, minlength=32) / len(taken)
    use = codebook.take_use()
    assert use.used == pytest.approx((frequencies > 0).float().mean().item())
    assert use.perplexity == pytest.approx(torch.special.entr(frequencies).sum().exp().item(), rel=1e-5)
    assert codebook.take_use() == (0, 0)


def test_the_lookup_is_float32_under_autocast() -> None:
    plain = CodebookTraining(make_vq(), QuantizerConfig())(features(0))
    with torch.autocast("cpu", torch.bfloat16):
        cast = CodebookTraining(make_vq(), QuantizerConfig())(features(0))
    torch.testing.assert_close(cast.commitment, plain.commitment)
