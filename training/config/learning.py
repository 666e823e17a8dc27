"""Settings of the learning: the losses, the codebook, the optimizers and the learning rate."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from training.config.section import Decay, Fraction, Section


class LossesConfig(Section):
    """The weight of each loss, and how it is computed. A weight of 0 leaves the loss and its network out."""

    reconstruction: NonNegativeFloat = 10
    """Weight of the mean squared error of pixels in [0, 1]."""
    lpips: NonNegativeFloat = 1
    """Weight of LPIPS (VGG16) over the frames."""
    lpips_frames: PositiveInt | None = None
    """Frames of each clip that LPIPS looks at, drawn anew at every step. By default, and as released, LPIPS
    looks at all frames. It costs about 30 GFLOP for a frame of 128x128."""
    i3d: NonNegativeFloat = 1
    """Weight of the mean squared error between I3D features, for clips of two frames or more."""
    i3d_clips: PositiveInt | None = None
    """Clips of each micro-batch that I3D looks at: the first ones. By default, and as released, all."""
    i3d_start: NonNegativeInt = 0
    """Optimizer step from which the loss of I3D counts. On small crops it costs much and sees little."""
    commitment: NonNegativeFloat = 0.1
    """Weight of the commitment loss, which already includes the factor `quantizer.commitment_weight`."""
    adversarial: NonNegativeFloat = 0
    """Weight of the generator's hinge loss against the discriminator. 0 leaves the discriminator out."""
    adversarial_start: NonNegativeInt = 0
    """Optimizer step from which the discriminator is trained and its loss counts."""
    gradient_penalty: NonNegativeFloat = 10
    """Weight of the penalty (gradient norm of the discriminator at real frames - 1)^2."""
    discriminator_width: PositiveInt = 16
    """Base width of the discriminator. Its first block has four times as many channels."""

    lpips_mode: Literal["eval", "train"] = "eval"
    """Whether the dropout before the heads of LPIPS is live (train). Released: train."""
    i3d_mode: Literal["eval", "train"] = "eval"
    """Whether I3D normalises by the learned statistics (eval) or by those of the batch. Released: train."""
    i3d_range: Literal["signed", "unit"] = "signed"
    """Range of the pixels that I3D sees: [-1, 1] (signed), on which it was trained, or [0, 1]. Released:
    unit."""

    vgg16_weights: str | None = None
    """File with the weights of VGG16, for LPIPS. By default they are fetched from the Hub or from PyTorch."""
    i3d_weights: str | None = None
    """File with the weights of I3D. By default they are fetched from the Hub."""

    @model_validator(mode="after")
    def _teaches_the_decoder(self) -> Self:
        if not (self.reconstruction or self.lpips or self.i3d or self.adversarial):
            raise ValueError(
                "reconstruction, lpips, i3d and adversarial are all 0: there is nothing to learn"
            )
        return self


class QuantizerConfig(Section):
    """How the codebook learns."""

    decay: Decay = 0.8
    """Decay of the moving averages of tokens, from which the codes are computed."""
    commitment_weight: NonNegativeFloat = 0.25
    """Factor of the squared distance between a unit feature and its code, before `losses.commitment`."""
    gradient: Literal["straight_through", "rotation"] = "straight_through"
    """How gradients pass the lookup: unchanged, or rotated and scaled as the code is (arXiv 2410.06424)."""
    statistics: Literal["all_ranks", "rank_zero"] = "all_ranks"
    """The processes whose tokens move the codes. Released: rank_zero, because nothing was synchronised."""
    update: Literal["step", "micro_batch"] = "step"
    """How often the codes move when gradients are accumulated. Released: micro_batch."""
    bypass_steps: NonNegativeInt = 0
    """Optimizer steps at the start during which features pass without being quantized, as unit vectors."""
    kmeans: bool = False
    """Whether the codes start as the centres that k-means finds among the first tokens. Features pass without
    being quantized until there are two tokens for each code."""
    kmeans_iterations: PositiveInt = 10
    """Iterations of that k-means."""
    dead_code_threshold: NonNegativeFloat = 0
    """A code restarts at a token of the batch if fewer tokens take it than this share of what every code
    would have if all were used alike. With 0, no code ever restarts."""


class OptimizerConfig(Section):
    """How weights follow gradients. Weight decay applies to tensors of two or more dimensions only."""

    kind: Literal["adamw", "muon"] = "adamw"
    """AdamW for every parameter, as released, or torch's Muon for the matrices of the transformers and AdamW
    for the rest. Muon's updates are scaled to the length of AdamW's (arXiv 2502.16982), so a learning rate
    means the same for both."""
    learning_rate: PositiveFloat = 1e-4
    """Learning rate at the top of the schedule."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decays of AdamW's two moments."""
    eps: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    weight_decay: NonNegativeFloat = 1e-4
    """Decoupled weight decay."""
    momentum: Decay = 0.95
    """Momentum of Muon."""
    clip_norm: PositiveFloat = 10
    """Largest gradient norm. Generator and discriminator are clipped separately."""
    discriminator_learning_rate: PositiveFloat = 1e-4
    """Learning rate of the discriminator at the top of the schedule, which both optimizers follow."""


class ScheduleConfig(Section):
    """The learning rate over optimizer steps."""

    kind: Literal["cosine", "chained", "constant"] = "cosine"
    """Cosine: a linear warm-up, `hold_steps` at the top, a cosine to the floor over `decay_steps`, and the
    floor from there. Constant: stays at the top after the warm-up. Released: chained, which is torch's
    LinearLR and then CosineAnnealingLR, stepped by hand; its cosine starts one step late and rises again past
    `decay_steps`."""
    start: NonNegativeInt = 0
    """Optimizer step at which the schedule begins. A stage that sets anything about the schedule begins it at
    its own first step, unless it sets this too."""
    warmup_steps: NonNegativeInt = 10_000
    """Steps of the warm-up."""
    warmup_from: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the learning rate at the first step of the schedule."""
    hold_steps: NonNegativeInt = 0
    """Steps at the top before the cosine begins. Until then, the length of the run may still be changed."""
    decay_steps: PositiveInt = 100_000
    """Steps of the cosine."""
    floor: Fraction = 0.5
    """Share of the learning rate at the end of the cosine."""
