"""Every block of code of the documentation does what a reader expects of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvivit import TokenGrid
from cvivit.video import read_frames, write_video
from cvivit.weights import load_weights
from tests.cvivit.tokens.datasets.made import made_sample, write_dataset
from tests.documentation.commands import commands, problems
from tests.documentation.documents import LANGUAGES, Block, blocks, documents, paragraphs
from tests.documentation.running import Reader, reader
from tests.places import DATA, ROOT

SLOW = {
    ("README.md", "I train on my own footage"),
    ("cvivit/README.md", "Many files"),
    ("cvivit/README.md", "Pictures of tokens"),
    ("training/README.md", "Five minutes"),
}
"""Sections that take long. Each is tested by itself, with the marker `slow`."""

REASONS = {
    "a container engine or a cluster": r"\b(docker|kubectl|helm|ray|sbatch)\b",
    "the network": r"\b(pip|git clone|make (dev|serve|test|check)|npm)\b|obvious-research/|hf://|https?://(?!localhost|127)|s3://",
    "frozen networks, which are downloaded": r"--config (demo|finetune|released|paper)\b|evaluate demo",
    "several devices": r"\btorchrun\b|--nproc|gpu-check|--device cuda",
    "root": r"\bsudo\b",
    "hours": r"training/demonstration/|service bench",
    "files of the reader": r"\b[A-Z]{4,}\b|/data/|\bruns/",
}
"""Why a block may be `sh`, so that its commands are checked and not run."""


OURS = re.compile(r"(cvivit(-service|-training)? [a-z]|python -m (cvivit|service|training|tests)\b|make )")
"""How a command of this project begins, between backquotes in a sentence."""


def parts() -> Iterator[tuple[Path, str]]:
    """Yield the documents, and those of their sections that take minutes."""
    for path in documents():
        found = {(str(path.relative_to(ROOT)), block.section) for block in blocks(path)}
        if found - SLOW:
            yield path, ""
        for _, section in sorted(found & SLOW):
            yield path, section


def _name(part: tuple[Path, str]) -> str:
    return " ".join(filter(None, (str(part[0].relative_to(ROOT)), part[1])))


PARTS = [pytest.param(part, id=_name(part), marks=[pytest.mark.slow] if part[1] else []) for part in parts()]


def of_part(part: tuple[Path, str]) -> Iterator[Block]:
    path, section = part
    for block in blocks(path):
        if (str(path.relative_to(ROOT)), block.section) in SLOW:
            if block.section == section:
                yield block
        elif not section:
            yield block


def write_token_datasets(folder: Path) -> None:
    """Write nine samples as a dataset of the demonstration weights, with the files of all three forms."""
    fingerprint = load_weights("demo").fingerprint
    samples = [
        replace(sample, tokens=np.zeros((len(sample.tokens), 6, 16, 16), np.uint16), model=fingerprint)
        for sample in map(made_sample, range(9))
    ]
    for form in ("flat", "parquet", "webdataset"):
        write_dataset(folder / form, form, [samples[:3], samples[3:6], samples[6:]])
        shutil.copytree(folder / form, folder / "tokens", dirs_exist_ok=True)
    manifest = folder / "tokens" / "manifest.json"
    fields = json.loads(manifest.read_text()) | {"model": fingerprint, "grid": [6, 16, 16], "clip_frames": 11}
    manifest.write_text(json.dumps(fields))


def prepare(document: Path, someone: Reader) -> None:
    """Give a reader the files that a document assumes they have."""
    if document == ROOT / "training" / "README.md":
        frames = list(read_frames(DATA / "city.mp4"))
        (someone.folder / "footage").mkdir()
        for n in range(40):  # copies would be left out, and one source in twenty is held out
            shifted = [np.roll(frame, 3 * n, axis=1) for frame in frames]
            write_video(shifted, someone.folder / "footage" / f"{n}.mp4", fps=8)
    (someone.folder / "out").mkdir()
    if document == ROOT / "cvivit" / "tokens" / "DATASETS.md":
        write_token_datasets(someone.folder)
    if document == ROOT / "cvivit" / "tokens" / "FORMAT.md":
        tokens = np.zeros((1, 6, 16, 16), np.uint16)
        grid = TokenGrid(indices=tokens, frames=11, fps=8.0, model="0" * 64)
        grid.save(someone.folder / "clip.safetensors")


@pytest.mark.timeout(900)
# Objects of a block outlive the block, and webdataset leaves its files open until they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("part", PARTS)
def test_blocks_do_what_they_say(
    part: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    with reader(tmp_path) as someone:
        prepare(part[0], someone)
        for block in of_part(part):
            someone.follow(block)


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_say_what_they_are(path: Path) -> None:
    wrong = [f"{block}: {block.language!r}" for block in blocks(path) if block.language not in LANGUAGES]
    assert not wrong
    idle = [
        str(block)
        for block in blocks(path)
        if block.language == "sh"
        if not any(re.search(pattern, block.source) for pattern in REASONS.values())
    ]
    assert not idle, "nothing keeps these blocks from being run: write `bash` in place of `sh`"


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_sentences_exist(path: Path) -> None:
    wrong = []
    for number, paragraph in paragraphs(path.read_text()):
        for code in re.findall(r"`([^`]+)`", paragraph.replace("\\|", "|")):
            if OURS.match(code):
                wrong += [
                    f"{path.relative_to(ROOT)}:{number}: {code}: {problem}"
                    for words in commands(code)
                    for problem in problems(words, whole=False)
                ]
    assert not wrong
