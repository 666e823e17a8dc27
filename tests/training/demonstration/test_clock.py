"""Stretching a run to the available time: every setting that counts steps grows by the same factor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import training
from cvivit.video import encode_video
from tests.shard_files import write_tar
from tests.training.tiny_run import TINY
from training.config.loading import load_config
from training.demonstration.clock import app, scaled, stage_steps

RECIPE = Path(training.__file__).parent / "demonstration/fifth.toml"


@pytest.mark.parametrize("factor", [0.002, 0.3, 1, 40])
def test_a_recipe_keeps_its_form(factor: float) -> None:
    recipe = load_config(RECIPE)
    fitted = scaled(recipe, factor)
    assert fitted.loop.steps == pytest.approx(2_000 * factor, abs=1)
    assert [stage.from_step for stage in fitted.stages] == pytest.approx(
        [1_200 * factor, 1_600 * factor], abs=1
    )
    assert fitted.losses.i3d_start == pytest.approx(1_200 * factor, abs=1)
    assert fitted.schedule.hold_steps == pytest.approx(1_400 * factor, abs=1)
    assert fitted.schedule.warmup_steps == recipe.schedule.warmup_steps
    assert fitted.at(fitted.loop.steps).model == recipe.at(2_000).model
    if factor == 1:
        assert fitted == recipe


def test_the_recipe_has_three_stages() -> None:
    recipe = load_config(RECIPE)
    assert stage_steps(recipe) == {0: 1_200, 1_200: 400, 1_600: 400}
    assert [recipe.at(step).model.image_size[0] for step in (0, 1_200, 1_600)] == [64, 128, 128]
    assert [bool(recipe.at(step).loop.ema_decay) for step in (0, 1_200, 1_600)] == [False, True, True]
    assert recipe.checkpoint.weights == "demo"


def test_steps_are_measured_on_this_machine(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    clip = encode_video(noise, fps=8)
    shard = write_tar(tmp_path / "clips.tar", {f"{number}.mp4": clip for number in range(4)})
    overrides = [
        *TINY,
        f"data.train={shard}",
        "loop.steps=100",
        "stages=[{from = 50, model.image_size = 16}]",
    ]
    output = tmp_path / "run.json"
    arguments = ["smoke", str(output), "--minutes", "0.5", "--trial-steps", "2"]
    arguments += [word for override in overrides for word in ("--set", override)]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    fitted = load_config(output)
    assert fitted.stages[0].from_step == pytest.approx(fitted.loop.steps / 2, abs=1)
    assert fitted.checkpoint.directory != str(tmp_path)
    assert json.loads(output.read_text())["stages"][0]["model"] == {"image_size": 16}
    wrong = CliRunner().invoke(app, ["smoke", str(output), "--minutes", "1", "--set", "loop.step=1"])
    assert wrong.exit_code == 1
