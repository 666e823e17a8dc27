"""The figures of a report, as JSON for programs and as CSV files for spreadsheets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cvivit.config import CViViTConfig
from training.evaluate.codecs.bench import RateCurve, RatePoint
from training.evaluate.codecs.tokens import clip_bits
from training.evaluate.measuring import ClipMetrics, SetMetrics
from training.evaluate.paired import paired_differences

DIGITS = 6
"""Decimals of the figures in the JSON and the CSV files."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What the bench found, all on the same clips."""

    tokens: RateCurve
    """The weights that are evaluated, as one point."""
    codecs: Sequence[RateCurve] = ()
    """The video codecs."""
    against: Sequence[RateCurve] = ()
    """What the user named to compare with."""

    @property
    def curves(self) -> list[RateCurve]:
        """All of them."""
        return [self.tokens, *self.against, *self.codecs]


def build_report(
    *,
    weights: Mapping[str, Any],
    config: CViViTConfig,
    measures: SetMetrics,
    stills: SetMetrics | None = None,
    rates: Rates | None,
    missing: Mapping[str, str],
    unreadable: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Return everything that was measured.

    Args:
        weights: what was measured: source, checkpoint, fingerprint, device, precision.
        config: the configuration of the network.
        measures: figures of the clips.
        stills: figures of the stills, if there were any beside the clips.
        rates: figures of codecs and of the tokenizer on a sample of the clips, or None without a bench.
        missing: why a figure is missing, by its name.
        unreadable: videos, shards and samples that were left out, wholly or in part, and why.
    """
    codebook = measures.codebook
    bits = clip_bits(config)
    return _rounded(
        {
            "weights": dict(weights),
            "clips": len(measures.clips),
            "frames": measures.frames,
            "psnr": measures.mean("psnr"),
            "psnr_pooled": measures.psnr_pooled,
            "ssim": measures.mean("ssim"),
            "lpips": measures.mean("lpips"),
            "rfvd": measures.rfvd,
            "flicker": measures.mean("flicker"),
            "brightness_shift": measures.mean("brightness_shift"),
            "by_frame": {"clips": measures.by_frame.clips, **measures.by_frame.means()},
            "stills": None
            if stills is None
            else {
                "stills": len(stills.clips),
                **{name: stills.mean(name) for name in ("psnr", "ssim", "lpips", "brightness_shift")},
            },
            "codebook": {
                "codes": len(codebook.counts),
                "used": codebook.used,
                "use": codebook.use,
                "perplexity": codebook.perplexity,
                "entropy_bits": codebook.entropy_bits,
            },
            "rate": {
                "tokens_per_clip": config.tokens_per_clip,
                "bits_per_clip": bits,
                "bits_per_pixel": bits / (config.clip_frames * config.image_size[0] * config.image_size[1]),
                "kbit_per_second": bits * config.fps / config.clip_frames / 1000,
                "entropy_bits_per_clip": config.tokens_per_clip * codebook.entropy_bits,
            },
            "codec_clips": None if rates is None else len(rates.tokens.curve[0].clips),
            "tokens_on_codec_clips": None if rates is None else _point(rates.tokens.curve[0]),
            "codecs": {} if rates is None else {curve.name: _curve(curve) for curve in rates.codecs},
            "against": {} if rates is None else _against(rates),
            "missing": dict(missing),
            "unreadable": [dict(entry) for entry in unreadable],
        }
    )


def is_report(path: Path) -> bool:
    """Return whether a file is one that `write_json` wrote."""
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(report, dict) and {"weights", "clips", "psnr", "codebook"} <= report.keys()


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as JSON. Raises OSError if that fails."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_clips(path: Path, clips: Sequence[ClipMetrics]) -> None:
    """Write one row for each clip. Raises OSError if that fails."""
    names = [field.name for field in fields(ClipMetrics)]
    _write_rows(path, names, (asdict(clip) for clip in clips))


def write_rates(path: Path, rates: Rates) -> None:
    """Write one row for each codec and setting. Raises OSError if that fails."""
    names = [field.name for field in fields(RatePoint) if field.name != "clips"]
    rows = ({"codec": curve.name, **_point(point)} for curve in rates.curves for point in curve.curve)
    _write_rows(path, ["codec", *names], rows)


def _write_rows(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(map(_rounded, rows))


def _against(rates: Rates) -> dict[str, Any]:
    """Return the curves of what was named, each best point with its paired difference from the tokens."""
    ours = rates.tokens.curve[0].clips
    return {
        curve.name: _curve(curve)
        | {"paired": [asdict(one) for one in paired_differences(ours, curve.curve[0].clips)]}
        for curve in rates.against
    }


def _curve(curve: RateCurve) -> dict[str, Any]:
    return {
        "encoder": curve.encoder,
        "curve": [_point(point) for point in curve.curve],
        "at_budget": None if curve.at_budget is None else _point(curve.at_budget),
        "over_budget": curve.over_budget,
    }


def _point(point: RatePoint) -> dict[str, Any]:
    return {field.name: getattr(point, field.name) for field in fields(point) if field.name != "clips"}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
