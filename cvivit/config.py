"""What a C-ViViT is: its sizes, its variants, and the arithmetic of frames, patches and tokens.

Shape letters, the same in every file::

    b batch    n sequence    c channels    d model width    k codes of the codebook
    t h w      frames, height and width of a video, in pixels
    T H W      the same of its token grid: latent frames, patch rows, patch columns
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

MIN_FPS: Final = 0.01
"""The lowest frame rate, in frames a second, that configurations, token grids and videos may have."""
MAX_FPS: Final = 1000.0
"""The highest frame rate that they may have."""


def _pair(value: Any) -> Any:
    """Read one integer as a square; JSON knows no tuples, so a list is a pair as well."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


Pair = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]


class CViViTConfig(BaseModel):
    """Sizes and variants of one network. Frozen, keyword-only, and checked when it is made.

    The presets are `released()`, `paper()`, `lucidrains()` and `demo()`; each takes overrides by keyword.

    Raises:
        pydantic.ValidationError: (a ValueError) a field is unknown, of another type, or describes no network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Sizes
    dim: PositiveInt = 512
    """Width d of the transformers."""
    heads: PositiveInt = 8
    dim_head: PositiveInt = 64
    spatial_depth: PositiveInt = 4
    """Layers of the spatial transformer, on each side."""
    temporal_depth: PositiveInt = 4
    """Layers of the temporal transformer, on each side."""
    ff_mult: PositiveFloat = 4
    """Width of the feed-forward blocks as a multiple of d, before the two thirds that gating takes."""

    # Video
    channels: PositiveInt = 3
    image_size: Pair = (128, 128)
    """Height and width of a clip in pixels. The network takes any size that the patches divide."""
    patch_size: Pair = (8, 8)
    """Height and width of a patch in pixels."""
    temporal_patch_size: PositiveInt = 2
    """Frames that share a latent frame, after the first frame, which has one of its own."""
    clip_frames: PositiveInt = 11
    """Frames of a clip: the windows that a longer video is cut into."""
    fps: Annotated[float, Field(ge=MIN_FPS, le=MAX_FPS)] = 8
    """Frames a second of a clip."""

    # Quantizer
    quantizer: Literal["cosine_vq", "lfq"] = "cosine_vq"
    """Nearest code by cosine similarity, or the signs of the projection (lookup-free)."""
    codebook_size: Annotated[int, Field(ge=2, le=2**32)] = 8192
    codebook_dim: PositiveInt = 32
    """Width of a code. The features are projected to it and back where it is not d."""
    codebook_matching: Literal["stored", "normalized"] = "stored"
    """Match features against the codes as stored, or scaled to unit length first (weights of
    vector-quantize-pytorch before 1.0). The code taken is the stored one either way."""

    # Variants
    patch_norm: Literal["layernorm", "fixed"] = "layernorm"
    """LayerNorm on the raw pixels of a patch and again on its embedding, as released, which hides a
    patch's brightness and contrast from the tokens; or a fixed (x - 0.45) * 4 and no second norm."""
    causal: bool = False
    """Whether a latent frame attends only to itself and to those before it."""
    temporal_peg: Literal["scrambled", "aligned"] = "scrambled"
    """How the temporal position generator lays its sequence out. Scrambled is the released weights'
    reshape without a permutation (lucidrains/phenaki-pytorch#42): it mixes space with time and lets later
    frames reach earlier ones. Aligned is what was meant."""
    spatial_peg: bool = True
    """Whether the spatial transformers have a position generator."""
    temporal_bias: Literal["none", "alibi"] = "none"
    """Bias on temporal attention: none, or a slope per head times the distance in latent frames."""
    null_kv: bool = False
    """Whether attention holds the (empty) `null_kv` parameter of the lucidrains variant."""

    @model_validator(mode="after")
    def _describes_a_network(self) -> Self:
        for side, size, patch in zip(("height", "width"), self.image_size, self.patch_size, strict=True):
            if size % patch:
                raise ValueError(f"image_size: a {side} of {size} is not a multiple of the patch's {patch}")
        if (self.clip_frames - 1) % self.temporal_patch_size:
            raise ValueError(
                f"clip_frames: {self.clip_frames} is not 1 plus a multiple of {self.temporal_patch_size}"
            )
        if self.quantizer == "lfq" and 2**self.codebook_dim != self.codebook_size:
            raise ValueError(
                f"codebook_dim: lookup-free codes of width {self.codebook_dim} "
                f"number {2**self.codebook_dim}, not {self.codebook_size}"
            )
        if self.temporal_bias == "alibi" and self.heads & (self.heads - 1):
            raise ValueError(f"heads: ALiBi slopes need a power of two, not {self.heads}")
        return self

    # Presets

    @classmethod
    def released(cls, **overrides: Any) -> Self:
        """Return the network of `obvious-research/phenaki-cvivit`: 51,485,928 parameters."""
        return cls(**overrides)

    @classmethod
    def paper(cls, **overrides: Any) -> Self:
        """Return the network as arXiv 2210.02399 describes it: causal, linear patches, 6 fps."""
        sound: dict[str, Any] = {"causal": True, "temporal_peg": "aligned", "patch_norm": "fixed", "fps": 6}
        return cls(**(sound | overrides))

    @classmethod
    def lucidrains(cls, *, lookup_free: bool = True, **overrides: Any) -> Self:
        """Return the network of lucidrains/phenaki-pytorch 0.5.0, lookup-free or with a cosine codebook.

        Its script defaults set no sizes; those of the release are kept. The clips are causal, the temporal
        position generator has the same reshape as the release, and codes are as wide as the model.
        """
        dim = overrides.get("dim", cls.model_fields["dim"].default)
        codes = overrides.get("codebook_size", cls.model_fields["codebook_size"].default)
        variant: dict[str, Any] = {
            "quantizer": "lfq" if lookup_free else "cosine_vq",
            "codebook_dim": max(1, int(codes).bit_length() - 1) if lookup_free else dim,
            "causal": True,
            "spatial_peg": False,
            "temporal_bias": "alibi",
            "null_kv": True,
        }
        return cls(**(variant | overrides))

    @classmethod
    def demo(cls, **overrides: Any) -> Self:
        """Return the small network whose weights ship with this package: the paper's at the released rate."""
        small: dict[str, Any] = {
            "dim": 256,
            "heads": 4,
            "spatial_depth": 2,
            "temporal_depth": 2,
            "fps": 8,
        }
        return cls.paper(**(small | overrides))

    # Arithmetic

    @property
    def ff_inner(self) -> int:
        """Inner width of a feed-forward block: two thirds of `ff_mult * dim`, rounded down."""
        return int(self.ff_mult * (2 / 3) * self.dim)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """(H, W) of a clip."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def grid(self) -> tuple[int, int, int]:
        """(T, H, W) of a clip's tokens."""
        return self.latent_frames(self.clip_frames), *self.patch_grid

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(t, h, w, c) of a clip's pixels."""
        return self.clip_frames, *self.image_size, self.channels

    @property
    def tokens_per_clip(self) -> int:
        """T * H * W."""
        return math.prod(self.grid)

    def latent_frames(self, frames: int) -> int:
        """Return T for t frames. Raises ValueError where t is not 1 + a multiple of the temporal patch."""
        if frames < 1 or (frames - 1) % self.temporal_patch_size:
            raise ValueError(f"{frames} frames are not 1 plus a multiple of {self.temporal_patch_size}")
        return 1 + (frames - 1) // self.temporal_patch_size

    def frames(self, latent_frames: int) -> int:
        """Return t for T latent frames."""
        return 1 + (latent_frames - 1) * self.temporal_patch_size

    def clips(self, frames: int) -> int:
        """Return how many clips hold `frames` frames: the last is padded."""
        return -(-frames // self.clip_frames)
