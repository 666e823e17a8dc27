"""Settings: presets, files, overrides, and what is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from cvivit.config import CViViTConfig
from cvivit.errors import ConfigError
from training.config.loading import load_config, preset_names, save_config
from training.config.schema import TrainingConfig


def test_presets_ship_and_load() -> None:
    assert preset_names() == ["demo", "finetune", "paper", "released", "smoke"]
    for name in preset_names():
        assert isinstance(load_config(name), TrainingConfig)


def test_fine_tuning_keeps_the_codebook_it_starts_from() -> None:
    config = load_config("finetune")
    assert config.checkpoint.weights == "demo"
    codebook = config.quantizer
    assert (codebook.kmeans, codebook.bypass_steps, codebook.dead_code_threshold) == (False, 0, 0)
    assert config.schedule.warmup_steps < 50
    assert config.optimizer.learning_rate <= 1e-4
    assert config.loop.steps == config.schedule.warmup_steps + config.schedule.decay_steps


def test_released_keeps_every_quirk_that_shaped_the_weights() -> None:
    config = load_config("released")
    assert config.model == CViViTConfig.released()
    losses = config.losses
    assert (losses.lpips_mode, losses.i3d_mode, losses.i3d_range) == ("train", "train", "unit")
    assert (config.quantizer.statistics, config.quantizer.update) == ("rank_zero", "micro_batch")
    assert config.quantizer.gradient == "straight_through"
    assert config.schedule.kind == "chained"
    assert config.loop.ema_decay == 0


def test_defaults_choose_no_quirk() -> None:
    config = TrainingConfig()
    losses = config.losses
    assert (losses.lpips_mode, losses.i3d_mode, losses.i3d_range) == ("eval", "eval", "signed")
    assert (config.quantizer.statistics, config.quantizer.update) == ("all_ranks", "step")
    assert config.schedule.kind == "cosine"


def test_a_run_with_nothing_to_learn_is_refused() -> None:
    nothing = [f"losses.{name}=0" for name in ("reconstruction", "lpips", "i3d", "adversarial")]
    with pytest.raises(ConfigError, match="nothing to learn"):
        load_config("smoke", nothing)


def test_a_file_wins_over_its_preset_and_set_over_both(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "released"\n[loop]\nsteps = 7\naccumulation = 2\n')
    config = load_config(path, ["loop.steps=9", "loop.steps=11"])
    assert (config.loop.steps, config.loop.accumulation, config.schedule.kind) == (11, 2, "chained")


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("loop.steps=12", "loop", "steps", 12),
        ("loop.compile=true", "loop", "compile", True),
        ("checkpoint.directory=runs/a b", "checkpoint", "directory", "runs/a b"),
        ('data.train=["a.tar", "b.tar"]', "data", "train", ("a.tar", "b.tar")),
        ("optimizer.learning_rate = 2e-4", "optimizer", "learning_rate", 2e-4),
        ("model.dim=64", "model", "dim", 64),
        ("tracking.trackers=wandb", "tracking", "trackers", ("wandb",)),
        ("loop.threads=null", "loop", "threads", None),
    ],
)
def test_set_reads_toml_and_plain_strings(override: str, section: str, name: str, value: object) -> None:
    assert getattr(getattr(load_config("smoke", [override]), section), name) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loop.stepz=1", "loop.stepz: unknown setting"),
        ("lop.steps=1", "lop: unknown setting"),
        ("loop.steps=-1", "loop.steps: must be greater than 0"),
        ("loop.steps", "not of the form key=value"),
        ("model.preset=huge", "preset: 'huge' is not one of"),
        ("model.image_size=100", "image_size"),
        ("loop.crop_size=60", "loop.crop_size: 60"),
        ("losses.lpips=nan", "losses.lpips"),
        ("checkpoint.best_metric=fvd", "needs validation.fvd"),
        ("loop.steps.deep=1", "steps is a value, not a section"),
        ("loop.seed=9223372036854775808", "loop.seed: must be less than"),
        ("loop.steps=null", "loop.steps: must be a valid integer"),
        ("model.quantizer=lfq", "only cosine_vq"),
    ],
)
def test_bad_settings_are_one_line_errors(override: str, message: str) -> None:
    overrides = [override] if "lfq" not in override else [override, "model.codebook_size=256"]
    with pytest.raises(ConfigError) as caught:
        load_config("smoke", overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_null_takes_back_what_a_preset_limits() -> None:
    assert load_config("demo").losses.lpips_frames == 1
    assert load_config("demo", ["losses.lpips_frames=null"]).losses.lpips_frames is None


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf[loop]\r\nsteps = 7\r\n")
    assert load_config(path).loop.steps == 7


def test_the_discriminator_waits_for_whole_clips() -> None:
    crops = ["loop.crop_size=64", "loop.crop_steps=40", "losses.adversarial=0.1"]
    with pytest.raises(ConfigError, match=r"adversarial_start: .*cannot start before loop.crop_steps, 40"):
        load_config("smoke", [*crops, "losses.adversarial_start=39"])
    assert load_config("smoke", [*crops, "losses.adversarial_start=40"]).loop.crop_size == 64


def test_missing_and_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such preset, configuration file or run"):
        load_config("nosuch")
    broken = tmp_path / "broken.toml"
    broken.write_text("[loop\n")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_config(broken)
    based = tmp_path / "based.toml"
    based.write_text('preset = "nosuch"\n')
    with pytest.raises(ConfigError, match="preset 'nosuch'"):
        load_config(based)


def test_the_saved_configuration_is_whole_and_loads_again(tmp_path: Path) -> None:
    config = load_config("demo", ["loop.seed=5"])
    path = save_config(config, tmp_path)
    assert json.loads(path.read_text())["optimizer"]["eps"] == 1e-8
    assert load_config(path) == config


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError):
        TrainingConfig().loop.steps = 3


def test_the_folder_of_a_run_is_a_configuration(tmp_path: Path) -> None:
    config = load_config("smoke", ["loop.steps=7"])
    save_config(config, tmp_path)
    assert load_config(tmp_path) == load_config(str(tmp_path)) == config
    with pytest.raises(ConfigError, match=r"holds no config\.json of a run"):
        load_config(tmp_path.parent)


def test_a_size_is_spelt_as_prepare_spells_it() -> None:
    assert load_config("smoke", ["model.image_size=128x224"]).model.image_size == (128, 224)
    assert load_config("smoke", ["model.image_size=[64, 128]"]).model.image_size == (64, 128)
    assert load_config("smoke", ["model.image_size=64"]).model.image_size == (64, 64)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.crop_scale=0.5", r"data\.crop_scale: must be a list, as in \[1, 2\].*, not 0\.5$"),
        ("data.crop_scale=[0.5]", r"data\.crop_scale: must be a list of two"),
        ("data.crop_scale=[0.5, 0.6, 0.7]", r"data\.crop_scale: must be a list of two"),
        ("optimizer.betas=[0.9, 1.5]", r"optimizer\.betas: must be less than 1, not 1\.5$"),
        ("loop.steps=many", r"loop\.steps: must be a valid integer.*, not 'many'$"),
        ("loop=3", r"loop: is a section of settings, and not a value, not 3$"),
        ("model.image_size=wide", r"model\.image_size: must be a list.*, not 'wide'$"),
        ("checkpoint.directory=s3://b/run", r"checkpoint\.directory: s3://b/run is a URL: write to this"),
        ("loop.device=gpu", r"loop\.device: must be 'auto', 'cpu' or 'cuda', not 'gpu'$"),
    ],
)
def test_a_wrong_value_is_named_in_words(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("smoke", [setting])
