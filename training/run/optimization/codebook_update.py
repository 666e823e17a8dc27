"""How the codebook learns: the statistics of VectorQuantize, computed without its one-hot matrix.

A codebook of this kind learns by no gradient. Each code is the mean direction of the tokens that took it
lately. Of each code, a moving count of its tokens and a moving sum of them are kept, and the code is the sum
scaled to unit length::

    count <- decay * count + (1 - decay) * tokens of this update that took the code
    sum   <- decay * sum   + (1 - decay) * sum of these tokens
    code  <- sum / |sum|

vector-quantize-pytorch computes counts and sums by multiplying with a one-hot matrix of tokens x codes. For
eight clips and 8,192 codes that is 400 MB and two products of 6.4 GFLOP. Here the counts are a bincount and
the sums an index_add, which give the same values.

The state is kept in the model's own VectorQuantize, so the state dict has the keys of the release: `embed`
(the codes), `cluster_size` (the moving counts), `embed_avg` (the moving sums) and `initted` (whether k-means
ran).
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
"""Added to every count before sums are divided by counts, as VectorQuantize does."""
KMEANS_TOKENS_PER_CODE = 2
"""Tokens for each code that are collected before k-means runs. With fewer tokens than codes, codes would
start alike, and equal codes stay equal until they die."""


class Quantized(NamedTuple):
    """The result of quantizing a micro-batch."""

    features: Tensor
    """`b T H W d`."""
    commitment: Tensor
    """The commitment loss, a scalar."""


class CodebookUse(NamedTuple):
    """How the tokens of one optimizer step, in all processes, spread over the codes."""

    used: float
    """Share of the codes that at least one token took."""
    perplexity: float
    """As `cvivit.metrics.perplexity`."""


class CodebookTraining:
    """Quantizes features while the codebook learns from them.

    Call it for every micro-batch, and call `update` after each of them or once after all of them. Between
    updates it collects the statistics of the tokens.

    Args:
        vq: the VectorQuantize of a CViViT, whose buffers are changed in place.
        config: how the codebook learns.
        seed: the seed of the choice of tokens at which codes start and restart.
        learns: whether the codebook moves. A frozen one only quantizes.
    """

    def __init__(self, vq: nn.Module, config: QuantizerConfig, *, seed: int = 0, learns: bool = True) -> None:
        self.vq: Any = vq
        self.config = config
        self.seed = seed
        book: Any = self.vq._codebook
        self._learns = learns
        if config.kmeans and learns:
            book.initted.fill_(False)
        self._first_tokens: list[Tensor] = []
        self._counts = torch.zeros_like(book.cluster_size[0])
        self._sums = torch.zeros_like(book.embed_avg[0])
        self._tokens: Tensor | None = None
        self._is_started = False
        self._step_counts = torch.zeros_like(self._counts)

    def __call__(self, features: Tensor, *, quantize: bool = True) -> Quantized:
        """Quantize `b T H W d`, in float32 whatever the precision around it.

        Without `quantize`, and while tokens are collected for k-means, the unit vectors that would have been
        looked up pass unchanged. Then nothing is counted, and the commitment loss is zero.
        """
        grid = features.shape[:-1]
        with torch.autocast(features.device.type, enabled=False):
            projected = self.vq.project_in(features.float())
            unit = F.normalize(rearrange(projected, "b T H W d -> (b T H W) d"), dim=-1)
            if not (quantize and self._has_codes(unit.detach())):
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

        With `statistics = "all_ranks"` the tokens of all processes count, and every process moves its copy of
        the codes alike. With `"rank_zero"` only those of the first process count, and the others copy its
        codes.
        """
        if self._tokens is None:
            return
        if not self._learns:
            self._step_counts += distributed.sum_(self._counts)
            self._forget()
            return
        book, synced = self.vq._codebook, self.config.statistics == "all_ranks"
        own_counts = self._counts.clone()  # for the figures, which are of all processes in both modes
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
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """Return what this process has collected for k-means, which a checkpoint must hold."""
        return {"first_tokens": torch.cat(self._first_tokens).cpu() if self._first_tokens else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        tokens = state["first_tokens"]
        self._first_tokens = [] if tokens is None else [tokens.to(self._counts.device)]

    def take_use(self) -> CodebookUse:
        """Return how codes were used by the updates since the last call, or zeros if there were none."""
        counts = self._step_counts.cpu().numpy()  # the only wait for the device
        used = codebook_use(counts)
        use = CodebookUse(used=used, perplexity=perplexity(counts) if used else 0.0)
        self._step_counts.zero_()
        return use

    @torch.no_grad()
    def _look_up(self, unit: Tensor) -> Tensor:
        """Return the codes `n d` of unit vectors `n d`, and count them."""
        book = self.vq._codebook
        indices = nearest_codes(unit, book.embed[0])
        # `bincount` would wait for the device, to learn the largest index.
        self._counts.index_add_(0, indices, torch.ones_like(indices, dtype=self._counts.dtype))
        self._sums.index_add_(0, indices, unit)
        self._tokens = unit
        codes: Tensor = book.embed[0][indices]
        return codes

    def _forget(self) -> None:
        """Begin to collect statistics again."""
        self._counts.zero_()
        self._sums.zero_()
        self._tokens = None

    @torch.no_grad()
    def _has_codes(self, unit: Tensor) -> bool:
        """Return whether there are codes to look up. If not, collect `unit`, and start the codes when due."""
        book = self.vq._codebook
        # Reading the flag waits for the device. Once it is set, nothing unsets it.
        if self._is_started or not self._learns or book.initted:
            self._is_started = True
            return True
        self._first_tokens.append(unit)
        own = sum(map(len, self._first_tokens))
        total = sum(distributed.gather(own)) if self.config.statistics == "all_ranks" else own
        if total < KMEANS_TOKENS_PER_CODE * len(self._counts):
            return False
        self._start(torch.cat(self._first_tokens))
        self._first_tokens = []
        return True

    def _divide(self) -> None:
        """Set the codes to the directions of the moving sums."""
        book = self.vq._codebook
        # The counts cancel out in the normalization, but for codes whose sum is nearly zero. They are kept so
        # that the values equal VectorQuantize's to the last bit.
        counts, sums = book.cluster_size[0], book.embed_avg[0]
        total = counts.sum()
        smoothed = (counts + LAPLACE_EPSILON) / (total + len(counts) * LAPLACE_EPSILON) * total
        book.embed[0].copy_(F.normalize(sums / smoothed.unsqueeze(1), dim=-1, eps=1e-6))

    def _start(self, unit: Tensor) -> None:
        """Set the codes to the centres that k-means finds among tokens `n d`.

        Every process assigns its own tokens, and counts and sums are added up over processes. So all of them
        find the same centres as one process with all tokens would.
        """
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
            # A centre that no token took stays where it is: a token of the first choice.
            centres = torch.where(counts.unsqueeze(1) > 0, F.normalize(sums, dim=-1), centres)
        book.cluster_size[0].copy_(counts)
        book.embed_avg[0].copy_(torch.where(counts.unsqueeze(1) > 0, sums, 0.0))
        book.embed[0].copy_(centres)
        book.initted.fill_(True)
        self._follow_rank_zero()

    def _restart_dead_codes(self, unit: Tensor, step: int) -> None:
        """Move codes that few tokens take to tokens of this step.

        Few is a share of what every code would have if all codes were used alike. So the setting means the
        same for any batch size and any number of codes.
        """
        book = self.vq._codebook
        threshold = self.config.dead_code_threshold * book.cluster_size[0].mean()
        dead = book.cluster_size[0] < threshold
        synced = self.config.statistics == "all_ranks"
        tokens = self._choose(unit, len(dead), seed=self.seed + step + 1, synced=synced, repeat=False)
        # How many codes are dead is not read, since that would wait for the device. Tokens are chosen for all
        # codes, and the first dead code takes the first one. With fewer tokens than dead codes, the rest wait
        # for the next step: two codes must not share a token.
        place = dead.cumsum(0) - 1
        restarts = (dead & (place < len(tokens))).unsqueeze(1)
        theirs = tokens[place.clamp(0, len(tokens) - 1)]
        book.embed[0].copy_(torch.where(restarts, theirs, book.embed[0]))
        # As if the code had just enough tokens not to be dead, so it has time to find more of them.
        book.cluster_size[0].copy_(torch.where(restarts[:, 0], threshold, book.cluster_size[0]))
        book.embed_avg[0].copy_(torch.where(restarts, theirs * threshold, book.embed_avg[0]))

    def _follow_rank_zero(self) -> None:
        if self.config.statistics == "rank_zero":
            book = self.vq._codebook
            for tensor in (book.embed, book.embed_avg, book.cluster_size):
                distributed.broadcast_(tensor)

    @staticmethod
    def _choose(unit: Tensor, number: int, *, seed: int, synced: bool, repeat: bool) -> Tensor:
        """Return random tokens: the same in every process, and for any spread of the clips over processes.

        Tokens are numbered through all processes, in the order of their ranks. Every process draws the same
        numbers from the seed, and fills in the tokens that it holds. The sum over processes has them all.

        Args:
            unit: the tokens of this process, `n d`.
            number: how many to choose.
            seed: the seed of the choice.
            synced: whether the tokens of all processes take part.
            repeat: whether tokens are chosen more than once if there are fewer than `number`.
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
    """Return unit `target` as a rotation of unit `source`, both `n d`, so that gradients rotate back.

    The rotation from one to the other in their plane is made of two reflections (arXiv 2410.06424, section
    4.2). It counts as a constant in the backward pass.
    """
    u, q = source.detach(), target.detach()
    w = F.normalize(u + q, dim=-1, eps=1e-6)

    def along(direction: Tensor) -> Tensor:
        return (source * direction).sum(dim=-1, keepdim=True)

    return source - 2 * w * along(w) + 2 * q * along(u)
