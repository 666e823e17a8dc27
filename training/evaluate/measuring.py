"""Send clips through a tokenizer, and measure the reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cvivit.metrics import frechet_distance, psnr_capped
from cvivit.runtime.precision import arithmetic
from cvivit.tokenizer import VideoTokenizer
from training.data import SkippedSample
from training.evaluate.clips import EvaluationClip
from training.evaluate.codebook import CodeCounts
from training.evaluate.frames import FrameMeans, FrameMeasures, measure_frames
from training.evaluate.metrics import clip_features, frame_lpips, lpips_features
from training.evaluate.progress import Progress
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS

BATCH_CLIPS = 8
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class PerceptualNetworks:
    """The frozen networks that some figures need. Without a network, its figures are left out."""

    lpips: LPIPS | None = None
    i3d: I3D | None = None
    device: torch.device = CPU
    """Where the networks are. They compute in float32 there, so figures hardly depend on the device."""

    def distance(
        self, video: Tensor, reconstruction: Tensor, wanted: Sequence[Tensor] | None = None
    ) -> Tensor | None:
        """Return LPIPS `b t` of the frames of uint8 clips `b t h w c`, or None without the network."""
        if self.lpips is None:
            return None
        with arithmetic("exact", self.device):
            return frame_lpips(self.lpips, video.to(self.device), reconstruction.to(self.device), wanted)

    def wanted(self, clip: EvaluationClip) -> list[Tensor] | None:
        """Return the features of an original, for `distance`, or None without the network."""
        if self.lpips is None:
            return None
        with arithmetic("exact", self.device):
            return lpips_features(self.lpips, _measured(clip, clip.frames).to(self.device))

    def features(self, frames: np.ndarray) -> Tensor | None:
        """Return I3D's features `1 1024` of uint8 (t h w c), on the CPU, or None without the network."""
        if self.i3d is None:
            return None
        with arithmetic("exact", self.device):
            return clip_features(self.i3d, torch.from_numpy(frames)[None].to(self.device)).cpu()


@dataclass(frozen=True, kw_only=True)
class ClipMetrics:
    """The figures of one clip, which are a row of the CSV."""

    key: str
    frames: int
    mse: float
    """In squared grey levels."""
    psnr: float
    ssim: float
    lpips: float | None
    codes: int
    """How many different codes its tokens are."""
    brightness_shift: float
    """Signed, in grey levels of luma."""
    flicker: float | None
    """In grey levels. A clip of one frame has none."""


@dataclass(kw_only=True)
class SetMetrics:
    """The figures of a set of clips."""

    codebook: CodeCounts
    clips: list[ClipMetrics] = field(default_factory=list)
    skipped: list[SkippedSample] = field(default_factory=list)
    """Videos, shards and their samples that could not be read to their end."""
    rfvd: float | None = None
    by_frame: FrameMeans = field(default_factory=FrameMeans)

    def mean(self, name: str) -> float | None:
        """Return the mean of a figure over the clips that have it, or None if no clip has."""
        return mean_of(self.clips, name)

    @property
    def frames(self) -> int:
        """Frames that were measured."""
        return sum(clip.frames for clip in self.clips)

    @property
    def psnr_pooled(self) -> float:
        """PSNR of the mean squared error over all pixels of the set."""
        error = sum(clip.mse * clip.frames for clip in self.clips) / self.frames
        return float(psnr_capped(torch.tensor(error)))


@dataclass(frozen=True, kw_only=True)
class ReconstructedClip:
    """A clip, its reconstruction, and the figures of that."""

    clip: EvaluationClip
    frames: np.ndarray
    """uint8 (t h w c)."""
    measure: ClipMetrics


