"""Packing: no more bytes than asked for, small sources whole, and samples that can be read."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.shard_files import write_tar
from training.demonstration.pack import SHARDS, app, pack


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards: 300 clips of `arm`, and 10 of `cat`, each of 5,000 bytes."""
    folder = tmp_path / "shards"
    folder.mkdir()
    files = {f"arm_x-{n:06d}.mp4.mp4": bytes([n % 251]) * 5000 for n in range(300)}
    files |= {f"cat_x-{n:06d}.mp4.mp4": bytes([n]) * 5000 for n in range(10)}
    names = sorted(files, key=lambda name: name[::-1])
    for number, part in enumerate((names[:100], names[100:])):
        write_tar(folder / f"train-{number:06d}.tar", {name: files[name] for name in part})
    return folder


@pytest.mark.parametrize("size", [500_000, 1_000_000, 10_000_000])
def test_small_sources_are_whole_and_the_size_is_kept(shards: Path, tmp_path: Path, size: int) -> None:
    counts = pack(sorted(shards.glob("*.tar")), tmp_path / "packed", size=size)
    written = sorted((tmp_path / "packed").iterdir())
    assert len(written) == SHARDS
    total = sum(path.stat().st_size for path in written)
    assert total <= size
    assert counts["cat"] == 10
    assert counts["arm"] == 300 if size == 10_000_000 else total > size - 100_000


def test_samples_stay_as_they_were(shards: Path, tmp_path: Path) -> None:
    counts = pack(sorted(shards.glob("*.tar")), tmp_path / "packed", size=10_000_000)
    seen = {}
    for path in (tmp_path / "packed").iterdir():
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                seen[member.name] = file.read()
    assert len(seen) == counts.total() == 310
    assert seen["arm_x-000007.mp4.mp4"] == bytes([7]) * 5000


def test_the_command_says_what_it_packed(shards: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, [str(shards), str(tmp_path / "packed"), "--megabytes", "1"])
    assert outcome.exit_code == 0, outcome.output
    assert "cat 10" in outcome.output
    assert CliRunner().invoke(app, [str(tmp_path), str(tmp_path / "packed")]).exit_code == 2
