"""Settings of the data: which shards are read, and how batches are made of them."""

from __future__ import annotations

from typing import Self

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from training.config.section import Fraction, Patterns, Section


class DataConfig(Section):
    """Where clips come from."""

    train: Patterns = ()
    """Shards to train on: paths, folders, globs, brace patterns, URLs (`s3://`, `gs://`, `hf://`, `http(s)://`
    and others of fsspec) and `pipe:` commands. One pattern or a list."""
    validation: Patterns = ()
    """Shards of held-out clips, named as for `train`. No shard may be in both. Without any, nothing is
    validated."""
    validation_stills: Patterns = ()
    """Shards of held-out pictures, as `prepare` writes them to `stills-validation-*.tar`. Validation measures
    them by themselves."""
    batch_size: PositiveInt = 8
    """Clips in one micro-batch of one process."""
    workers: NonNegativeInt = 2
    """Processes of each rank that read and decode clips. With 0, the training process does it."""
    prefetch: PositiveInt = 2
    """Batches that each worker reads ahead."""
    shuffle: PositiveInt = 1_000
    """Samples in the shuffle buffer of each reader. With 1, the samples of a shard come in the order of the
    file. The order of the shards is random either way."""
    flip: Fraction = 0
    """Probability that a clip is mirrored left to right."""
    crop_scale: tuple[Fraction, Fraction] = (1, 1)
    """Range of the side of a random crop, as a share of the largest crop of the model's shape that fits. All
    frames of a clip get the same crop, which is resized to the model's size."""
    stills: Patterns = ()
    """Shards of pictures for joint image training."""
    stills_ratio: Fraction = 0
    """Share of the batches that are pictures. They are spread evenly, and all ranks get them in the same
    step."""
    cache: str = ""
    """Folder on a disk of this machine in which shards behind URLs are kept, so that each is fetched once.
    Runs may share it. Without one, they are read from their server in every epoch."""
    cache_gigabytes: PositiveFloat = 100
    """The most that the folder may hold, in 10^9 bytes. The shards that were used longest ago are removed."""
    check_fps: bool = True
    """Whether a clip that states another frame rate than `model.fps` stops the run."""
    max_bad_samples: NonNegativeInt = 100
    """Samples and shards that one reader may skip in an epoch because they cannot be used. One more stops the
    run."""

    @model_validator(mode="after")
    def _describes_data(self) -> Self:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1]:
            raise ValueError(f"crop_scale: {list(self.crop_scale)} is not a range of positive shares")
        if self.stills_ratio and not self.stills:
            raise ValueError("stills_ratio: there are no stills: name their shards in data.stills")
        return self
