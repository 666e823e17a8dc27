"""Frozen parts stay the same to the bit, whatever happens to the run, and the rest learns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvivit import TokenGrid, VideoTokenizer
from cvivit.errors import ConfigError, ModelMismatchError, WeightsMismatchError
from cvivit.weights import encoder_fingerprint, load_weights, save_pretrained, write_weights
from tests.marks import slow
from tests.places import ROOT
from tests.training.tiny_run import Noise, tiny_config
from tests.training.whole_runs import assert_same, final, run
from training.config.loading import load_config
from training.config.schema import TrainingConfig
from training.errors import CheckpointCorruptError, CheckpointMismatchError
from training.export import export
from training.losses.generator import GeneratorLosses
from training.run.interruption import REQUEUE_EXIT_CODE
from training.run.learner import Learner, make_accelerator
from training.run.optimization.freezing import KEYS, is_frozen
from training.run.saving.checkpoint import CheckpointStore
from training.run.saving.origin import ORIGINS
from training.run.saving.starting_weights import starting_weights

SCRIPT = ROOT / "tests/training/tiny_run.py"
PATIENCE_SECONDS = 120
BOTH = 'loop.freeze=["encoder", "quantizer"]'


def make_weights(config: TrainingConfig, folder: Path) -> str:
    """Write weights in which no tensor is as it starts, with -0.0 among them. Return their fingerprint."""
    torch.manual_seed(1)
    model = Learner(config, make_accelerator(config), GeneratorLosses(config.losses)).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
            parameter.flatten()[:2] = -0.0
    return save_pretrained(model, folder)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    make_weights(tiny_config(tmp_path), tmp_path / "weights")
    return tmp_path / "weights"


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor, which tell -0.0 from 0.0."""
    return tensor.contiguous().view(-1).view(torch.uint8)


def moved(directory: Path, weights: Path, module: str = "model") -> set[str]:
    """Return the keys of a run's last checkpoint whose bits differ from those of the weights."""
    before = load_weights(weights).state_dict
    after = final(directory)
    return {key for key in before if not torch.equal(bits(after[f"{module}.{key}"]), bits(before[key]))}


@pytest.mark.parametrize(
    ("precision", "parts"),
    [
        slow("float32", ("encoder", "quantizer")),
        slow("float32", ("encoder",)),
        slow("float32", ("quantizer",)),
        ("float32", ("decoder",)),
        ("bfloat16", ("encoder", "quantizer")),
        slow("bfloat16", ("encoder",)),
        slow("bfloat16", ("quantizer",)),
        slow("bfloat16", ("decoder",)),
    ],
)
def test_frozen_parts_are_the_same_to_the_bit_and_others_learn(
    tmp_path: Path, weights: Path, parts: tuple[Any, ...], precision: str
) -> None:
    settings = (
        f"loop.freeze={json.dumps(parts)}",
        f"checkpoint.weights={weights}",
        f"loop.precision={precision}",
        "optimizer.weight_decay=0.1",
        "quantizer.kmeans=true",
        "quantizer.bypass_steps=2",
        "quantizer.dead_code_threshold=1",
        "losses.adversarial=0.1",
        "losses.discriminator_width=2",
    )
    run(tiny_config(tmp_path / "run", *settings))
    for module in ("model", "ema"):
        changed = moved(tmp_path / "run", weights, module)
        assert not {key for key in changed if is_frozen(key, parts)}
        learned = {part for part in KEYS for key in changed if is_frozen(key, [part])}
        assert learned == KEYS.keys() - set(parts)


def test_the_spatial_bias_is_frozen_with_either_side(tmp_path: Path, weights: Path) -> None:
    for part in ("encoder", "decoder"):
        run(tiny_config(tmp_path / part, f"loop.freeze={part}", f"checkpoint.weights={weights}"))
        assert not any(key.startswith("spatial_rel_pos_bias") for key in moved(tmp_path / part, weights))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_frozen_parts_have_neither_gradients_nor_optimizer_state(tmp_path: Path, kind: str) -> None:
    config = tiny_config(tmp_path, BOTH, f"optimizer.kind={kind}")
    learner = Learner(config, make_accelerator(config), GeneratorLosses(config.losses))
    held = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
    for key, parameter in learner.model.named_parameters():
        if is_frozen(key, config.loop.freeze):
            assert not parameter.requires_grad
            assert id(parameter) not in held
    assert held


