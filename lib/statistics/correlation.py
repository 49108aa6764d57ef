"""How well a number orders images by grade: rank correlations, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lib.statistics.bootstrap import draw_counts, percentile_interval
from lib.statistics.outranking import Array

Grades = npt.NDArray[np.int64]
Statistic = Callable[[Array], dict[str, Array]]  # weights [B, N] → values [B] each


class Estimate(NamedTuple):
    """A value with its percentile interval; all NaN where it is undefined.

    undefined: how many replicates had no value and were left out of the interval.
    """

    value: float
    low: float
    high: float
    undefined: int = 0


class RankCorrelation:
    """Numbers and grades of N images, sorted once, so that many weightings are cheap.

    x: float [N]; y: grades, int [N]. Weights [B, N] say how often each image counts, as in
    `lib.statistics.metrics.Evaluation`. Values are [B], NaN where all x or all y are equal.

    spearman: Pearson's correlation of mid-ranks (Spearman 1904).
    kendall: τ-b, which allows for ties in both (Kendall 1945).
    """

    def __init__(self, x: npt.ArrayLike, y: npt.ArrayLike):
        self.x, self.y = np.asarray(x, np.float64), np.asarray(y)
        if self.x.ndim != 1 or self.x.shape != self.y.shape or len(self.x) < 2:
            found = f"{[*self.x.shape]} and {[*self.y.shape]}"
            raise ValueError(f"x, y: expected two of [N], N at least 2; found {found}")
        if self.y.dtype.kind not in "iub" or not np.isfinite(self.x).all():
            raise ValueError("x, y: expected finite numbers and whole grades")
        self._of_x, self._of_y = _Ties.of(self.x), _Ties.of(self.y)
        self._order = np.argsort(self.x, kind="stable")
        rising = self.x[self._order]
        self._below = np.searchsorted(rising, self.x, side="left")
        self._level = np.searchsorted(rising, self.x, side="right")

    def weighted(self, weights: Array) -> dict[str, Array]:
        """Both correlations, [B] each, under weights [B, N]."""
        return {"spearman": self._spearman(weights), "kendall": self._kendall(weights)}

    def _spearman(self, weights: Array) -> Array:
        total = weights.sum(axis=1, keepdims=True)
        ranks = [ties.mid_ranks(weights) for ties in (self._of_x, self._of_y)]
        # The mean mid-rank is (total + 1) / 2 whatever the ties.
        a, b = (rank - (total + 1) / 2 for rank in ranks)
        products = [np.einsum("bn,bn,bn->b", weights, u, v) for u, v in ((a, b), (a, a), (b, b))]
        return _ratio(products[0], np.sqrt(products[1] * products[2]))

    def _kendall(self, weights: Array) -> Array:
        """Concordant less discordant pairs, grade by grade: images against those graded lower."""
        surplus = np.zeros(len(weights))
        for grade in np.unique(self.y)[1:]:
            lower = weights * (self.y < grade)
            seen = np.zeros((len(weights), len(self.x) + 1))
            np.cumsum(lower.take(self._order, axis=1), axis=1, out=seen[:, 1:])
            mine = np.flatnonzero(self.y == grade)
            w = weights.take(mine, axis=1)
            below = seen.take(self._below[mine], axis=1)
            above = seen[:, -1:] - seen.take(self._level[mine], axis=1)
            surplus += (w * (below - above)).sum(axis=1)
        pairs = weights.sum(axis=1) ** 2  # twice what there are, as are those tied
        untied = [pairs - ties.squares(weights) for ties in (self._of_x, self._of_y)]
        return _ratio(2 * surplus, np.sqrt(untied[0] * untied[1]))


class _Ties:
    """Which images have the same value, and the values' order."""

    def __init__(self, group: npt.NDArray[np.intp]):
        self.group = group
        self.order = np.argsort(group, kind="stable")
        self.starts = np.searchsorted(group[self.order], np.arange(group.max() + 1))

    @classmethod
    def of(cls, values: npt.NDArray[np.generic]) -> _Ties:
        return cls(np.unique(values, return_inverse=True)[1])

    def sums(self, weights: Array) -> Array:
        """Weight of each value, from the lowest up: [B, values]."""
        return np.asarray(np.add.reduceat(weights.take(self.order, axis=1), self.starts, axis=1))

    def squares(self, weights: Array) -> Array:
        """Sum over values of the squared weight, [B]."""
        return np.asarray((self.sums(weights) ** 2).sum(axis=1))

    def mid_ranks(self, weights: Array) -> Array:
        """The mean rank of each image among the weighted ones, from 1: [B, N]."""
        sums = self.sums(weights)
        return np.asarray((sums.cumsum(axis=1) - (sums - 1) / 2).take(self.group, axis=1))


def _ratio(a: Array, b: Array) -> Array:
    result = np.full(a.shape, np.nan)
    # What is left of a difference of equal numbers is no variance.
    np.divide(a, b, out=result, where=b > 1e-9)
    return result


def estimate(
    statistic: Statistic,
    y: Grades,
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """A statistic of N images with percentile bootstrap intervals (Efron & Tibshirani 1993).

    statistic: gives [B] values by name for weights [B, N]. Images are drawn within each grade of
    y, or whole groups where there are groups, as in `lib.statistics.bootstrap`. A value that is
    undefined for the images as they are, or in every replicate, is NaN throughout.
    """
    values = statistic(np.ones((1, len(y))))
    parts = [statistic(weights) for weights in draw_counts(len(y), y, groups, n, seed, len(y))]
    result = {}
    for name, value in values.items():
        replicates = np.concatenate([part[name] for part in parts])
        if np.isfinite(value[0]) and np.isfinite(replicates).any():
            interval = percentile_interval(name, replicates, level)
            result[name] = Estimate(float(value[0]), *interval)
        else:
            result[name] = Estimate(np.nan, np.nan, np.nan, n)
    return result


def correlate(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Spearman and Kendall correlation of numbers x with grades y, with intervals."""
    correlation = RankCorrelation(x, y)
    return estimate(correlation.weighted, correlation.y, groups, n=n, level=level, seed=seed)


def compare_correlations(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """How much better a orders the grades than b: differences over the same resamples."""
    first, second = RankCorrelation(a, y), RankCorrelation(b, y)

    def difference(weights: Array) -> dict[str, Array]:
        x, z = first.weighted(weights), second.weighted(weights)
        return {name: x[name] - z[name] for name in x}

    return estimate(difference, first.y, groups, n=n, level=level, seed=seed)
