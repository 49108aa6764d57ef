"""Rank correlations against scipy, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lib.statistics.correlation import RankCorrelation, compare_correlations, correlate, estimate


def sample(N: int = 200, K: int = 5, seed: int = 0, ties: bool = False) -> tuple:
    rng = np.random.default_rng(seed)
    y = rng.choice(K, N, p=np.arange(K, 0, -1) / (K * (K + 1) / 2))
    x = y + 2 * rng.normal(size=N)
    return (x.round() if ties else x), y


@pytest.mark.parametrize("K", [2, 5, 11])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_scipy(K: int, ties: bool) -> None:
    x, y = sample(K=K, ties=ties)
    found = RankCorrelation(x, y).weighted(np.ones((1, len(y))))
    assert found["spearman"][0] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found["kendall"][0] == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_a_weight_is_a_repetition(ties: bool) -> None:
    x, y = sample(N=90, ties=ties)
    weights = np.random.default_rng(1).integers(0, 4, (6, 90))
    found = RankCorrelation(x, y).weighted(weights.astype(float))
    for b, counts in enumerate(weights):
        xs, ys = np.repeat(x, counts), np.repeat(y, counts)
        assert found["spearman"][b] == pytest.approx(stats.spearmanr(xs, ys).statistic, abs=1e-12)
        assert found["kendall"][b] == pytest.approx(stats.kendalltau(xs, ys).statistic, abs=1e-12)


def test_perfect_reversed_and_undefined_order() -> None:
    y = np.repeat(np.arange(4), 5)
    forward = correlate(y.astype(float), y, n=100)
    assert forward["spearman"].value == pytest.approx(1) == forward["kendall"].value
    assert forward["kendall"].low == pytest.approx(1) == forward["kendall"].high
    assert correlate(-y, y, n=100)["spearman"].value == pytest.approx(-1)
    for x, grades in ((np.full(20, 0.1), y), (np.arange(20), np.zeros(20, int))):
        for found in correlate(x, grades, n=100).values():
            assert np.isnan(found[:3]).all() and found.undefined == 100


def test_undefined_replicates_are_counted() -> None:
    x, y = np.array([0.0, 0.0, 1.0]), np.array([0, 0, 1])
    groups = np.array(["a", "b", "c"])  # some draws hold only x = 0
    found = correlate(x, y, groups, n=400)["spearman"]
    assert found.value == pytest.approx(1) and 100 < found.undefined < 200


def test_intervals_cover_the_truth() -> None:
    # Of two normal variables with correlation ρ, cut into grades by quantiles.
    big = np.random.default_rng(9).multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 400_000)
    cuts = np.quantile(big[:, 1], [0.5, 0.8, 0.9])
    truth = stats.spearmanr(big[:, 0], np.digitize(big[:, 1], cuts)).statistic
    covered = 0
    for repeat in range(100):
        rng = np.random.default_rng(repeat)
        x, z = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 250).T
        found = correlate(x, np.digitize(z, cuts), n=200, seed=repeat)["spearman"]
        assert found.low < found.value < found.high
        covered += found.low <= truth <= found.high
    assert covered >= 86


def test_groups_widen_the_interval_of_correlated_images() -> None:
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(40), 5)
    y = rng.integers(0, 4, 40)[patient]
    x = y + 3 * rng.normal(size=40)[patient] + 0.1 * rng.normal(size=200)
    a, b = (correlate(x, y, g, n=400)["kendall"] for g in (patient, None))
    assert a.value == b.value and a.high - a.low > 1.5 * (b.high - b.low)


def test_comparison_is_paired() -> None:
    x, y = sample(300)
    rng = np.random.default_rng(5)
    worse = x + rng.normal(size=300)
    found = compare_correlations(x, worse, y, n=300)["spearman"]
    a, b = (correlate(v, y, n=300)["spearman"] for v in (x, worse))
    assert found.value == pytest.approx(a.value - b.value)
    assert found.high - found.low < (a.high - a.low + b.high - b.low) / 2
    assert found.low > 0
    same = compare_correlations(x, 2 * x + 1, y, n=100)["kendall"]
    assert same[:3] == (0, 0, 0)


def test_any_statistic_can_be_estimated() -> None:
    y = np.arange(60) % 3
    found = estimate(lambda w: {"mean": (w * y).sum(1) / w.sum(1)}, y, n=200)["mean"]
    assert found == (1, 1, 1, 0)  # drawn within grades, their shares do not change


@pytest.mark.parametrize(
    ("x", "y"), [([0.0, 1.0], [0]), ([0.0], [0]), ([0.0, np.nan], [0, 1]), ([0, 1], [0.5, 1.5])]
)
def test_wrong_arguments_are_refused(x: list, y: list) -> None:
    with pytest.raises(ValueError, match="x, y: expected"):
        RankCorrelation(x, y)
