"""How many codes are used, and how evenly."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.codebook import CodeCounts


def test_use_and_perplexity_of_a_codebook() -> None:
    counts = CodeCounts(8)
    assert (counts.use, counts.perplexity) == (0, 1)
    counts.add(np.array([[0, 1], [2, 3]], np.uint16))
    assert counts.use == 0.5
    assert counts.perplexity == pytest.approx(4)
    counts.add(np.zeros((10_000, 100), np.int64))
    assert counts.use == 0.5
    assert 1 < counts.perplexity < 1.01
