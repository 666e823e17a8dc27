"""One optimizer step: micro-batches, losses, and the updates of generator, discriminator and codebook.

The order within a step matters:

1. Each micro-batch runs forward and backward. Gradients add up, each divided by the number of micro-batches.
2. With an adversarial loss, the discriminator's pass follows each micro-batch of the generator, on the same
   reconstruction. The autoencoder does not run a second time for it.
3. The codebook moves by the tokens of the step, also when step 5 then stops the run.
4. Gradients are clipped, generator and discriminator separately.
5. All losses and norms are read from the device at once, and the run stops if one is not finite.
6. Only now do the optimizers move the weights, and the averaged weights follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from einops import rearrange
from torch import Tensor, nn

from training.errors import NonFiniteLossError
from training.losses.adversarial import generator_hinge
from training.losses.generator import frames_of
from training.run import distributed
from training.run.batch import Batch
from training.run.learner import Learner
from training.run.optimization.freezing import QUANTIZER
from training.run.optimization.optimizers import set_learning_rate
from training.run.optimization.schedule import make_schedule

Figures = dict[str, float]


class TrainingStep:
    """Runs optimizer steps on a learner.

    Every process must call it for the same step: gradients, figures and the codebook are shared in
    collectives.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._share = make_schedule(learner.config.schedule)
        losses = learner.config.losses
        weights = {name: getattr(losses, name) for name in ("reconstruction", "lpips", "i3d", "commitment")}
        self._names = [name for name, weight in weights.items() if weight]
        if losses.adversarial:
            self._names += ["adversarial", "discriminator_hinge", "discriminator_penalty"]

    def __call__(self, batches: Sequence[Batch], step: int) -> Figures:
        """Take optimizer step `step`, counted from 0, over the micro-batches of this process.

        Returns:
            the mean of each loss over all processes by its name, unweighted; `loss`, their weighted sum; the
            gradient norms before clipping; `learning_rate`, `codebook_use` and `perplexity`.

        Raises:
            NonFiniteLossError: a loss or gradient is not finite. Weights have not moved, codes may have.
        """
        learner, config = self.learner, self.learner.config
        rate = self._share(step)
        set_learning_rate(learner.optimizer, config.optimizer.learning_rate * rate)
        adversarial = bool(config.losses.adversarial) and step >= config.losses.adversarial_start
        sums = _Sums(self._names, learner.accelerator.device)
        learner.autoencoder.train()
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            video = self._to_video(batch, step, index)
            share = 1 / len(batches)
            fake = self._generator_pass(video, step, sums, share, adversarial=adversarial, last=last)
            if adversarial:
                self._discriminator_pass(video, fake, sums, share, last=last)
            if config.quantizer.update == "micro_batch" or last:
                learner.codebook.update(step)
        norms = {"gradient_norm": self._clip(learner.autoencoder)}
        if adversarial and learner.discriminator_loss is not None:
            norms["discriminator_gradient_norm"] = self._clip(learner.discriminator_loss)
        figures, finite_here = sums.figures(norms)
        use = learner.codebook.take_use()  # Here, since nothing is left to wait for after the line before.
        self._stop_unless_finite(figures, batches, step, finite_here=finite_here)
        learner.optimizer.step()
        learner.optimizer.zero_grad(set_to_none=True)
        if adversarial and learner.discriminator_optimizer is not None:
            set_learning_rate(
                learner.discriminator_optimizer, config.optimizer.discriminator_learning_rate * rate
            )
            learner.discriminator_optimizer.step()
            learner.discriminator_optimizer.zero_grad(set_to_none=True)
        if learner.ema is not None:
            learner.ema.update(learner.model)
        return figures | {
            "learning_rate": config.optimizer.learning_rate * rate,
            "codebook_use": use.used,
            "perplexity": use.perplexity,
        }

    def _generator_pass(
        self, video: Tensor, step: int, sums: _Sums, share: float, *, adversarial: bool, last: bool
    ) -> Tensor:
        """Run one micro-batch forward and backward, and return its reconstruction without a graph."""
        learner, config = self.learner, self.learner.config
        with self._synchronised(learner.autoencoder, when=last):
            with self._precision():
                bypass = step < config.quantizer.bypass_steps and QUANTIZER not in config.loop.freeze
                reconstruction, commitment = learner.autoencoder(video, quantize=not bypass)
                with_i3d = step >= config.losses.i3d_start
                losses = learner.losses(reconstruction, video, with_i3d=with_i3d)
                if config.losses.commitment:
                    losses["commitment"] = commitment
                if adversarial and learner.discriminator is not None:
                    with _frozen(learner.discriminator):
                        logits = learner.discriminator(frames_of(reconstruction))
                    losses["adversarial"] = generator_hinge(logits)
                total = learner.losses.total(losses)
            (total * share).backward()
        sums.add({"loss": total, **losses})
        return reconstruction.detach()

    def _discriminator_pass(
        self, real: Tensor, fake: Tensor, sums: _Sums, share: float, *, last: bool
    ) -> None:
        loss = self.learner.discriminator_loss
        assert loss is not None
        with self._synchronised(loss, when=last):
            with self._precision():
                hinge, penalty = loss(frames_of(real), frames_of(fake))
            ((hinge + penalty) * share).backward()
        sums.add({"discriminator_hinge": hinge, "discriminator_penalty": penalty})

    @contextmanager
    def _synchronised(self, module: nn.Module, *, when: bool) -> Iterator[None]:
        """Average gradients over processes on the last micro-batch only. Until then they add up in each."""
        if when:
            yield
        else:
            with self.learner.accelerator.no_sync(module):
                yield

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.learner.accelerator.device.type,
            dtype=torch.bfloat16,
            enabled=self.learner.config.loop.precision == "bfloat16",
        )

    def _clip(self, module: nn.Module) -> Tensor:
        trained = [p for p in module.parameters() if p.grad is not None]
        return nn.utils.clip_grad_norm_(trained, self.learner.config.optimizer.clip_norm)

    def _to_video(self, batch: Batch, step: int, index: int) -> Tensor:
        """Return the micro-batch as `b c t h w` in [0, 1], cropped while the run is at its small crops."""
        loop = self.learner.config.loop
        device, video = self.learner.accelerator.device, batch.video
        if device.type == "cuda":
            video = video.pin_memory()  # From other memory the copy would wait for the device.
        video = video.to(device, non_blocking=True)
        video = rearrange(video, "b t h w c -> b c t h w")
        if loop.crop_size is not None and step < loop.crop_steps:
            seed = hash((loop.seed, step, index, self.learner.accelerator.process_index))
            video = random_crop(video, loop.crop_size, torch.Generator().manual_seed(seed % 2**63))
        return video.float() / 255

    def _stop_unless_finite(
        self, figures: Figures, batches: Sequence[Batch], step: int, *, finite_here: bool
    ) -> None:
        wrong = sorted(name for name, value in figures.items() if not math.isfinite(value))
        if not wrong:
            return
        keys = tuple(key for batch in batches for key in batch.keys)
        found = distributed.gather(() if finite_here else keys)
        # If every loss is finite, the backward pass went wrong, and any clip may be the cause.
        blamed = [key for part in found for key in part] or [
            key for part in distributed.gather(keys) for key in part
        ]
        raise NonFiniteLossError(
            f"step {step}: {', '.join(wrong)} not finite; clips: {', '.join(blamed)}", keys=tuple(blamed)
        )