def measure(
    tokenizer: VideoTokenizer,
    clips: Iterable[EvaluationClip | SkippedSample],
    networks: PerceptualNetworks,
    see: Callable[[ReconstructedClip], None],
    progress: Progress,
) -> SetMetrics:
    """Tokenize and reconstruct every clip, measure it, and pass it to `see`.

    Frames that pad a clip are not measured, though I3D sees them.

    Args:
        tokenizer: the weights, on a device, in a precision.
        clips: the clips, and between them what could not be read.
        networks: the frozen networks.
        see: called with each clip and its reconstruction.
        progress: is told of each batch.
    """
    measures = SetMetrics(codebook=CodeCounts(tokenizer.config.codebook_size))
    features: tuple[list[Tensor], list[Tensor]] = [], []
    for batch in _batches(_without_skipped(clips, measures.skipped)):
        progress(f"measured {len(measures.clips)} clips")
        indices = tokenizer.encode_clips(np.stack([clip.frames for clip in batch]))
        reconstructions = tokenizer.decode_clips(indices)
        measures.codebook.add(indices)
        for clip, tokens, reconstruction in zip(batch, indices, reconstructions, strict=True):
            by_frame = measure_clip_frames(clip, reconstruction, networks)
            figures = clip_metrics(clip, by_frame, codes=len(np.unique(tokens)))
            measures.by_frame.add({name: values[0] for name, values in by_frame.by_frame().items()})
            measures.clips.append(figures)
            see(ReconstructedClip(clip=clip, frames=reconstruction, measure=figures))
            if len(clip.frames) < 2:  # I3D takes videos
                continue
            for side, frames in zip(features, (clip.frames, reconstruction), strict=True):
                if (seen := networks.features(frames)) is not None:
                    side.append(seen)
    if len(features[0]) > 1:
        measures.rfvd = frechet_distance(*(torch.cat(side).numpy() for side in features))
    return measures


def measure_clip(
    clip: EvaluationClip,
    reconstruction: np.ndarray,
    networks: PerceptualNetworks,
    *,
    wanted: Sequence[Tensor] | None = None,
) -> ClipMetrics:
    """Return the figures of one clip. Arguments are those of `measure_clip_frames`."""
    return clip_metrics(clip, measure_clip_frames(clip, reconstruction, networks, wanted=wanted))


def measure_clip_frames(
    clip: EvaluationClip,
    reconstruction: np.ndarray,
    networks: PerceptualNetworks,
    *,
    wanted: Sequence[Tensor] | None = None,
) -> FrameMeasures:
    """Return the figures of the frames of one clip, each `1 t`.

    Args:
        clip: the original.
        reconstruction: uint8 (t h w c).
        networks: the frozen networks.
        wanted: `networks.wanted` of the clip, if there are several reconstructions of it.
    """
    video, returned = _measured(clip, clip.frames), _measured(clip, reconstruction)
    lpips = networks.distance(video, returned, wanted)
    return measure_frames(video, returned, None if lpips is None else lpips.cpu())


def clip_metrics(clip: EvaluationClip, frames: FrameMeasures, *, codes: int = 0) -> ClipMetrics:
    """Return the figures of a clip from those of its frames.

    Args:
        clip: the original.
        frames: the figures of its frames.
        codes: how many different codes its tokens are.
    """
    figures = {name: float(value) for name, value in frames.by_clip().items()}
    return ClipMetrics(
        key=clip.key,
        frames=clip.real,
        mse=float(frames.mse.mean()),
        psnr=figures["psnr"],
        ssim=figures["ssim"],
        lpips=figures.get("lpips"),
        codes=codes,
        brightness_shift=figures["brightness_shift"],
        flicker=figures.get("flicker"),
    )


def mean_of(clips: Sequence[ClipMetrics], name: str) -> float | None:
    """Return the mean of a figure over the clips that have it, or None if no clip has."""
    values = [value for clip in clips if (value := getattr(clip, name)) is not None]
    return float(np.mean(values)) if values else None


def _measured(clip: EvaluationClip, frames: np.ndarray) -> Tensor:
    """Return the frames that do not pad the clip, `1 t h w c`."""
    return torch.from_numpy(frames[: clip.real])[None]


def _without_skipped(
    items: Iterable[EvaluationClip | SkippedSample], skipped: list[SkippedSample]
) -> Iterator[EvaluationClip]:
    for item in items:
        if isinstance(item, SkippedSample):
            skipped.append(item)
        else:
            yield item


def _batches(clips: Iterable[EvaluationClip]) -> Iterator[list[EvaluationClip]]:
    batch: list[EvaluationClip] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == BATCH_CLIPS:
            yield batch
            batch = []
    if batch:
        yield batch
