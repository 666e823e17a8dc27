"""Limits of the engine: how many clips it holds, and how long a batch may take."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator


class EngineLimits(BaseModel):
    """Limits of one engine. They are checked when the object is made, and cannot be changed.

    Raises:
        pydantic.ValidationError: (a ValueError) a limit is not positive, or one contradicts another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clips: PositiveInt = 512
    """Clips held at once by all requests: queued, on a device, or done and not yet taken by the client."""
    clips_per_request: PositiveInt = 64
    """The same for one request. A longer video is read only as fast as its client takes the results."""
    stall_seconds: PositiveFloat = 120.0
    """A batch that takes longer counts as hung: the engine fails, and the process should be replaced."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.clips_per_request > self.clips:
            raise ValueError(f"clips_per_request: {self.clips_per_request} is more than clips: {self.clips}")
        return self
