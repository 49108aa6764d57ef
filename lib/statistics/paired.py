"""Paired comparisons: tests over seeds or folds, corrected for their number, and over data sets.

Within a data set: Student's paired t over seeds; over the folds of a cross-validation the test of
Nadeau & Bengio (2003), since training sets of folds overlap. Many comparisons are corrected by
Holm (1979). Over data sets: Wilcoxon's signed-rank test on their means (Demšar 2006).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.data.folds import fold_counts

# What makes one comparison (a cell); `_other` is the side that ours is measured against.
SIDES = ["method", "augment", "protocol", "method_other", "augment_other", "protocol_other"]
CELL = ["dataset", "size", "size_other", "encoder", "labels", *SIDES]
FOUND = ["unit", "pairs", "mean", "low", "high", "p", "corrected", "margin", "ratio", "units"]


@dataclass(frozen=True)
class Paired:
    """A mean difference over `n` pairs, its interval and p value; NaN where no test is possible."""

    n: int
    mean: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def paired_test(
    differences: Sequence[float],
    level: float = 0.95,
    *,
    margin: float = 0.0,
    ratio: float | None = None,
) -> Paired:
    """Student's paired t: mean of differences, interval at `level`, two-sided p for mean = margin.

    ratio: test over training images, where pairs are folds of a cross-validation; the variance of
    the mean is then s² (1/n + ratio) (Nadeau & Bengio 2003, corrected resampled t-test). One pair
    has no spread. Pairs that all differ by the same amount have none either: nothing random
    distinguishes them, so they are one measurement repeated, and no p value is given.
    """
    from scipy import stats

    d = np.asarray(differences, dtype=np.float64)
    n, mean = len(d), float(d.mean())
    if n < 2 or np.ptp(d) <= 1e-12:
        return Paired(n, mean)
    error = float(d.std(ddof=1)) * math.sqrt(1 / n + (ratio or 0.0))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean - margin) / error, n - 1))
    return Paired(n, mean, mean - half, mean + half, p)


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down procedure (1979), in their order.

    The i-th smallest of m is multiplied by m − i (from 0), and none may be smaller than one before
    it. NaN (no test) stays NaN and is not counted.
    """
    corrected, largest = [math.nan] * len(p), 0.0
    order = sorted((i for i in range(len(p)) if not math.isnan(p[i])), key=lambda i: p[i])
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def fold_ratio(folds: Sequence[str]) -> float:
    """Test over training images in a cross-validation, from the folds' numbers.

    Where only the first folds of more were run, this takes them for all, which widens intervals.
    """
    k = max(2, max(int(f) for f in folds) + 1)
    counts = fold_counts({"train": 10**6}, k)
    return counts["test"] / counts["train"]


@dataclass(frozen=True)
class Units:
    """Differences of pairs by what is independent: `unit` is seed, or fold in a cross-validation.

    ratio: as for `paired_test`; None over seeds.
    """

    unit: str
    gains: pd.Series
    ratio: float | None
    test: Paired


def over_units(
    pairs: pd.DataFrame, other: str, level: float = 0.95, *, margin: float = 0.0
) -> Units:
    """The paired test of the columns `value` − `other` over the seeds, or folds, of `pairs`.

    Several seeds of one fold are averaged.
    """
    unit = "fold" if (pairs["fold"] != "").any() else "seed"
    gains = (pairs["value"] - pairs[other]).groupby(pairs[unit]).mean()
    ratio = fold_ratio([str(f) for f in gains.index]) if unit == "fold" else None
    return Units(unit, gains, ratio, paired_test(list(gains), level, margin=margin, ratio=ratio))


def compare(
    ours: pd.DataFrame,
    other: pd.DataFrame,
    same: Sequence[str],
    level: float = 0.95,
    margin: float = 0.0,
) -> pd.DataFrame:
    """Every cell in which both sides were measured with the same seeds or folds.

    ours, other: rows of `lib.study.measurements.measurements`. same: further columns in which a
    pair agrees, beside data set, encoder, labels, fold and seed. Several seeds of one fold are
    averaged. Returns one row a cell with the columns CELL and FOUND; `units` holds the differences
    by seed or fold, `corrected` the p values by Holm over all cells.
    """
    keys = ["dataset", "encoder", "labels", "fold", "seed", *same]
    pairs = ours.merge(other, on=keys, suffixes=("", "_other"))
    for column in same:
        pairs[f"{column}_other"] = pairs[column]
    found: list[dict[str, Any]] = []
    for where, group in pairs.groupby(CELL, sort=False):
        over = over_units(group, "value_other", level, margin=margin)
        t = over.test
        result = (over.unit, t.n, t.mean, t.low, t.high, t.p, math.nan, margin, over.ratio or 0.0)
        units = {f"{over.unit} {name}": float(gain) for name, gain in over.gains.items()}
        cell = dict(zip(CELL, where, strict=True))
        found.append({**cell, **dict(zip(FOUND, (*result, units), strict=True))})
    cells = pd.DataFrame(found, columns=[*CELL, *FOUND])
    return cells.assign(corrected=holm(list(cells["p"])))


def concat_cells(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Cells of several comparisons as one family: corrected together, over all of them."""
    kept = [part for part in parts if not part.empty] or list(parts[:1])
    cells = pd.concat(kept, ignore_index=True)
    return cells.assign(corrected=holm(list(cells["p"])))


def fewest_datasets(level: float) -> int:
    """The number of data sets from which Wilcoxon's test can reach the level at all: 6 at 95%.

    The smallest two-sided p that n of them can give is 2 / 2ⁿ.
    """
    return next(n for n in itertools.count(1) if 2.0 ** (1 - n) < 1 - level)


def signed_rank(means: Sequence[float], level: float) -> tuple[float, bool]:
    """Wilcoxon's signed-rank test on one mean per data set: two-sided p, and whether it is upward.

    p is NaN for fewer data sets than `fewest_datasets`.
    """
    from scipy import stats

    d = np.asarray(means, dtype=np.float64)
    if len(d) < fewest_datasets(level):
        return math.nan, False
    if not d.any():
        return 1.0, False
    upward = float(stats.wilcoxon(d, alternative="greater").pvalue) < 0.5
    return float(stats.wilcoxon(d).pvalue), upward
