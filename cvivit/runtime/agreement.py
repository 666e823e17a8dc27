"""Measure whether the tokens of clips depend on the other clips of their batch, and on the precision."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cvivit.errors import VideoError
from cvivit.metrics import psnr_pooled
from cvivit.network import CViViT
from cvivit.runtime.runner import make_runner
from cvivit.video import ClipFormat, read_clips


def measure_agreement(
    model: CViViT,
    clips: np.ndarray,
    *,
    device: str = "auto",
    compositions: int = 1000,
    largest: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Encode clips in random batches and in both precisions, and count the tokens that differ.

    A composition is a batch of 1 to `largest` clips, drawn with repetition, in any order. Its tokens are
    compared with those of each clip alone.

    Args:
        model: the network, with the weights to measure.
        clips: uint8 `n f h w c`, n >= 1.
        device: "auto", "cpu" or "cuda:N".
        compositions: how many random batches to encode in "exact".
        largest: the most clips in a composition.
        seed: the seed of the random draws.
        progress: called after each composition with the number done and the number of all.

    Returns:
        A dict that JSON can hold: `device`, `clips`, `compositions`; `compared_tokens` and
        `differing_tokens`, counted over the compositions; `fast_differing_share`, the share of the tokens of
        all clips in which "fast" differs from "exact"; `exact_psnr` and `fast_psnr`, pooled over all
        reconstructions, in dB.

    Raises:
        ValueError: there are no clips.
    """
    if not len(clips):
        raise ValueError("there are no clips")
    exact = make_runner(model, device=device, precision="exact")
    alone = np.concatenate([exact.encode_clips(clip[None]) for clip in clips])
    random = np.random.default_rng(seed)
    compared = differing = 0
    for done in range(1, compositions + 1):
        chosen = random.integers(0, len(clips), random.integers(1, largest + 1))
        differing += int(np.count_nonzero(exact.encode_clips(clips[chosen]) != alone[chosen]))
        compared += alone[chosen].size
        if progress:
            progress(done, compositions)
    report = {
        "device": str(exact.device),
        "clips": len(clips),
        "compositions": compositions,
        "compared_tokens": compared,
        "differing_tokens": differing,
        "exact_psnr": psnr_pooled(clips, exact.decode_clips(alone)),
    }
    del exact  # frees its memory for the other runner
    fast = make_runner(model, device=device, precision="fast")
    tokens = fast.encode_clips(clips)
    return report | {
        "fast_differing_share": float(np.mean(tokens != alone)),
        "fast_psnr": psnr_pooled(clips, fast.decode_clips(tokens)),
    }


def text(report: dict[str, Any]) -> str:
    """Return the report of `measure_agreement` as text."""
    return "\n".join(
        (
            f"{report['clips']} clips on {report['device']}",
            f"exact: {report['differing_tokens']:,} of {report['compared_tokens']:,} tokens differ from "
            f"those of the clip alone, over {report['compositions']:,} random compositions",
            f"fast: {report['fast_differing_share']:.2%} of the tokens differ from exact",
            f"PSNR: {report['exact_psnr']:.2f} dB exact, {report['fast_psnr']:.2f} dB fast",
        )
    )


def read_some_clips(sources: Iterable[Path], clip_format: ClipFormat, *, most: int) -> np.ndarray:
    """Return up to `most` clips `n f h w c` of videos and of the videos in folders.

    The clips are taken from all videos in turn: the first clip of each, then the second of each, and so on.

    Raises:
        VideoError: a file that was named itself cannot be read. Such a file in a folder is skipped.
        OSError: a path does not exist.
    """
    readers = [
        _clips(path, clip_format, forgiving=source.is_dir()) for source in sources for path in _files(source)
    ]
    found: list[np.ndarray] = []
    while readers and len(found) < most:
        reader = readers.pop(0)
        clip = next(reader, None)
        if clip is not None:
            found.append(clip)
            readers.append(reader)
    for reader in readers:
        reader.close()
    height, width = clip_format.image_size
    return np.stack(found) if found else np.empty((0, clip_format.clip_frames, height, width, 3), np.uint8)


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def _clips(path: Path, clip_format: ClipFormat, *, forgiving: bool) -> Generator[np.ndarray]:
    try:
        with read_clips(path, clip_format) as reader:
            yield from reader
    except VideoError:
        if not forgiving:
            raise
