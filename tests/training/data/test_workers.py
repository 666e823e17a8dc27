"""Readers keep working when a signal is sent to the whole process group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.places import ROOT
from training.data.loader import ClipLoader
from training.data.stream import StreamSettings

TRAINER = """
    import signal, sys, time
    from training.data.loader import ClipLoader
    from training.data.stream import StreamSettings
    from training.run.interruption import Interruption

    def main():
        settings = StreamSettings(clips=tuple(sys.argv[1:]), batch_size=2, clip_frames=5, image_size=(16, 16))
        with Interruption() as interruption:
            batches = iter(ClipLoader(settings, workers=2, prefetch=1))
            next(batches)
            print("reading", flush=True)
            while interruption.signal is None:
                time.sleep(0.01)
            for _ in range(30):
                next(batches)
            print(interruption.signal.name, flush=True)

    if __name__ == "__main__":
        main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_signal_to_the_whole_group_leaves_them_reading(
    shards: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    script = tmp_path / "trainer.py"
    script.write_text(textwrap.dedent(TRAINER))
    with subprocess.Popen(
        # torch warns about more readers than cores.
        [sys.executable, "-W", "ignore::UserWarning", str(script), *shards],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "reading\n", trainer.communicate()[1]
        os.killpg(trainer.pid, number)
        said, complained = trainer.communicate(timeout=60)
    assert (trainer.returncode, said, complained) == (0, f"{number.name}\n", "")


def test_starting_readers_draws_nothing_from_the_runs_random_state(shards: list[str]) -> None:
    settings = StreamSettings(clips=tuple(shards), batch_size=2, clip_frames=5, image_size=(16, 16))
    before = torch.get_rng_state()
    list(islice(ClipLoader(settings, workers=1), 2))
    assert torch.equal(torch.get_rng_state(), before)
