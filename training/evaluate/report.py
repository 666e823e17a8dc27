"""The report in words and numbers: JSON for programs, Markdown for a page, CSV for each clip."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cvivit.config import CViViTConfig
from training.evaluate.codecs import CodecCurve, RatePoint
from training.evaluate.measuring import ClipMetrics, SetMetrics, clip_bits

DIGITS = 4
"""Decimals kept of figures in the JSON and the CSV."""
NAMED = 10
"""Unreadable sources on the page; the JSON has all."""


def build_report(
    *,
    weights: Mapping[str, Any],
    config: CViViTConfig,
    measures: SetMetrics,
    codecs: Sequence[CodecCurve],
    tokens: RatePoint | None,
    missing: Mapping[str, str],
    unreadable: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Return everything that was measured.

    Args:
        weights: what was measured: source, checkpoint, fingerprint, device, precision.
        config: of the network.
        measures: of the clips.
        codecs: of a share of the clips.
        tokens: the tokenizer on the same share; None without codecs.
        missing: why a figure is not there, by its name.
        unreadable: videos, shards and samples that were left out, in part or whole, with reasons.
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
                "kbit_per_second": bits * config.fps / config.clip_frames / 1000,
                "entropy_bits_per_clip": config.tokens_per_clip * codebook.entropy_bits,
            },
            "tokens_on_codec_clips": None if tokens is None else asdict(tokens),
            "codecs": {curve.name: _without_name(curve) for curve in codecs},
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
    """Write the report as JSON. Raises OSError where it cannot."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_page(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as Markdown. Raises OSError where it cannot."""
    path.write_text(markdown(report), encoding="utf-8")


def write_clips(path: Path, clips: Sequence[ClipMetrics]) -> None:
    """Write one row for each clip. Raises OSError where it cannot."""
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ClipMetrics)])
        writer.writeheader()
        writer.writerows(_rounded(asdict(clip)) for clip in clips)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    codebook, rate = report["codebook"], report["rate"]
    rows = [
        ("Clips", f"{report['clips']} ({report['frames']} frames)"),
        ("PSNR, mean over clips", _number(report["psnr"], "{:.2f} dB")),
        ("PSNR, pooled", _number(report["psnr_pooled"], "{:.2f} dB")),
        ("SSIM", _number(report["ssim"], "{:.3f}")),
        ("LPIPS (VGG)", _number(report["lpips"], "{:.3f}")),
        ("rFVD (I3D)", _number(report["rfvd"], "{:.1f}")),
        ("Codes used", f"{codebook['used']} of {codebook['codes']} ({codebook['use']:.1%})"),
        ("Perplexity", f"{codebook['perplexity']:.0f}"),
        ("Rate", f"{rate['kbit_per_second']:.2f} kbit/s ({rate['tokens_per_clip']} tokens a clip)"),
    ]
    name = Path(report["weights"]["source"]).name
    if checkpoint := report["weights"]["checkpoint"]:
        name += f", {checkpoint}"
    lines = [_table(("", name), rows)]
    if report["codecs"]:
        points = {"tokens": report["tokens_on_codec_clips"]}
        points |= {name: curve["at_budget"] for name, curve in report["codecs"].items()}
        cells = [
            (
                name,
                f"{point['bits']:.0f}",
                _number(point["psnr"], "{:.2f} dB"),
                _number(point["ssim"], "{:.3f}"),
                _number(point["lpips"], "{:.3f}"),
            )
            for name, point in points.items()
        ]
        lines += [
            "At the same bits, on a sample of the clips:",
            _table(("", "bits a clip", "PSNR", "SSIM", "LPIPS"), cells),
        ]
        lines += [
            f"{name} has more bits than that even at its worst for {curve['over_budget']} of the clips."
            for name, curve in report["codecs"].items()
            if curve["over_budget"]
        ]
    lines += [f"{name} was not measured: {reason}." for name, reason in report["missing"].items()]
    if unreadable := report["unreadable"]:
        lines.append(f"{len(unreadable)} videos, shards or samples could not be read to their end:")
        named = [f"- {entry['source']}: {entry['message']}" for entry in unreadable[:NAMED]]
        rest = len(unreadable) - len(named)
        lines.append("\n".join([*named, f"- and {rest} more"] if rest else named))
    # Names of files are any bytes, and those that are no UTF-8 cannot be written as they are.
    return ("\n\n".join(lines) + "\n").encode(errors="backslashreplace").decode()


def token_point(config: CViViTConfig, measures: Sequence[ClipMetrics]) -> RatePoint:
    """Return the tokenizer's rate and quality on clips, for comparison with codecs on the same ones."""
    lpips = [clip.lpips for clip in measures if clip.lpips is not None]
    count = len(measures)
    return RatePoint(
        bits=clip_bits(config),
        psnr=sum(clip.psnr for clip in measures) / count,
        ssim=sum(clip.ssim for clip in measures) / count,
        lpips=sum(lpips) / len(lpips) if lpips else None,
    )


def _without_name(curve: CodecCurve) -> dict[str, Any]:
    return {name: value for name, value in asdict(curve).items() if name != "name"}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None, form: str) -> str:
    return "not measured" if value is None else form.format(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
