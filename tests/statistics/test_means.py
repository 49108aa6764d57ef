"""Intervals of means: against scipy's bootstrap, closed forms, and groups drawn whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.statistics.bootstrap import Interval
from lib.statistics.means import mean_intervals, mean_values, paired_means


def sample(n: int = 200, seed: int = 0) -> Any:
    return np.random.default_rng(seed).gamma(2.0, size=n)


def test_interval_is_that_of_scipy() -> None:
    from scipy.stats import bootstrap

    x = sample()
    theirs = bootstrap((x,), np.mean, n_resamples=9999, method="percentile", rng=1)
    found = mean_intervals({"x": x}, n=9999, seed=0)["x"]
    width = x.std() / len(x) ** 0.5
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.1 * width)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.1 * width)
    # And the closed form: a mean of many is nearly normal.
    assert (found.high - found.low) / (2 * 1.96 * width) == pytest.approx(1, abs=0.1)


def test_groups_are_drawn_whole() -> None:
    """Ten copies of each value are no more evidence than one: the interval stays that of 30."""
    x = sample(30)
    groups = np.repeat([f"patient-{i}" for i in range(30)], 10)
    alone = mean_intervals({"x": x}, n=4000, seed=1)["x"]
    grouped = mean_intervals({"x": np.repeat(x, 10)}, groups, n=4000, seed=2)["x"]
    as_images = mean_intervals({"x": np.repeat(x, 10)}, n=4000, seed=2)["x"]
    width = alone.high - alone.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.1)
    assert as_images.high - as_images.low == pytest.approx(width / 10**0.5, rel=0.1)


def test_a_group_counts_by_its_images() -> None:
    values = {"x": np.array([0.0, 0.0, 0.0, 1.0])}
    found = mean_intervals(values, np.array(["a", "a", "a", "b"]), n=2000, seed=0)["x"]
    # Of two draws from two groups: all a (0), all b (1), or one of each: 1 of 4 images.
    assert found == Interval(0, 1, 0)
    low = mean_intervals(values, np.array(["a", "a", "a", "b"]), n=2000, seed=0, level=0.4)["x"]
    assert (low.low, low.high) == (0.25, 0.25)


def test_images_without_a_value_do_not_count() -> None:
    x = sample(50)
    gaps = np.concatenate([x, np.full(50, np.nan)])
    assert mean_values({"x": gaps}) == {"x": pytest.approx(x.mean())}
    found = mean_intervals({"x": gaps}, n=4000)["x"]
    alone = mean_intervals({"x": x}, n=4000)["x"]
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.15)
    rare = np.array([1.0, 3.0, *[np.nan] * 6])
    assert mean_intervals({"x": rare}, n=1000)["x"].undefined > 0
    with pytest.raises(ValueError, match="x: no image has a value"):
        mean_intervals({"x": np.full(5, np.nan)})


def test_paired_differences_are_those_of_the_differences() -> None:
    a, b = sample(seed=1), sample(seed=1) + 0.05 * sample(seed=2)
    found = paired_means({"m": a, "only a": a}, {"m": b}, n=500, seed=3)
    assert set(found) == {"m"}
    assert found["m"].value == pytest.approx(a.mean() - b.mean())
    expected = mean_intervals({"m": a - b}, n=500, seed=3)["m"]
    assert found["m"][1:] == expected
    # Paired, a small steady difference shows; unpaired, it drowns.
    assert found["m"].high < 0
    assert mean_intervals({"a": a}, n=500)["a"].high > b.mean()


def test_the_same_seed_gives_the_same_interval_and_one_image_none() -> None:
    x = {"x": sample()}
    assert mean_intervals(x, n=50, seed=4) == mean_intervals(x, n=50, seed=4)
    assert mean_intervals(x, n=50, seed=4) != mean_intervals(x, n=50, seed=5)
    with pytest.raises(ValueError, match="at least two"):
        mean_intervals({"x": np.ones(1)})
    with pytest.raises(ValueError, match="at least two"):
        mean_intervals({"x": np.ones(3)}, ["p", "p", "p"])
