"""What the command does with its arguments before they are parsed."""

import pytest

from training.__main__ import main, spread_sets


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
    monkeypatch.setattr("training.__main__.app", taken.append)
    monkeypatch.setattr("sys.argv", ["training", "train", "--set", "loop.steps=1", "data.workers=0"])
    main()
    assert taken == [["train", "--set", "loop.steps=1", "--set", "data.workers=0"]]
