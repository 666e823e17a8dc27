"""The loaders that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvivit.shards.cache import ShardCache
from cvivit.shards.urls import expand_shards, identity_of
from training.config.data import DataConfig
from training.config.schema import TrainingConfig
from training.data.loader import ClipEpoch, ClipLoader
from training.data.stream import StreamSettings
from training.errors import DataError


def training_clips(config: TrainingConfig, *, rank: int = 0, world_size: int = 1) -> ClipLoader:
    """Return the endless, resumable batches that one process trains on.

    Raises:
        NoDataError: `data.train` or `data.stills` match nothing.
        DataError: a shard is in both training and validation.
    """
    data = config.data
    clips = expand_shards(data.train) if data.train or data.stills_ratio < 1 else []
    stills = expand_shards(data.stills) if data.stills_ratio else []
    held_out = [*data.validation, *data.validation_stills]
    if held_out:
        refuse_overlap([*clips, *stills], expand_shards(held_out))
    return ClipLoader(
        StreamSettings(
            clips=tuple(clips),
            stills=tuple(stills),
            stills_ratio=data.stills_ratio,
            batch_size=data.batch_size,
            clip_frames=config.model.clip_frames,
            image_size=config.model.image_size,
            fps=config.model.fps if data.check_fps else None,
            shuffle=data.shuffle,
            seed=config.loop.seed,
            flip=data.flip,
            crop_scale=data.crop_scale,
            max_bad_samples=data.max_bad_samples,
            cache=_cache(data),
        ),
        rank=rank,
        world_size=world_size,
        workers=data.workers,
        prefetch=data.prefetch,
        allow_topology_change=config.checkpoint.allow_topology_change,
    )


def validation_clips(config: TrainingConfig, *, rank: int = 0, world_size: int = 1) -> ClipEpoch:
    """Return one process's share of the held-out clips, in the same order each time they are iterated.

    Raises:
        NoDataError: `data.validation` matches nothing.
    """
    return _held_out(config, rank, world_size, clips=tuple(expand_shards(config.data.validation)))


def validation_stills(config: TrainingConfig, *, rank: int = 0, world_size: int = 1) -> ClipEpoch:
    """Return one process's share of the held-out stills, in the same order each time they are iterated.

    Raises:
        NoDataError: `data.validation_stills` matches nothing.
    """
    stills = tuple(expand_shards(config.data.validation_stills))
    return _held_out(config, rank, world_size, stills=stills)


def refuse_overlap(train: Sequence[str], validation: Sequence[str]) -> None:
    """Raise DataError if a shard is used both for training and for validation."""
    identities = {identity_of(shard) for shard in train}
    both = [shard for shard in validation if identity_of(shard) in identities]
    if both:
        raise DataError(f"{len(both)} shards are in both training and validation, such as {both[0]}")


def _cache(data: DataConfig) -> ShardCache | None:
    if not data.cache:
        return None
    return ShardCache(folder=Path(data.cache).expanduser(), max_bytes=int(data.cache_gigabytes * 1e9))


def _held_out(
    config: TrainingConfig,
    rank: int,
    world_size: int,
    *,
    clips: tuple[str, ...] = (),
    stills: tuple[str, ...] = (),
) -> ClipEpoch:
    return ClipEpoch(
        StreamSettings(
            clips=clips,
            stills=stills,
            batch_size=config.data.batch_size,
            clip_frames=config.model.clip_frames,
            image_size=config.model.image_size,
            fps=config.model.fps if config.data.check_fps else None,
            max_bad_samples=config.data.max_bad_samples,
            cache=_cache(config.data),
        ),
        rank=rank,
        world_size=world_size,
        workers=config.data.workers,
        prefetch=config.data.prefetch,
    )
