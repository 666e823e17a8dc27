from __future__ import annotations

from collections import Counter

import pytest

from cvivit.shards.order import Reader, ShardPart, order_of_block, parts_of_epoch


@pytest.mark.parametrize("shards", [1, 2, 5, 64])
@pytest.mark.parametrize("readers", [1, 2, 3, 8, 100])
def test_readers_are_disjoint_and_complete(shards: int, readers: int) -> None:
    for epoch in range(3):
        dealt = [
            parts_of_epoch(shards, seed=7, epoch=epoch, reader=Reader(index=index, count=readers))
            for index in range(readers)
        ]
        assert all(dealt)
        parts = Counter(part for mine in dealt for part in mine)
        assert max(parts.values()) == 1
        slices = next(iter(parts)).of
        assert set(parts) == {
            ShardPart(shard=s, slice=i, of=slices) for s in range(shards) for i in range(slices)
        }
        assert slices == 1 or shards < readers


def test_epochs_and_seeds_permute_anew() -> None:
    orders = {
        tuple(part.shard for part in parts_of_epoch(50, seed=seed, epoch=epoch, reader=Reader()))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_a_block_is_a_permutation_of_its_own() -> None:
    orders = [tuple(order_of_block(20, seed=0, epoch=0, reader=Reader(), block=block)) for block in range(4)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(20)) for order in orders)


def test_a_reader_is_one_of_its_number() -> None:
    with pytest.raises(ValueError, match="reader 2 of 2"):
        Reader(index=2, count=2)
