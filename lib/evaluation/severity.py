"""Severity without labels of it: how far an image's features are from those of healthy images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn import functional as F

from lib.data.base import DataError, DataSet, labels_of
from lib.evaluation.evaluate import PIXELS, Evaluated, made_by
from lib.evaluation.grading import check_grades
from lib.models.embed import Features
from lib.run import Run
from lib.statistics.correlation import (
    Estimate,
    Grades,
    RankCorrelation,
    compare_correlations,
    correlate,
)
from lib.statistics.metrics import expected_grade
from lib.statistics.outranking import Array

HEALTHY = 0  # the lowest grade
PAIRS = 2**21  # distances held at a time, 16 MiB


@dataclass(frozen=True)
class Severity:
    """Severity of the test images in one method's features.

    distance: median cosine distance to the references, float64 [N], from 0 to 2; y: grades [N].
    references: how many. order: `spearman` and `kendall` correlation of distance and grade.
    """

    source: str
    augment: str
    split: str
    references: int
    distance: Array
    y: Grades
    groups: npt.NDArray[np.str_] | None
    order: dict[str, Estimate]


def choose_references(y: npt.ArrayLike, n: int, seed: int, *, name: str = "") -> Grades:
    """Rows of n healthy images (the lowest grade) among grades int [N], drawn by the seed.

    Fewer are always the first of more. Raises DataError where there are not as many.
    """
    healthy = np.flatnonzero(np.asarray(y) == HEALTHY)
    if not 1 <= n <= len(healthy):
        raise DataError(
            f"{name or 'references'}: {n:,} healthy images asked for, there are {len(healthy):,}"
        )
    return np.asarray(np.random.default_rng(seed).permutation(healthy)[:n], np.int64)


def median_distance(h: npt.ArrayLike, references: npt.ArrayLike) -> Array:
    """Median cosine distance `1 − cos` of each row to the references: float64 [N].

    h: float [N, D]; references: float [M, D]. A row of zeros has distance 1 to everything. The
    median of an even number is the mean of the middle two. Rounded to nine decimals, so that
    equal features are equally far however they are summed.
    """
    q, x = (np.ascontiguousarray(a, np.float64) for a in (h, references))
    if q.ndim != 2 or x.ndim != 2 or q.shape[1] != x.shape[1] or len(x) == 0:
        found = f"{[*q.shape]} and {[*x.shape]}"
        raise ValueError(f"features, references: expected [N, D] and [M ≥ 1, D]; found {found}")
    unit = F.normalize(torch.from_numpy(x), dim=1).T
    rows = max(1, PAIRS // len(x))
    parts = [np.zeros(0)]
    for start in range(0, len(q), rows):
        similarity = F.normalize(torch.from_numpy(q[start : start + rows]), dim=1) @ unit
        parts.append(1 - np.median(similarity.numpy(), axis=1))
    return np.concatenate(parts).round(9)


def order_by_severity(
    features: Mapping[str, Mapping[str, Features]],
    data: DataSet,
    references: int,
    *,
    augment: str = "",
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[Severity]:
    """Severity of the test images in each method's features, against healthy training images.

    features: method → split → float32 [N, D]. Every method sees the same references, drawn by the
    seed, or all there are where that is fewer. No grade but that of the references is used.
    Intervals: 95%, over images within grades, or over groups.
    """
    check_grades(data)
    known = labels_of(data, "train")
    fewer = min(references, int((known == HEALTHY).sum()))
    rows = choose_references(known, fewer, seed, name=data.name)
    y, groups = labels_of(data, "test"), data.splits["test"].groups
    results = []
    for source, h in features.items():
        distance = median_distance(h["test"], h["train"][rows])
        order = correlate(distance, y, groups, n=bootstrap, seed=seed)
        made = made_by(source, augment)
        results.append(Severity(source, made, "test", len(rows), distance, y, groups, order))
    return results


def vary_references(
    features: Mapping[str, Mapping[str, Features]],
    data: DataSet,
    counts: Sequence[int],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """How the order depends on which references are taken, and on how many.

    One row for each method, count and seed: source, references, seed, spearman, kendall (with the
    grade, on the test split) and agreement, the mean Spearman correlation between this choice's
    severities and those of the other seeds with as many references (NaN with one seed).
    Counts above the healthy training images are taken as all of these.
    """
    check_grades(data)
    known, y = labels_of(data, "train"), labels_of(data, "test")
    healthy = int((known == HEALTHY).sum())
    rows = []
    for source, h in features.items():
        for count in dict.fromkeys(min(c, healthy) for c in counts):
            found = [
                median_distance(h["test"], h["train"][choose_references(known, count, s)])
                for s in seeds
            ]
            agreement = mean_agreement(found)
            for seed, distance, agrees in zip(seeds, found, agreement, strict=True):
                once = RankCorrelation(distance, y).weighted(np.ones((1, len(y))))
                order = {name: float(value[0]) for name, value in once.items()}
                rows.append(
                    {"source": source, "references": count, "seed": seed, **order}
                    | {"agreement": agrees}
                )
    return pd.DataFrame(rows)


def mean_agreement(severities: Sequence[Array]) -> list[float]:
    """Mean Spearman correlation of each of S severities [N] with the S − 1 others."""
    from scipy.stats import rankdata

    if len(severities) < 2:
        return [np.nan] * len(severities)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.corrcoef(np.stack([rankdata(s) for s in severities]))
    return [float((row.sum() - row[i]) / (len(row) - 1)) for i, row in enumerate(matrix)]


def compare_with_probes(
    results: Sequence[Severity], probes: Sequence[Evaluated], bootstrap: int = 1000, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """`compare_with_probe` for each method that has a logistic regression on the test split.

    probes: of `lib.evaluation.evaluate.probe_features`; of several label budgets, the last one
    counts.
    """
    expected = {
        r.source: expected_grade(r.predictions.scores)
        for r in probes
        if (r.protocol, r.predictions.split) == ("probe", "test")
    }
    return {
        r.source: compare_with_probe(r, expected[r.source], bootstrap, seed)
        for r in results
        if r.source in expected
    }


def compare_with_probe(
    severity: Severity, expected: Array, bootstrap: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """How much better the probe's expected grade [N] orders the images: paired differences.

    expected: `lib.statistics.metrics.expected_grade` of the probe's scores for the same images, in
    the same order. The probe was fitted on grades; severity knows only which images are healthy.
    """
    y, groups = severity.y, severity.groups
    return compare_correlations(expected, severity.distance, y, groups, n=bootstrap, seed=seed)


def compare_severity(a: Severity, b: Severity, bootstrap: int, seed: int) -> dict[str, Estimate]:
    """How much better one method's features order the same images than another's."""
    return compare_correlations(a.distance, b.distance, a.y, a.groups, n=bootstrap, seed=seed)


def severity_rows(results: Sequence[Severity], run: Run, encoder: str) -> list[dict[str, Any]]:
    """Rows of summary.csv, protocol `severity`; a value that is undefined gets none.

    labels is the number of references: of so many images it must be known that they are healthy.
    """
    return list(_rows(results, run, encoder))


def _rows(results: Sequence[Severity], run: Run, encoder: str) -> Iterator[dict[str, Any]]:
    for r in results:
        for metric, e in r.order.items():
            if np.isfinite(e.value):
                yield run.row(
                    metric,
                    e.value,
                    method=r.source,
                    augment=r.augment,
                    encoder="" if r.source == PIXELS else encoder,
                    protocol="severity",
                    labels=str(r.references),
                    split=r.split,
                    low=e.low,
                    high=e.high,
                )
