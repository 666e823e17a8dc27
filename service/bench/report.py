"""The results of the benchmarks as tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

MEBIBYTE = 2**20


def throughput_table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the result of `throughput`: a row per operation, and then the time that each stage takes."""
    rows = list(rows)
    columns = [
        "operation",
        "clients",
        "clips/s",
        "engine",
        "share",
        "p50 ms",
        "p99 ms",
        "KiB in",
        "KiB out",
        "refused",
    ]
    cells = [
        [
            row["operation"],
            row["clients"],
            f"{row['clips_per_second']:.2f}",
            f"{row['engine_clips_per_second']:.2f}",
            _percent(row["share"]),
            _ms(row["p50_seconds"]),
            _ms(row["p99_seconds"]),
            f"{row['bytes_in'] / 1024:.1f}",
            f"{(row['bytes_out'] or 0) / 1024:.1f}",
            sum(row["refused"].values()),
        ]
        for row in rows
    ]
    lines = [table(columns, cells)]
    for row in rows:
        parts = ", ".join(f"{name} {_ms(seconds)}" for name, seconds in row["parts_seconds"].items())
        lines.append(
            f"{row['operation']} alone: p50 {_ms(row['unloaded_p50_seconds'])} ms, "
            f"{_ms(row['overhead_seconds'])} ms above its parts ({parts})"
        )
        for title, name in (("alone", "unloaded_stages_p50_seconds"), ("loaded", "stages_p50_seconds")):
            stages = ", ".join(f"{stage} {_ms(seconds)}" for stage, seconds in row[name].items())
            lines.append(f"{row['operation']} {title}, ms by stage: {stages}")
    return "\n".join(lines)


def mixed_table(result: dict[str, Any]) -> str:
    """Return the result of `mixed`."""
    cells = [
        [
            name,
            result[name]["requests"],
            result[name]["failed"],
            _ms(result[name]["p50_seconds"]),
            _ms(result[name]["p99_seconds"]),
        ]
        for name in ("alone", "beside")
    ]
    ratio = "-" if result["p99_ratio"] is None else f"{result['p99_ratio']:.2f}"
    return "\n".join(
        [
            table(["one-clip requests", "answered", "failed", "p50 ms", "p99 ms"], cells),
            f"{result['clients']} clients: p99 beside a long video {ratio} times that alone; "
            f"the long video ran at {result['long_clips_per_second']:.2f} clips/s",
        ]
    )


def soak_table(result: dict[str, Any]) -> str:
    """Return the result of `soak`."""
    cells = [
        [entry["requests"], *(f"{entry[part] / MEBIBYTE:.1f}" for part in ("server", "children"))]
        for entry in result["measurements"]
    ]
    growth = ", ".join(f"{part} {share:+.2%}" for part, share in result["growth"].items())
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(result["statuses"].items()))
    return "\n".join(
        [
            table(["requests", "server MiB", "children MiB"], cells),
            f"answers: {answers}",
            f"growth of the resident size after a quarter of the requests: {growth}",
        ]
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return the rows below their column titles, aligned to the right."""
    texts = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in texts
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
