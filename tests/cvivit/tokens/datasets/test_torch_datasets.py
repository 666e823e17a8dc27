"""The datasets for torch: every sample once, in an order that can be resumed, over ranks and workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from cvivit.errors import DataError
from cvivit.tokens import ShuffledTokens, TokenDataset, TokenSample, TorchTokens
from tests.cvivit.tokens.datasets.made import made_sample, write_dataset

SHARDS = (7, 6, 1, 4, 3, 9)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    folder = tmp_path_factory.mktemp("shuffled") / "dataset"
    numbers = iter(range(sum(SHARDS)))
    made = [[made_sample(number, windows=2) for number in islice(numbers, size)] for size in SHARDS]
    write_dataset(folder, "webdataset", made)
    return TokenDataset(folder)


def keys(samples: Any) -> list[str]:
    return [sample["key"] for sample in samples]


def test_an_index_gives_tensors(folder: Path, samples: list[TokenSample]) -> None:
    dataset = TorchTokens(folder)
    assert len(dataset) == 9
    sample = dataset[4]
    assert sample["tokens"].dtype == torch.int64
    np.testing.assert_array_equal(sample["tokens"].numpy(), samples[4].tokens)
    assert (sample["key"], sample["caption"]) == (samples[4].key, samples[4].caption)
    assert dataset[1]["caption"] == ""


def test_default_collating_makes_batches(dataset: TokenDataset) -> None:
    batch = next(iter(DataLoader(TorchTokens(dataset), batch_size=4)))
    assert batch["tokens"].shape == (4, 2, 3, 4, 4)
    assert len(batch["caption"]) == 4


@pytest.mark.parametrize("shuffle", [1, 4, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 5, 40])
def test_ranks_read_everything_once(dataset: TokenDataset, shuffle: int, world_size: int) -> None:
    for epoch in range(2):
        read: Counter[str] = Counter()
        for rank in range(world_size):
            stream = ShuffledTokens(dataset, shuffle=shuffle, rank=rank, world_size=world_size)
            stream.set_epoch(epoch)
            read.update(keys(stream))
        assert read == Counter(sample.key for sample in dataset)


def test_epochs_and_seeds_have_orders_of_their_own(dataset: TokenDataset) -> None:
    orders = set()
    for seed in range(2):
        stream = ShuffledTokens(dataset, shuffle=8, seed=seed)
        orders |= {tuple(keys(stream)) for _ in range(3)}
    assert len(orders) == 6
    assert tuple(keys(ShuffledTokens(dataset, shuffle=8, seed=1))) in orders


@pytest.mark.parametrize("shuffle", [1, 4, 1000])
@pytest.mark.parametrize("endless", [False, True])
def test_it_is_resumed_anywhere(dataset: TokenDataset, shuffle: int, endless: bool) -> None:
    def stream() -> ShuffledTokens:
        return ShuffledTokens(dataset, shuffle=shuffle, rank=1, world_size=2, endless=endless)

    whole = keys(islice(stream(), 40))
    for taken in range(len(whole)):
        first = stream()
        assert keys(islice(first, taken)) == whole[:taken]
        second = stream()
        second.load_state_dict(first.state_dict())
        assert keys(islice(second, len(whole) - taken)) == whole[taken:]


def test_a_position_of_something_else_is_refused(dataset: TokenDataset, folder: Path) -> None:
    state = ShuffledTokens(dataset).state_dict()
    for name, other in {
        "seed": ShuffledTokens(dataset, seed=1),
        "shuffle": ShuffledTokens(dataset, shuffle=2),
        "dataset": ShuffledTokens(folder),
        "reader": ShuffledTokens(dataset, rank=0, world_size=2),
    }.items():
        with pytest.raises(DataError, match=f"saved with another {name}"):
            other.load_state_dict(state)


def test_an_endless_stream_of_nothing_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "none", "webdataset", [[]])
    assert keys(ShuffledTokens(tmp_path / "none")) == []
    with pytest.raises(DataError, match="has no samples"):
        next(iter(ShuffledTokens(tmp_path / "none", endless=True)))


@pytest.mark.parametrize("options", [{"shuffle": 0}, {"rank": 2, "world_size": 2}])
def test_what_is_out_of_range_is_refused(dataset: TokenDataset, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        ShuffledTokens(dataset, **options)


def test_workers_of_a_plain_loader_read_everything_once(dataset: TokenDataset) -> None:
    loader = DataLoader(ShuffledTokens(dataset, shuffle=4), batch_size=4, num_workers=2)
    read = [key for batch in loader for key in batch["key"]]
    assert sorted(read) == sorted(sample.key for sample in dataset)


# torchdata calls a function of torch that has since been deprecated.
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_resumes_exactly(dataset: TokenDataset, workers: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        stream = ShuffledTokens(dataset, shuffle=4, rank=1, world_size=2)
        return StatefulDataLoader(stream, batch_size=2, num_workers=workers, collate_fn=default_collate)

    def batches(of: Iterator[Any]) -> list[list[str]]:
        return [batch["key"] for batch in of]

    whole = batches(iter(loader()))
    assert len(whole) > 4
    for taken in (1, len(whole) - 1):
        first = loader()
        running = iter(first)
        assert batches(islice(running, taken)) == whole[:taken]
        second = loader()
        second.load_state_dict(first.state_dict())
        assert batches(iter(second)) == whole[taken:]
