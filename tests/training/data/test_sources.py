from __future__ import annotations

from itertools import islice

import pytest

from cvivit.config import CViViTConfig
from training.config.schema import DataConfig, TrainingConfig
from training.data import training_clips, validation_clips
from training.errors import DataError, NoDataError
from training.run.batch import Batch


def config(**data: object) -> TrainingConfig:
    model = CViViTConfig.demo(image_size=16, clip_frames=5)
    return TrainingConfig(
        model=model, data=DataConfig.model_validate({"batch_size": 2, "workers": 0, **data})
    )


def test_a_configuration_gives_its_loaders(shards: list[str]) -> None:
    run = config(train=shards[:3], validation=shards[3:])
    assert [batch.video.shape for batch in islice(training_clips(run), 2)] == [(2, 5, 16, 16, 3)] * 2
    held_out = validation_clips(run)
    first, second = ([item for item in held_out if isinstance(item, Batch)] for _ in range(2))
    assert [batch.keys for batch in first] == [batch.keys for batch in second]
    assert sum(len(batch.keys) for batch in first) == 7


def test_one_pattern_needs_no_list(shards: list[str]) -> None:
    assert config(train=shards[0]) == config(train=[shards[0]])


def test_a_shard_in_both_is_refused(shards: list[str]) -> None:
    with pytest.raises(DataError, match="both training and validation"):
        training_clips(config(train=shards, validation=shards[:1]))


def test_no_shards_is_an_error() -> None:
    with pytest.raises(NoDataError, match="no shards were named"):
        training_clips(config())
