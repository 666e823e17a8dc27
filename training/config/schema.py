"""The configuration of a training run: every setting of `python -m training train`, in nested sections.

A setting takes its value from the last of these that gives one:

    defaults  <  the preset that a file builds on  <  the file  <  `--set key=value`, in order

`training.config.loading` reads them. The defaults are the sound values. Where the trainer of the released
weights did something else that shaped them, one setting has that behaviour as its other value, its
description says `Released:`, and the preset `released` chooses it.
"""

from __future__ import annotations

from typing import Self, get_args

from pydantic import ValidationError, model_validator

from cvivit.config import CViViTConfig
from training.config.data import DataConfig
from training.config.faults import one_line
from training.config.learning import LossesConfig, OptimizerConfig, QuantizerConfig, ScheduleConfig
from training.config.running import CheckpointConfig, LoopConfig, TrackingConfig, ValidationConfig
from training.config.section import NetworkConfig, Part, Section
from training.config.stages import StageConfig

__all__ = [
    "CheckpointConfig",
    "DataConfig",
    "LoopConfig",
    "LossesConfig",
    "OptimizerConfig",
    "QuantizerConfig",
    "ScheduleConfig",
    "StageConfig",
    "TrackingConfig",
    "TrainingConfig",
    "ValidationConfig",
]


class TrainingConfig(Section):
    """A whole run."""

    model: NetworkConfig = CViViTConfig()
    """The network: fields of CViViTConfig, over those of its preset that `model.preset` names."""
    data: DataConfig = DataConfig()
    losses: LossesConfig = LossesConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loop: LoopConfig = LoopConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    validation: ValidationConfig = ValidationConfig()
    stages: tuple[StageConfig, ...] = ()
    """Stages after the first, in the order of their steps. Each builds on the one before it."""

    def at(self, step: int) -> TrainingConfig:
        """Return the settings in force at an optimizer step, counted from 0, as a run without stages."""
        values = self.model_dump(exclude={"stages"})
        for stage in self.stages:
            if stage.from_step <= step:
                values = stage.apply(values)
        return TrainingConfig.model_validate(values)

    def end_of_stage(self, step: int) -> int:
        """Return the step at which the stage of an optimizer step ends, or the run."""
        later = (stage.from_step for stage in self.stages if stage.from_step > step)
        return min([*later, self.loop.steps])

    def start_of_stage(self, step: int) -> int:
        """Return the first step of the stage of an optimizer step."""
        return max([0, *(stage.from_step for stage in self.stages if stage.from_step <= step)])

    @model_validator(mode="after")
    def _has_stages_that_fit(self) -> Self:
        starts = [stage.from_step for stage in self.stages]
        if starts != sorted(set(starts)):
            raise ValueError(f"stages: from must grow from stage to stage, and is {starts}")
        for start in starts:
            try:
                self.at(start)
            except ValidationError as error:
                raise ValueError(f"stages: with the stage from {start}, {one_line(error)}") from None
        return self

    @model_validator(mode="after")
    def _describes_a_run(self) -> Self:
        if self.model.quantizer != "cosine_vq":
            raise ValueError(f"model.quantizer: only cosine_vq can be trained, not {self.model.quantizer}")
        crop, patches = self.loop.crop_size, self.model.patch_size
        if crop is not None and (crop > min(self.model.image_size) or any(crop % patch for patch in patches)):
            raise ValueError(f"loop.crop_size: {crop} is not a multiple of the patch, or larger than a clip")
        whole = self.loop.crop_steps if crop is not None else 0
        if self.losses.adversarial and self.losses.adversarial_start < whole:
            raise ValueError(
                "losses.adversarial_start: the discriminator takes whole clips, "
                f"so it cannot start before loop.crop_steps, {whole}"
            )
        if len(self.loop.freeze) == len(get_args(Part)):
            raise ValueError("loop.freeze: if every part is frozen, there is nothing to learn")
        codes_alone = "encoder" in self.loop.freeze and "decoder" in self.loop.freeze
        if codes_alone and self.model.codebook_dim == self.model.dim:
            raise ValueError(
                "loop.freeze: codes of the width of the model have no projections, so that with encoder and "
                "decoder frozen no weight learns by gradients"
            )
        if self.checkpoint.best_metric == "fvd" and not self.validation.fvd:
            raise ValueError("checkpoint.best_metric: fvd needs validation.fvd = true")
        if self.checkpoint.best_metric == "lpips" and not self.validation.lpips:
            raise ValueError("checkpoint.best_metric: lpips needs validation.lpips = true")
        return self
