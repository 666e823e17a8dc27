"""`cvivit reconstruct` writes a video beside its reconstruction."""

from __future__ import annotations

from pathlib import Path

from cvivit.commands.common import (
    DeviceOption,
    FitOption,
    InputArgument,
    ModelOption,
    OutputArgument,
    PrecisionOption,
    RevisionOption,
    SecondsOption,
    StartOption,
    check_paths,
    container_of,
    load_tokenizer,
    report_written,
)


def reconstruct(
    source: InputArgument,
    output: OutputArgument,
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    fit: FitOption = "crop",
    start: StartOption = 0.0,
    seconds: SecondsOption = None,
) -> None:
    """Encode and decode a video, and write the original on the left and the reconstruction on the right.

    The output is a .mp4, .webm or .gif video.
    """
    import numpy as np

    from cvivit.video import ClipFormat, read_frames, write_video

    container = container_of(output)
    check_paths(source, output)
    tokenizer = load_tokenizer(model, revision, device, precision)
    # The video is read twice: once to encode it and once to show it. A pipe can be read only once.
    video: Path | bytes = source if source.is_file() else source.read_bytes()
    grid = tokenizer.encode(video, fit=fit, start=start, seconds=seconds)
    clip_format = ClipFormat.of(tokenizer.config, fit=fit)
    originals = read_frames(video, clip_format, start=start, seconds=seconds)
    pairs = zip(originals, tokenizer.decode_stream(grid), strict=True)
    frames = (np.concatenate(pair, axis=1) for pair in pairs)
    write_video(frames, output, fps=grid.fps, container=container)
    height, width = tokenizer.config.clip_shape[1:3]
    report_written(output, f"{grid.frames} frames of {2 * width}x{height} pixels at {grid.fps:g} fps")
