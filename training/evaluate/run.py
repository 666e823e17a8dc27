"""Measuring weights on clips, from the first clip to the files of the report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import av
import torch

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsError
from cvivit.tokenizer import VideoTokenizer
from training.evaluate.clips import EvaluationClip, find_inputs, read_evaluation_clips
from training.evaluate.codecs import CodecCurve, available_codecs, code_clips
from training.evaluate.folder import FILES, holding, refuse_foreign, replacing_report
from training.evaluate.measuring import PerceptualNetworks, ReconstructedClip, clip_bits, measure
from training.evaluate.pictures import comparison, contact_sheet
from training.evaluate.plots import plot_codebook, plot_rates
from training.evaluate.report import build_report, token_point, write_clips, write_json, write_page
from training.evaluate.sample import EvenSample
from training.losses.frozen import load_i3d, load_lpips

logger = logging.getLogger(__name__)

Network = TypeVar("Network")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What is measured, and how much of it is shown."""

    max_clips: int | None = None
    """Clips at most; by default all."""
    lpips: bool | None = None
    """Whether to measure LPIPS; None does so if its weights can be had, and says so if not."""
    fvd: bool | None = None
    """The same of rFVD."""
    vgg16_weights: str | None = None
    """File of VGG16 weights; by default, where `training.losses.frozen` finds them."""
    i3d_weights: str | None = None
    """File of I3D weights; by default, where `training.losses.frozen` finds them."""
    codec_clips: int = 8
    """Clips, evenly spaced, that H.264 and AV1 are tried on; 0 leaves codecs out."""
    shown_clips: int = 6
    """Clips, evenly spaced, in the contact sheet and the animation."""


def evaluate(
    tokenizer: VideoTokenizer,
    data: Sequence[str],
    output: Path,
    options: EvaluationOptions | None = None,
    *,
    source: str = "weights",
    checkpoint: str | None = None,
) -> dict[str, Any]:
    """Measure `tokenizer` on the clips of `data`, write the report to the folder `output`, and return it.

    The files are `folder.FILES`: `rate.png` where codecs were tried, pictures where clips are shown. Those
    of an earlier evaluation are replaced or deleted.

    Args:
        tokenizer: the weights, on a device, in a precision.
        data: shards, or folders, globs, lists and files of videos.
        output: folder for the files, made where there is none.
        options: see there.
        source: what the weights are called in the report.
        checkpoint: which checkpoint they are, where the source is a run.

    Raises:
        NoDataError: no clip could be read.
        WeightsError: a network that was asked for has no weights.
        OutputMismatchError: `output` holds files of those names that are no report of ours, or another
            evaluation writes to it.
        DataWriteError: `output` cannot be written. A report that was there still is, whole.
    """
    options = options or EvaluationOptions()
    config = tokenizer.config
    refuse_foreign(output)
    inputs = find_inputs(data, leave_out=[output / name for name in FILES])
    clips = read_evaluation_clips(inputs, config, limit=options.max_clips)
    with holding(output):
        missing: dict[str, str] = {}
        networks = _networks(options, tokenizer.device, missing)
        sample: EvenSample[ReconstructedClip] = EvenSample(max(options.codec_clips, options.shown_clips))
        measures = measure(tokenizer, clips, networks, sample.add)
        if networks.i3d is not None and measures.rfvd is None:
            missing["rFVD"] = "it needs two clips or more"
        compared = sample.take(options.codec_clips)
        codecs = _code([pair.clip for pair in compared], config, networks, missing)
        tokens = token_point(config, [pair.measure for pair in compared]) if codecs else None
        report = build_report(
            weights={
                "source": source,
                "checkpoint": checkpoint,
                "fingerprint": tokenizer.fingerprint,
                "device": str(tokenizer.device),
                "precision": tokenizer.precision,
            },
            config=config,
            measures=measures,
            codecs=codecs,
            tokens=tokens,
            missing=missing,
            unreadable=[asdict(one) for one in measures.skipped],
        )
        shown = [(pair.clip.frames, pair.frames) for pair in sample.take(options.shown_clips)]
        with replacing_report(output) as folder:
            write_json(folder / "report.json", report)
            write_page(folder / "report.md", report)
            write_clips(folder / "clips.csv", measures.clips)
            plot_codebook(folder / "codebook.png", measures.codebook)
            if tokens is not None:
                plot_rates(folder / "rate.png", codecs, tokens, config.clip_frames / config.fps)
            if shown:
                contact_sheet(folder / "contact_sheet.png", shown)
                for suffix in ("gif", "webp"):
                    comparison(folder / f"comparison.{suffix}", shown, fps=config.fps)
    return report


def _networks(
    options: EvaluationOptions, device: torch.device, missing: dict[str, str]
) -> PerceptualNetworks:
    lpips = _load(load_lpips, options.vgg16_weights, options.lpips, "LPIPS", "vgg16-weights", missing)
    i3d = _load(load_i3d, options.i3d_weights, options.fvd, "rFVD", "i3d-weights", missing)
    return PerceptualNetworks(lpips=lpips and lpips.to(device), i3d=i3d and i3d.to(device), device=device)


def _code(
    clips: list[EvaluationClip], config: CViViTConfig, networks: PerceptualNetworks, missing: dict[str, str]
) -> list[CodecCurve]:
    """Return what codecs make of `clips`; one that fails is in `missing`, for the report is not about it."""
    curves = []
    for codec in available_codecs() if clips else ():
        try:
            curve = code_clips(codec, clips, fps=config.fps, budget=clip_bits(config), networks=networks)
        except av.FFmpegError as error:
            missing[codec.name] = f"its encoder failed ({error.strerror})"
        else:
            curves.append(curve)
    return curves


def _load(
    load: Callable[[str | None], Network],
    weights: str | None,
    wanted: bool | None,
    figure: str,
    option: str,
    missing: dict[str, str],
) -> Network | None:
    """Return a network, or None with the reason why in `missing`."""
    if wanted is False:
        missing[figure] = "it was left out"
        return None
    try:
        return load(weights)
    except WeightsError as error:
        if wanted or weights is not None:
            raise
        logger.info("%s", error)
        missing[figure] = f"the weights of its network were found nowhere; name a file with --{option}"
        return None
