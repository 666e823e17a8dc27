"""What a token dataset is made of, and how it is cut."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cvivit.errors import ConfigError
from cvivit.tokens.datasets.manifest import Form
from cvivit.tokens.grid import token_dtype
from cvivit.video.settings import Fit, check_span

if TYPE_CHECKING:
    from cvivit.config import CViViTConfig

DEFAULT_SOURCES_PER_SHARD = 1000


@dataclass(frozen=True, kw_only=True)
class TokenizeSettings:
    """Everything that the samples of a dataset depend on, besides the inputs and the model.

    Raises:
        ConfigError: (a ValueError) a field is out of range.
    """

    form: Form = "webdataset"
    windows: int | None = None
    """Windows of a sample. By default a sample holds all windows of its source."""
    drop_last: bool = False
    """Whether what is left of a source after samples of `windows` is dropped. Otherwise it is a shorter
    sample."""
    overlap: int = 0
    """Frames that neighbouring windows share."""
    fit: Fit = "crop"
    start: float = 0.0
    seconds: float | None = None
    deduplicate: bool = False
    """Whether of files with the same contents only the first is used."""
    sources_per_shard: int = DEFAULT_SOURCES_PER_SHARD

    def __post_init__(self) -> None:
        if self.windows is not None and self.windows < 1:
            raise ConfigError(f"windows: {self.windows} is not a number of 1 or more")
        if self.sources_per_shard < 1:
            raise ConfigError(f"sources_per_shard: {self.sources_per_shard} is not a number of 1 or more")
        check_span(self.start, self.seconds)
        if self.overlap < 0:
            raise ConfigError(f"overlap: {self.overlap} is not a number of frames of 0 or more")
        if self.drop_last and self.windows is None:
            raise ConfigError("drop_last: it needs windows, the number of windows of a sample")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a dataset says of the model that made it."""

    fingerprint: str
    config: CViViTConfig
    precision: str

    @property
    def dtype(self) -> Literal["uint16", "uint32"]:
        """The type of its tokens."""
        return "uint16" if token_dtype(self.config.codebook_size) is np.uint16 else "uint32"
