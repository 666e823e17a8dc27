"""Whole tiny runs in one process: what is written, how they resume, how they stop, and what they refuse."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cvivit.errors import (
    CheckpointCorruptError,
    CheckpointMismatchError,
    CheckpointWriteError,
    ConfigError,
    DataWriteError,
    OutputMismatchError,
    TrainingInterrupted,
    WeightsMismatchError,
)
from tests.training.tiny_run import Noise, tiny_config
from training.batch import Batch
from training.checkpoint import CheckpointStore
from training.config import TrainingConfig
from training.config_files import load_config
from training.folders import alone
from training.loop import train
from training.records import read_log


def run(config: TrainingConfig, *, noise: type[Noise] = Noise, validate: bool = False) -> Path:
    def held_out(rank: int, world_size: int) -> list[Batch]:
        return list(itertools.islice(Noise(config, rank=rank, world_size=world_size), 2))

    def source(rank: int, world_size: int) -> Noise:
        return noise(config, rank=rank, world_size=world_size)

    return train(config, source, held_out if validate else None)


def final(directory: Path, step: int = 6) -> dict[str, torch.Tensor]:
    folder = CheckpointStore(directory, keep=1).path(step)
    return {
        f"{path.stem}.{key}": value
        for path in sorted(folder.glob("*.safetensors"))
        for key, value in load_file(path).items()
    }


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow past `size` bytes: what a full disk looks like."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class Stopping(Noise):
    """Sends this process a signal while it makes the batch of a step."""

    at, number = 3, signal.SIGTERM

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if self.position == self.at:
                os.kill(os.getpid(), self.number)
            yield batch


FULL = ("losses.adversarial=0.1", "losses.discriminator_width=2", "quantizer.dead_code_threshold=1")


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


@pytest.mark.parametrize("settings", [(), FULL, ("quantizer.kmeans=true", "quantizer.bypass_steps=2")])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    run(tiny_config(tmp_path / "whole", *settings))
    run(tiny_config(tmp_path / "parts", *settings, "loop.steps=3"))
    run(tiny_config(tmp_path / "parts", *settings))
    assert_same(final(tmp_path / "parts"), final(tmp_path / "whole"))


def test_dropout_goes_on_where_it_was(tmp_path: Path) -> None:
    class Random(Noise):
        """Clips from the global random state, as live dropout draws on it."""

        def clip(self, number: int) -> torch.Tensor:
            return torch.randint(0, 256, self.config.model.clip_shape, dtype=torch.uint8)

    run(tiny_config(tmp_path / "whole"), noise=Random)
    run(tiny_config(tmp_path / "parts", "loop.steps=4"), noise=Random)
    run(tiny_config(tmp_path / "parts"), noise=Random)
    assert_same(final(tmp_path / "parts"), final(tmp_path / "whole"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_save_stop_and_lose_nothing(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    class Stopped(Stopping):
        pass

    Stopped.number = number
    run(tiny_config(tmp_path / "whole"))
    with pytest.raises(TrainingInterrupted, match=rf"{number.name}: stopped and saved after step 3"):
        run(tiny_config(tmp_path / "parts"), noise=Stopped)
    assert CheckpointStore(tmp_path / "parts", keep=1).steps()[-1] == 3
    assert signal.getsignal(number) == before
    run(tiny_config(tmp_path / "parts"))
    assert_same(final(tmp_path / "parts"), final(tmp_path / "whole"))
    assert [record["step"] for record in read_log(tmp_path / "parts/log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_records_past_the_last_checkpoint_are_taken_again(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=3"))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 1}\n{"step": 5, "lo')
    run(tiny_config(tmp_path))
    records = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert "gradient_norm" in records[3]


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


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    run(tiny_config(tmp_path / "whole"))
    run(tiny_config(tmp_path / "parts", "loop.steps=5"))
    damaged = CheckpointStore(tmp_path / "parts", keep=2).path(5) / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert CheckpointStore(tmp_path / "parts", keep=2).newest_sound() == (
        4,
        ["step-00000005: model.safetensors is truncated or damaged"],
    )
    run(tiny_config(tmp_path / "parts"))
    assert_same(final(tmp_path / "parts"), final(tmp_path / "whole"))


def test_a_damaged_newer_checkpoint_costs_the_run_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_config(tmp_path, "loop.steps=4"))
    damaged = CheckpointStore(tmp_path, keep=2).path(4) / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    run(tiny_config(tmp_path, "loop.steps=3", "checkpoint.keep=1", "tracking.progress=true"))
    assert "is now damaged-step-00000004" in capsys.readouterr().out.replace("\n", " ")
    assert CheckpointStore(tmp_path, keep=1).newest_sound() == (3, [])
    run(tiny_config(tmp_path, "checkpoint.keep=1"))
    assert CheckpointStore(tmp_path, keep=1).steps() == [6]
    assert (tmp_path / "checkpoints/damaged-step-00000004/model.safetensors").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "manifest.json", "config.json"])
def test_without_a_sound_checkpoint_the_run_says_so_and_touches_nothing(tmp_path: Path, name: str) -> None:
    config = tiny_config(tmp_path, "loop.steps=1")
    run(config)
    path = CheckpointStore(tmp_path, keep=1).path(1) / name
    path.write_bytes(path.read_bytes()[:-20])
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointCorruptError, match="no checkpoint of the run is sound: step-00000001"):
        run(config)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


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
    with alone(tmp_path):
        left.mkdir(parents=True)
        with pytest.raises(OutputMismatchError, match="another run is writing"):
            run(tiny_config(tmp_path))
    assert left.exists()
    run(tiny_config(tmp_path))
    assert not left.exists()


def test_what_a_kill_left_half_written_is_cleaned_up(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=2"))
    left = tmp_path / "checkpoints/.unfinished-step-00000004"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    run(tiny_config(tmp_path))
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_another_network_is_refused_by_name(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=1"))
    with pytest.raises(CheckpointMismatchError, match="other codebook_size, heads"):
        run(tiny_config(tmp_path, "model.codebook_size=32", "model.heads=1"))


def test_another_topology_is_refused_unless_allowed(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=1"))
    with pytest.raises(CheckpointMismatchError, match="accumulation 1 -> 2"):
        run(tiny_config(tmp_path, "loop.accumulation=2"))
    run(tiny_config(tmp_path, "loop.accumulation=2", "checkpoint.allow_topology_change=true"))


def test_a_discriminator_that_the_checkpoint_lacks_is_named(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=1"))
    with pytest.raises(CheckpointMismatchError, match="holds no discriminator"):
        run(tiny_config(tmp_path, *FULL))


def test_without_resume_a_folder_with_checkpoints_is_refused(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=1"))
    with pytest.raises(ConfigError, match=r"checkpoint\.resume is false"):
        run(tiny_config(tmp_path, "checkpoint.resume=false"))


def test_weights_to_start_from_are_taken_unless_there_is_a_checkpoint(tmp_path: Path) -> None:
    run(tiny_config(tmp_path / "first"))
    weights = CheckpointStore(tmp_path / "first", keep=1).path(6)
    start = f"checkpoint.weights={weights}"
    run(tiny_config(tmp_path / "tuned", start, "loop.steps=1", "optimizer.learning_rate=1e-12"))
    tuned, first = (final(tmp_path / name, step) for name, step in (("tuned", 1), ("first", 6)))
    key = "model.to_pixels.0.weight"
    torch.testing.assert_close(tuned[key], first[key])
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
