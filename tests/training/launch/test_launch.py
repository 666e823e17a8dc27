"""The Slurm scripts, run with stand-ins for Slurm's two commands that record how they were called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.places import ROOT

LAUNCH = ROOT / "training/launch"
SCRIPTS = ["one_node.sbatch", "many_nodes.sbatch"]


def submit(script: str, folder: Path, exit_code: int) -> tuple[int, list[str]]:
    """Run a script whose tasks exit with a code; return its exit code and the commands it called."""
    log = folder / "calls"
    stand_ins = {
        "scontrol": f'echo scontrol "$@" >> {log}; [[ $1 == show ]] && printf "node7\\nnode8\\n"; exit 0',
        "python": f'echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR: python "$@" >> {log}; exit {exit_code}',
        "srun": "shift; exec env SLURM_PROCID=3 SLURM_LOCALID=1 " + '"$@"',
    }
    for name, body in stand_ins.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "41",
        "SLURM_NTASKS": "16",
        "SLURM_JOB_NODELIST": "node[7-8]",
    }
    command = ["bash", str(LAUNCH / script), "--config", "paper", "--set", "data.train=a b"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, log.read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_interrupted_run_is_requeued(script: str, tmp_path: Path) -> None:
    code, calls = submit(script, tmp_path, 75)
    assert code == 75
    assert calls[-1] == "scontrol requeue 41"


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_finished_or_failed_run_is_not(script: str, exit_code: int, tmp_path: Path) -> None:
    code, calls = submit(script, tmp_path, exit_code)
    assert code == exit_code
    assert not any("requeue" in call for call in calls)


@pytest.mark.parametrize(("script", "address"), [(SCRIPTS[0], "127.0.0.1"), (SCRIPTS[1], "node7")])
def test_processes_learn_their_rank_and_get_the_arguments(script: str, address: str, tmp_path: Path) -> None:
    _, calls = submit(script, tmp_path, 0)
    expected = f"rank 3 of 16 at {address}: python -m training train --config paper --set data.train=a b"
    assert expected in calls
