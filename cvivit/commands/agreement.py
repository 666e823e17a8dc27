"""Whether the tokens of real clips depend on company and on precision, and what that does to the picture."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cvivit.errors import VideoError
from cvivit.metrics import psnr_pooled
from cvivit.network import CViViT
from cvivit.runtime.runner import make_runner
from cvivit.video import ClipFormat, read_clips


def agreement(
    model: CViViT,
    clips: np.ndarray,
    *,
    device: str = "auto",
    compositions: int = 1000,
    largest: int = 8,
    seed: int = 0,
) -> dict[str, Any]:
    """Encode clips in random company and in both precisions, and count what differs.

    A composition is 1 to `largest` clips, drawn with repetition, in any order. Its tokens are held against
    those of each clip alone.

    Args:
        model: the network; its weights matter.
        clips: uint8 `n f h w c`, n >= 1.
        device: "auto", "cpu" or "cuda:N".
        compositions: how many to encode in "exact".
        largest: clips of a composition at most.
        seed: of the draw.

    Returns:
        JSON-ready: `device`, `clips`, `compositions`; `compared_tokens` and `differing_tokens`, counted over
        the compositions; `fast_differing_share`, of the tokens of all clips against "exact"; `exact_psnr` and
        `fast_psnr`, over all reconstructions, in dB.

    Raises:
        ValueError: there are no clips.
    """
    if not len(clips):
        raise ValueError("there are no clips")
    exact = make_runner(model, device=device, precision="exact")
    alone = np.concatenate([exact.encode_clips(clip[None]) for clip in clips])
    random = np.random.default_rng(seed)
    compared = differing = 0
    for _ in range(compositions):
        chosen = random.integers(0, len(clips), random.integers(1, largest + 1))
        differing += int(np.count_nonzero(exact.encode_clips(clips[chosen]) != alone[chosen]))
        compared += alone[chosen].size
    report = {
        "device": str(exact.device),
        "clips": len(clips),
        "compositions": compositions,
        "compared_tokens": compared,
        "differing_tokens": differing,
        "exact_psnr": psnr_pooled(clips, exact.decode_clips(alone)),
    }
    del exact
    fast = make_runner(model, device=device, precision="fast")
    tokens = fast.encode_clips(clips)
    return report | {
        "fast_differing_share": float(np.mean(tokens != alone)),
        "fast_psnr": psnr_pooled(clips, fast.decode_clips(tokens)),
    }


def text(report: dict[str, Any]) -> str:
    """Return the report of `agreement` as text."""
    return "\n".join(
        (
            f"{report['clips']} clips on {report['device']}",
            f"exact: {report['differing_tokens']:,} of {report['compared_tokens']:,} tokens differ from "
            f"those of the clip alone, over {report['compositions']:,} random compositions",
            f"fast: {report['fast_differing_share']:.2%} of the tokens differ from exact",
            f"PSNR: {report['exact_psnr']:.2f} dB exact, {report['fast_psnr']:.2f} dB fast",
        )
    )


def clips_of(sources: Iterable[Path], clip_format: ClipFormat, *, most: int) -> np.ndarray:
    """Return the first clips `n f h w c` of videos in turn, and of those in folders, n <= `most`.

    Raises:
        VideoError: a file named by itself cannot be read; one in a folder is passed over.
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
