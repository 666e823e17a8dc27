"""Measure the network on held-out clips while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from cvivit.metrics import codebook_use, frechet_distance, perplexity
from cvivit.network.model import CViViT
from training.config.schema import ValidationConfig
from training.data.bad import SkippedSample
from training.evaluate.frames import FrameMeasures, measure_frames
from training.evaluate.metrics import clip_features, frame_lpips
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS
from training.run import distributed
from training.run.batch import Batch
from training.run.feeding import StoppedWaiting

BY_FRAME = "_by_frame"
"""The end of the names of figures that are lists over the frames of a clip."""
LOWER_IS_BETTER = frozenset({"lpips", "fvd"})


class HeldOutClips(Protocol):
    """The held-out clips of one process, which can be iterated again and again."""

    def __iter__(self) -> Iterator[Batch | SkippedSample]:
        """Yield the clips in batches, with a SkippedSample for each that cannot be used."""
        ...


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The result of a validation."""

    figures: dict[str, Any]
    """`psnr`, `ssim`, `brightness_shift`, `clips`, `bad_samples`, `codebook_use`, `perplexity`, and if asked
    for `lpips` and `fvd`. Of clips of several frames also `flicker`, and `psnr_by_frame` and the like: a list
    with the mean at each index of a frame."""
    shown: list[tuple[Tensor, Tensor]]
    """The first clips of this process and their reconstructions, uint8 `t h w c`."""
    skipped: Sequence[SkippedSample] = ()
    """What this process could not use, and why."""


def is_better(metric: str, value: float, than: float | None) -> bool:
    """Return whether a figure is better than another. A figure that is not a number never is."""
    if math.isnan(value):
        return False
    if than is None:
        return True
    return value < than if metric in LOWER_IS_BETTER else value > than


@torch.no_grad()
def validate(
    model: CViViT,
    clips: Iterable[Batch | SkippedSample],
    config: ValidationConfig,
    *,
    device: torch.device,
    lpips: LPIPS | None = None,
    i3d: I3D | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Measure a network on this process's share of the held-out clips, together with the other processes.

    Clips are encoded to tokens and decoded, and measured as the uint8 that a viewer would see.

    Args:
        model: the network.
        clips: uint8 batches of this process, and between them what could not be used, as `ClipEpoch`
            yields them.
        config: how many clips, and which figures.
        device: the device of the model and the frozen networks.
        lpips: the network, if `config.lpips` is set.
        i3d: the network, if `config.fvd` is set. It takes pixels in [-1, 1].
        stop: whether the run was asked to stop, which ends the validation without a result.

    Returns:
        What was found, or None in every process if one of them had to stop before the end.
    """
    share, left_over = divmod(config.clips, distributed.world_size())
    limit = share + (distributed.rank() < left_over)
    counts = torch.zeros(model.config.codebook_size, device=device)
    rows: list[FrameMeasures] = []
    features: list[Tensor] = []
    shown: list[tuple[Tensor, Tensor]] = []
    skipped: list[SkippedSample] = []
    stopped = False
    with evaluating(model, lpips, i3d), suppress(StoppedWaiting):
        stopped = True  # until the loop has ended by itself
        for batch in clips:
            if stop():
                raise StoppedWaiting
            if isinstance(batch, SkippedSample):
                skipped.append(batch)
                continue
            room = limit - sum(len(row.mse) for row in rows)
            if room <= 0:
                break
            original = batch.video[:room].to(device)
            indices = model.encode(rearrange(original, "b t h w c -> b c t h w").float() / 255)
            counts += torch.bincount(indices.flatten(), minlength=len(counts))
            levels = (model.decode(indices).float().clamp(0, 1) * 255).round().to(torch.uint8)
            reconstruction = rearrange(levels, "b c t h w -> b t h w c")
            distances = None if lpips is None else frame_lpips(lpips, original, reconstruction)
            rows.append(measure_frames(original, reconstruction, distances).cpu())
            if i3d is not None and original.shape[1] > 1:
                pair = [clip_features(i3d, video) for video in (reconstruction, original)]
                features.append(torch.stack(pair, dim=1).cpu())
            shown += zip(original.cpu(), reconstruction.cpu(), strict=True)
            del shown[config.videos :]
        stopped = False
    if distributed.any_process(stopped, device):
        return None
    figures = _together(rows, features, counts)
    figures["bad_samples"] = sum(distributed.gather(len(skipped)))
    return Validation(figures=figures, shown=shown, skipped=skipped)


@contextmanager
def evaluating(*modules: torch.nn.Module | None) -> Iterator[None]:
    """Put modules in eval mode for the block, and back in their modes after it."""
    present = [module for module in modules if module is not None]
    modes = [module.training for module in present]
    for module in present:
        module.eval()
    try:
        yield
    finally:
        for module, mode in zip(present, modes, strict=True):
            module.train(mode)


def _together(rows: list[FrameMeasures], features: list[Tensor], counts: Tensor) -> dict[str, Any]:
    """Return the figures over the clips of all processes. Some processes may have had none."""
    gathered = [row for part in distributed.gather(rows) for row in part]
    counts_of_all = distributed.sum_(counts).cpu().numpy()
    figures: dict[str, Any] = {"clips": float(sum(len(row.mse) for row in gathered))}
    if gathered:
        figures |= _means([row.by_clip() for row in gathered])
        figures["codebook_use"] = codebook_use(counts_of_all)
        figures["perplexity"] = perplexity(counts_of_all)
        if gathered[0].mse.shape[1] > 1:
            by_frame = _means([row.by_frame() for row in gathered])
            figures |= {f"{name}{BY_FRAME}": values for name, values in by_frame.items()}
    measured = distributed.gather(torch.cat(features) if features else None)
    pairs = [part for part in measured if part is not None]
    if pairs and sum(len(part) for part in pairs) > 1:
        reconstructed, real = torch.cat(pairs).unbind(dim=1)
        figures["fvd"] = frechet_distance(reconstructed.numpy(), real.numpy())
    return figures


def _means(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Return the mean over clips of each figure `b ...`, as a number or a list."""
    return {name: torch.cat([row[name].double() for row in rows]).mean(dim=0).tolist() for name in rows[0]}
