"""What the command does with its arguments before they are parsed."""

import os
import subprocess
import sys

import pytest

from tests.places import ROOT
from training.app import main, spread_sets


@pytest.mark.parametrize(
    ("given", "spread"),
    [
        ("train --set a=1 b=2", "train --set a=1 --set b=2"),
        ("train --set a=1 b=2 --set a=3 c=-1", "train --set a=1 --set b=2 --set a=3 --set c=-1"),
        ("train --set=a=1 b=2 --config demo", "train --set=a=1 --set b=2 --config demo"),
        ("train --config demo --set a=1 nonsense", "train --config demo --set a=1 nonsense"),
        ("train --config=demo a=1", "train --config=demo a=1"),
        ("train --config a=b.toml", "train --config a=b.toml"),
        ("train --set a", "train --set a"),
        ("export a=b c=d", "export a=b c=d"),
    ],
)
def test_one_set_takes_several_settings(given: str, spread: str) -> None:
    assert spread_sets(given.split()) == spread.split()


def test_the_command_takes_several_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []
    monkeypatch.setattr("training.app.app", taken.append)
    monkeypatch.setattr("sys.argv", ["training", "train", "--set", "loop.steps=1", "data.workers=0"])
    main()
    assert taken == [["train", "--set", "loop.steps=1", "--set", "data.workers=0"]]


INTERRUPT_AN_IMPORT = """
import os, signal, sys
from training.__main__ import main

class Send:
    def find_spec(self, name, path=None, target=None):
        if name == "training.evaluate.command":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Send())
sys.argv = ["training", "--help"]
main()
"""


def test_ctrl_c_in_the_middle_of_an_import_is_quiet() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT_AN_IMPORT],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
