"""Stages in a configuration: how they are written, what they give, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvivit.errors import ConfigError
from training.config.loading import load_config, save_config
from training.config.schema import TrainingConfig
from training.config.stages import MAY_CHANGE, READING

FILE = """
preset = "smoke"
[model]
image_size = 64

[[stages]]
from = 10
model.image_size = 128
data.batch_size = 1

[[stages]]
from = 20
losses.adversarial = 0.1
schedule.warmup_steps = 3
"""


def test_each_stage_builds_on_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(FILE)
    config = load_config(tmp_path / "run.toml")
    first, second, third = (config.at(step) for step in (9, 10, 20))
    assert [stage.model.image_size[0] for stage in (first, second, third)] == [64, 128, 128]
    assert [stage.data.batch_size for stage in (first, second, third)] == [2, 1, 1]
    assert [stage.losses.adversarial for stage in (first, second, third)] == [0, 0, 0.1]
    assert [stage.schedule.start for stage in (first, second, third)] == [0, 0, 20]
    assert [config.end_of_stage(step) for step in (0, 9, 10, 19, 20, 99)] == [10, 10, 20, 20, 100, 100]
    assert [config.start_of_stage(step) for step in (0, 9, 10, 25)] == [0, 0, 10, 20]
    assert first.stages == third.stages == ()
    assert load_config(save_config(config, tmp_path)) == config


def test_without_stages_the_settings_hold_throughout() -> None:
    config = load_config("demo")
    assert config.at(0) == config.at(2_000) == config
    assert config.end_of_stage(0) == config.loop.steps


def test_the_adversarial_loss_may_start_with_a_stage_after_the_crops() -> None:
    config = load_config("demo", ["stages=[{from = 1200, losses.adversarial = 0.1}]"])
    assert config.at(1_200).losses.adversarial_start == 1_200
    with pytest.raises(ConfigError, match=r"the stage from 100, losses\.adversarial_start: the discrimin"):
        load_config("demo", ["stages=[{from = 100, losses.adversarial = 0.1}]"])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{from = 10, model.dim = 32}]", "model.dim cannot change within a run"),
        ("[{from = 10, quantizer.kmeans = true}]", "quantizer.kmeans cannot change within a run"),
        ("[{from = 10, optimizer.kind = 'adamw'}]", "optimizer.kind cannot change within a run"),
        ("[{from = 10, loop.freeze = ['encoder']}]", "loop.freeze cannot change within a run"),
        ("[{from = 10}, {from = 10}]", r"from must grow from stage to stage, and is \[10, 10\]"),
        ("[{from = 10, model.image_size = 130}]", "the stage from 10, model: image_size: a height of 130"),
        ("[{from = 10, data.batch_size = 0}]", "the stage from 10, data.batch_size: must be greater than 0"),
        ("[{from = 10, losses.lpip = 1}]", "losses.lpip cannot change .* discriminator_width"),
        ("[{from = 10, tracking.project = 'a'}]", "stages.tracking: unknown setting"),
        ("[{from = 0}]", "stages.from: must be greater than 0"),
        ("[{model.image_size = 64}]", "stages.from"),
        ("{from = 10}", r"stages: must be a list, as in \[{from = 2000, model.image_size = 128}\]"),
    ],
)
def test_a_stage_that_cannot_be_is_refused_in_one_line(stages: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config("smoke", [f"stages={stages}"])
    assert "\n" not in str(caught.value)


def test_the_settings_that_may_change_exist() -> None:
    sections = TrainingConfig.model_fields
    for section, names in MAY_CHANGE.items():
        assert names <= set(type(sections[section].default).model_fields)
    assert MAY_CHANGE["data"] >= READING
