"""Means of what is known image by image, with bootstrap intervals and paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from lib.statistics.bootstrap import Difference, Interval

Array = npt.NDArray[np.float64]
CHUNK = 2**20  # weights held at once, 8 MiB


def mean_values(values: Mapping[str, Array]) -> dict[str, float]:
    """Mean of each measure [N] over the images that have it (NaN: has none)."""
    return {name: float(np.nanmean(v)) for name, v in values.items()}


def mean_intervals(
    values: Mapping[str, Array],
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of the means (Efron & Tibshirani 1993, chapter 13).

    values: measure → float [N], NaN where an image does not count. Images are drawn with
    replacement; with groups, str or int [N], whole groups are. All measures see the same draws.
    undefined: replicates that drew no image with the measure, left out.
    Raises ValueError for fewer than two images or groups, or none with a value.
    """
    replicates = _replicate(values, groups, n, seed)
    return {name: _interval(name, r, level) for name, r in replicates.items()}


def paired_means(
    a: Mapping[str, Array],
    b: Mapping[str, Array],
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences of means a − b over the same images, with intervals; else as `mean_intervals`.

    An image without a value in one of the two counts in neither.
    """
    difference = {name: a[name] - b[name] for name in a if name in b}
    intervals = mean_intervals(difference, groups, n=n, level=level, seed=seed)
    values = mean_values(difference)
    return {name: Difference(values[name], *interval) for name, interval in intervals.items()}


def _replicate(
    values: Mapping[str, Array], groups: npt.ArrayLike | None, n: int, seed: int
) -> dict[str, Array]:
    """Every mean under every draw, [n] each."""
    table = np.stack([np.asarray(v, np.float64) for v in values.values()], axis=1)
    counts = np.isfinite(table).astype(np.float64)
    table = np.where(counts > 0, table, 0.0)
    if groups is not None:
        names, unit = np.unique(np.asarray(groups), return_inverse=True)
        if unit.shape != (len(table),):
            raise ValueError(f"groups: expected [{len(table)}]; found {[*unit.shape]}")
        table, counts = (_sum_by(unit, len(names), part) for part in (table, counts))
    if len(table) < 2 or n < 1:
        raise ValueError("an interval needs at least two images or groups, and one replicate")
    parts = []
    for weights in _draw(len(table), n, seed):
        with np.errstate(invalid="ignore"):
            parts.append((weights @ table) / (weights @ counts))
    means = np.concatenate(parts)
    return {name: means[:, i] for i, name in enumerate(values)}


def _sum_by(unit: npt.NDArray[np.intp], n: int, table: Array) -> Array:
    return np.stack([np.bincount(unit, column, n) for column in table.T], axis=1)


def _draw(units: int, n: int, seed: int) -> Iterator[Array]:
    """How often each unit is drawn, [B, units] at a time, n rows in all."""
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // units)
    for start in range(0, n, rows):
        draws = [rng.integers(units, size=units) for _ in range(min(rows, n - start))]
        yield np.stack([np.bincount(d, minlength=units) for d in draws]).astype(np.float64)


def _interval(name: str, replicates: Array, level: float) -> Interval:
    defined = replicates[np.isfinite(replicates)]
    if len(defined) == 0:
        raise ValueError(f"{name}: no image has a value")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(replicates) - len(defined))
