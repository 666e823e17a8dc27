"""Measure weights on clips, from the first clip to the files of the report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from cvivit.errors import WeightsError
from cvivit.tokenizer import VideoTokenizer
from training.errors import CodecError, NoDataError
from training.evaluate.clips import find_inputs, read_evaluation_clips, read_evaluation_stills
from training.evaluate.codecs.bench import bench
from training.evaluate.codecs.protocol import CodecFamily, families
from training.evaluate.codecs.tokens import TokenizerCodec, clip_bits
from training.evaluate.codecs.video import available_encoders, video_family
from training.evaluate.measuring import PerceptualNetworks, ReconstructedClip, measure
from training.evaluate.progress import Progress
from training.evaluate.report.contents import Rates, build_report, write_clips, write_json, write_rates
from training.evaluate.report.folder import FILES, holding, refuse_foreign, replacing_report
from training.evaluate.report.page import write_page
from training.evaluate.report.pictures import comparison, contact_sheet
from training.evaluate.report.plots import plot_codebook, plot_frames, plot_rates
from training.evaluate.sample import EvenSample
from training.losses.frozen import load_i3d, load_lpips

logger = logging.getLogger(__name__)

Network = TypeVar("Network")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What is measured, and how much of it is shown."""

    max_clips: int | None = None
    """The most clips to measure; by default all."""
    lpips: bool | None = None
    """Whether to measure LPIPS. None measures it if its weights can be found, and otherwise says why not."""
    fvd: bool | None = None
    """Whether to measure rFVD. None means the same as for LPIPS."""
    vgg16_weights: str | None = None
    """File of VGG16 weights; by default, where `training.losses.frozen` finds them."""
    i3d_weights: str | None = None
    """File of I3D weights; by default, where `training.losses.frozen` finds them."""
    codec_clips: int = 8
    """Clips, evenly spaced, on which H.264, HEVC, AV1 and `against` are tried. 0 leaves them all out."""
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
    chosen: str | None = None,
    against: Sequence[CodecFamily] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure `tokenizer` on the clips of `data`, write the report to the folder `output`, and return it.

    The files are those of `folder.FILES`, but for `rate.png` and `rates.csv` without codecs, and the pictures
    without clips to show. Those of an earlier evaluation are replaced or deleted.

    Args:
        tokenizer: the weights, on a device, in a precision.
        data: shards, or folders, globs, lists and files of videos.
        output: the folder for the files. It is made if it does not exist.
        options: what to measure and to show.
        source: the name of the weights in the report.
        checkpoint: the name of the checkpoint, if the source is a run.
        chosen: why this checkpoint was taken, in words.
        against: codecs to compare with, besides the video codecs.
        progress: is told now and then how far it is.

    Raises:
        CodecError: two codecs have the same name, or one breaks its protocol.
        NoDataError: no clip could be read.
        WeightsError: a network that was asked for has no weights.
        OutputMismatchError: `output` holds files of those names that are not of a report, or another
            evaluation writes to it.
        DataWriteError: `output` cannot be written. A report that was there before is unchanged.
    """
    options = options or EvaluationOptions()
    progress = progress or Progress()
    config = tokenizer.config
    name = ", ".join(filter(None, (Path(source).name, checkpoint)))
    ours = families([TokenizerCodec(tokenizer, name)])
    videos = [video_family(encoder, config.fps) for encoder in available_encoders()]
    _refuse_namesakes([*ours, *against, *videos])
    refuse_foreign(output)
    inputs = find_inputs(data, leave_out=[output / name for name in FILES])
    only_stills = bool(inputs.stills) and not (inputs.shards or inputs.videos)
    read = read_evaluation_stills if only_stills else read_evaluation_clips
    clips = read(inputs, config, limit=options.max_clips)
    with holding(output):
        missing: dict[str, str] = {}
        networks = _networks(options, tokenizer.device, missing)
        sample: EvenSample[ReconstructedClip] = EvenSample(max(options.codec_clips, options.shown_clips))
        measures = measure(tokenizer, clips, networks, sample.add, progress)
        stills = None
        if inputs.stills and not only_stills:
            of_stills = read_evaluation_stills(inputs, config, limit=options.max_clips)
            try:
                stills = measure(tokenizer, of_stills, networks, lambda _: None, progress)
            except NoDataError as error:  # the clips are still worth a report
                missing["Stills"] = str(error)
            else:
                measures.skipped += stills.skipped
        if networks.i3d is not None and measures.rfvd is None:
            missing["rFVD"] = "it needs two clips or more"
        # Codecs are compared at the bits of a whole clip, and a still has fewer.
        compared = [] if only_stills else sample.take(options.codec_clips)
        rates = None
        if compared:
            curves = bench(
                [*ours, *against, *videos],
                [pair.clip for pair in compared],
                budget=clip_bits(config),
                networks=networks,
                missing=missing,
                progress=progress,
            )
            of_videos = [curve for curve in curves if curve.encoder is not None]
            others = [curve for curve in curves[1:] if curve.encoder is None]
            rates = Rates(tokens=curves[0], codecs=of_videos, against=others)
        report = build_report(
            weights={
                "source": source,
                "checkpoint": checkpoint,
                "chosen": chosen,
                "fingerprint": tokenizer.fingerprint,
                "device": str(tokenizer.device),
                "precision": tokenizer.precision,
            },
            config=config,
            measures=measures,
            stills=stills,
            rates=rates,
            missing=missing,
            unreadable=[asdict(one) for one in measures.skipped],
        )
        shown = [(pair.clip.frames, pair.frames) for pair in sample.take(options.shown_clips)]
        with replacing_report(output) as folder:
            write_json(folder / "report.json", report)
            write_page(folder / "report.md", report)
            write_clips(folder / "clips.csv", measures.clips)
            plot_codebook(folder / "codebook.png", measures.codebook)
            plot_frames(folder / "frames.png", measures.by_frame.means())
            if rates is not None:
                write_rates(folder / "rates.csv", rates)
                plot_rates(folder / "rate.png", rates)
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


def _refuse_namesakes(contestants: Sequence[CodecFamily]) -> None:
    names = [family.name for family in contestants]
    for name in names:
        if names.count(name) > 1:
            raise CodecError(f"--against: two of the codecs to compare are called {name}")


def _load(
    load: Callable[[str | None], Network],
    weights: str | None,
    wanted: bool | None,
    figure: str,
    option: str,
    missing: dict[str, str],
) -> Network | None:
    """Return a network, or None after noting the reason in `missing`."""
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
