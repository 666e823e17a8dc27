from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from cvivit.metrics import frechet_distance


def textbook(left: np.ndarray, right: np.ndarray) -> float:
    covariances = [np.cov(features, rowvar=False) for features in (left, right)]
    root = sqrtm(covariances[0] @ covariances[1])
    means = left.mean(0) - right.mean(0)
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * root.real))


@pytest.mark.parametrize(("members", "others"), [(200, 300), (50, 20), (2000, 40)])
def test_agrees_with_the_textbook(members: int, others: int) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 12))
    left, right = rng.normal(size=(members, 12)), rng.normal(1.0, 2.0, size=(others, 12)) @ mixing
    assert frechet_distance(left, right) == pytest.approx(textbook(left, right), rel=1e-8)


@pytest.mark.parametrize("members", [2, 10, 1000])
def test_a_set_is_at_no_distance_from_itself(members: int) -> None:
    features = np.random.default_rng(0).normal(size=(members, 64)).astype(np.float32)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-9)


def test_grows_with_noise() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 256))
    noise = rng.normal(size=features.shape)
    distances = [frechet_distance(features, features + amount * noise) for amount in (0, 0.1, 0.3, 1, 3)]
    assert distances == sorted(distances)
    assert distances[0] < 1e-9 < distances[1]


def test_is_symmetric_and_knows_means() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(30, 8)), rng.normal(size=(40, 8))
    assert frechet_distance(left, right) == pytest.approx(frechet_distance(right, left))
    assert frechet_distance(left, left + 3) == pytest.approx(8 * 9)


def test_needs_sets_of_one_width_and_two_members() -> None:
    with pytest.raises(ValueError, match="features are"):
        frechet_distance(np.zeros((3, 4)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="two members"):
        frechet_distance(np.zeros((1, 4)), np.zeros((3, 4)))
