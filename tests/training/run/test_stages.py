"""Runs in stages: what begins at a later step, what is repeated after a kill, and what a stage resets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cvivit.video import encode_video
from cvivit.weights import load_weights
from tests.places import ROOT
from tests.shard_files import write_tar
from tests.training.tiny_run import Noise, tiny_config
from tests.training.whole_runs import assert_same, final, run
from training.config.loading import load_config
from training.config.schema import TrainingConfig
from training.data import training_clips
from training.errors import CheckpointMismatchError, TrainingInterrupted
from training.export import export
from training.run.batch import Batch
from training.run.loop import train
from training.run.saving.checkpoint import CheckpointStore
from training.run.tracking.step_log import read_log

SCRIPT = ROOT / "tests/training/tiny_run.py"
PATIENCE_SECONDS = 240

LARGER = "{from = 2, model.image_size = 64, data.batch_size = 1}"
ADVERSARIAL = "{from = 4, losses.adversarial = 0.1, losses.discriminator_width = 2}"
AVERAGED = "{from = 6, loop.ema_decay = 0.9}"
STAGED = ("loop.steps=8", "loop.ema_decay=0", f"stages=[{LARGER}, {ADVERSARIAL}, {AVERAGED}]")


def stages(*texts: str) -> str:
    return f"stages=[{', '.join(texts)}]"


def modules(directory: Path, step: int) -> set[str]:
    """Return the names of the networks in a checkpoint."""
    return {path.stem for path in CheckpointStore(directory, keep=1).path(step).glob("*.safetensors")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of four stages."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    return run(tiny_config(directory, *STAGED, "checkpoint.every_steps=1", "checkpoint.keep=8"))


def test_each_stage_has_what_it_begins(undisturbed: Path) -> None:
    store = CheckpointStore(undisturbed, keep=1)
    assert [modules(undisturbed, step) for step in (3, 4, 5, 6, 7)] == [
        {"model"},
        {"model"},
        {"model", "discriminator"},
        {"model", "discriminator"},
        {"model", "discriminator", "ema"},
    ]
    sizes = [tuple(store.load(step).network["image_size"]) for step in (1, 2, 3, 8)]
    assert sizes == [(32, 32), (32, 32), (64, 64), (64, 64)]
    records = read_log(undisturbed / "log.jsonl")
    assert ["adversarial" in record for record in records] == [False] * 4 + [True] * 4
    assert load_config(undisturbed / "config.json") == load_config(undisturbed)
    assert load_config(undisturbed).stages[0].model == {"image_size": 64}
    export(undisturbed, undisturbed.parent / "out")
    assert load_weights(undisturbed.parent / "out").config.image_size == (64, 64)


@pytest.mark.slow
def test_killed_in_each_stage_and_resumed_it_ends_with_the_same_weights(
    undisturbed: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "parts"
    settings = (*STAGED, "checkpoint.every_steps=100")
    reached = []
    # Before steps 1, 3, 5 and 7. The second stage has other batches, so it begins at a new epoch.
    for batch in (2, 1004, 1006, 1008):
        killed = subprocess.run(
            [sys.executable, str(SCRIPT), str(directory), str(batch), str(int(signal.SIGKILL)), *settings],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
        directory.with_suffix(".killed").unlink()
        reached.append(max(CheckpointStore(directory, keep=1).steps(), default=0))
    assert reached == [0, 2, 4, 6]  # only the ends of stages were saved
    run(tiny_config(directory, *STAGED))
    assert_same(final(directory, 8), final(undisturbed, 8))
    assert [record["step"] for record in read_log(directory / "log.jsonl")] == list(range(1, 9))


@pytest.mark.slow
def test_a_run_that_stops_after_any_step_goes_on_the_same(undisturbed: Path, tmp_path: Path) -> None:
    for steps in range(1, 9):
        run(tiny_config(tmp_path, *STAGED, f"loop.steps={steps}"))
        assert_same(final(tmp_path, steps), final(undisturbed, steps))


@pytest.mark.slow
def test_stages_may_be_added_to_a_run(undisturbed: Path, tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.ema_decay=0", "loop.steps=2"))
    run(tiny_config(tmp_path, *STAGED))
    assert_same(final(tmp_path, 8), final(undisturbed, 8))


def test_a_stage_that_should_have_begun_before_is_refused(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.ema_decay=0", "loop.steps=3"))
    with pytest.raises(CheckpointMismatchError, match="other image_size"):
        run(tiny_config(tmp_path, *STAGED))
    with pytest.raises(CheckpointMismatchError, match="holds no averaged weights"):
        run(tiny_config(tmp_path, "loop.ema_decay=0", stages("{from = 2, loop.ema_decay = 0.9}")))


@pytest.mark.slow
def test_a_discriminator_begins_anew_at_another_size(tmp_path: Path) -> None:
    settings = ("losses.adversarial=0.1", "losses.discriminator_width=2", stages(LARGER), "loop.steps=4")
    run(tiny_config(tmp_path / "whole", *settings))
    before, after = (final(tmp_path / "whole", step) for step in (2, 4))
    key = "discriminator.to_logits.3.weight"
    assert before.keys() != after.keys() or before[key].shape != after[key].shape
    run(tiny_config(tmp_path / "parts", *settings, "loop.steps=3"))
    run(tiny_config(tmp_path / "parts", *settings))
    assert_same(final(tmp_path / "parts", 4), after)


def test_longer_clips_of_another_rate_and_less_memory_for_each(tmp_path: Path) -> None:
    longer = "{from = 2, model.clip_frames = 9, model.fps = 12, data.batch_size = 1, loop.accumulation = 2}"
    shapes: list[tuple[int, ...]] = []

    class Seen(Noise):
        def __iter__(self) -> Iterator[Batch]:
            for batch in super().__iter__():
                shapes.append(tuple(batch.video.shape[:2]))
                yield batch

    run(tiny_config(tmp_path, stages(longer), "loop.steps=3"), noise=Seen)
    assert shapes == [(2, 5), (2, 5), (1, 9), (1, 9)]
    network = CheckpointStore(tmp_path, keep=1).load(3).network
    assert (network["clip_frames"], network["fps"]) == (9, 12)


def test_a_stage_has_a_best_checkpoint_of_its_own(tmp_path: Path) -> None:
    """The clips of the second stage are much harder, but an export still takes its checkpoints."""
    config = tiny_config(tmp_path, stages(LARGER), "validation.every_steps=1", "loop.steps=4")

    def held_out(stage: TrainingConfig, _rank: int, _world_size: int) -> list[Batch]:
        batch = next(iter(Noise(stage)))
        black = Batch(video=torch.zeros_like(batch.video), keys=batch.keys)
        return [black if stage.model.image_size[0] == 32 else batch]

    train(config, lambda stage, *_: Noise(stage), held_out)
    figures = [record["validation_psnr"] for record in read_log(tmp_path / "log.jsonl")]
    assert min(figures[:2]) > max(figures[2:])
    best = CheckpointStore(tmp_path, keep=1).best()
    assert best is not None
    assert best.step in (3, 4)


@pytest.mark.slow
def test_a_stage_begins_its_schedule_only_if_it_sets_one(tmp_path: Path) -> None:
    own = "{from = 2, schedule.warmup_steps = 2, schedule.warmup_from = 0.25}"
    settings = ("schedule.warmup_steps=0", "schedule.kind=constant", "loop.steps=5")
    run(tiny_config(tmp_path / "own", *settings, stages(own)))
    run(tiny_config(tmp_path / "kept", *settings, stages("{from = 2, loop.ema_decay = 0.5}")))
    rates = {
        name: [r["learning_rate"] / 1e-3 for r in read_log(tmp_path / name / "log.jsonl")]
        for name in ("own", "kept")
    }
    assert rates["own"] == pytest.approx([1, 1, 0.25, 0.625, 1])
    assert rates["kept"] == pytest.approx([1] * 5)


@pytest.mark.slow
def test_a_validation_cut_off_at_the_end_of_a_stage_is_made_up_for_in_it(
    undisturbed: Path, tmp_path: Path
) -> None:
    config = tiny_config(tmp_path, *STAGED)
    sizes: list[int] = []

    def held_out(stage: TrainingConfig, _rank: int, _world_size: int) -> Stopping:
        return Stopping(next(iter(Noise(stage))), sizes)

    def source(stage: TrainingConfig, _rank: int, _world_size: int) -> Noise:
        return Noise(stage)

    with pytest.raises(TrainingInterrupted, match="saved after step 2"):
        train(config, source, held_out)
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [1]
    train(config, source, held_out)
    records = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in records if "validation_psnr" in record] == [2, 4, 6, 8]
    assert sizes == [32, 32, 64, 64, 64]
    assert_same(final(tmp_path, 8), final(undisturbed, 8))


class Stopping:
    """Held-out clips that ask this process to stop when they are read for the first time."""

    def __init__(self, batch: Batch, sizes: list[int]) -> None:
        self.batch, self.sizes = batch, sizes

    def __iter__(self) -> Iterator[Batch]:
        self.sizes.append(self.batch.video.shape[2])
        if len(self.sizes) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        yield self.batch
        yield self.batch


@pytest.mark.slow
def test_other_shards_and_batches_begin_at_a_new_epoch(tmp_path: Path) -> None:
    """Each stage reads its own real shards, and the first one crops its clips.

    A run can be resumed within either stage.
    """
    rng = np.random.default_rng(0)
    for name, size in (("small", 48), ("large", 64)):
        clips = {
            f"{name}{number}.mp4": encode_video(rng.integers(0, 256, (6, size, size, 3), np.uint8), fps=8)
            for number in range(5)
        }
        write_tar(tmp_path / f"{name}.tar", clips)
    second = f'{{from = 3, model.image_size = 64, data.train = "{tmp_path}/large.tar", data.batch_size = 1}}'
    settings = (f"data.train={tmp_path}/small.tar", "data.crop_scale=[0.7, 1]", stages(second))

    def go(name: str, *more: str) -> Path:
        config = tiny_config(tmp_path / name, *settings, *more)
        return train(config, lambda stage, rank, n: training_clips(stage, rank=rank, world_size=n))

    whole = go("whole")
    for steps in (1, 3, 4, 5):
        go("parts", f"loop.steps={steps}")
    assert_same(final(go("parts")), final(whole))
    epochs = [record["epoch"] for record in read_log(whole / "log.jsonl")]
    assert epochs == sorted(epochs)
    assert epochs[3] > epochs[2]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("{from = 2, loop.ema_decay = 0.9}", "from step 2 on: loop.ema_decay=0.9"),
        ("{from = 9, loop.ema_decay = 0.9}", "the stage from step 9 never begins: loop.steps is 3"),
    ],
)
def test_the_run_says_which_stage_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, said: str
) -> None:
    settings = ("loop.steps=3", "loop.ema_decay=0", "tracking.progress=true")
    run(tiny_config(tmp_path, *settings, stages(stage)))
    assert said in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "config.json").read_text())["stages"][0]["from"] in (2, 9)
