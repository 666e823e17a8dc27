"""Settings of the run itself: the loop, its checkpoints, its trackers and its validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from cvivit.inputs.locations import url_in
from training.config.section import Decay, Freezable, Section, Trackers


class LoopConfig(Section):
    """The loop over optimizer steps."""

    steps: PositiveInt = 100_000
    """Optimizer steps of the whole run."""
    accumulation: PositiveInt = 1
    """Micro-batches of one optimizer step."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the forward and backward passes outside the quantizer's lookup. Weights stay float32. A
    CPU without instructions for bfloat16 emulates it, and is about three times as fast in float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. Auto takes a CUDA device if there is one."""
    threads: PositiveInt | None = None
    """CPU threads of each process. By default torch chooses."""
    compile: bool = False
    """Whether networks and losses go through torch.compile."""
    ema_decay: Decay = 0.999
    """Decay of the averaged weights, which validation and export use. With 0, none are kept."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the weights, of the order of the data, and of every random choice."""
    freeze: Freezable = ()
    """Parts of the network that stay as they are, to the bit. `["encoder", "quantizer"]` lets the decoder
    learn while tokens stay valid. The spatial bias, which the encoder and the decoder share, is frozen with
    either. A frozen quantizer keeps its codes: bypass, k-means and restarts of codes have no effect. A run
    keeps its list until its end."""
    crop_size: Annotated[int, Field(ge=8)] | None = None
    """Height and width of the random crops that replace whole clips in the first `crop_steps` steps. The
    discriminator is built for whole clips, so it cannot start before."""
    crop_steps: NonNegativeInt = 0
    """Optimizer steps on crops of `crop_size`."""


class CheckpointConfig(Section):
    """Which checkpoints of a run are kept, and how a run starts."""

    directory: str = "runs/cvivit"
    """Folder of the run, on this computer: its checkpoints, its resolved configuration and its log."""
    every_steps: PositiveInt = 1_000
    """Optimizer steps between checkpoints."""
    keep: PositiveInt = 3
    """How many of the newest checkpoints are kept besides the best one."""
    best_metric: Literal["psnr", "ssim", "lpips", "fvd"] = "psnr"
    """Metric of validation that chooses the best checkpoint."""
    resume: bool = True
    """Whether to continue from the newest sound checkpoint in the folder. If false, a folder that has
    checkpoints is refused."""
    allow_topology_change: bool = False
    """Whether to resume with another number of processes, workers or clips, or with other shards, than the
    run was saved with. Samples of the current epoch are then seen twice or not at all."""
    weights: str | None = None
    """Weights to start from instead of random ones: the folder of a run or of a checkpoint (whose averaged
    weights are taken), or anything that `from_pretrained` takes. Their clips may have another size, length or
    rate. Their codes are kept: k-means does not run. A checkpoint in the folder of this run comes before
    them."""
    grow_codebook: bool = False
    """Whether these weights may have fewer codes than `model.codebook_size`. Their codes keep their numbers,
    and the new ones are copies of the codes that are used most, moved a little."""

    @field_validator("directory")
    @classmethod
    def _on_this_computer(cls, directory: str) -> str:
        if url := url_in(directory):
            raise ValueError(f"{url} is a URL: write to this computer, and copy from there")
        return directory


class TrackingConfig(Section):
    """The trackers that get the figures. `log.jsonl` in the folder of the run is written in any case."""

    trackers: Trackers = ()
    """One tracker or a list of them."""
    project: str = "phenaki-cvivit"
    """Name of the project in the trackers."""
    every_steps: PositiveInt = 1
    """Optimizer steps between records to the trackers. The file gets every record."""
    progress: bool = True
    """Whether the first process shows a progress bar."""


class ValidationConfig(Section):
    """What is measured on held-out clips."""

    every_steps: PositiveInt = 1_000
    """Optimizer steps between validations. The last step of the run and of each stage is always validated."""
    clips: PositiveInt = 256
    """The most clips that are measured, over all processes."""
    stills: PositiveInt = 64
    """The most pictures that are measured, over all processes."""
    lpips: bool = True
    """Whether to measure LPIPS."""
    fvd: bool = False
    """Whether to measure rFVD, which needs I3D, and several hundred clips to mean something."""
    videos: NonNegativeInt = 4
    """Clips that are written as videos, the original beside its reconstruction."""
