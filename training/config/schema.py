"""What a training run is: every setting of `python -m training`, in nested frozen sections.

Where a value comes from, the later winning over the earlier::

    defaults in this file  <  the preset that a file builds on  <  the file  <  `--set key=value`, in order

`training.config.loading` reads them. The defaults are the sound ones. Where the trainer of the released
weights did something else that shaped them, one setting has that behaviour as its other value, marked
`Released:` below, and the preset `released` chooses it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from cvivit.config import CViViTConfig

MODEL_PRESETS = ("released", "paper", "lucidrains", "demo")


def _network(value: Any) -> Any:
    """Read `preset = "demo"` and the fields given beside it as one network."""
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    preset = fields.pop("preset", "released")
    if preset not in MODEL_PRESETS:
        raise ValueError(f"preset: {preset!r} is not one of {', '.join(MODEL_PRESETS)}")
    return getattr(CViViTConfig, preset)(**fields)


def _several(value: Any) -> Any:
    """Read one pattern as a list of one."""
    return (value,) if isinstance(value, str) else value


Patterns = Annotated[tuple[str, ...], BeforeValidator(_several)]
Trackers = Annotated[tuple[Literal["tensorboard", "wandb", "trackio"], ...], BeforeValidator(_several)]
NetworkConfig = Annotated[CViViTConfig, BeforeValidator(_network)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A group of settings: frozen, keyword-only, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Section):
    """Where clips come from."""

    train: Patterns = ()
    """Shards to train on: paths, globs, brace patterns, http(s) and `pipe:` URLs; one or a list."""
    validation: Patterns = ()
    """Shards held out. No shard may be in both."""
    batch_size: PositiveInt = 8
    """Clips of one micro-batch of one process."""
    workers: NonNegativeInt = 2
    """Processes per rank that read and decode; 0 does it in the training process."""
    prefetch: PositiveInt = 2
    """Batches that each of them reads ahead."""
    shuffle: PositiveInt = 1_000
    """Samples of each reader's shuffle buffer; 1 leaves shards as they are, in an order permuted anyway."""
    flip: Fraction = 0
    """Chance of a clip to be mirrored left to right."""
    crop_scale: tuple[Fraction, Fraction] = (1, 1)
    """Range of a random crop's side, over that of the largest crop of the model's shape that fits. All frames
    of a clip have the same crop, which is resized to the model's size."""
    stills: Patterns = ()
    """Shards of pictures for joint image training."""
    stills_ratio: Fraction = 0
    """Share of the batches that are pictures, spread evenly; all ranks have them in the same step."""
    max_bad_samples: NonNegativeInt = 100
    """Samples and shards that cannot be used and that a reader skips in an epoch; one more stops the run."""

    @model_validator(mode="after")
    def _describes_data(self) -> Self:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1]:
            raise ValueError(f"crop_scale: {list(self.crop_scale)} is no range of positive shares")
        if self.stills_ratio and not self.stills:
            raise ValueError("stills_ratio: there are no stills")
        return self


