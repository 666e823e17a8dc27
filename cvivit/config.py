"""The configuration of a C-ViViT: its sizes, its variants, and the arithmetic of frames, patches and tokens.

Shapes are written with these letters in every file::

    b batch    n sequence    c channels    d model width    k codes of the codebook
    t h w      the frames, height and width of a video, in frames and pixels
    T H W      the latent frames, patch rows and patch columns of its token grid
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
    """Turn one integer into a pair of equal ones. JSON has no tuples, so a list is a pair too."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


Pair = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]


class CViViTConfig(BaseModel):
    """The sizes and variants of one network. It is frozen, keyword-only, and checked when it is made.

    The presets are `released()`, `paper()`, `lucidrains()` and `demo()`. Each takes overrides by keyword.

    Raises:
        pydantic.ValidationError: (a ValueError) a field is unknown or of another type, or the fields
            describe no network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Sizes
    dim: PositiveInt = 512
    """The width d of the transformers."""
    heads: PositiveInt = 8
    dim_head: PositiveInt = 64
    """The width of an attention head."""
    spatial_depth: PositiveInt = 4
    """The layers of the spatial transformer, in the encoder and again in the decoder."""
    temporal_depth: PositiveInt = 4
    """The layers of the temporal transformer, in the encoder and again in the decoder."""
    ff_mult: PositiveFloat = 4
    """The inner width of the feed-forward blocks as a multiple of d. Gated blocks have two thirds of it."""

    # Video
    channels: PositiveInt = 3
    image_size: Pair = (128, 128)
    """The height and width of a clip in pixels. The network itself takes any size that the patches divide."""
    patch_size: Pair = (8, 8)
    """The height and width of a patch in pixels."""
    temporal_patch_size: PositiveInt = 2
    """How many frames share a latent frame. The first frame of a clip has a latent frame of its own."""
    clip_frames: PositiveInt = 11
    """The frames of a clip. A longer video is cut into clips of this length."""
    fps: Annotated[float, Field(ge=MIN_FPS, le=MAX_FPS)] = 8
    """The frame rate of a clip, in frames a second."""

    # Quantizer
    quantizer: Literal["cosine_vq", "lfq"] = "cosine_vq"
    """cosine_vq takes the code with the highest cosine similarity. lfq (lookup-free) takes the signs."""
    codebook_size: Annotated[int, Field(ge=2, le=2**32)] = 8192
    codebook_dim: PositiveInt = 32
    """The width of a code. Features are projected to it and back, unless it equals d."""
    codebook_matching: Literal["stored", "normalized"] = "stored"
    """Whether features are compared with the codes as stored, or with the codes scaled to unit length, as in
    weights of vector-quantize-pytorch before 1.0. The decoder gets the stored code in either case."""

    # Variants
    patch_norm: Literal["layernorm", "fixed"] = "layernorm"
    """How patches are normalised. layernorm, as released, normalises the raw pixels of each patch and again
    its embedding, which hides the brightness and contrast of a patch from the tokens. fixed computes
    (x - 0.45) * 4, without a second norm."""
    causal: bool = False
    """Whether a latent frame attends only to itself and to earlier ones."""
    temporal_peg: Literal["scrambled", "aligned"] = "scrambled"
    """How the temporal position generator arranges its sequence on the grid. scrambled reshapes without a
    permutation, as the released weights were trained (lucidrains/phenaki-pytorch#42). This mixes space with
    time, and lets later frames influence earlier ones. aligned arranges it correctly."""
    spatial_peg: bool = True
    """Whether the spatial transformers have a position generator."""
    temporal_bias: Literal["none", "alibi"] = "none"
    """The bias on temporal attention: none, or a slope per head times the distance in latent frames."""
    null_kv: bool = False
    """Whether attention has the (empty) `null_kv` parameter of the lucidrains variant."""

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
        """Return the network that arXiv 2210.02399 describes: causal, with linear patches, at 6 fps."""
        sound: dict[str, Any] = {"causal": True, "temporal_peg": "aligned", "patch_norm": "fixed", "fps": 6}
        return cls(**(sound | overrides))

    @classmethod
    def lucidrains(cls, *, lookup_free: bool = True, **overrides: Any) -> Self:
        """Return the network of lucidrains/phenaki-pytorch 0.5.0, lookup-free or with a cosine codebook.

        The defaults of its script set no sizes, so those of the release are used. The network is causal, its
        temporal position generator has the reshape of the release, and its codes are as wide as the model.
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
        """Return the small network whose weights ship with this package: the paper's variant at 8 fps."""
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
        """The inner width of a feed-forward block: two thirds of `ff_mult * dim`, rounded down."""
        return int(self.ff_mult * (2 / 3) * self.dim)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """The patch rows and columns (H, W) of a clip."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def grid(self) -> tuple[int, int, int]:
        """The shape (T, H, W) of a clip's tokens."""
        return self.latent_frames(self.clip_frames), *self.patch_grid

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """The shape (t, h, w, c) of a clip's pixels."""
        return self.clip_frames, *self.image_size, self.channels

    @property
    def tokens_per_clip(self) -> int:
        """The number of tokens of a clip, T * H * W."""
        return math.prod(self.grid)

    def latent_frames(self, frames: int) -> int:
        """Return the latent frames T of t frames.

        Raises:
            ValueError: t is not 1 + a multiple of the temporal patch size.
        """
        if frames < 1 or (frames - 1) % self.temporal_patch_size:
            raise ValueError(f"{frames} frames are not 1 plus a multiple of {self.temporal_patch_size}")
        return 1 + (frames - 1) // self.temporal_patch_size

    def frames(self, latent_frames: int) -> int:
        """Return the frames t of T latent frames."""
        return 1 + (latent_frames - 1) * self.temporal_patch_size

    def clips(self, frames: int) -> int:
        """Return how many clips `frames` frames fill. The last clip may be padded."""
        return -(-frames // self.clip_frames)
