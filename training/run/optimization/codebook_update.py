"""The training step of the codebook: VectorQuantize's statistics without its one-hot matrix.

vector-quantize-pytorch finds counts and sums per code by a one-hot of tokens x codes, twice multiplied: for
eight clips and 8,192 codes 400 MB and two products of 6.4 GFLOP. Here the counts are a bincount and the sums
an index_add, of the same values.

What is learned stays in the model's own VectorQuantize, so its state dict is the release's: `embed` (codes),
`cluster_size` (moving count of tokens per code), `embed_avg` (moving sum of them) and `initted`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cvivit.metrics import codebook_use, perplexity
from cvivit.network.quantizer import nearest_codes
from training.config.schema import QuantizerConfig
from training.run import distributed

LAPLACE_EPSILON = 1e-5
"""Added to every count before codes are divided by them, as VectorQuantize does."""


class Quantized(NamedTuple):
    """What the decoder goes on with."""

    features: Tensor
    """`b T H W d`."""
    commitment: Tensor
    """Scalar."""


class CodebookUse(NamedTuple):
    """How the tokens of one optimizer step spread over the codes, in all processes."""

    used: float
    """Share of the codes that any token took."""
    perplexity: float
    """As `cvivit.metrics.perplexity`."""


class CodebookTraining:
    """Quantizes features while the codebook learns from them.

    Call it for every micro-batch and `update` it after each, or once after them all. Between updates it holds
    the statistics of the tokens seen since.

    Args:
        vq: the VectorQuantize of a CViViT, whose buffers are changed in place.
        config: how the codebook learns.
        seed: of the choice of tokens that start and restart codes.
    """

    def __init__(self, vq: nn.Module, config: QuantizerConfig, *, seed: int = 0) -> None:
        self.vq: Any = vq
        self.config = config
        self.seed = seed
        book: Any = self.vq._codebook
        if config.kmeans:
            book.initted.fill_(False)
        self._counts = torch.zeros_like(book.cluster_size[0])
        self._sums = torch.zeros_like(book.embed_avg[0])
        self._tokens: Tensor | None = None
        self._step_counts = torch.zeros_like(self._counts)

    def __call__(self, features: Tensor, *, quantize: bool = True) -> Quantized:
        """Quantize `b T H W d`, in float32 whatever the precision around it.

        Without `quantize` the unit vectors that would have been looked up pass as they are, nothing is
        counted and nothing is lost by rounding, so the commitment is zero.
        """
        grid = features.shape[:-1]
        with torch.autocast(features.device.type, enabled=False):
            projected = self.vq.project_in(features.float())
            unit = F.normalize(rearrange(projected, "b T H W d -> (b T H W) d"), dim=-1)
            if not quantize:
                passed, commitment = unit, unit.new_zeros(())
            else:
                codes = self._look_up(unit.detach())
                commitment = self.config.commitment_weight * F.mse_loss(unit, codes)
                rotate = self.config.gradient == "rotation"
                passed = rotation(unit, codes) if rotate else straight_through(unit, codes)
        return Quantized(self.vq.project_out(passed).unflatten(0, grid), commitment)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the codes by the tokens seen since the last update.

        With `statistics = "all_ranks"` those of every process count, and every process moves alike; with
        `"rank_zero"` those of the first, whose codes the others take over.
        """
        if self._tokens is None:
            return
        book, synced = self.vq._codebook, self.config.statistics == "all_ranks"
        own_counts = self._counts.clone()
        if synced:
            distributed.sum_(self._counts)
            distributed.sum_(self._sums)
        self._step_counts += self._counts if synced else distributed.sum_(own_counts)
        keep = 1 - self.config.decay
        book.cluster_size[0].lerp_(self._counts, keep)
        book.embed_avg[0].lerp_(self._sums, keep)
        self._divide()
        if self.config.dead_code_threshold:
            self._restart_dead_codes(self._tokens, step)
        self._follow_rank_zero()
        self._counts.zero_()
        self._sums.zero_()
        self._tokens = None

    def take_use(self) -> CodebookUse:
        """Return how codes were used by the updates since the last call: zeros where there were none."""
        counts = self._step_counts.cpu().numpy()  # the only wait for the device
        used = codebook_use(counts)
        use = CodebookUse(used=used, perplexity=perplexity(counts) if used else 0.0)
        self._step_counts.zero_()
        return use

    @torch.no_grad()
    def _look_up(self, unit: Tensor) -> Tensor:
        """Return the codes `n d` of unit vectors `n d`, and count them."""
        book = self.vq._codebook
        if not book.initted:
            self._start(unit)
        indices = nearest_codes(unit, book.embed[0])
        self._counts += torch.bincount(indices, minlength=len(self._counts))
        self._sums.index_add_(0, indices, unit)
        self._tokens = unit
        codes: Tensor = book.embed[0][indices]
        return codes

    def _divide(self) -> None:
        """Set the codes to the directions of the moving sums."""
        book = self.vq._codebook
        counts, sums = book.cluster_size[0], book.embed_avg[0]
        total = counts.sum()
        smoothed = (counts + LAPLACE_EPSILON) / (total + len(counts) * LAPLACE_EPSILON) * total
        book.embed[0].copy_(F.normalize(sums / smoothed.unsqueeze(1), dim=-1, eps=1e-6))

    def _start(self, unit: Tensor) -> None:
        """Set the codes to the centres that k-means finds among the tokens of this micro-batch."""
        book, synced = self.vq._codebook, self.config.statistics == "all_ranks"
        size = len(self._counts)
        centres = self._choose(unit, size, seed=self.seed, synced=synced, repeat=True)
        for _ in range(self.config.kmeans_iterations):
            indices = nearest_codes(unit, centres)
            counts = torch.bincount(indices, minlength=size).to(unit.dtype)
            sums = torch.zeros_like(centres).index_add_(0, indices, unit)
            if synced:
                distributed.sum_(counts)
                distributed.sum_(sums)
            centres = torch.where(counts.unsqueeze(1) > 0, F.normalize(sums, dim=-1), centres)
        book.cluster_size[0].copy_(counts)
        book.embed_avg[0].copy_(torch.where(counts.unsqueeze(1) > 0, sums, 0.0))
        book.embed[0].copy_(centres)
        book.initted.fill_(True)
        self._follow_rank_zero()

    def _restart_dead_codes(self, unit: Tensor, step: int) -> None:
        """Put codes that few tokens take where tokens of this step are."""
        book, threshold = self.vq._codebook, self.config.dead_code_threshold
        dead = (book.cluster_size[0] < threshold).nonzero().squeeze(1)
        if not len(dead):
            return
        synced = self.config.statistics == "all_ranks"
        tokens = self._choose(unit, len(dead), seed=self.seed + step + 1, synced=synced, repeat=False)
        # With fewer tokens than dead codes, the rest wait for the next step rather than share a token.
        dead = dead[: len(tokens)]
        book.embed[0][dead] = tokens
        book.cluster_size[0][dead] = threshold
        book.embed_avg[0][dead] = tokens * threshold

    def _follow_rank_zero(self) -> None:
        if self.config.statistics == "rank_zero":
            book = self.vq._codebook
            for tensor in (book.embed, book.embed_avg, book.cluster_size):
                distributed.broadcast_(tensor)

    @staticmethod
    def _choose(unit: Tensor, number: int, *, seed: int, synced: bool, repeat: bool) -> Tensor:
        """Return random tokens, the same ones in every process and however the clips are spread over them.

        Tokens are numbered through all processes in rank order; each contributes those it holds.
        """
        sizes = distributed.gather(len(unit)) if synced else [len(unit)]
        before, total = sum(sizes[: distributed.rank()]) if synced else 0, sum(sizes)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(total, generator=generator)[:number]
        if repeat and total < number:
            more = torch.randint(total, (number - total,), generator=generator)
            chosen = torch.cat((chosen, more))
        here = chosen.to(unit.device) - before
        held = (here >= 0) & (here < len(unit))
        tokens = torch.where(held.unsqueeze(1), unit[here.clamp(0, len(unit) - 1)], 0.0)
        return distributed.sum_(tokens) if synced else tokens


def straight_through(source: Tensor, target: Tensor) -> Tensor:
    """Return `target` with the gradient of `source`, both `n d`."""
    return source + (target - source).detach()


def rotation(source: Tensor, target: Tensor) -> Tensor:
    """Return unit `target` as a rotation of unit `source`, both `n d`, through which gradients turn back.

    The rotation in the plane of the two is two reflections (arXiv 2410.06424, section 4.2), and constant
    as far as gradients go.
    """
    u, q = source.detach(), target.detach()
    w = F.normalize(u + q, dim=-1, eps=1e-6)

    def along(direction: Tensor) -> Tensor:
        return (source * direction).sum(dim=-1, keepdim=True)

    return source - 2 * w * along(w) + 2 * q * along(u)