class LossesConfig(Section):
    """Weight of each loss by its name (0 leaves it out, and its network unloaded), and how it is computed."""

    reconstruction: NonNegativeFloat = 10
    """Mean squared error, pixels in [0, 1]."""
    lpips: NonNegativeFloat = 1
    """LPIPS (VGG16), of every frame unless `lpips_frames` says otherwise."""
    lpips_frames: PositiveInt | None = None
    """Frames of each clip, drawn anew at every step, that LPIPS looks at; by default, and as released, all.
    It costs some 30 GFLOP a frame of 128x128."""
    i3d: NonNegativeFloat = 1
    """Mean squared error between I3D features, for clips of two frames or more."""
    i3d_clips: PositiveInt | None = None
    """Clips of each micro-batch that I3D looks at, the first ones; by default, and as released, all."""
    i3d_start: NonNegativeInt = 0
    """Optimizer steps before I3D's loss counts: on small crops it costs much and sees little."""
    commitment: NonNegativeFloat = 0.1
    """Times `quantizer.commitment_weight`."""
    adversarial: NonNegativeFloat = 0
    """Hinge loss of the generator against the discriminator."""
    adversarial_start: NonNegativeInt = 0
    """Optimizer steps before the discriminator is trained and its loss counts."""
    gradient_penalty: NonNegativeFloat = 10
    """Weight of (gradient norm of the discriminator at real frames - 1)^2."""
    discriminator_width: PositiveInt = 16
    """Base width of the discriminator: its first block has four times as many channels."""

    lpips_mode: Literal["eval", "train"] = "eval"
    """Released: train, which leaves the dropout before the heads of LPIPS live."""
    i3d_mode: Literal["eval", "train"] = "eval"
    """Released: train, which normalises by the statistics of the batch rather than those learned."""
    i3d_range: Literal["signed", "unit"] = "signed"
    """Pixels that I3D sees: [-1, 1], on which it was trained. Released: unit, [0, 1]."""

    vgg16_weights: str | None = None
    """File of VGG16 weights for LPIPS; without one, they are fetched as `training.losses.frozen` says."""
    i3d_weights: str | None = None
    """File of I3D weights; without one, they are fetched as `training.losses.frozen` says."""

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
    """Of the moving averages that the codes are."""
    commitment_weight: NonNegativeFloat = 0.25
    """Of the squared distance between a unit feature and its code, before `losses.commitment`."""
    gradient: Literal["straight_through", "rotation"] = "straight_through"
    """How gradients pass the lookup. Rotation turns and scales them with the code (arXiv 2410.06424)."""
    statistics: Literal["all_ranks", "rank_zero"] = "all_ranks"
    """Whose tokens move the codes. Released: rank_zero, because nothing was synchronised."""
    update: Literal["step", "micro_batch"] = "step"
    """How often codes move under accumulation. Released: micro_batch."""
    bypass_steps: NonNegativeInt = 0
    """Optimizer steps during which features pass unquantized, as unit vectors of the codebook's width."""
    kmeans: bool = False
    """Whether the codes start as the centres of the first batch that is quantized."""
    kmeans_iterations: PositiveInt = 10
    dead_code_threshold: NonNegativeFloat = 0
    """A code whose moving count of tokens falls below this restarts at a token of the batch; 0 never does."""


class OptimizerConfig(Section):
    """How weights follow gradients; weight decay on tensors of two or more dimensions only."""

    kind: Literal["adamw", "muon"] = "adamw"
    """AdamW for every parameter (the release's), or torch's Muon for the matrices of the transformers
    and AdamW for the rest. Updates are as long as AdamW's (arXiv 2502.16982), so that rates mean the same."""
    learning_rate: PositiveFloat = 1e-4
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 1e-4
    momentum: Decay = 0.95
    """Of Muon."""
    clip_norm: PositiveFloat = 10
    """Largest gradient norm, of generator and discriminator apart."""
    discriminator_learning_rate: PositiveFloat = 1e-4
    """At the top of the schedule, which both optimizers follow."""


