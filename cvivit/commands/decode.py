"""`cvivit decode` turns tokens into a video."""

from __future__ import annotations

from cvivit.commands.common import (
    DeviceOption,
    InputArgument,
    ModelOption,
    OutputArgument,
    PrecisionOption,
    RevisionOption,
    check_paths,
    container_of,
    load_tokenizer,
    report_written,
)


def decode(
    source: InputArgument,
    output: OutputArgument,
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Decode tokens, from a token file or JSON, to a .mp4, .webm or .gif video.

    Only the indices are required, so a generator may save just the tokens that it sampled.
    """
    from cvivit.tokens.any_form import load_tokens
    from cvivit.video import write_video

    container = container_of(output)
    check_paths(source, output)
    tokenizer = load_tokenizer(model, revision, device, precision)
    grid = load_tokens(
        source, config=tokenizer.config, model=tokenizer.fingerprint, tokens_of=tokenizer.tokens_of
    )
    write_video(tokenizer.decode_stream(grid), output, fps=grid.fps, container=container)
    height, width = tokenizer.config.clip_shape[1:3]
    report_written(output, f"{grid.frames} frames of {width}x{height} pixels at {grid.fps:g} fps")
