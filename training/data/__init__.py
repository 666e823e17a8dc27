"""Batches out of shards: `training_clips(config)` to train on, `validation_clips(config)` held out."""

from training.data.bad import SkippedSample
from training.data.loader import ClipEpoch, ClipLoader
from training.data.sources import training_clips, validation_clips
from training.data.stream import StreamSettings

__all__ = ["ClipEpoch", "ClipLoader", "SkippedSample", "StreamSettings", "training_clips", "validation_clips"]
