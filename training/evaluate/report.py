"""The report: JSON for programs, Markdown for people, and a CSV with a row for each clip."""

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
"""Decimals of the figures in the JSON and the CSV."""
NAMED = 10
"""How many unreadable sources the page lists. The JSON lists all."""


def build_report(
    *,
    weights: Mapping[str, Any],
    config: CViViTConfig,
    measures: SetMetrics,
    stills: SetMetrics | None = None,
    codecs: Sequence[CodecCurve],
    tokens: RatePoint | None,
    missing: Mapping[str, str],
    unreadable: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Return everything that was measured.

    Args:
        weights: what was measured: source, checkpoint, fingerprint, device, precision.
        config: the configuration of the network.
        measures: figures of the clips.
        stills: figures of the stills, if there were any beside the clips.
        codecs: figures of the codecs, on a sample of the clips.
        tokens: figures of the tokenizer on the same sample, or None without codecs.
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
            "stills": None
            if stills is None
            else {
                "stills": len(stills.clips),
                "psnr": stills.mean("psnr"),
                "ssim": stills.mean("ssim"),
                "lpips": stills.mean("lpips"),
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
    """Write the report as JSON. Raises OSError if that fails."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_page(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as Markdown. Raises OSError if that fails."""
    path.write_text(markdown(report), encoding="utf-8")


def write_clips(path: Path, clips: Sequence[ClipMetrics]) -> None:
    """Write one row for each clip. Raises OSError if that fails."""
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
    if stills := report["stills"]:
        rows += [
            ("Stills", str(stills["stills"])),
            ("Stills: PSNR", _number(stills["psnr"], "{:.2f} dB")),
            ("Stills: SSIM", _number(stills["ssim"], "{:.3f}")),
            ("Stills: LPIPS (VGG)", _number(stills["lpips"], "{:.3f}")),
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
    # The name of a file may be any bytes. Those that are not UTF-8 are escaped.
    return ("\n\n".join(lines) + "\n").encode(errors="backslashreplace").decode()


def token_point(config: CViViTConfig, measures: Sequence[ClipMetrics]) -> RatePoint:
    """Return the tokenizer's rate and quality on clips, to compare with codecs on the same clips."""
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
