"""One optimizer step: the released recipe agrees with the reference, and what is true of every step."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from cvivit.errors import ConfigError
from cvivit.network.model import CViViT
from tests.training.tiny_run import Noise, tiny_config
from training.config.loading import load_config
from training.config.schema import LossesConfig, TrainingConfig
from training.errors import NonFiniteLossError
from training.losses.generator import GeneratorLosses
from training.run.batch import Batch
from training.run.learner import Learner, make_accelerator
from training.run.step import TrainingStep, random_crop


def make_learner(config: TrainingConfig) -> Learner:
    return Learner(config, make_accelerator(config), GeneratorLosses(config.losses))


def codes_of(model: CViViT) -> torch.Tensor:
    book: Any = model.vq
    codes: torch.Tensor = book.codebook.clone()
    return codes


def batches(config: TrainingConfig, number: int = 1) -> list[Batch]:
    return list(itertools.islice(Noise(config), number))


def test_precision_is_the_configurations_whatever_launched_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert make_accelerator(tiny_config(tmp_path)).mixed_precision == "no"


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate would silently use the CPU, and a user who rents a GPU would only notice from the bill."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device is available"):
        make_accelerator(tiny_config(tmp_path, "loop.device=cuda"))


def test_a_step_of_the_released_recipe_agrees_with_the_reference(parity: Path, recipe: ModuleType) -> None:
    expected = json.loads((parity / "training_step.json").read_text())
    network = {key: value for key, value in expected["config"].items() if value != [8, 4]}
    settings = [f"model.{key}={json.dumps(value)}" for key, value in network.items()]
    config = load_config(
        "released",
        [
            *settings,
            "model.patch_size=[8, 4]",
            "losses.lpips=0",
            "losses.i3d=0",
            "optimizer.clip_norm=1e9",
            "loop.precision=float32",
            "loop.device=cpu",
        ],
    )
    learner = make_learner(config)
    learner.model.load_state_dict(recipe.fill(learner.model.state_dict(), expected["seed"]))
    book: Any = learner.model.vq._codebook
    book.cluster_size.fill_(10)
    videos = torch.stack([torch.from_numpy(recipe.video(7, 32, 48, 2026 + i)) for i in range(3)])
    gradients: dict[str, torch.Tensor] = {}

    def keep_gradients(*_: object) -> None:
        named = learner.model.named_parameters()
        gradients.update({name: p.grad.norm() for name, p in named if p.grad is not None})

    assert isinstance(learner.optimizer, torch.optim.AdamW)
    learner.optimizer.register_step_pre_hook(keep_gradients)
    figures = TrainingStep(learner)([Batch(video=videos, keys=("0", "1", "2"))], 0)

    assert figures["reconstruction"] == pytest.approx(expected["mse"], rel=1e-4)
    assert figures["commitment"] == pytest.approx(expected["commitment"], rel=1e-4)
    assert figures["loss"] == pytest.approx(expected["loss_value"], rel=1e-4)
    assert figures["gradient_norm"] == pytest.approx(expected["gradient_norm_total"], rel=1e-4)
    for name, norm in expected["gradient_norms"].items():
        assert gradients[name].item() == pytest.approx(norm, rel=1e-4), name
    assert not gradients.keys() & set(expected["no_gradient"])
    after = expected["codebook_after"]
    assert book.embed.abs().sum().item() == pytest.approx(after["embed_sum_abs"], rel=1e-4)
    assert book.embed.norm(dim=-1).min().item() == pytest.approx(after["embed_norm_min"], rel=1e-4)
    assert book.cluster_size.sum().item() == pytest.approx(after["cluster_size_sum"], rel=1e-4)
    assert book.cluster_size.max().item() == pytest.approx(after["cluster_size_max"], rel=1e-4)
    assert book.embed[0, 0].tolist() == pytest.approx(after["embed_first_row"], rel=1e-4, abs=1e-6)


def test_two_micro_batches_equal_one_of_both(tmp_path: Path) -> None:
    whole = tiny_config(tmp_path, "data.batch_size=4")
    halves = tiny_config(tmp_path, "data.batch_size=2", "loop.accumulation=2")
    one, two = make_learner(whole), make_learner(halves)
    for step in range(3):
        video = batches(whole, step + 1)[-1]
        first = Batch(video=video.video[:2], keys=video.keys[:2])
        second = Batch(video=video.video[2:], keys=video.keys[2:])
        a, b = TrainingStep(one)([video], step), TrainingStep(two)([first, second], step)
        assert a == pytest.approx(b, rel=1e-4)
    torch.testing.assert_close(one.model.state_dict(), two.model.state_dict(), rtol=1e-3, atol=1e-5)


def test_losses_fall_on_one_batch(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "schedule.warmup_steps=1")
    step = TrainingStep(make_learner(config))
    losses = [step(batches(config), i)["loss"] for i in range(12)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_step_records_every_figure_once(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "losses.adversarial=0.1", "losses.discriminator_width=2")
    figures = TrainingStep(make_learner(config))(batches(config, 2), 0)
    assert set(figures) == {
        "loss",
        "reconstruction",
        "commitment",
        "adversarial",
        "discriminator_hinge",
        "discriminator_penalty",
        "gradient_norm",
        "discriminator_gradient_norm",
        "learning_rate",
        "codebook_use",
        "perplexity",
    }
    weights = config.losses
    assert figures["loss"] == pytest.approx(
        sum(
            getattr(weights, name) * figures[name] for name in ("reconstruction", "commitment", "adversarial")
        ),
        rel=1e-5,
    )


def test_the_generators_pass_leaves_the_discriminator_alone_and_the_other_way_round(tmp_path: Path) -> None:
    settings = ["losses.adversarial=1", "losses.discriminator_width=2"]
    with_penalty = tiny_config(tmp_path, *settings, "losses.gradient_penalty=10")
    without = tiny_config(tmp_path, *settings, "losses.gradient_penalty=0")
    a, b = make_learner(with_penalty), make_learner(without)
    one, two = TrainingStep(a)(batches(with_penalty), 0), TrainingStep(b)(batches(without), 0)
    assert one["discriminator_gradient_norm"] != two["discriminator_gradient_norm"]
    torch.testing.assert_close(a.model.state_dict(), b.model.state_dict())
    assert all(p.requires_grad or "context_norm" in name for name, p in a.discriminator.named_parameters())  # type: ignore[union-attr]


def test_the_discriminator_waits_for_its_start(tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path, "losses.adversarial=1", "losses.discriminator_width=2", "losses.adversarial_start=1"
    )
    step = TrainingStep(make_learner(config))
    assert "adversarial" not in step(batches(config), 0)
    assert "adversarial" in step(batches(config), 1)


def test_a_loss_that_is_not_finite_stops_the_run_before_the_step(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    learner = make_learner(config)
    with torch.no_grad():
        learner.model.get_parameter("to_pixels.0.weight")[0, 0] = float("nan")
    before = {name: p.clone() for name, p in learner.model.named_parameters()}
    with pytest.raises(NonFiniteLossError, match=r"step 3: .*reconstruction.* clip-0, clip-1") as caught:
        TrainingStep(learner)(batches(config), 3)
    assert caught.value.keys == ("clip-0", "clip-1")
    for name, parameter in learner.model.named_parameters():
        torch.testing.assert_close(parameter, before[name], equal_nan=True)


def test_bypass_trains_everything_but_the_codes(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "quantizer.bypass_steps=1", "quantizer.kmeans=true")
    learner = make_learner(config)
    step = TrainingStep(learner)
    codes = codes_of(learner.model)
    figures = step(batches(config), 0)
    assert (figures["commitment"], figures["codebook_use"]) == (0, 0)
    assert torch.equal(codes_of(learner.model), codes)
    # k-means waits until it has two tokens for each code, which takes two of these small batches.
    step(batches(config), 1)
    assert step(batches(config), 2)["codebook_use"] > 0
    assert not torch.equal(codes_of(learner.model), codes)


def test_bfloat16_stays_close_to_float32(tmp_path: Path) -> None:
    exact, fast = tiny_config(tmp_path), tiny_config(tmp_path, "loop.precision=bfloat16")
    a = TrainingStep(make_learner(exact))(batches(exact), 0)
    b = TrainingStep(make_learner(fast))(batches(fast), 0)
    assert b["loss"] == pytest.approx(a["loss"], rel=0.02)
    assert b["loss"] != a["loss"]


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "loop.ema_decay=0.5")
    learner = make_learner(config)
    step = TrainingStep(learner)
    name = "to_pixels.0.weight"
    expected = learner.model.get_parameter(name).detach().clone()
    for i in range(3):
        step(batches(config), i)
        weight = learner.model.get_parameter(name).detach()
        keep = 0 if i == 0 else min(0.5, (1 + i) / (10 + i))
        expected = keep * expected + (1 - keep) * weight
        torch.testing.assert_close(learner.evaluated.get_parameter(name), expected)
    torch.testing.assert_close(codes_of(learner.evaluated), codes_of(learner.model))


def test_weight_decay_spares_vectors(tmp_path: Path) -> None:
    learner = make_learner(tiny_config(tmp_path))
    decayed, spared = learner.optimizer.param_groups
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert decayed["weight_decay"] > 0
    assert all(p.ndim < 2 for p in spared["params"])
    assert spared["weight_decay"] == 0


def test_crops_are_windows_of_their_clips() -> None:
    video = torch.arange(2 * 8 * 8).view(2, 1, 1, 8, 8)
    cropped = random_crop(video, 4, torch.Generator().manual_seed(0))
    assert cropped.shape == (2, 1, 1, 4, 4)
    for clip, window in zip(video, cropped, strict=True):
        row, column = divmod(int(window[0, 0, 0, 0] - clip[0, 0, 0, 0]), 8)
        assert torch.equal(window, clip[..., row : row + 4, column : column + 4])


def test_small_crops_come_first(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "loop.crop_size=16", "loop.crop_steps=1")
    learner = make_learner(config)
    seen: list[torch.Size] = []
    learner.autoencoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    step = TrainingStep(learner)
    step(batches(config), 0)
    step(batches(config), 1)
    assert [shape[3:] for shape in seen] == [(16, 16), (32, 32)]


def test_a_weight_of_zero_computes_nothing() -> None:
    losses = GeneratorLosses(LossesConfig(reconstruction=0, lpips=0, i3d=0, adversarial=1))
    assert losses(torch.rand(1), torch.rand(1)) == {}
