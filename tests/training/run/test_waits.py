"""A step waits for the device only where it reads its figures. This is counted on the CPU."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.cvivit.runtime.cuda.fake_device import WAITS
from tests.training.tiny_run import Noise, tiny_config
from training.losses.generator import GeneratorLosses
from training.run.learner import Learner, make_accelerator
from training.run.step import TrainingStep

READS = ("tolist", "cpu", "numpy", "item")
"""Methods that read a tensor. On the CPU they do so without an operation, so `Waits` does not see them."""


class Waits(TorchDispatchMode):
    """Counts the operations whose result the host waits for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.name().split("::")[1].split(".")[0]
        if name in WAITS:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_step_waits_for_its_figures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    settings = ("losses.adversarial=0.1", "losses.discriminator_width=2", "quantizer.dead_code_threshold=0.5")
    config = tiny_config(tmp_path, *settings, f"optimizer.kind={kind}", "loop.precision=bfloat16")
    learner = Learner(config, make_accelerator(config), GeneratorLosses(config.losses))
    take_step = TrainingStep(learner)
    source = iter(Noise(config))
    take_step([next(source)], 0)  # this step also finds out that the codebook has codes
    reads: collections.Counter[str] = collections.Counter()

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def read(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            reads[name] += 1
            return original(tensor, *args, **kwargs)

        return read

    batches = [next(source), next(source)]
    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    with Waits() as waits:
        figures = take_step(batches, 1)
    assert not waits.seen
    # All losses and norms are read at once, and the counts of the codes just after.
    assert reads == {"tolist": 1, "cpu": 1, "numpy": 1}
    assert {"loss", "adversarial", "gradient_norm", "perplexity"} <= figures.keys()
