"""`cvivit visualize` draws tokens and reconstructions for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

import typer

from cvivit.commands.common import (
    DeviceOption,
    FitOption,
    ModelOption,
    OutputArgument,
    PrecisionOption,
    RevisionOption,
    SecondsOption,
    StartOption,
    check_paths,
    check_token_files,
    load_tokenizer,
    progress_bar,
    report_written,
)

if TYPE_CHECKING:
    from cvivit.inputs import Source
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.video import VideoContainer
    from cvivit.visualizing.colours import Theme
    from cvivit.visualizing.windows import Reading, Window

Kind: TypeAlias = Literal["pair", "tokens", "usage", "atlas"]

MOVING: dict[str, VideoContainer] = {".mp4": "mp4", ".webm": "webm", ".gif": "gif", ".webp": "webp"}
STILL = (".png", ".webp")
PANEL = 256
"""Pixels of the longer side of a picture that is shown, at least, unless `--scale` says otherwise."""
MAX_SCALE = 16


@dataclass(frozen=True)
class _Job:
    """What is drawn, of what, and where to."""

    kind: Kind
    sources: Sequence[Source]
    output: Path
    reading: Reading
    theme: Theme
    scale: int
    codes: int
    progress: Callable[[int, int | None], None]
    """Takes how many windows are drawn."""

    def windows(self, tokenizer: VideoTokenizer, *, decode: bool) -> Generator[Window]:
        """Stream the clips of all inputs."""
        from cvivit.visualizing.windows import windows_of

        with closing(windows_of(tokenizer, self.sources, self.reading, decode=decode)) as windows:
            for number, window in enumerate(windows):
                self.progress(number, None)
                yield window


def visualize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Videos and token files, one after another; folders and globs of videos."
        ),
    ],
    output: OutputArgument,
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="pair: original and reconstruction side by side. tokens: a map of the tokens over time. "
            "usage: which codes are used, and how often. atlas: what each code looks like.",
            show_default="pair for videos, tokens for token files and .png",
        ),
    ] = None,
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    fit: FitOption = "crop",
    start: StartOption = 0.0,
    seconds: SecondsOption = None,
    theme: Annotated[Literal["light", "dark"], typer.Option(help="The background.")] = "light",
    scale: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_SCALE,
            help="How many times a picture is enlarged.",
            show_default=f"so that its longer side has {PANEL} pixels",
        ),
    ] = None,
    codes: Annotated[int, typer.Option(min=1, max=4096, help="The most codes that an atlas shows.")] = 256,
) -> None:
    """Draw what tokens hold: a comparison, a map of the tokens, the use of the codebook, or an atlas of it.

    `pair` and `tokens` move: they are written as .mp4, .webm, .gif or .webp. `tokens` may also be a .png, of
    the first clips. `usage` and `atlas` are stills: .png or .webp. Equal codes have equal colours everywhere,
    those of the demo page. The options --fit, --start and --seconds are for videos.
    """
    from cvivit.inputs.locations import is_url
    from cvivit.visualizing.colours import THEMES
    from cvivit.visualizing.windows import Reading, is_token_file, sources_of

    reading = Reading(fit=fit, start=start, seconds=seconds)
    sources = sources_of(inputs)
    tokens = []
    for path in (Path(source.location) for source in sources if not is_url(source.location)):
        check_paths(path, output)
        if output.exists() and os.path.samefile(path, output):
            raise typer.BadParameter(f"{output} is an input as well", param_hint="OUTPUT")
        if is_token_file(path):
            tokens.append(path)
    chosen = _kind(kind, output, tokens_alone=len(tokens) == len(sources))
    if chosen == "pair" and tokens:
        raise typer.BadParameter(
            f"{tokens[0].name} holds tokens: it has no original to show. Use --kind tokens",
            param_hint="--kind",
        )
    check_token_files(tokens, model, revision)
    tokenizer = load_tokenizer(model, revision, device, precision)
    with progress_bar("drawing clips") as progress:
        job = _Job(
            kind=chosen,
            sources=sources,
            output=output,
            reading=reading,
            theme=THEMES[theme],
            scale=scale or max(1, -(-PANEL // max(tokenizer.config.image_size))),
            codes=codes,
            progress=progress,
        )
        still = chosen in ("usage", "atlas") or output.suffix.lower() == ".png"
        drawn = _draw_still(job, tokenizer) if still else _draw_moving(job, tokenizer)
    report_written(output, drawn)


def _kind(kind: Kind | None, output: Path, *, tokens_alone: bool) -> Kind:
    """Return the kind that was asked for, or the natural one, if the output's suffix can hold it."""
    suffix = output.suffix.lower()
    chosen = kind or ("tokens" if tokens_alone or suffix == ".png" else "pair")
    suffixes = {
        "pair": tuple(MOVING),
        "tokens": (*MOVING, ".png"),
        "usage": STILL,
        "atlas": STILL,
    }
    assert set(suffixes) == set(get_args(Kind))
    if suffix not in suffixes[chosen]:
        *others, last = suffixes[chosen]
        raise typer.BadParameter(f"{chosen} is written as {', '.join(others)} or {last}", param_hint="OUTPUT")
    return chosen


def _draw_moving(job: _Job, tokenizer: VideoTokenizer) -> str:
    """Write a pair or a map of tokens that moves, frame by frame. Return what it shows."""
    from cvivit.video import write_video
    from cvivit.visualizing.moving import pair_frames, token_frames

    windows = job.windows(tokenizer, decode=True)
    first = next(windows)  # no input is without a window: a video without frames is an error
    counted = _Counted(chain([first], windows))
    frames = (
        pair_frames(counted, job.theme, scale=job.scale)
        if job.kind == "pair"
        else token_frames(counted, tokenizer.config, job.theme, scale=job.scale)
    )
    write_video(frames, job.output, fps=first.fps, container=MOVING[job.output.suffix.lower()])
    what = "original and reconstruction" if job.kind == "pair" else "tokens over time"
    return f"{what}, {counted.frames} frames at {first.fps:g} fps"


def _draw_still(job: _Job, tokenizer: VideoTokenizer) -> str:
    """Write a still, and return what it shows."""
    from cvivit.visualizing.atlas import draw_atlas
    from cvivit.visualizing.counting import count_codes, paint_codes
    from cvivit.visualizing.saving import save_still
    from cvivit.visualizing.strip import token_strip
    from cvivit.visualizing.usage import draw_usage

    config = tokenizer.config
    windows = job.windows(tokenizer, decode=job.kind != "usage")
    if job.kind == "tokens":
        image = token_strip(windows, config, job.theme, scale=max(1, job.scale // 2))
        windows.close()
        what = "tokens over time"
    elif job.kind == "usage":
        counts = count_codes(windows, config)
        image = draw_usage(counts, config.codebook_size, job.theme)
        what = f"{len(counts.codes)} of {config.codebook_size} codes used by {counts.tokens} tokens"
    else:
        counts, patches = paint_codes(windows, config)
        image = draw_atlas(counts, patches, config.codebook_size, job.theme, most=job.codes)
        what = f"{min(job.codes, len(counts.codes))} of {len(counts.codes)} codes that occur"
    save_still(image, job.output)
    return what


class _Counted:
    """Passes windows on, and counts their frames."""

    def __init__(self, windows: Iterator[Window]) -> None:
        self._windows = windows
        self.frames = 0

    def __iter__(self) -> Iterator[Window]:
        for window in self._windows:
            self.frames += window.frames
            yield window
