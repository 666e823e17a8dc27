"""Whole tiny runs in one process: what is written, what is measured, and what they refuse."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cvivit.errors import WeightsMismatchError
from cvivit.folders import lock_folder
from tests.training.tiny_run import Noise, tiny_config
from tests.training.whole_runs import assert_same, final, run
from training.config.loading import load_config
from training.errors import CheckpointWriteError, DataWriteError, OutputMismatchError
from training.run.batch import Batch
from training.run.saving.checkpoint import CheckpointStore
from training.run.tracking.step_log import read_log


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow past `size` bytes, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_run_writes_its_configuration_log_and_newest_checkpoints(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    assert run(config) == tmp_path
    assert load_config(tmp_path / "config.json") == config
    records = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    for name in (
        "loss",
        "reconstruction",
        "gradient_norm",
        "learning_rate",
        "clips_per_second",
        "matrix_share",
    ):
        assert records[0][name] > 0
    assert CheckpointStore(tmp_path, keep=2).steps() == [4, 6]
    assert {key.partition(".")[0] for key in final(tmp_path)} == {"model", "ema"}


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    run(tiny_config(tmp_path))
    before = final(tmp_path)
    run(tiny_config(tmp_path))
    assert_same(final(tmp_path), before)


def test_the_best_checkpoint_outlives_rotation(tmp_path: Path) -> None:
    settings = ("validation.every_steps=1", "checkpoint.keep=1", "optimizer.learning_rate=0.5")
    run(tiny_config(tmp_path, *settings), validate=True)
    store = CheckpointStore(tmp_path, keep=1)
    best = store.best()
    assert best is not None
    figures = {r["step"]: r["validation_psnr"] for r in read_log(tmp_path / "log.jsonl")}
    assert best.value == max(figures.values()) == figures[best.step]
    assert set(store.steps()) == {best.step, 6}
    assert store.newest_sound() == (6, [])


def test_validation_measures_held_out_clips(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "validation.clips=3"), validate=True)
    record = read_log(tmp_path / "log.jsonl")[-1]
    assert record["validation_clips"] == 3
    assert 0 < record["validation_psnr"] < 20
    assert -1 <= record["validation_ssim"] <= 1
    assert 0 < record["validation_codebook_use"] <= 1
    samples = sorted((tmp_path / "samples/step-00000006").iterdir())
    assert [path.name for path in samples] == ["clip-0.mp4", "clip-1.mp4"]


def test_a_full_disk_is_a_clear_error_and_overwrites_nothing(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=2"))
    before = {p: p.read_bytes() for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()}
    with (
        file_size_limit(50_000),
        pytest.raises(CheckpointWriteError, match="step-00000004: cannot be written"),
    ):
        run(tiny_config(tmp_path))
    assert {p: p.read_bytes() for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()} == before
    run(tiny_config(tmp_path))
    assert CheckpointStore(tmp_path, keep=1).newest_sound() == (6, [])


@pytest.mark.parametrize("room", [100, 10_000])
def test_a_log_or_configuration_that_does_not_fit_is_a_clear_error(tmp_path: Path, room: int) -> None:
    config = tiny_config(tmp_path, "checkpoint.every_steps=100", "loop.steps=100")
    with file_size_limit(room), pytest.raises(DataWriteError, match=f"{tmp_path}.*: File too large"):
        run(config)


def test_a_folder_that_cannot_be_made_is_a_clear_error() -> None:
    with pytest.raises(DataWriteError, match="Not a directory"):
        run(tiny_config(Path("/dev/null/run")))


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints/.unfinished-step-00000002"
    with lock_folder(tmp_path):
        left.mkdir(parents=True)
        with pytest.raises(OutputMismatchError, match="another run is writing"):
            run(tiny_config(tmp_path))
    assert left.exists()
    run(tiny_config(tmp_path))
    assert not left.exists()


def test_weights_to_start_from_are_taken_unless_there_is_a_checkpoint(tmp_path: Path) -> None:
    run(tiny_config(tmp_path / "first"))
    weights = CheckpointStore(tmp_path / "first", keep=1).path(6)
    start = f"checkpoint.weights={weights}"
    run(tiny_config(tmp_path / "tuned", start, "loop.steps=1", "optimizer.learning_rate=1e-12"))
    tuned, first = (final(tmp_path / name, step) for name, step in (("tuned", 1), ("first", 6)))
    key = "to_pixels.0.weight"
    torch.testing.assert_close(tuned[f"model.{key}"], first[f"ema.{key}"])
    with pytest.raises(WeightsMismatchError, match="other heads"):
        run(tiny_config(tmp_path / "other", start, "model.heads=1"))


def test_stills_train_too(tmp_path: Path) -> None:
    class Stills(Noise):
        def __iter__(self) -> Iterator[Batch]:
            for batch in super().__iter__():
                yield Batch(video=batch.video[:, :1], keys=batch.keys) if self.position % 2 else batch

    run(tiny_config(tmp_path, "loop.steps=3"), noise=Stills)
    assert len(read_log(tmp_path / "log.jsonl")) == 3


def test_trackers_get_the_records(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=2", 'tracking.trackers=["tensorboard"]'))
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_best_json_is_plain(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=1"), validate=True)
    best: dict[str, Any] = json.loads((tmp_path / "checkpoints/best.json").read_text())
    assert best.keys() == {"step", "metric", "value"}


@pytest.mark.parametrize(("precision", "said"), [("bfloat16", True), ("float32", False)])
def test_emulated_bfloat16_is_noticed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    precision: str,
    said: bool,
) -> None:
    monkeypatch.setattr("training.run.loop.has_bfloat16", lambda device: False)
    run(tiny_config(tmp_path, f"loop.precision={precision}", "loop.steps=1", "tracking.progress=true"))
    assert ("emulates bfloat16" in " ".join(capsys.readouterr().out.split())) is said
