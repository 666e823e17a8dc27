"""The tiny generator learns from a token dataset in each form."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from cvivit.tokens.datasets.manifest import Form
from tests.cvivit.tokens.datasets.made import FORMS, made_sample, write_dataset
from tests.places import ROOT


@pytest.mark.parametrize(
    "form", [FORMS[0], *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])]
)
def test_the_loss_falls(form: Form, tmp_path: Path) -> None:
    write_dataset(tmp_path / form, form, [[made_sample(0), made_sample(1)], [made_sample(2)]])
    train = runpy.run_path(str(ROOT / "examples" / "train_tiny_generator.py"))["train"]
    losses = train(str(tmp_path / form), steps=40)
    assert losses[0] > 4  # log(64 codes) is 4.2
    assert losses[-1] < losses[0] / 2
