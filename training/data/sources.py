"""The loaders that a configuration asks for."""

from __future__ import annotations

from training.config.schema import TrainingConfig
from training.data.loader import ClipEpoch, ClipLoader
from training.data.stream import StreamSettings
from training.data.urls import expand_shards, refuse_overlap


def training_clips(config: TrainingConfig, *, rank: int = 0, world_size: int = 1) -> ClipLoader:
    """Return the endless, resumable batches that one process trains on.

    Raises:
        NoDataError: `data.train` or `data.stills` match nothing.
        DataError: a shard is in both training and validation.
    """
    data = config.data
    clips = expand_shards(data.train) if data.train or data.stills_ratio < 1 else []
    if data.validation:
        refuse_overlap(clips, expand_shards(data.validation))
    return ClipLoader(
        StreamSettings(
            clips=tuple(clips),
            stills=tuple(expand_shards(data.stills)) if data.stills_ratio else (),
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
        ),
        rank=rank,
        world_size=world_size,
        workers=data.workers,
        prefetch=data.prefetch,
        allow_topology_change=config.checkpoint.allow_topology_change,
    )


def validation_clips(config: TrainingConfig, *, rank: int = 0, world_size: int = 1) -> ClipEpoch:
    """Return one process's share of the held-out clips, in the same order each time it is iterated.

    Raises:
        NoDataError: `data.validation` matches nothing.
    """
    return ClipEpoch(
        StreamSettings(
            clips=tuple(expand_shards(config.data.validation)),
            batch_size=config.data.batch_size,
            clip_frames=config.model.clip_frames,
            image_size=config.model.image_size,
            fps=config.model.fps if config.data.check_fps else None,
            max_bad_samples=config.data.max_bad_samples,
        ),
        rank=rank,
        world_size=world_size,
        workers=config.data.workers,
        prefetch=config.data.prefetch,
    )
