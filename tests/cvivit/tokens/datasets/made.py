"""Token datasets of made-up samples, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvivit.tokens import TokenSample
from cvivit.tokens.datasets import flat_form, parquet_form, webdataset_form
from cvivit.tokens.datasets.manifest import Form, IndexFile, Manifest, Shard, sha256_of

FORMS: tuple[Form, ...] = ("webdataset", "flat", "parquet")
GRID = (3, 4, 4)
CODES = 64
MODEL = "f" * 64
CAPTIONS = ("a cat", None, "två\n猫", "")


def made_sample(number: int, *, windows: int | None = None) -> TokenSample:
    """Return sample `number`. No other sample has its tokens."""
    rng = np.random.default_rng(number)
    count = windows or 1 + number % 3
    return TokenSample(
        key=f"folder.v1/clip_{number:03d}",
        tokens=rng.integers(0, CODES, (count, *GRID), np.uint16),
        source=f"/videos/folder.v1/clip.{number:03d}.mp4",
        model=MODEL,
        fps=8.0,
        frames=5 * count - number % 2,
        first_frames=tuple(range(0, 5 * count, 5)),
        times=tuple(frame / 8 for frame in range(0, 5 * count, 5)),
        caption=CAPTIONS[number % len(CAPTIONS)],
        metadata={"number": number, "tags": ["x", None]} if number % 2 else None,
    )


def write_dataset(folder: Path, form: Form, shards: Sequence[Sequence[TokenSample]]) -> Manifest:
    """Write samples as a dataset, shard by shard."""
    folder.mkdir(parents=True)
    entries: list[Shard] = []
    parts: list[Path] = []
    for number, samples in enumerate(shards):
        if form == "flat":
            parts.append(folder / f".work/{number}.flat")
            flat_form.write_shard(parts[-1], samples)
            path = parts[-1] / flat_form.TOKENS_NAME
        else:
            module = webdataset_form if form == "webdataset" else parquet_form
            path = folder / f"tokens-{number:06d}{module.SUFFIX}"
            module.write_shard(path, samples)
        entries.append(
            Shard(
                name=path.name,
                samples=len(samples),
                windows=sum(len(sample.tokens) for sample in samples),
                bytes=path.stat().st_size,
                sha256=sha256_of(path),
            )
        )
    files: tuple[IndexFile, ...] = ()
    if form == "flat":
        files = flat_form.join_shards(folder, parts, work=folder / ".work")
    manifest = Manifest(
        form=form,
        model=MODEL,
        config={},
        fps=8.0,
        dtype="uint16",
        grid=GRID,
        clip_frames=5,
        codebook_size=CODES,
        options={},
        inputs="",
        counts={},
        shards=tuple(entries),
        files=files,
    )
    manifest.save(folder)
    return manifest


def assert_same(one: TokenSample, other: TokenSample) -> None:
    """Check that two samples agree in everything."""
    assert one.tokens.dtype == other.tokens.dtype
    np.testing.assert_array_equal(one.tokens, other.tokens)
    for name in ("key", "source", "model", "fps", "frames", "first_frames", "times", "caption", "metadata"):
        assert getattr(one, name) == getattr(other, name), name