@pytest.mark.parametrize(
    ("number", "status"),
    [
        slow(signal.SIGTERM, REQUEUE_EXIT_CODE),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_killed_and_resumed_run_keeps_frozen_parts(
    tmp_path: Path, weights: Path, number: signal.Signals, status: int
) -> None:
    settings = (BOTH, f"checkpoint.weights={weights}")
    run(tiny_config(tmp_path / "whole", *settings))
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "parts"), "4", str(int(number)), *settings],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert killed.returncode == status, killed.stderr[-2000:]
    weights.rename(tmp_path / "moved")  # a resumed run no longer needs the weights
    run(tiny_config(tmp_path / "parts", *settings))
    assert_same(final(tmp_path / "parts"), final(tmp_path / "whole"))
    for module in ("model", "ema"):
        changed = moved(tmp_path / "parts", tmp_path / "moved", module)
        assert changed
        assert not {key for key in changed if is_frozen(key, ["encoder", "quantizer"])}
    export(tmp_path / "parts", tmp_path / "out")
    assert load_weights(tmp_path / "out").tokens_of == (load_weights(tmp_path / "moved").fingerprint,)


def test_a_run_keeps_its_list_of_frozen_parts(tmp_path: Path, weights: Path) -> None:
    settings = ("loop.steps=2", f"checkpoint.weights={weights}")
    run(tiny_config(tmp_path / "run", BOTH, *settings))
    same = 'loop.freeze=["quantizer", "encoder", "encoder"]'
    run(tiny_config(tmp_path / "run", same, *settings, "loop.steps=3"))
    message = r'saved with loop\.freeze=\["encoder", "quantizer"\]'
    for other in ("loop.freeze=[]", "loop.freeze=encoder"):
        with pytest.raises(CheckpointMismatchError, match=message):
            run(tiny_config(tmp_path / "run", other, *settings, "loop.steps=4"))
    assert CheckpointStore(tmp_path / "run", keep=1).steps()[-1] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (('loop.freeze=["encoders"]',), r"loop\.freeze: must be 'encoder', 'quantizer' or 'decoder'"),
        (('loop.freeze=["encoder", "quantizer", "decoder"]',), "nothing to learn"),
        (('loop.freeze=["encoder", "decoder"]', "model.codebook_dim=32"), "no weight learns by gradients"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(
    tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(tmp_path, *settings)


def test_frozen_random_weights_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny_config(tmp_path, BOTH, "loop.steps=1", "tracking.progress=true"))
    assert "loop.freeze keeps random weights" in " ".join(capsys.readouterr().out.split())


# Exports


@pytest.mark.parametrize("dtype", ["float32", slow("float16"), "bfloat16"])
@pytest.mark.parametrize("averaged", [True, slow(False)])
def test_tokens_of_the_older_weights_stay_valid(
    tmp_path: Path, weights: Path, dtype: Any, averaged: bool
) -> None:
    config = tiny_config(tmp_path / "run", BOTH, f"checkpoint.weights={weights}")
    run(config)
    export(tmp_path / "run", tmp_path / "out", dtype=dtype, averaged=averaged)
    older, tuned = (
        VideoTokenizer.from_pretrained(folder, device="cpu", precision="exact")
        for folder in (weights, tmp_path / "out")
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tokens_of"] == [older.fingerprint]
    assert (
        f"| also decodes tokens of | `{older.fingerprint}` |" in (tmp_path / "out" / "README.md").read_text()
    )
    assert tuned.fingerprint != older.fingerprint
    clips = np.stack([Noise(config).clip(1000 + number).numpy() for number in range(4)])
    tokens = older.encode_clips(clips)
    assert np.array_equal(tuned.encode_clips(clips), tokens)
    grid = TokenGrid(indices=tokens, frames=20, fps=8, model=older.fingerprint)
    assert not np.array_equal(tuned.decode(grid), older.decode(grid))  # the decoder has learned
    foreign = TokenGrid(indices=tokens, frames=20, fps=8, model="0" * 64)
    with pytest.raises(ModelMismatchError):
        tuned.decode(foreign)
    with pytest.raises(ModelMismatchError):
        older.decode(TokenGrid(indices=tokens, frames=20, fps=8, model=tuned.fingerprint))


@pytest.mark.parametrize("freeze", ["loop.freeze=[]", "loop.freeze=encoder", "loop.freeze=quantizer"])
def test_a_run_that_moves_what_decides_tokens_lists_nothing(
    tmp_path: Path, weights: Path, freeze: str
) -> None:
    run(tiny_config(tmp_path / "run", freeze, f"checkpoint.weights={weights}"))
    export(tmp_path / "run", tmp_path / "out")
    assert "tokens_of" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_the_comparison_is_of_tensors_and_not_of_the_setting(tmp_path: Path, weights: Path) -> None:
    """A run says that its encoder was frozen, and the weights of its checkpoint say otherwise."""
    run(tiny_config(tmp_path / "run", BOTH, f"checkpoint.weights={weights}", "loop.ema_decay=0"))
    store = CheckpointStore(tmp_path / "run", keep=1)
    checkpoint = store.load(6)
    checkpoint.modules["model"]["enc_spatial_transformer.norm_out.gamma"][0].add_(1e-7)
    store.save(checkpoint)
    export(tmp_path / "run", tmp_path / "out")
    assert load_weights(tmp_path / "out").tokens_of == ()


def test_a_run_from_a_run_names_both_starts(tmp_path: Path, weights: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(tiny_config(first, BOTH, f"checkpoint.weights={weights}"))
    run(tiny_config(second, BOTH, f"checkpoint.weights={first}"))
    export(first, tmp_path / "a")
    export(second, tmp_path / "b")
    starts = {load_weights(weights).fingerprint, load_weights(tmp_path / "a").fingerprint}
    assert set(load_weights(tmp_path / "b").tokens_of) == starts


def test_a_statement_in_the_starting_weights_is_not_believed(tmp_path: Path, weights: Path) -> None:
    fields = json.loads((weights / "config.json").read_text()) | {"tokens_of": ["f" * 64]}
    (weights / "config.json").write_text(json.dumps(fields))
    run(tiny_config(tmp_path / "run", BOTH, f"checkpoint.weights={weights}"))
    export(tmp_path / "run", tmp_path / "out")
    assert load_weights(tmp_path / "out").tokens_of == (load_weights(weights).fingerprint,)


def test_further_weights_are_compared_before_they_are_listed(tmp_path: Path, weights: Path) -> None:
    start = load_weights(weights)
    decoder = {"to_pixels.0.bias": start.state_dict["to_pixels.0.bias"] + 1}
    fingerprint = write_weights(start.config, start.state_dict | decoder, tmp_path / "decoder")
    key = "enc_spatial_transformer.norm_out.gamma"
    write_weights(start.config, start.state_dict | {key: start.state_dict[key] * 2}, tmp_path / "encoder")
    export(weights, tmp_path / "out", tokens_of=[tmp_path / "decoder"])
    assert load_weights(tmp_path / "out").tokens_of == (fingerprint,)
    with pytest.raises(WeightsMismatchError, match=rf"gives other tokens .*: {key} differs"):
        export(weights, tmp_path / "out", tokens_of=[tmp_path / "encoder"])
    write_weights(
        start.config.model_copy(update={"causal": False}), start.state_dict, tmp_path / "bidirectional"
    )
    with pytest.raises(WeightsMismatchError, match="causal differs"):
        export(weights, tmp_path / "out", tokens_of=[tmp_path / "bidirectional"])
    assert load_weights(tmp_path / "out").tokens_of == (fingerprint,)


def test_a_damaged_list_of_starts_stops_an_export(tmp_path: Path, weights: Path) -> None:
    run(tiny_config(tmp_path / "run", BOTH, f"checkpoint.weights={weights}", "loop.steps=1"))
    folder = CheckpointStore(tmp_path / "run", keep=1).path(1)
    (folder / ORIGINS).write_text((folder / ORIGINS).read_text().replace('"', "'"))
    with pytest.raises(CheckpointCorruptError, match=ORIGINS):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_from_nothing_has_no_starts(tmp_path: Path) -> None:
    run(tiny_config(tmp_path / "run", "loop.steps=1"))
    assert not (CheckpointStore(tmp_path / "run", keep=1).path(1) / ORIGINS).exists()
    export(tmp_path / "run", tmp_path / "out")
    assert load_weights(tmp_path / "out").tokens_of == ()


def test_other_sizes_and_lengths_keep_the_tensors(tmp_path: Path, weights: Path) -> None:
    settings = ("model.image_size=48", "model.clip_frames=7", "model.fps=12")
    run(tiny_config(tmp_path / "run", BOTH, f"checkpoint.weights={weights}", *settings, "loop.steps=2"))
    export(tmp_path / "run", tmp_path / "out")
    tuned = load_weights(tmp_path / "out")
    assert (tuned.config.image_size, tuned.config.clip_frames) == ((48, 48), 7)
    assert encoder_fingerprint(tuned.state_dict) == encoder_fingerprint(load_weights(weights).state_dict)


def test_the_preset_starts_from_the_weights_that_ship() -> None:
    start = starting_weights(load_config("finetune"))
    assert start is not None
    assert [origin.fingerprint for origin in start.origins] == [load_weights("demo").fingerprint]
