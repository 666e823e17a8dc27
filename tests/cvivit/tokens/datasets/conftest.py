"""A dataset of nine made-up samples in three shards, in each form."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvivit.tokens import TokenSample
from cvivit.tokens.datasets.manifest import Form
from tests.cvivit.tokens.datasets.made import FORMS, made_sample, write_dataset


@pytest.fixture
def samples() -> list[TokenSample]:
    return [made_sample(number) for number in range(9)]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.fixture
def folder(tmp_path: Path, form: Form, samples: list[TokenSample]) -> Path:
    write_dataset(tmp_path / form, form, [samples[:4], samples[4:6], samples[6:]])
    return tmp_path / form
