"""Stream the windows of videos and token files: their pictures, tokens and reconstructions."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cvivit.config import CViViTConfig
from cvivit.errors import NoDataError
from cvivit.inputs import Source, find_sources, open_source
from cvivit.inputs.kinds import CSV_SUFFIXES, LIST_SUFFIXES, PARQUET_SUFFIXES
from cvivit.tokens.any_form import HEAD_BYTES, holds_tokens, load_tokens
from cvivit.video import ClipFormat, Fit, read_clips
from cvivit.video.containers.kinds import sniff
from cvivit.video.settings import check_span

if TYPE_CHECKING:
    from cvivit.tokenizer import VideoTokenizer

WINDOWS_AT_ONCE = 32
"""Windows that are computed together. This bounds the memory that a long input takes."""
TOKEN_SUFFIXES = (".safetensors", ".json")
_OF_MANY = LIST_SUFFIXES | CSV_SUFFIXES | PARQUET_SUFFIXES
"""Suffixes of files that name others."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """One clip of an input."""

    name: str
    """The name of the input: its file's, or its path below the folder that was named."""
    number: int
    """The place of the clip in its input, from 0."""
    start: float
    """The second of the input at which it begins."""
    fps: float
    frames: int
    """Frames that are real. Those after them pad the clip."""
    tokens: np.ndarray
    """Integers (T H W)."""
    original: np.ndarray | None = None
    """The pictures that were encoded, uint8 (f h w 3). None for tokens from a file."""
    decoded: np.ndarray | None = None
    """The pictures that the tokens stand for, uint8 (f h w 3). None where they were not asked for."""

    def real_tokens(self, config: CViViTConfig) -> np.ndarray:
        """Return the tokens of the latent frames that show a real frame."""
        return self.tokens[: latent_frame_of(self.frames - 1, config) + 1]


def latent_frame_of(frame: int, config: CViViTConfig) -> int:
    """Return which latent frame stands for a frame of a clip. The first one stands for one frame alone."""
    return -(-frame // config.temporal_patch_size)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read of each input. Token files have no `fit`, `start` and `seconds`.

    Raises:
        ConfigError: (a ValueError) `start` or `seconds` is out of range.
    """

    fit: Fit = "crop"
    start: float = 0.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_span(self.start, self.seconds)


def is_token_file(path: Path) -> bool:
    """Return whether a path is to be read as tokens, by its suffix or its first bytes."""
    if path.suffix.lower() in TOKEN_SUFFIXES:
        return True
    if not path.is_file():  # a pipe can be read only once
        return False
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return sniff(head) is None and holds_tokens(head)


def sources_of(names: Iterable[str]) -> list[Source]:
    """Return what is to be drawn, in the order in which it was named.

    A file is taken as it is, videos and token files alike. Of folders, globs, lists, tables and URLs the
    videos are taken.

    Raises:
        NoDataError: a name matches nothing, or no video.
        InputError: a list or table cannot be read, or nothing reads the scheme of a URL.
    """
    found: dict[str, Source] = {}
    for name in names:
        path = Path(name)
        if path.exists() and not path.is_dir() and path.suffix.lower() not in _OF_MANY:
            several = [Source(location=os.path.abspath(path), name=path.name, kind="unknown")]
        else:
            try:
                several = [source for source in find_sources([name]) if source.kind == "video"]
            except NoDataError as error:
                if name in str(error):
                    raise
                raise NoDataError(f"{name}: {error}") from error
            if not several:
                raise NoDataError(f"{name}: there are no videos")
        for source in several:
            found.setdefault(source.location, source)
    return list(found.values())


def windows_of(
    tokenizer: VideoTokenizer, sources: Iterable[Source], reading: Reading, *, decode: bool
) -> Generator[Window]:
    """Yield the windows of all inputs, in memory that does not grow with their length.

    Raises:
        VideoError: a video cannot be read.
        TokensError: tokens do not fit the model.
        OSError: a path cannot be opened.
    """
    for source in sources:
        with open_source(source) as location:
            path = Path(location)
            found = (
                _of_tokens(tokenizer, path, source.name)
                if is_token_file(path)
                else _of_video(tokenizer, path, source.name, reading)
            )
            for batch in found:
                yield from _decoded(tokenizer, batch) if decode else batch


def _of_video(tokenizer: VideoTokenizer, path: Path, name: str, reading: Reading) -> Iterator[list[Window]]:
    clip_format = ClipFormat.of(tokenizer.config, fit=reading.fit)
    length = clip_format.clip_frames / clip_format.fps
    number = 0
    with read_clips(path, clip_format, start=reading.start, seconds=reading.seconds) as reader:
        while True:
            clips, ends = [], [reader.frames]
            for clip in reader:
                clips.append(clip)
                ends.append(reader.frames)
                if len(clips) == WINDOWS_AT_ONCE:
                    break
            if not clips:
                return
            tokens = tokenizer.encode_clips(np.stack(clips))
            yield [
                Window(
                    name=name,
                    number=number + index,
                    start=reading.start + (number + index) * length,
                    fps=clip_format.fps,
                    frames=ends[index + 1] - ends[index],
                    tokens=tokens[index],
                    original=clip,
                )
                for index, clip in enumerate(clips)
            ]
            number += len(clips)


def _of_tokens(tokenizer: VideoTokenizer, path: Path, name: str) -> Iterator[list[Window]]:
    grid = load_tokens(
        path, config=tokenizer.config, model=tokenizer.fingerprint, tokens_of=tokenizer.tokens_of
    )
    frames = tokenizer.config.clip_frames
    for first in range(0, len(grid.indices), WINDOWS_AT_ONCE):
        yield [
            Window(
                name=name,
                number=first + index,
                start=(first + index) * frames / grid.fps,
                fps=grid.fps,
                frames=min(frames, grid.frames - (first + index) * frames),
                tokens=tokens,
            )
            for index, tokens in enumerate(grid.indices[first : first + WINDOWS_AT_ONCE])
        ]


def _decoded(tokenizer: VideoTokenizer, batch: list[Window]) -> Iterator[Window]:
    clips = tokenizer.decode_clips(np.stack([window.tokens for window in batch]))
    for window, clip in zip(batch, clips, strict=True):
        yield Window(**(vars(window) | {"decoded": clip}))