class ScheduleConfig(Section):
    """The learning rate over optimizer steps."""

    kind: Literal["cosine", "chained", "constant"] = "cosine"
    """Linear warm-up, `hold_steps` at the top, one cosine down to the floor at `decay_steps` after them, and
    the floor from there.
    Released: chained, torch's LinearLR then CosineAnnealingLR stepped by hand, whose cosine starts one step
    late and climbs again past `decay_steps`. Constant stays at the top after the warm-up."""
    warmup_steps: NonNegativeInt = 10_000
    warmup_from: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the learning rate at step 0."""
    hold_steps: NonNegativeInt = 0
    """Of the cosine: steps at the top before it. While a run is there, its length may still be changed."""
    decay_steps: PositiveInt = 100_000
    floor: Fraction = 0.5
    """Share of the learning rate that the cosine ends at."""


class LoopConfig(Section):
    """The loop over optimizer steps."""

    steps: PositiveInt = 100_000
    accumulation: PositiveInt = 1
    """Micro-batches of one optimizer step."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the forward and backward passes outside the quantizer's lookup; weights stay float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt | None = None
    """CPU threads of each process; by default, torch's choice."""
    compile: bool = False
    """Whether networks and losses go through torch.compile."""
    ema_decay: Decay = 0.999
    """Of the averaged weights, which validation and export use; 0 keeps none."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    crop_size: Annotated[int, Field(ge=8)] | None = None
    """Height and width of random crops that replace whole clips for the first `crop_steps` steps. The
    discriminator, which is built for whole clips, cannot start before."""
    crop_steps: NonNegativeInt = 0


class CheckpointConfig(Section):
    """What is kept of a run, and how it starts."""

    directory: str = "runs/cvivit"
    """Folder of the run: checkpoints, the resolved configuration and the log."""
    every_steps: PositiveInt = 1_000
    keep: PositiveInt = 3
    """Newest checkpoints that are kept, besides the best."""
    best_metric: Literal["psnr", "ssim", "lpips", "fvd"] = "psnr"
    """Metric of validation that chooses the best checkpoint."""
    resume: bool = True
    """Continue from the newest sound checkpoint in the folder. Else a folder that has any is refused."""
    allow_topology_change: bool = False
    """Whether to resume with another number of processes, loader workers or clips than the run was saved
    with: samples of the running epoch are then seen twice or not at all."""
    weights: str | None = None
    """Weights to start from rather than from random ones (anything `from_pretrained` takes); a
    checkpoint in the folder wins over them."""


class TrackingConfig(Section):
    """Where figures go besides `log.jsonl` in the folder of the run, which is always written."""

    trackers: Trackers = ()
    """One or a list."""
    project: str = "phenaki-cvivit"
    every_steps: PositiveInt = 1
    """Optimizer steps between records to the trackers; the file has them all."""
    progress: bool = True
    """Whether the first process shows a progress bar."""


class ValidationConfig(Section):
    """What is measured on held-out clips."""

    every_steps: PositiveInt = 1_000
    clips: PositiveInt = 256
    """At most this many, over all processes."""
    lpips: bool = True
    fvd: bool = False
    """Whether to measure rFVD, which needs I3D and a good many clips to mean something."""
    videos: NonNegativeInt = 4
    """Clips written as original beside reconstruction."""


class TrainingConfig(Section):
    """A whole run."""

    model: NetworkConfig = CViViTConfig()
    """Fields of CViViTConfig, on top of the one of its presets that `preset` names."""
    data: DataConfig = DataConfig()
    losses: LossesConfig = LossesConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loop: LoopConfig = LoopConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _describes_a_run(self) -> Self:
        if self.model.quantizer != "cosine_vq":
            raise ValueError(f"model.quantizer: only cosine_vq can be trained, not {self.model.quantizer}")
        crop, patches = self.loop.crop_size, self.model.patch_size
        if crop is not None and (crop > min(self.model.image_size) or any(crop % patch for patch in patches)):
            raise ValueError(f"loop.crop_size: {crop} is no multiple of the patch within a clip")
        whole = self.loop.crop_steps if crop is not None else 0
        if self.losses.adversarial and self.losses.adversarial_start < whole:
            raise ValueError(
                "losses.adversarial_start: the discriminator takes whole clips, "
                f"so it cannot start before loop.crop_steps, {whole}"
            )
        if self.checkpoint.best_metric == "fvd" and not self.validation.fvd:
            raise ValueError("checkpoint.best_metric: fvd needs validation.fvd = true")
        if self.checkpoint.best_metric == "lpips" and not self.validation.lpips:
            raise ValueError("checkpoint.best_metric: lpips needs validation.lpips = true")
        return self
