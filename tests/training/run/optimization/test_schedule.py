"""Learning rates agree with the schedulers that the released run chained, and other schedules are right."""

import json
from pathlib import Path

import pytest

from training.config.loading import load_config
from training.config.schema import ScheduleConfig
from training.run.optimization.schedule import make_schedule


@pytest.mark.parametrize(
    ("name", "warmup_steps", "decay_steps"), [("released", 10_000, 100_000), ("defaults_40k", 1_000, 40_000)]
)
def test_chained_rates_are_those_of_the_released_trainer(
    parity: Path, name: str, warmup_steps: int, decay_steps: int
) -> None:
    config = ScheduleConfig(
        kind="chained", warmup_steps=warmup_steps, warmup_from=0.5, decay_steps=decay_steps, floor=0.5
    )
    share = make_schedule(config)
    for step, rate in json.loads((parity / "lr_schedule.json").read_text())[name].items():
        assert 1e-4 * share(int(step)) == pytest.approx(rate, rel=1e-9, abs=0)


def test_the_released_preset_has_them() -> None:
    config = load_config("released")
    rate = config.optimizer.learning_rate * make_schedule(config.schedule)(99_999)
    assert rate == pytest.approx(5.1224072542313556e-05, rel=1e-9)


def test_the_papers_preset_warms_up_for_100k_and_ends_at_a_million() -> None:
    share = make_schedule(load_config("paper").schedule)
    assert share(0) < 1e-6
    assert share(50_000) == pytest.approx(0.5)
    assert share(100_000) == 1
    assert share(550_000) == pytest.approx(0.5)
    assert share(1_000_000) == pytest.approx(0, abs=1e-12)


def test_cosine_stays_at_its_floor() -> None:
    share = make_schedule(ScheduleConfig(kind="cosine", warmup_steps=0, decay_steps=10, floor=0.25))
    assert [share(0), share(10), share(1000)] == [1, 0.25, 0.25]


def test_cosine_may_hold_before_it_falls() -> None:
    config = ScheduleConfig(kind="cosine", warmup_steps=2, hold_steps=3, decay_steps=4, floor=0)
    share = make_schedule(config)
    assert [share(step) for step in (2, 3, 5, 7, 9)] == pytest.approx([1, 1, 1, 0.5, 0])


def test_constant_warms_up_and_stays() -> None:
    share = make_schedule(ScheduleConfig(kind="constant", warmup_steps=4, warmup_from=0.5))
    assert [share(0), share(2), share(4), share(9999)] == [0.5, 0.75, 1, 1]


def test_chained_without_warm_up_starts_at_the_top() -> None:
    share = make_schedule(ScheduleConfig(kind="chained", warmup_steps=0, decay_steps=10))
    assert [share(0), share(1)] == [1, 1]
