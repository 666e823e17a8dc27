"""`cvivit detokenize` turns a token dataset back into videos."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvivit.commands.common import (
    DeviceOption,
    ModelOption,
    PrecisionOption,
    RevisionOption,
    check_folder,
    counted,
    load_tokenizer,
    local_input,
    local_output,
    progress_bar,
    report_written,
)
from cvivit.errors import ModelMismatchError, NoDataError
from cvivit.files import replacing
from cvivit.folders import make_folder

if TYPE_CHECKING:
    import numpy as np

    from cvivit.config import CViViTConfig
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens import TokenDataset, TokenSample
    from cvivit.tokens.datasets import Manifest

WINDOWS_AT_ONCE = 32
"""Windows that are decoded before their frames are written. This bounds the memory that a long sample
takes."""


def detokenize(
    dataset: Annotated[
        Path, typer.Argument(callback=local_input, help="The folder that `cvivit tokenize` wrote.")
    ],
    output: Annotated[Path, typer.Argument(callback=local_output, help="The folder for the videos.")],
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--keys", help="Decode only samples of this key, which may hold * and ?. It may be repeated."
        ),
    ] = None,
) -> None:
    """Decode the samples of a token dataset to videos: KEY.mp4, with KEY.txt where a sample has a caption."""
    check_folder(output)
    from cvivit.tokens import TokenDataset

    found = TokenDataset(dataset)  # whether it can be read is found out before torch is imported
    if keys and not any(_chosen(sample.key, keys) for sample in found):
        raise NoDataError(f"{dataset}: no sample has a key like {', '.join(keys)}")
    from cvivit.video import write_video
    from cvivit.weights.source import local_config

    check_fits(found.manifest, dataset, local_config(model, revision))
    make_folder(output)
    tokenizer = load_tokenizer(model, revision, device, precision)
    tokens = TokenDataset(dataset, model=tokenizer)
    written = frames = 0
    with progress_bar("decoding") as show:
        for number, sample in enumerate(tokens, start=1):
            if _chosen(sample.key, keys):
                target = output / f"{sample.key}.mp4"
                target.parent.mkdir(parents=True, exist_ok=True)
                write_video(frames_of(sample, tokenizer, tokens), target, fps=sample.fps)
                if sample.caption is not None:
                    with replacing(output / f"{sample.key}.txt") as file:
                        file.write(sample.caption.encode(errors="replace"))
                written, frames = written + 1, frames + sample.frames
            show(number, len(tokens))
    report_written(output, f"{counted(written, 'video')} of {counted(frames, 'frame')} at {tokens.fps:g} fps")


def check_fits(manifest: Manifest, dataset: Path, config: CViViTConfig | None) -> None:
    """Refuse a dataset whose tokens no weights of a configuration decode, before torch is imported.

    Raises:
        ModelMismatchError: its grid or its codebook is another.
    """
    if config is None:
        return
    made, asked = (manifest.grid, manifest.codebook_size), (config.grid, config.codebook_size)
    if made != asked:
        made_by, model = (f"{'x'.join(map(str, grid))} of {codes} codes" for grid, codes in (made, asked))
        raise ModelMismatchError(f"{dataset}: its tokens are {made_by}, and those of the model are {model}")


def frames_of(sample: TokenSample, tokenizer: VideoTokenizer, dataset: TokenDataset) -> Iterator[np.ndarray]:
    """Yield the frames of a sample, uint8 `h w c`, each once where windows overlap, and without padding."""
    overlap = dataset.manifest.overlap
    left = sample.frames
    for start in range(0, len(sample.tokens), WINDOWS_AT_ONCE):
        windows = tokenizer.decode_clips(sample.tokens[start : start + WINDOWS_AT_ONCE])
        for number, window in enumerate(windows, start=start):
            new = (window[overlap:] if number else window)[:left]
            left -= len(new)
            yield from new


def _chosen(key: str, patterns: list[str] | None) -> bool:
    return not patterns or any(fnmatchcase(key, pattern) for pattern in patterns)
