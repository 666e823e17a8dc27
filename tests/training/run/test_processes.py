"""Runs of several processes equal a run of one, and survive a killed rank and a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.places import ROOT
from training.losses.i3d import I3D
from training.run.saving.checkpoint import CheckpointStore
from training.run.tracking.step_log import read_log

SCRIPT = ROOT / "tests/training/tiny_run.py"
DEADLINE_SECONDS = 500

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NEVER = 10**9
SYNCED = ("quantizer.kmeans=true", "quantizer.bypass_steps=3", "quantizer.dead_code_threshold=0.5")


def run(
    directory: Path,
    *overrides: str,
    processes: int = 2,
    restarts: int = 0,
    signal_at: int = NEVER,
    number: signal.Signals = signal.SIGKILL,
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    command += [str(SCRIPT), str(directory), str(signal_at), str(int(number)), *overrides]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


def finished(directory: Path, *overrides: str, **options: int) -> dict[str, torch.Tensor]:
    outcome = run(directory, *overrides, **options)  # type: ignore[arg-type]
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return weights(directory)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    store = CheckpointStore(directory, keep=1)
    return load_file(store.path(store.steps()[-1]) / "model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights after a run of two processes that nothing interrupts."""
    return finished(tmp_path_factory.mktemp("undisturbed") / "run", *SYNCED)


def test_two_processes_of_n_clips_equal_one_of_twice_as_many(tmp_path: Path) -> None:
    settings = (*SYNCED, "loop.steps=20", "checkpoint.every_steps=20")
    two = finished(tmp_path / "two", *settings, "data.batch_size=2")
    one = finished(tmp_path / "one", *settings, "data.batch_size=4", processes=1)
    for a, b in zip(*(read_log(tmp_path / name / "log.jsonl") for name in ("two", "one")), strict=True):
        for name in ("loss", "reconstruction", "commitment", "gradient_norm", "codebook_use", "perplexity"):
            assert a[name] == pytest.approx(b[name], rel=1e-3), (a["step"], name)
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)


def test_two_processes_equal_one_through_i3d_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(I3D().state_dict(), tmp_path / "i3d.pt")
    i3d = (f"losses.i3d_weights={tmp_path / 'i3d.pt'}", "losses.i3d=1")
    settings = (*SYNCED, *i3d, "loop.steps=20", "checkpoint.every_steps=20")
    two = finished(tmp_path / "two", *settings, "data.batch_size=1")
    one = finished(tmp_path / "one", *settings, "data.batch_size=2", processes=1)
    for a, b in zip(*(read_log(tmp_path / name / "log.jsonl") for name in ("two", "one")), strict=True):
        for name in ("loss", "i3d", "reconstruction", "gradient_norm"):
            assert a[name] == pytest.approx(b[name], rel=1e-3), (a["step"], name)
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)


def test_ranks_stay_alike_with_the_codebook_of_the_first(tmp_path: Path) -> None:
    settings = ("quantizer.statistics=rank_zero", "quantizer.update=micro_batch", "loop.accumulation=2")
    codes = finished(tmp_path / "two", *settings, "loop.steps=4")
    assert torch.isfinite(codes["vq._codebook.embed"]).all()
    assert len(read_log(tmp_path / "two/log.jsonl")) == 4


def test_a_run_outlives_the_kill_of_a_rank(tmp_path: Path, undisturbed: dict[str, torch.Tensor]) -> None:
    outlived = finished(tmp_path / "killed", *SYNCED, restarts=2, signal_at=6)
    assert (tmp_path / "killed.killed").exists()
    assert all(torch.equal(outlived[key], undisturbed[key]) for key in undisturbed)
    assert [record["step"] for record in read_log(tmp_path / "killed/log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_run_in_stages_outlives_the_kill_of_a_rank(tmp_path: Path) -> None:
    larger = "{from = 2, model.image_size = 64, data.batch_size = 1}"
    more = "{from = 4, losses.adversarial = 0.1, losses.discriminator_width = 2, loop.ema_decay = 0.9}"
    settings = ("loop.ema_decay=0", f"stages=[{larger}, {more}]")
    whole = finished(tmp_path / "whole", *settings)
    outlived = finished(tmp_path / "killed", *settings, restarts=2, signal_at=1005)
    assert (tmp_path / "killed.killed").exists()
    assert all(torch.equal(outlived[key], whole[key]) for key in whole)
    last = CheckpointStore(tmp_path / "killed", keep=1).path(6)
    assert {path.stem for path in last.glob("*.safetensors")} == {"model", "ema", "discriminator"}


def test_a_signal_to_one_rank_saves_and_stops_all(
    tmp_path: Path, undisturbed: dict[str, torch.Tensor]
) -> None:
    stopped = run(tmp_path / "stopped", *SYNCED, signal_at=4, number=signal.SIGTERM)
    assert stopped.returncode != 0
    assert "exitcode  : 75" in stopped.stderr
    assert CheckpointStore(tmp_path / "stopped", keep=2).newest_sound() == (4, [])
    resumed = finished(tmp_path / "stopped", *SYNCED)
    assert all(torch.equal(resumed[key], undisturbed[key]) for key in undisturbed)


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    finished(tmp_path / "run", "loop.steps=1")
    outcome = run(tmp_path / "run", processes=1)
    assert outcome.returncode != 0
    assert "processes 2 -> 1" in outcome.stderr
    finished(tmp_path / "run", "checkpoint.allow_topology_change=true", processes=1)
