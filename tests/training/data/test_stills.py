from __future__ import annotations

import pytest

from training.data.stills import is_stills


@pytest.mark.parametrize("ratio", [0.0, 0.1, 1 / 3, 0.5, 1.0])
def test_stills_are_spread_evenly(ratio: float) -> None:
    kinds = [is_stills(batch, ratio) for batch in range(300)]
    assert abs(sum(kinds) - 300 * ratio) <= 1
    for start in range(0, 270, 30):
        assert abs(sum(kinds[start : start + 30]) - 30 * ratio) <= 1
