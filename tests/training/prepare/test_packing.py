from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from training.prepare.journal import FileStamp, SourceOutcome
from training.prepare.packing import sample_prefix, split_sources


def record(name: str) -> SourceOutcome:
    digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return SourceOutcome(
        stamp=FileStamp(path=f"/videos/{name}", name=name, size=1, changed="1"), digest=digest, clips=(1,)
    )


def test_a_share_of_many_sources_is_held_out() -> None:
    records = [record(f"{number}.mp4") for number in range(2000)]
    counts = Counter(split_sources(records, 0.1).values())
    assert counts["train"] + counts["validation"] == 2000
    assert 150 < counts["validation"] < 250


def test_no_source_changes_sides_when_others_come() -> None:
    records = [record(f"{number}.mp4") for number in range(300)]
    before, after = split_sources(records[:200], 0.1), split_sources(records, 0.1)
    assert all(after[digest] == side for digest, side in before.items())


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_neither_side_is_empty_where_there_are_two_sources(share: float) -> None:
    for number in range(20):
        sides = split_sources([record(f"{number}a"), record(f"{number}b")], share)
        assert set(sides.values()) == {"train", "validation"}


@pytest.mark.parametrize(("share", "side"), [(0.0, "train"), (1.0, "validation")])
def test_all_or_nothing(share: float, side: str) -> None:
    records = [record(f"{number}.mp4") for number in range(50)]
    assert set(split_sources(records, share).values()) == {side}


def test_one_source_is_trained_on_whatever_the_share() -> None:
    for name in "abcdefgh":
        assert list(split_sources([record(name)], 0.9).values()) == ["train"]


@pytest.mark.parametrize("name", ["a.b.c.mp4", "ünï 1.mp4", "....", "x" * 200])
def test_keys_hold_no_dot_and_no_space(name: str) -> None:
    prefix = sample_prefix(record(name))
    assert prefix.isascii()
    assert "." not in prefix
    assert " " not in prefix
    assert len(prefix) < 60
