"""`cvivit info` says what would be read of a video; without one, it describes weights."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvivit.commands.common import (
    FitOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    SecondsOption,
    StartOption,
    check_model,
    local_input,
)
from cvivit.errors import CViViTError

if TYPE_CHECKING:
    from cvivit.video.inspecting import ColourReport, GeometryReport, RateReport, VideoReport
    from cvivit.weights import LoadedWeights

SHOWN_TIMES = 24
"""Pictures whose times are listed in the text. The JSON lists all."""


def info(
    video: Annotated[
        Path | None,
        typer.Argument(callback=local_input, help="A video. Without one, the weights are described."),
    ] = None,
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    fit: FitOption = "crop",
    start: StartOption = 0.0,
    seconds: SecondsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe the weights or, with a video, what would be read of it.

    Of a video these are the track, the frames and their times, the region that is seen, and the colours.
    Nothing is encoded. Without a video, load the weights, check them, and print their name, fingerprint,
    shapes and configuration as JSON.
    """
    if video is not None:  # what is wrong is reported before torch is imported and weights are fetched
        from cvivit.video.settings import check_span

        check_span(start, seconds)
        video.stat()
        if video.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(video))
    check_model(model, revision)
    from cvivit.weights import load_weights

    weights = load_weights(model, revision=revision)
    if video is None:
        print(json.dumps(_described(weights), indent=2))
        return

    from cvivit.video import ClipFormat
    from cvivit.video.inspecting import inspect_video

    clip_format = ClipFormat.of(weights.config, fit=fit)
    try:
        report = inspect_video(video, clip_format, start=start, seconds=seconds)
    except CViViTError as error:
        error.add_note(str(video))
        raise
    if as_json:
        print(json.dumps({"video": str(video), "model": weights.fingerprint} | asdict(report), indent=2))
    else:
        print("\n".join([str(video), *(f"  {name:<11} {text}" for name, text in _lines(report))]))


def _described(weights: LoadedWeights) -> dict[str, object]:
    return {
        "name": weights.name,
        "model": weights.fingerprint,
        "tokens_of": weights.tokens_of,
        "grid": weights.config.grid,
        "clip": weights.config.clip_shape,
        "config": weights.config.model_dump(mode="json"),
    }


def _lines(report: VideoReport) -> list[tuple[str, str]]:
    track = report.track
    length = f", {report.duration:.3f} s by its header" if report.duration is not None else ""
    among = f"; there are {track.tracks} video tracks" if track.tracks > 1 else ""
    times = "once" if report.padding == 1 else f"{report.padding} times"
    padding = f"the last one repeats its last picture {times}" if report.padding else "all full"
    lines = [
        ("container", report.container + length),
        ("track", f"stream {track.index}, {track.codec}, {track.pixel_format} ({track.reason}{among})"),
        ("frame rate", _rate(report.rate)),
        *_geometry(report.geometry),
        ("colours", _colours(report.colours)),
        ("pictures", f"{report.frames}, at {report.fps:g} a second from second {report.start:g} on"),
        ("windows", f"{report.clips} of {report.clip_frames} pictures; {padding}"),
        ("times", _times(report)),
    ]
    return [*lines, *(("warning", warning) for warning in report.warnings)]


def _rate(rate: RateReport) -> str:
    if rate.measured is None or rate.shortest is None or rate.longest is None:
        return "one frame"
    stated = f" (the file states {rate.stated:.6g})" if rate.stated is not None else ""
    if rate.constant:
        return f"{rate.measured:.6g} a second, constant{stated}"
    gaps = f"from {rate.shortest:.4g} to {rate.longest:.4g} s between two frames"
    return f"{rate.measured:.6g} a second, variable: {gaps}{stated}"


def _geometry(geometry: GeometryReport) -> list[tuple[str, str]]:
    (rows, columns), (height, width) = geometry.stored, geometry.displayed
    shape = [f"{columns}x{rows} pixels"]
    if geometry.pixel_aspect != 1:
        shape.append(f"each {geometry.pixel_aspect:.4g} times as wide as high")
    if geometry.rotation:
        shape.append(f"turned by {geometry.rotation} degrees clockwise")
    if geometry.mirrored:
        shape.append("mirrored")
    if (height, width) != (rows, columns):
        shape.append(f"shown as {width}x{height}")
    top, left, region_height, region_width = geometry.region
    down, across = geometry.scale
    region = f"{region_width:.6g}x{region_height:.6g} pixels from column {left:.6g}, row {top:.6g} on"
    turned = ", before turning" if geometry.rotation or geometry.mirrored else ""
    bars = (
        f", with {geometry.bars[0]} rows and {geometry.bars[1]} columns of black"
        if any(geometry.bars)
        else ""
    )
    picture = f"{geometry.picture[1]}x{geometry.picture[0]}"
    return [
        ("frame", ", ".join(shape)),
        ("region", f"{region} (fit: {geometry.fit}{turned})"),
        ("scale", f"{across:.4g} across, {down:.4g} down, to {picture}{bars}"),
    ]


def _colours(colours: ColourReport) -> str:
    def assumed(stated: bool) -> str:
        return "" if stated else " (assumed)"

    parts = [
        f"{colours.matrix}{assumed(colours.matrix_stated)}",
        f"{colours.range} range{assumed(colours.range_stated)}",
        f"transfer {colours.transfer or 'not stated'}",
        f"primaries {colours.primaries or 'not stated'}",
    ]
    if colours.tone_mapped:
        peak = f" from a peak of {colours.peak:g} cd/m²" if colours.peak is not None else ""
        parts.append(f"mapped to standard range{peak}")
    return ", ".join(parts)


def _times(report: VideoReport) -> str:
    listed = report.picked[:SHOWN_TIMES]
    shown = " ".join(f"{picture.source_time:.3f}" for picture in listed)
    left = len(report.picked) - len(listed)
    return f"the frames of second {shown}" + (f" and {left} more (--json lists all)" if left else "")
