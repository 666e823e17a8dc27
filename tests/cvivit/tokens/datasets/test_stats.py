"""The figures of a dataset, compared with their definitions written out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvivit.metrics import entropy_bits, perplexity
from cvivit.tokens import TokenDataset, TokenSample
from cvivit.tokens.datasets.plot import plot
from cvivit.tokens.datasets.stats import measure
from tests.cvivit.tokens.datasets.made import made_sample, write_dataset


def counts(tokens: np.ndarray) -> np.ndarray:
    return np.bincount(tokens.ravel(), minlength=64)


def test_figures_are_as_defined(folder: Path, samples: list[TokenSample]) -> None:
    found = measure(TokenDataset(folder))
    tokens = np.concatenate([sample.tokens for sample in samples])
    assert (found.samples, found.windows, found.tokens) == (9, len(tokens), tokens.size)
    assert found.codes_used == len(np.unique(tokens))
    assert found.entropy == pytest.approx(entropy_bits(counts(tokens)))
    assert found.perplexity == pytest.approx(perplexity(counts(tokens)))
    for time in range(3):
        assert found.entropy_by_time[time] == pytest.approx(entropy_bits(counts(tokens[:, time])))
    for row in range(4):
        for column in range(4):
            expected = entropy_bits(counts(tokens[:, :, row, column]))
            assert found.entropy_by_place[row][column] == pytest.approx(expected)
    assert (found.duplicate_windows, found.duplicate_samples) == (0, 0)
    assert found.samples_with_caption == sum(sample.caption is not None for sample in samples)
    assert json.loads(json.dumps(found.as_dict()))["codebook_size"] == 64


def test_duplicates_are_counted(tmp_path: Path) -> None:
    one, two = made_sample(2), made_sample(5)
    assert len(one.tokens) == len(two.tokens) == 3
    write_dataset(tmp_path / "d", "webdataset", [[one, two], [replace(one, key="x"), one]])
    found = measure(TokenDataset(tmp_path / "d"))
    assert (found.duplicate_samples, found.duplicate_windows) == (2, 6)


def test_an_empty_dataset_has_no_figures(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", "webdataset", [[]])
    found = measure(TokenDataset(tmp_path / "d"))
    assert (found.samples, found.tokens, found.codes_used, found.perplexity) == (0, 0, 0, 1.0)


def test_a_plot_is_a_picture(folder: Path, tmp_path: Path) -> None:
    plot(measure(TokenDataset(folder)), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
