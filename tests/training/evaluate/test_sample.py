"""An even sample of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.sample import EvenSample


@pytest.mark.parametrize("seen", [0, 1, 5, 6, 100, 1000])
def test_an_even_sample_spans_the_stream(seen: int) -> None:
    sample: EvenSample[int] = EvenSample(6)
    for item in range(seen):
        sample.add(item)
    chosen = sample.take(5)
    assert len(chosen) == min(5, seen)
    assert chosen == sorted(set(chosen))
    if seen >= 5:
        assert chosen[0] == 0
        assert chosen[-1] >= seen / 2
        assert max(np.diff(chosen)) <= seen / 2.5
    assert sample.take(0) == []
