"""Cut one source into clips and stills, which is what a worker process of `prepare` does."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from cvivit.errors import CViViTError, InputError
from cvivit.inputs import Source, open_source
from cvivit.video import ClipFormat, display_size, encode_video, read_frames
from training.prepare.crops import crop, crop_boxes
from training.prepare.journal import UNREADABLE, FileStamp, SourceOutcome, write_pieces
from training.prepare.scenes import colour_change
from training.prepare.settings import PrepareSettings
from training.prepare.stills import is_sequence, pans, read_still, still_crops
from training.prepare.windows import cut_windows

TOO_SHORT = "too_short"
"""Reason for a video without a whole clip between its scene cuts."""
TOO_LARGE = "memory"
"""Reason for a file that needs more memory than there is, or claims to need it."""
UNKNOWN_KIND = "unknown_kind"
"""Reason for a file in a folder whose suffix is neither a video's nor a still's."""


@dataclass(kw_only=True)
class _CutProgress:
    """The facts about a source that are known after its pieces were cut."""

    seconds: float = 0.0
    pictures: int = 0
    repeats: int = 0
    starts: list[float] = field(default_factory=list)
    reason: str = ""
    message: str = ""

    def guard(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield pieces up to the place where the source is broken, and note why."""
        try:
            yield from pieces
        except CViViTError as error:
            self.reason, self.message = error.code, str(error)
        except OSError as error:
            self.reason, self.message = UNREADABLE, error.strerror or "cannot be read"
        except MemoryError:
            self.reason, self.message = TOO_LARGE, "needs more memory than there is"


def cut_source(source: Source, stamp: FileStamp, settings: PrepareSettings, spool: Path) -> SourceOutcome:
    """Cut one source into pieces, write them to the file `spool`, and return what became of the source.

    A fault of the source is noted in the result. Only a fault of the output is raised.

    Raises:
        OSError: the file `spool` cannot be written.
    """
    if source.kind == "unknown":
        return SourceOutcome(
            stamp=stamp, reason=UNKNOWN_KIND, message="neither a video nor a still by its suffix"
        )
    with ExitStack() as opened:
        try:
            told = _told(source)
            path = opened.enter_context(open_source(source))
            digest = _digest(path)
            moves = is_sequence(path)
        except InputError as error:
            return SourceOutcome(stamp=stamp, reason=error.code, message=str(error))
        except OSError as error:
            return SourceOutcome(stamp=stamp, reason=UNREADABLE, message=error.strerror or "cannot be read")
        still = source.kind == "still" and not moves
        return _cut(path, still=still, digest=digest, told=told, stamp=stamp, settings=settings, spool=spool)


def _cut(
    path: str,
    *,
    still: bool,
    digest: str,
    told: tuple[bytes | None, bytes | None],
    stamp: FileStamp,
    settings: PrepareSettings,
    spool: Path,
) -> SourceOutcome:
    outcome = _CutProgress()
    rng = np.random.default_rng([settings.seed, int(digest, 16)])
    cut = _cut_still if still else _cut_video
    texts = [text for text in told if text is not None]
    sizes = write_pieces(spool, chain(outcome.guard(cut(path, settings, rng, outcome)), texts))
    del sizes[len(sizes) - len(texts) :]
    if outcome.reason and not settings.salvage:
        sizes = []
    elif not sizes and not outcome.reason:
        outcome.reason = TOO_SHORT
        outcome.message = f"nowhere {settings.clip_seconds:g} seconds without a scene cut"
    if not sizes:
        spool.unlink()
    clips = min(len(sizes), settings.pans) if still else len(sizes)
    caption, metadata = (None if text is None else len(text) for text in told)
    return SourceOutcome(
        stamp=stamp,
        digest=digest,
        seconds=outcome.seconds,
        repeats=outcome.repeats / max(1, outcome.pictures),
        clips=tuple(sizes[:clips]),
        stills=tuple(sizes[clips:]),
        starts=tuple(outcome.starts[:clips]),
        beside=(caption, metadata),
        told=hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest() if texts else "",
        reason=outcome.reason,
        message=outcome.message,
    )


def _told(source: Source) -> tuple[bytes | None, bytes | None]:
    """Return the caption and the metadata of a source as they are stored, where it has them."""
    caption, metadata = source.caption(), source.metadata()
    return (
        None if caption is None else caption.encode(errors="surrogatepass"),
        None if metadata is None else json.dumps(metadata).encode(),
    )


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _cut_video(
    path: str, settings: PrepareSettings, rng: np.random.Generator, outcome: _CutProgress
) -> Iterator[bytes]:
    windows = cut_windows(
        _frames(path, settings, outcome),
        settings,
        is_cut=(lambda before, after: colour_change(before, after) > settings.scene_threshold)
        if settings.scene_threshold
        else None,
    )
    for first, window in windows:
        for box in crop_boxes(window.shape[1:3], settings, rng):
            clip = np.stack([crop(frame, box, settings.image_size) for frame in window])
            outcome.starts.append(first / (settings.fps * settings.offsets))
            yield encode_video(clip, fps=settings.fps, crf=settings.crf)


def _frames(path: str, settings: PrepareSettings, outcome: _CutProgress) -> Iterator[np.ndarray]:
    """Yield the pictures of a video: whole ones, or only the centre crop if nothing else is asked for."""
    centre = settings.scales == (1.0,) and settings.crops == 1
    fps = settings.fps * settings.offsets
    clip_format = ClipFormat(
        image_size=settings.image_size if centre else display_size(path, salvage=settings.salvage),
        fps=fps,
        fit="crop" if centre else "stretch",
    )
    # At a multiple of the clips' rate, it is the picture of the same clip before this one that counts.
    latest: deque[np.ndarray] = deque(maxlen=settings.offsets)
    pictures = read_frames(path, clip_format, threads=1, salvage=settings.salvage, strict=settings.strict)
    for frame in pictures:
        outcome.seconds += 1 / fps
        outcome.pictures += 1
        outcome.repeats += len(latest) == settings.offsets and frame is latest[0]
        latest.append(frame)
        yield frame


def _cut_still(
    path: str, settings: PrepareSettings, rng: np.random.Generator, _outcome: _CutProgress
) -> Iterator[bytes]:
    still = read_still(path)
    for clip in pans(still, settings, rng):
        yield encode_video(clip, fps=settings.fps, crf=settings.crf)
    yield from still_crops(still, settings, rng)
