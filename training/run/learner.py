"""Everything that learns in a run: networks, optimizers and averaged weights, in one process or many."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from cvivit.errors import ConfigError
from cvivit.network.model import CViViT
from cvivit.runtime.cuda.kernels.in_training import use_kernels_where_they_agree
from training.config.schema import TrainingConfig
from training.errors import CheckpointMismatchError
from training.losses.adversarial import DiscriminatorLoss
from training.losses.discriminator import Discriminator
from training.losses.generator import GeneratorLosses
from training.run import distributed
from training.run.autoencoder import Autoencoder, freeze_unused, trainable
from training.run.compiling import compiler_options
from training.run.optimization.codebook_update import CodebookTraining
from training.run.optimization.ema import AveragedWeights
from training.run.optimization.freezing import QUANTIZER, freeze
from training.run.optimization.optimizers import AnyOptimizer, load_optimizer, make_optimizer
from training.run.saving.origin import Origin

StateDict = dict[str, Tensor]

EMA: Final = "ema"
DISCRIMINATOR: Final = "discriminator"
_ORIGINS = {
    "model": ("network", "model"),
    EMA: ("averaged weights", "loop.ema_decay"),
    DISCRIMINATOR: ("discriminator", "losses.adversarial"),
}
"""What each file of a checkpoint holds, and the setting that leaves it out when it is 0."""


def begun(before: TrainingConfig, now: TrainingConfig) -> set[str]:
    """Return the names of what a run has in one stage and did not have in the stage before.

    A discriminator is made for frames of one size, so that it begins anew where the size changes.
    """
    new = set()
    if now.loop.ema_decay and not before.loop.ema_decay:
        new.add(EMA)
    if now.losses.adversarial and _discriminator_of(now) != _discriminator_of(before):
        new.add(DISCRIMINATOR)
    return new


def _discriminator_of(config: TrainingConfig) -> tuple[object, ...]:
    """Return what the shapes of a discriminator depend on."""
    losses = config.losses
    return bool(losses.adversarial), config.model.image_size, losses.discriminator_width


def make_accelerator(config: TrainingConfig, **options: Any) -> Accelerator:
    """Return accelerate's view of the processes and the device that a configuration asks for.

    DistributedDataParallel does not broadcast buffers. Only the codebook's buffers change, and its own
    training step keeps them alike. accelerate sets no precision, since the training step has one autocast
    over networks and losses, and keeps weights in float32.

    Raises:
        ConfigError: `loop.device` is cuda, and there is none. accelerate would use the CPU without a word.
    """
    if config.loop.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("loop.device: no CUDA device is available; auto takes the CPU where there is none")
    distributed.join_process_group(cpu=config.loop.device == "cpu")
    accelerator = Accelerator(
        cpu=config.loop.device == "cpu",
        mixed_precision="no",  # Otherwise accelerate takes it from its launcher or from the environment.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        **options,
    )
    if accelerator.device.type == "cuda":
        use_kernels_where_they_agree(accelerator.device)
    return accelerator


class Learner:
    """The networks that learn, wrapped for this process, and their optimizers.

    Generator and discriminator are two modules in two wrappers with two optimizers. So gradients, clipping
    and synchronisation of one do not affect the other.

    Args:
        config: the run.
        accelerator: the processes it runs in.
        losses: the autoencoder's losses with their frozen networks.
        weights: weights to start from. Without them, the start is random, from `config.loop.seed`.

    Raises:
        ConfigError: the discriminator cannot take this image size.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        losses: GeneratorLosses,
        *,
        weights: StateDict | None = None,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        device: torch.device = accelerator.device
        torch.manual_seed(config.loop.seed)
        self.model = CViViT(config.model).to(device)
        self.losses = losses.to(device)
        self.origins: tuple[Origin, ...] = ()
        """The weights that the run started from, set by the loop or by `resume`. Checkpoints hold them."""
        freeze(self.model, config.loop.freeze)
        self.codebook = CodebookTraining(
            self.model.vq,
            config.quantizer,
            seed=config.loop.seed,
            learns=QUANTIZER not in config.loop.freeze,
        )
        if weights is not None:
            self.model.load_state_dict(weights)
        autoencoder = Autoencoder(self.model, self.codebook, compile=config.loop.compile)
        if config.loop.compile:
            self.losses.compile(**compiler_options())
        self.optimizer = make_optimizer(
            trainable(autoencoder), config.optimizer, learning_rate=config.optimizer.learning_rate
        )
        self.autoencoder: nn.Module = accelerator.prepare_model(autoencoder)
        self.discriminator: Discriminator | None = None
        self.discriminator_loss: nn.Module | None = None
        self.discriminator_optimizer: AnyOptimizer | None = None
        if config.losses.adversarial:
            self._add_discriminator(device)
        self.ema: AveragedWeights[CViViT] | None = None
        if config.loop.ema_decay:
            self.ema = AveragedWeights(self.model, config.loop.ema_decay)
        # Dropout draws from this state. Processes must draw differently, and a repeated run must draw the
        # same.
        torch.manual_seed(config.loop.seed + accelerator.process_index)

    @property
    def evaluated(self) -> CViViT:
        """The network to validate: the averaged one if there is one."""
        return self.model if self.ema is None else self.ema.module

    def modules(self) -> dict[str, nn.Module]:
        """Return the modules that learn, without wrappers, by the names of their files in a checkpoint."""
        modules: dict[str, nn.Module] = {"model": self.model}
        if self.ema is not None:
            modules[EMA] = self.ema.module
        if self.discriminator is not None:
            modules[DISCRIMINATOR] = self.discriminator
        return modules

    def optimizers(self) -> dict[str, AnyOptimizer]:
        """Return the optimizers by name."""
        optimizers: dict[str, AnyOptimizer] = {"generator": self.optimizer}
        if self.discriminator_optimizer is not None:
            optimizers[DISCRIMINATOR] = self.discriminator_optimizer
        return optimizers

    def extra_state(self) -> dict[str, Any]:
        """Return the states of the optimizers, and how often the averaged weights were updated."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers().items()},
            "ema_updates": self.ema.updates if self.ema is not None else 0,
        }

    def load_state(
        self, modules: dict[str, StateDict], extra: dict[str, Any], *, new: Collection[str] = ()
    ) -> None:
        """Load the contents of a checkpoint.

        Args:
            modules: the state of each network by its name.
            extra: what `extra_state` returned.
            new: names of networks that begin now, with a stage of the run. Averaged weights begin at the
                weights, and a discriminator stays as it was made.

        Raises:
            CheckpointMismatchError: a network or an optimizer of this run is missing in it, or differs.
        """
        for name, module in self.modules().items():
            if name in new:
                continue
            if name not in modules:
                what, setting = _ORIGINS[name]
                raise CheckpointMismatchError(
                    f"the checkpoint holds no {what}: it was saved with {setting}=0, and needs that again"
                )
            try:
                module.load_state_dict(modules[name])
            except RuntimeError as error:
                summary = " ".join(str(error).split())[:200]
                raise CheckpointMismatchError(f"the checkpoint is of another network: {summary}") from None
        for name, optimizer in self.optimizers().items():
            if name not in new:
                load_optimizer(optimizer, extra["optimizers"][name])
        if self.ema is not None and EMA in new:
            self.ema.module.load_state_dict(self.model.state_dict())
        elif self.ema is not None:
            self.ema.updates = extra["ema_updates"]

    def _add_discriminator(self, device: torch.device) -> None:
        config = self.config
        try:
            self.discriminator = Discriminator(
                config.model.image_size, base_width=config.losses.discriminator_width
            ).to(device)
        except ValueError as error:
            raise ConfigError(f"losses.adversarial: no discriminator for this model.{error}") from None
        loss = DiscriminatorLoss(self.discriminator, penalty_weight=config.losses.gradient_penalty)
        freeze_unused(loss)
        self.discriminator_optimizer = make_optimizer(
            trainable(loss),
            config.optimizer,
            learning_rate=config.optimizer.discriminator_learning_rate,
        )
        self.discriminator_loss = self.accelerator.prepare_model(loss)
