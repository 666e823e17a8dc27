"""The `cvivit` command: parses, calls the library, and turns errors into one line and an exit status."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from cvivit.config import CViViTConfig
from cvivit.errors import CViViTError
from cvivit.files import replacing

if TYPE_CHECKING:
    from cvivit.runtime.precision import Precision as PrecisionName
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid
    from cvivit.video import VideoContainer

app = typer.Typer(
    help="Videos to tokens and back, with C-ViViT.", no_args_is_help=True, pretty_exceptions_enable=False
)


class Fit(StrEnum):
    """How frames come to the model's square."""

    CROP = "crop"
    PAD = "pad"
    STRETCH = "stretch"


class Precision(StrEnum):
    """Exact is float32, fast is bfloat16, auto is fast where the hardware has it."""

    AUTO = "auto"
    EXACT = "exact"
    FAST = "fast"


Model = Annotated[
    str,
    typer.Option("--model", "-m", help="demo, a Hub repository, a directory, a .safetensors or .bin file"),
]
Revision = Annotated[str | None, typer.Option(help="branch, tag or commit of a Hub repository")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
PrecisionOption = Annotated[Precision, typer.Option(help="exact: float32; fast: bfloat16")]
FitOption = Annotated[Fit, typer.Option(help="how frames come to the model's square")]
Input = Annotated[Path, typer.Argument(help="file to read, or a pipe such as /dev/stdin")]
Output = Annotated[Path, typer.Argument(help="file to write; its suffix says in which form")]

VIDEO_SUFFIXES: dict[str, VideoContainer] = {".mp4": "mp4", ".webm": "webm", ".gif": "gif"}


@app.command()
def encode(
    source: Input,
    output: Output,
    model: Model = "demo",
    revision: Revision = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    fit: FitOption = Fit.CROP,
) -> None:
    """Encode a video to a token file: .safetensors, or .json."""
    suffix = output.suffix.lower()
    if suffix not in (".safetensors", ".json"):
        raise typer.BadParameter("tokens are written as .safetensors or .json", param_hint="OUTPUT")
    _check_paths(source, output)
    tokenizer = _tokenizer(model, revision, device, precision)
    grid = tokenizer.encode(source, fit=fit.value)
    if suffix == ".json":
        with replacing(output) as file:
            file.write(grid.to_json().encode("ascii"))
    else:
        grid.save(output)


@app.command()
def decode(
    source: Input,
    output: Output,
    model: Model = "demo",
    revision: Revision = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Decode tokens, as a token file or JSON, to a video: .mp4, .webm or .gif.

    Of the tokens only the indices are required: a generator may save what it sampled.
    """
    from cvivit.video import write_video

    container = _container(output)
    _check_paths(source, output)
    tokenizer = _tokenizer(model, revision, device, precision)
    grid = _read_tokens(source, tokenizer)
    write_video(tokenizer.decode_stream(grid), output, fps=grid.fps, container=container)


@app.command()
def reconstruct(
    source: Input,
    output: Output,
    model: Model = "demo",
    revision: Revision = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    fit: FitOption = Fit.CROP,
) -> None:
    """Encode and decode a video, and write both side by side: .mp4, .webm or .gif."""
    import numpy as np

    from cvivit.video import ClipFormat, read_frames, write_video

    container = _container(output)
    _check_paths(source, output)
    tokenizer = _tokenizer(model, revision, device, precision)
    # What is read twice must be the same both times, and a pipe is gone after the first.
    video: Path | bytes = source if source.is_file() else source.read_bytes()
    grid = tokenizer.encode(video, fit=fit.value)
    originals = read_frames(video, ClipFormat.of(tokenizer.config, fit=fit.value))
    pairs = zip(originals, tokenizer.decode_stream(grid), strict=True)
    frames = (np.concatenate(pair, axis=1) for pair in pairs)
    write_video(frames, output, fps=grid.fps, container=container)


@app.command()
def info(model: Model = "demo", revision: Revision = None) -> None:
    """Load weights and print what they are, as JSON."""
    from cvivit.weights import load_weights

    weights = load_weights(model, revision=revision)
    print(
        json.dumps(
            {
                "name": weights.name,
                "model": weights.fingerprint,
                "grid": weights.config.grid,
                "clip": weights.config.clip_shape,
                "config": weights.config.model_dump(mode="json"),
            },
            indent=2,
        )
    )


class Size(StrEnum):
    """Which network to time."""

    RELEASED = "released"
    DEMO = "demo"


@app.command()
def bench(
    size: Annotated[Size, typer.Option(help="which network to time, with random weights")] = Size.RELEASED,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="clips handed over at once; repeatable")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="timings of which the median counts")] = 7,
    published: Annotated[bool, typer.Option(help="also time the network as it was published")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Time encode and decode by batch and precision (auto: both) against this machine's matrix rate."""
    import torch

    from cvivit.commands.bench import benchmark, table
    from cvivit.network import CViViT

    torch.manual_seed(0)
    network = CViViT(getattr(CViViTConfig, size.value)())
    precisions: list[PrecisionName] = ["exact", "fast"]
    if precision is not Precision.AUTO:
        precisions = [cast("PrecisionName", precision.value)]
    report = benchmark(
        network,
        device=device,
        precisions=precisions,
        batches=tuple(batch or (1, 4)),
        repeats=repeats,
        published=published,
    )
    print(json.dumps(report, indent=2) if as_json else table(report))


@app.command()
def agreement(
    sources: Annotated[list[Path], typer.Argument(help="videos, and folders of videos")],
    model: Model = "demo",
    revision: Revision = None,
    device: Device = "auto",
    compositions: Annotated[int, typer.Option(min=0, help="random batches to encode in exact")] = 1000,
    largest: Annotated[int, typer.Option(min=1, help="clips of a random batch at most")] = 8,
    clips: Annotated[int, typer.Option(min=1, help="clips to take of the videos at most")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """Count the tokens that depend on what shares a batch (exact), and on the precision (fast)."""
    from cvivit.commands.agreement import agreement as measure
    from cvivit.commands.agreement import clips_of, text
    from cvivit.network import CViViT
    from cvivit.video import ClipFormat
    from cvivit.weights import load_weights

    weights = load_weights(model, revision=revision)
    network = CViViT(weights.config).eval()
    network.load_state_dict(weights.state_dict)
    found = clips_of(sources, ClipFormat.of(weights.config), most=clips)
    report = measure(network, found, device=device, compositions=compositions, largest=largest)
    print(json.dumps(report, indent=2) if as_json else text(report))
    if report["differing_tokens"]:
        raise typer.Exit(1)


def _tokenizer(model: str, revision: str | None, device: str, precision: Precision) -> VideoTokenizer:
    from cvivit.tokenizer import VideoTokenizer

    return VideoTokenizer.from_pretrained(model, revision=revision, device=device, precision=precision.value)


def _container(output: Path) -> VideoContainer:
    try:
        return VIDEO_SUFFIXES[output.suffix.lower()]
    except KeyError:
        raise typer.BadParameter("videos are written as .mp4, .webm or .gif", param_hint="OUTPUT") from None


def _read_tokens(source: Path, tokenizer: VideoTokenizer) -> TokenGrid:
    """Read tokens in whichever form they have: a pipe has no suffix that says it."""
    from cvivit.tokens.grid import TokenGrid

    expected: dict[str, Any] = {"config": tokenizer.config, "model": tokenizer.fingerprint}
    with source.open("rb") as opened:
        file: BinaryIO = opened if opened.seekable() else io.BytesIO(opened.read())
        head = file.read(64)
        file.seek(0)
        # A token file begins with the length of its header in eight bytes, of which five are always zero.
        is_json = b"\0" not in head[:8] and (head.lstrip()[:1] == b"{" or source.suffix.lower() == ".json")
        return TokenGrid.from_json(file.read(), **expected) if is_json else TokenGrid.load(file, **expected)


def _check_paths(source: Path, output: Path) -> None:
    """Fail before the weights are loaded, and not after an hour's work.

    Raises:
        OSError: there is no such input, or no folder for the output, or it is one.
    """
    source.stat()
    output.parent.stat()
    if not output.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(output))
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))


def main() -> None:
    """Run the command. Errors of input, weights and files are one line on stderr and exit status 1."""
    try:
        app()
    except (CViViTError, OSError, ValueError, MemoryError) as error:
        print(f"cvivit: {str(error) or 'out of memory'}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
