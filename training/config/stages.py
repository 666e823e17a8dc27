"""Stages of a run: settings that replace those above them from an optimizer step on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import ConfigDict, Field, PositiveInt, model_validator

from training.config.data import DataConfig
from training.config.learning import LossesConfig, OptimizerConfig, QuantizerConfig, ScheduleConfig
from training.config.running import ValidationConfig
from training.config.section import Section

Changes = dict[str, Any]
"""Settings of one section by their names."""

MAY_CHANGE: Final[Mapping[str, frozenset[str]]] = {
    # No weight depends on these three.
    "model": frozenset({"image_size", "clip_frames", "fps"}),
    "data": frozenset(DataConfig.model_fields),
    "losses": frozenset(LossesConfig.model_fields),
    # The others say how codes start.
    "quantizer": frozenset(QuantizerConfig.model_fields) - {"bypass_steps", "kmeans", "kmeans_iterations"},
    # The moments of one kind do not fit another.
    "optimizer": frozenset(OptimizerConfig.model_fields) - {"kind"},
    "schedule": frozenset(ScheduleConfig.model_fields),
    "loop": frozenset({"accumulation", "precision", "compile", "ema_decay"}),
    "checkpoint": frozenset({"every_steps", "best_metric"}),
    "validation": frozenset(ValidationConfig.model_fields),
}
"""The settings of each section that a stage may change."""
READING: Final = frozenset({"train", "stills", "stills_ratio", "batch_size", "workers", "shuffle"})
"""Settings of the data that a position in it depends on. A stage that changes one begins at a new epoch."""


class StageConfig(Section):
    """The first step of a stage, and the settings that it changes."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_step: PositiveInt = Field(alias="from")
    """Optimizer step, counted from 0, from which on the settings hold."""
    model: Changes = Field(default_factory=dict)
    data: Changes = Field(default_factory=dict)
    losses: Changes = Field(default_factory=dict)
    quantizer: Changes = Field(default_factory=dict)
    optimizer: Changes = Field(default_factory=dict)
    schedule: Changes = Field(default_factory=dict)
    loop: Changes = Field(default_factory=dict)
    checkpoint: Changes = Field(default_factory=dict)
    validation: Changes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _changes_what_may_change(self) -> Self:
        for section, names in self.changes().items():
            for name in names:
                if name not in MAY_CHANGE[section]:
                    may = ", ".join(sorted(MAY_CHANGE[section]))
                    raise ValueError(
                        f"{section}.{name} cannot change within a run; of {section}, a stage may set {may}"
                    )
        return self

    def changes(self) -> dict[str, Changes]:
        """Return the settings that the stage changes, by section."""
        return {section: getattr(self, section) for section in MAY_CHANGE if getattr(self, section)}

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration's values with the changes of this stage.

        A stage that sets anything about the schedule begins it at its own first step.
        """
        changed = {section: dict(settings) for section, settings in values.items()}
        for section, settings in self.changes().items():
            changed[section] |= settings
        if self.schedule:
            changed["schedule"]["start"] = self.schedule.get("start", self.from_step)
        losses = changed["losses"]
        # Nothing of this stage happens before its first step, so this changes no behaviour. It tells checks
        # of the configuration when the discriminator starts.
        losses["adversarial_start"] = max(losses["adversarial_start"], self.from_step)
        return changed

    def __str__(self) -> str:
        """Return the changes as `model.image_size=128 data.batch_size=4`."""
        return " ".join(
            f"{section}.{name}={value}"
            for section, settings in self.changes().items()
            for name, value in settings.items()
        )
