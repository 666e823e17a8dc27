"""A resumed run loses nothing and equals an uninterrupted one. A run that cannot be resumed says why."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cvivit.errors import ConfigError
from tests.marks import slow
from tests.training.tiny_run import Noise, tiny_config
from tests.training.whole_runs import assert_same, final, run
from training.errors import CheckpointCorruptError, CheckpointMismatchError, TrainingInterrupted
from training.run.batch import Batch
from training.run.saving.checkpoint import CheckpointStore
from training.run.tracking.step_log import read_log


class Stopping(Noise):
    """Sends this process a signal while it makes the batch of a step."""

    at, number = 3, signal.SIGTERM

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if self.position == self.at:
                os.kill(os.getpid(), self.number)
            yield batch


FULL = ("losses.adversarial=0.1", "losses.discriminator_width=2", "quantizer.dead_code_threshold=1")


@pytest.mark.parametrize(
    "settings",
    [slow(()), FULL, ("quantizer.kmeans=true", "quantizer.bypass_steps=2")],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    run(tiny_config(tmp_path / "whole", *settings))
    run(tiny_config(tmp_path / "parts", *settings, "loop.steps=3"))
    run(tiny_config(tmp_path / "parts", *settings))
    assert_same(final(tmp_path / "parts"), final(tmp_path / "whole"))


def test_dropout_goes_on_where_it_was(tmp_path: Path) -> None:
    class Random(Noise):
        """Draws its clips from the global random state, as dropout does."""

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
