"""Retrieval with a grade: what the nearest training images are graded, an image is graded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError, DataSet, labels_of
from lib.evaluation.evaluate import PIXELS, made_by
from lib.evaluation.search import Method, nearest
from lib.identity import short_name
from lib.models.embed import Features
from lib.run import Run
from lib.statistics.correlation import Estimate, Grades, RankCorrelation, Statistic, estimate
from lib.statistics.metrics import quadratic_kappa
from lib.statistics.outranking import Array

# Cosine distance below which a neighbour counts as a copy: similarities are float32.
COPY = 1e-6


@dataclass(frozen=True)
class Neighbours:
    """How a grade is read off neighbours: the mean of k of them, or weighted by 1 / distance."""

    k: int
    weighted: bool = False

    @property
    def name(self) -> str:
        """In words: `10 nearest`, `10 nearest by distance`."""
        return f"{self.k} nearest" + (" by distance" if self.weighted else "")


def ways_to_grade(counts: Sequence[float]) -> list[Neighbours]:
    """Each number of neighbours, with equal weights and weighted by distance."""
    pairs = [(int(k), weighted) for k in counts for weighted in (False, True)]
    return [Neighbours(k, weighted) for k, weighted in pairs if k > 1 or not weighted]


@dataclass(frozen=True)
class Graded:
    """Grades read off the neighbours in one method's features.

    chosen: on validation, by mean absolute error; curve: that error of all that were tried.
    predicted: float64 [N] on the scale of y, int64 [N], which has n_grades grades. errors:
    `grade_mae`, `quadratic_kappa` (after rounding) and `spearman` on the split. guess: the mean
    absolute error of giving every image the median grade of the library.
    """

    source: str
    augment: str
    split: str
    chosen: Neighbours
    curve: dict[Neighbours, float]
    predicted: Array
    y: Grades
    groups: npt.NDArray[np.str_] | None
    n_grades: int
    errors: dict[str, Estimate]
    guess: float


def check_grades(data: DataSet) -> int:
    """The number of grades; DataError for a data set whose classes have no order."""
    if data.task not in ("ordinal", "binary"):
        raise DataError(
            f"{data.name}: classes of a {data.task} task have no order; grades need an ordinal or "
            "binary one (a csv with the column level)"
        )
    return len(data.classes)


def grade_by_neighbours(
    similarity: npt.ArrayLike,
    index: npt.ArrayLike,
    grades: npt.ArrayLike,
    how: Neighbours,
    scale: Sequence[int] | None = None,
) -> Array:
    """The grade of Q images from their nearest ones in a library of M: float64 [Q].

    similarity: cosine [Q, ≥ k]; index: rows of the library [Q, ≥ k], −1 where there is none, as
    `lib.evaluation.search.nearest` gives them, nearest first. grades: int [M].
    scale: what each of the library's grades is on the queries' scale, `(0, 1, 2, 3, 3)` for five
    grades of which the queries' scale joins the last two; grades are translated first, then
    averaged. The mean lies between the lowest and the highest grade by itself.
    Raises ValueError for an image without any neighbour, and for a scale that is not rising.
    """
    s, rows = np.asarray(similarity, np.float64)[:, : how.k], np.asarray(index)[:, : how.k]
    values = translate(np.asarray(grades), scale).astype(np.float64)
    weight = (rows >= 0).astype(np.float64)
    if not weight.any(axis=1).all():
        query = int(np.flatnonzero(~weight.any(axis=1))[0])
        raise ValueError(f"query {query} has no neighbour in the library")
    if how.weighted:
        weight /= np.maximum(1 - np.where(rows >= 0, s, 0), COPY)
    return np.asarray((weight * values[rows]).sum(axis=1) / weight.sum(axis=1))


def translate(grades: npt.NDArray[Any], scale: Sequence[int] | None) -> npt.NDArray[Any]:
    """Grades on another scale: `scale[g]` for each grade g; as they are without a scale."""
    if scale is None:
        return grades
    table = np.asarray(scale)
    if table.ndim != 1 or table.dtype.kind not in "iu" or (np.diff(table) < 0).any():
        raise ValueError(f"scale: expected whole grades that do not fall; found {scale}")
    if len(grades) and int(grades.max()) >= len(table):
        raise ValueError(f"scale: {len(table)} grades given, found grade {int(grades.max())}")
    return np.asarray(table[grades])


def grade_errors(
    predicted: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    n_grades: int,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """How far predicted grades float [N] are from the true ones, int [N], with intervals.

    grade_mae: mean absolute error, in grades. quadratic_kappa: of the predictions rounded to the
    nearest grade (halves up). spearman: of the predictions as they are; NaN where all are equal.
    """
    truth = np.asarray(y, np.int64)
    statistic = _errors(np.asarray(predicted, np.float64), truth, n_grades)
    return estimate(statistic, truth, groups, n=n, level=level, seed=seed)


def compare_grading(a: Graded, b: Graded, bootstrap: int, seed: int) -> dict[str, Estimate]:
    """Differences a − b of every error over the same images, with 95% intervals."""
    first, second = (_errors(r.predicted, r.y, r.n_grades) for r in (a, b))

    def difference(weights: Array) -> dict[str, Array]:
        x, z = first(weights), second(weights)
        return {name: x[name] - z[name] for name in x}

    return estimate(difference, a.y, a.groups, n=bootstrap, seed=seed)


def _errors(predicted: Array, y: Grades, n_grades: int) -> Statistic:
    """Every error of predicted grades under weights [B, N]."""
    order, error = RankCorrelation(predicted, y), np.abs(predicted - y)
    rounded = np.clip(np.floor(predicted + 0.5), 0, n_grades - 1).astype(np.int64)
    cells, size = y * n_grades + rounded, n_grades**2

    def statistic(weights: Array) -> dict[str, Array]:
        confusion = np.stack([np.bincount(cells, w, size) for w in weights]).astype(np.float64)
        return {
            "grade_mae": weights @ error / weights.sum(axis=1),
            "quadratic_kappa": quadratic_kappa(confusion.reshape(-1, n_grades, n_grades)),
            "spearman": order.weighted(weights)["spearman"],
        }

    return statistic


def grade_features(
    features: Mapping[str, Mapping[str, Features]],
    data: DataSet,
    tried: Sequence[Neighbours],
    *,
    augment: str = "",
    scale: Sequence[int] | None = None,
    search: Method = "auto",
    bootstrap: int = 1000,
    seed: int = 0,
    device: str = "cpu",
) -> list[Graded]:
    """Grade the test images by their nearest training images, in each method's features.

    features: method → split → float32 [N, D]. Of `tried`, the way with the smallest mean absolute
    error on validation is taken (the first one on ties) and the test split is graded once with it.
    scale: as in `grade_by_neighbours`, where validation and test are graded on another scale than
    training. Intervals: 95%, over images within grades, or over groups.
    """
    check_grades(data)
    known = labels_of(data, "train")
    fitting = [how for how in tried if how.k <= len(known)]
    if not fitting:
        raise DataError(f"{data.name}: {len(known)} training images, fewer than any k asked for")
    translated = translate(known, scale)
    y, groups = labels_of(data, "test"), data.splits["test"].groups
    y_val = labels_of(data, "val")
    n_grades = 1 + int(max(translated.max(), y_val.max(), y.max()))
    guess = float(np.abs(np.median(translated) - y).mean())
    results = []
    for source, h in features.items():

        def find(split: str, k: int, h: Mapping[str, Features] = h) -> tuple[Any, Any]:
            return nearest(h[split], h["train"], k, method=search, device=device)

        found = find("val", max(how.k for how in fitting))
        curve = {
            how: float(np.abs(grade_by_neighbours(*found, known, how, scale) - y_val).mean())
            for how in fitting
        }
        chosen = min(curve, key=lambda how: curve[how])
        predicted = grade_by_neighbours(*find("test", chosen.k), known, chosen, scale)
        errors = grade_errors(predicted, y, groups, n_grades=n_grades, n=bootstrap, seed=seed)
        made = made_by(source, augment)
        graded = predicted, y, groups, n_grades, errors, guess
        results.append(Graded(source, made, "test", chosen, curve, *graded))
    return results


def grading_rows(results: Sequence[Graded], run: Run, encoder: str) -> list[dict[str, Any]]:
    """Rows of summary.csv, protocol `retrieval`; a value that is undefined gets none.

    Where another data set was asked about, the rows are about that one.
    """
    asked = getattr(run.params, "queries", "") or run.params.dataset
    names = {run.method: run.origin.method_on(asked)}
    return [
        run.row(
            metric,
            e.value,
            dataset=short_name(asked),
            method=names.get(r.source, r.source),
            augment=r.augment,
            encoder="" if r.source == PIXELS else encoder,
            protocol="retrieval",
            labels="all",
            split=r.split,
            low=e.low,
            high=e.high,
        )
        for r in results
        for metric, e in r.errors.items()
        if np.isfinite(e.value)
    ]
