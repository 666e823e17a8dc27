"""The page of a report: its figures as Markdown, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NAMED = 10
"""How many unreadable sources the page lists. The JSON lists all."""
POINT_COLUMNS = {
    "bits": ("bits a clip", "{:.0f}"),
    "bits_per_pixel": ("bits a pixel", "{:.4f}"),
    "psnr": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.3f}"),
    "lpips": ("LPIPS", "{:.3f}"),
    "rfvd": ("rFVD", "{:.1f}"),
    "flicker": ("flicker", "{:.2f}"),
}


def write_page(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as Markdown. Raises OSError if that fails."""
    path.write_text(markdown(report), encoding="utf-8")


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    lines = [_table(("", _title(report["weights"])), [*_clips(report), *_stills(report)])]
    lines += _first_frame(report["by_frame"])
    if report["tokens_on_codec_clips"]:
        lines += _rates(report)
    lines += [f"{name} was not measured: {reason}." for name, reason in report["missing"].items()]
    if unreadable := report["unreadable"]:
        lines.append(f"{len(unreadable)} videos, shards or samples could not be read to their end:")
        named = [f"- {entry['source']}: {entry['message']}" for entry in unreadable[:NAMED]]
        rest = len(unreadable) - len(named)
        lines.append("\n".join([*named, f"- and {rest} more"] if rest else named))
    # The name of a file may be any bytes. Those that are not UTF-8 are escaped.
    return ("\n\n".join(lines) + "\n").encode(errors="backslashreplace").decode()


def _title(weights: Mapping[str, Any]) -> str:
    name = Path(weights["source"]).name
    if weights["checkpoint"]:
        name += f", {weights['checkpoint']}"
    return f"{name} ({weights['chosen']})" if weights["chosen"] else name


def _clips(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    codebook, rate = report["codebook"], report["rate"]
    return [
        ("Clips", f"{report['clips']} ({report['frames']} frames)"),
        ("PSNR, mean over clips", _number(report["psnr"], "{:.2f} dB")),
        ("PSNR, pooled", _number(report["psnr_pooled"], "{:.2f} dB")),
        ("SSIM", _number(report["ssim"], "{:.3f}")),
        ("LPIPS (VGG)", _number(report["lpips"], "{:.3f}")),
        ("rFVD (I3D)", _number(report["rfvd"], "{:.1f}")),
        ("Flicker: change of the error from frame to frame", _number(report["flicker"], "{:.2f} levels")),
        ("Brightness shift", _number(report["brightness_shift"], "{:+.2f} levels")),
        ("Codes used", f"{codebook['used']} of {codebook['codes']} ({codebook['use']:.1%})"),
        ("Perplexity", f"{codebook['perplexity']:.0f}"),
        (
            "Rate",
            f"{rate['kbit_per_second']:.2f} kbit/s ({rate['tokens_per_clip']} tokens a clip, "
            f"{rate['bits_per_pixel']:.4f} bits a pixel)",
        ),
    ]


def _stills(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not (stills := report["stills"]):
        return []
    return [
        ("Stills", str(stills["stills"])),
        ("Stills: PSNR", _number(stills["psnr"], "{:.2f} dB")),
        ("Stills: SSIM", _number(stills["ssim"], "{:.3f}")),
        ("Stills: LPIPS (VGG)", _number(stills["lpips"], "{:.3f}")),
        ("Stills: brightness shift", _number(stills["brightness_shift"], "{:+.2f} levels")),
    ]


def _first_frame(by_frame: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the first frame beside the others."""
    names = [name for name in ("psnr", "ssim", "lpips") if len(by_frame.get(name, ())) > 1]
    if not names:
        return
    counts = by_frame["clips"]
    others = {name: np.average(by_frame[name][1:], weights=counts[1:]) for name in names}
    rows = [
        ("the first", *(_column(name, by_frame[name][0]) for name in names)),
        ("the others", *(_column(name, others[name]) for name in names)),
    ]
    yield _table(("frame of a clip", *(POINT_COLUMNS[name][0] for name in names)), rows)


def _rates(report: Mapping[str, Any]) -> Iterator[str]:
    tokens, against = report["tokens_on_codec_clips"], report["against"]
    points = [("tokens", tokens)]
    points += [(_named(name, point), point) for name, curve in against.items() for point in curve["curve"]]
    points += [(name, curve["at_budget"]) for name, curve in report["codecs"].items() if curve["at_budget"]]
    if len(points) == 1:
        return
    shown = [name for name in POINT_COLUMNS if any(point[name] is not None for _, point in points)]
    rows = [(name, *(_column(column, point[column]) for column in shown)) for name, point in points]
    where = f"on {report['codec_clips']} of the clips"
    if against:
        yield f"Rate and quality {where}. Video codecs have the bits of the tokens at most:"
    else:
        yield f"At the same bits, {where}:"
    yield _table(("", *(POINT_COLUMNS[name][0] for name in shown)), rows)
    coded = tokens["entropy_coded_bits"]
    yield (
        f"The bits of tokens are log2(codes) for each. An adaptive arithmetic code over these clips would "
        f"take {coded:.0f} bits a clip."
    )
    for name, curve in report["codecs"].items():
        if curve["over_budget"]:
            yield (
                f"{name} has more bits than that even at its worst for {curve['over_budget']} of the clips."
            )
    for name, curve in against.items():
        yield from _paired(name, curve["paired"])


def _paired(name: str, paired: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of the differences of one competitor from the tokens, clip by clip."""
    rows = [
        (
            one["figure"],
            f"{one['mean']:+.4g}",
            "unknown" if one["low"] is None else f"{one['low']:+.4g} to {one['high']:+.4g}",
        )
        for one in paired
    ]
    if paired:
        head = f"{name} minus tokens, on {paired[0]['clips']} clips of {paired[0]['sources']} videos"
        yield _table((head, "mean", "95% confidence"), rows)


def _named(name: str, point: Mapping[str, Any]) -> str:
    return f"{name}, {point['setting']}" if point["setting"] else name


def _column(name: str, value: float | None) -> str:
    return _number(value, POINT_COLUMNS[name][1])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None, form: str) -> str:
    return "not measured" if value is None else form.format(value)
