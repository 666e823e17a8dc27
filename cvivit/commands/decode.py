"""`cvivit decode` turns tokens into a video."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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

if TYPE_CHECKING:
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid

LENGTH_BYTES = 8
"""A safetensors file starts with the length of its header, in so many bytes."""


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
    from cvivit.video import write_video

    container = container_of(output)
    check_paths(source, output)
    tokenizer = load_tokenizer(model, revision, device, precision)
    grid = _read_tokens(source, tokenizer)
    write_video(tokenizer.decode_stream(grid), output, fps=grid.fps, container=container)
    height, width = tokenizer.config.clip_shape[1:3]
    report_written(output, f"{grid.frames} frames of {width}x{height} pixels at {grid.fps:g} fps")


def _read_tokens(source: Path, tokenizer: VideoTokenizer) -> TokenGrid:
    """Read tokens in either form. The first bytes tell which, since a pipe has no suffix."""
    from cvivit.tokens.grid import TokenGrid

    expected: dict[str, Any] = {
        "config": tokenizer.config,
        "model": tokenizer.fingerprint,
        "tokens_of": tokenizer.tokens_of,
    }
    with source.open("rb") as opened:
        file: BinaryIO = opened if opened.seekable() else io.BytesIO(opened.read())
        head = file.read(64)
        file.seek(0)
        # A token file's header is short, so most bytes of its length are zero. JSON has no zero bytes.
        is_binary = b"\0" in head[:LENGTH_BYTES]
        is_json = not is_binary and (head.lstrip()[:1] == b"{" or source.suffix.lower() == ".json")
        return TokenGrid.from_json(file.read(), **expected) if is_json else TokenGrid.load(file, **expected)
