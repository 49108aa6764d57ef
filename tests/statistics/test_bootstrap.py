"""Bootstrap intervals: coverage on simulated data, groups, pairs and degenerate cases."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from lib.statistics import bootstrap
from lib.statistics.bootstrap import bootstrap_intervals, bootstrap_replicates, paired_bootstrap
from lib.statistics.metrics import compute_metrics, compute_recalls


def simulate(
    rng: np.random.Generator, N: int, shift: float, groups: int | None = None
) -> tuple[Any, Any]:
    """Binary labels, half of each; the logit of class 1 is N(±shift / 2, 1)."""
    y = np.arange(N) % 2
    noise = rng.normal(size=N)
    if groups is not None:  # images of one group share their label and most of their noise
        of_group = np.arange(N) // (N // groups)
        y = of_group % 2
        noise = np.sqrt(0.9) * rng.normal(size=groups)[of_group] + np.sqrt(0.1) * noise
    p = 1 / (1 + np.exp(-(shift * (y - 0.5) + noise)))
    return y, np.stack([1 - p, p], axis=1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    shift, covered = 1.2, {"accuracy": 0, "auroc": 0}
    truth = {
        "accuracy": NormalDist().cdf(shift / 2),
        "auroc": NormalDist().cdf(shift / np.sqrt(2)),
    }
    for repeat in range(200):
        y, scores = simulate(rng, 160, shift)
        found = bootstrap_intervals(y, scores, "binary", n=200, seed=repeat)
        for name in covered:
            covered[name] += found[name].low <= truth[name] <= found[name].high
    assert all(0.90 <= count / 200 <= 0.99 for count in covered.values()), covered


def test_groups_widen_the_interval_of_correlated_images_and_cover() -> None:
    rng = np.random.default_rng(1)
    shift, covered, wider = 1.2, {"with": 0, "without": 0}, 0
    truth = NormalDist().cdf(shift / 2)
    groups = np.arange(240) // 6
    for repeat in range(100):
        y, scores = simulate(rng, 240, shift, groups=40)
        a = bootstrap_intervals(y, scores, "binary", groups, n=200, seed=repeat)["accuracy"]
        b = bootstrap_intervals(y, scores, "binary", n=200, seed=repeat)["accuracy"]
        wider += a.high - a.low > b.high - b.low
        covered["with"] += a.low <= truth <= a.high
        covered["without"] += b.low <= truth <= b.high
    assert wider >= 95
    assert covered["with"] >= 85 > covered["without"] + 5, covered


def test_every_metric_has_an_interval_around_it() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 4, 200)
    scores = rng.dirichlet(np.ones(4), 200) * 0.6 + 0.4 * np.eye(4)[y]
    names = ["a", "b", "c", "d"]
    found = bootstrap_intervals(y, scores, "ordinal", n=300, classes=names)
    values = compute_metrics(y, scores, "ordinal") | compute_recalls(y, scores, "ordinal", names)
    assert found.keys() == values.keys()
    for name, (low, high, undefined) in found.items():
        assert low < values[name] < high and undefined == 0, name


def test_deterministic_and_independent_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    y, scores = simulate(np.random.default_rng(3), 100, 1)
    groups = [f"patient {i // 3}" for i in range(100)]
    for g in (None, groups):
        whole = bootstrap_intervals(y, scores, "binary", g, n=50, seed=7)
        with monkeypatch.context() as patch:
            patch.setattr(bootstrap, "CHUNK", 300)  # three rows at a time
            assert bootstrap_intervals(y, scores, "binary", g, n=50, seed=7) == whole
        assert bootstrap_intervals(y, scores, "binary", g, n=50, seed=8) != whole


def test_interval_is_the_quantile_of_resampled_metrics() -> None:
    # a slow bootstrap, one resample after the other, by its own generator
    y, scores = simulate(np.random.default_rng(4), 300, 1)
    rng = np.random.default_rng(99)
    values = []
    for _ in range(1500):
        rows = np.concatenate([rng.choice(np.flatnonzero(y == k), sum(y == k)) for k in (0, 1)])
        values.append(compute_metrics(y[rows], scores[rows], "binary")["average_precision"])
    found = bootstrap_intervals(y, scores, "binary", n=1500, level=0.8)["average_precision"]
    assert found[:2] == pytest.approx(np.quantile(values, [0.1, 0.9]), abs=0.006)


def test_images_are_drawn_within_their_class() -> None:
    # two images of class 1: without strata, one replicate in seven would hold none
    y = np.array([0] * 30 + [1] * 2)
    p = np.linspace(0.1, 0.9, 32)
    found = bootstrap_intervals(y, np.stack([1 - p, p], 1), "binary", n=200)
    assert all(interval.undefined == 0 for interval in found.values())


def test_undefined_replicates_are_left_out_and_counted() -> None:
    y = np.array([0] * 30 + [1] * 2)
    p = np.random.default_rng(0).random(32)
    groups = np.arange(32)
    found = bootstrap_intervals(y, np.stack([1 - p, p], 1), "binary", groups, n=400)
    expected = 400 * (1 - 2 / 32) ** 32  # replicates that draw neither image of class 1
    assert found["auroc"].undefined == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert found["accuracy"].undefined == 0
    assert np.isfinite(found["auroc"][:2]).all()


def test_perfect_predictions_give_an_interval_without_width() -> None:
    y = np.arange(30) % 3
    found = bootstrap_intervals(y, np.eye(3)[y], "multi-class", n=50)
    assert all(interval[:2] == (1, 1) for interval in found.values())


def test_multi_label() -> None:
    rng = np.random.default_rng(5)
    y = (rng.random((200, 3)) < 0.3).astype(np.uint8)
    scores = np.clip(0.3 * y + 0.7 * rng.random((200, 3)), 0, 1)
    found = bootstrap_intervals(y, scores, "multi-label", n=100)
    for name, value in compute_metrics(y, scores, "multi-label").items():
        assert found[name].low < value < found[name].high


def test_refusals() -> None:
    y, scores = simulate(np.random.default_rng(6), 20, 1)
    with pytest.raises(ValueError, match="no image of 20 belongs to class '1'"):
        bootstrap_intervals(np.zeros(20, dtype=int), scores, "binary")
    with pytest.raises(ValueError, match="one group"):
        bootstrap_intervals(y, scores, "binary", ["same"] * 20)
    with pytest.raises(ValueError, match=r"groups: expected \[20\]"):
        bootstrap_intervals(y, scores, "binary", ["a", "b"])
    with pytest.raises(ValueError, match="level"):
        bootstrap_intervals(y, scores, "binary", level=95)
    with pytest.raises(ValueError, match="n: expected"):
        bootstrap_intervals(y, scores, "binary", n=0)
    with pytest.raises(ValueError, match=r"balanced_accuracy: defined in none of 1"):
        bootstrap_intervals([0, 1], [[0.4, 0.6]] * 2, "binary", ["a", "b"], n=1, seed=0)


def test_pairs_use_the_same_resamples() -> None:
    rng = np.random.default_rng(7)
    y, a = simulate(rng, 200, 1)
    same = paired_bootstrap(y, a, a, "binary", n=50)
    assert all(tuple(difference) == (0, 0, 0, 0) for difference in same.values())
    b = np.clip(a + 0.02 * rng.normal(size=(200, 1)) * [1, -1], 0, 1)
    found = paired_bootstrap(y, a, b, "binary", n=400)
    alone = bootstrap_intervals(y, a, "binary", n=400)
    difference = compute_metrics(y, a, "binary")["auroc"] - compute_metrics(y, b, "binary")["auroc"]
    assert found["auroc"].value == pytest.approx(difference, abs=1e-12)
    assert found["auroc"].low <= difference <= found["auroc"].high
    # what is hard for both cancels out
    assert found["auroc"].high - found["auroc"].low < 0.4 * (
        alone["auroc"].high - alone["auroc"].low
    )


def test_pairs_tell_a_better_model_apart() -> None:
    rng = np.random.default_rng(8)
    y = np.arange(300) % 2
    noise = rng.normal(size=300)
    p = [1 / (1 + np.exp(-(shift * (y - 0.5) + noise))) for shift in (2.5, 1.0)]
    better, worse = (np.stack([1 - q, q], axis=1) for q in p)
    groups = np.arange(300) // 2
    found = paired_bootstrap(y, better, worse, "binary", groups, n=200, classes=["a", "b"])
    assert found["auroc"].low > 0 and found["recall_b"].value > 0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    y, scores = simulate(np.random.default_rng(2), 60, 1.0)
    expected = bootstrap_replicates(y, scores, "binary", n=50)
    monkeypatch.setattr(bootstrap, "CHUNK", 60 * 7)  # the last chunk is a single resample
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = bootstrap_replicates(y, scores, "binary", n=50)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-13)