class _Sums:
    """Sums of the losses, kept on the device and read once a step: each read waits for the device."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._names = ["loss", *names]
        self._values = torch.zeros(2, len(self._names), device=device)

    def add(self, losses: dict[str, Tensor]) -> None:
        places = [self._names.index(name) for name in losses]
        self._values[0, places] += torch.stack([loss.detach().float() for loss in losses.values()])
        self._values[1, places] += 1

    def figures(self, norms: dict[str, Tensor]) -> tuple[Figures, bool]:
        """Return the mean of each loss over micro-batches and processes, and the norms, equal in all.

        The second value says whether every loss of this process is finite. After the sum over processes, that
        can no longer be told.
        """
        finite = torch.isfinite(self._values).all().float()
        values = distributed.sum_(self._values.clone())
        means = values[0] / values[1]
        seen, *rest = torch.cat(
            (finite.view(1), (values[1] > 0).float(), means, torch.stack(list(norms.values())))
        ).tolist()
        present, numbers = rest[: len(self._names)], rest[len(self._names) :]
        figures = dict(zip((*self._names, *norms), numbers, strict=True))
        shown = {
            name: value
            for name, value in figures.items()
            if name in norms or present[self._names.index(name)]
        }
        return shown, bool(seen)


def random_crop(video: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return a `size` x `size` window of every clip of `b c t h w`, each at another random place."""
    rows, columns = (
        torch.randint(side - size + 1, (len(video),), generator=generator).tolist()
        for side in video.shape[3:]
    )
    return torch.stack(
        [clip[..., y : y + size, x : x + size] for clip, y, x in zip(video, rows, columns, strict=True)]
    )


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients flow through a module to its input, but not to its parameters."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
