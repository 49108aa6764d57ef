"""Confidence intervals of metrics, by resampling the evaluated images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lib.data.base import Task
from lib.statistics.metrics import Evaluation
from lib.statistics.outranking import Array

CHUNK = 2**21  # weights held at once by a thread: 16 MiB an array


class Interval(NamedTuple):
    """A percentile interval; undefined: how many replicates had no value and were left out."""

    low: float
    high: float
    undefined: int = 0


class Difference(NamedTuple):
    """A metric of predictions a minus that of b, with its interval; undefined as in `Interval`."""

    value: float
    low: float
    high: float
    undefined: int = 0


def bootstrap_intervals(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    task: Task,
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> dict[str, Interval]:
    """Percentile intervals of every metric of `compute_metrics` (Efron & Tibshirani 1993, ch. 13).

    They tell how much a number would move with other test images, not with another training run.
    Without groups, images are drawn with replacement within each class (multi-label: from all).
    With groups, str or int [N], whole groups are drawn: images of one patient are no independent
    evidence. A replicate in which a metric is undefined (a class was not drawn) is left out of
    that metric's interval and counted.

    y, scores, task: as in `compute_metrics`, with its errors. n: replicates. level: in (0, 1).
    classes: K names; given, each `recall_<class>` gets an interval as well.
    Where every replicate is the same (all decisions right), the interval has no width, which is
    no proof of certainty. Raises ValueError for fewer than two groups, or when no replicate of
    some metric is defined.
    """
    evaluation = Evaluation(y, scores, task, classes)
    evaluation.require_all_classes()
    draws = _draw(evaluation, groups, n, seed)
    replicates = _replicate(evaluation, draws, recalls=classes is not None)
    return {name: percentile_interval(name, values, level) for name, values in replicates.items()}


def bootstrap_replicates(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    task: Task,
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Array]:
    """Every metric under each of n resamples, [n]; NaN where it is undefined.

    The same y, groups and seed give the same resamples, whatever the scores: replicates of several
    classifiers go together, one by one. Everything else as in `bootstrap_intervals`.
    """
    evaluation = Evaluation(y, scores, task)
    evaluation.require_all_classes()
    return _replicate(evaluation, _draw(evaluation, groups, n, seed), recalls=False)


def paired_bootstrap(
    y: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    task: Task,
    groups: npt.ArrayLike | None = None,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> dict[str, Difference]:
    """Difference a − b of every metric, with percentile intervals over the same resamples.

    Both predictions are of the same images in the same order, so that what makes an image hard
    for both cancels out. Everything else as in `bootstrap_intervals`.
    """
    both = [Evaluation(y, scores, task, classes) for scores in (scores_a, scores_b)]
    both[0].require_all_classes()
    recalls = classes is not None
    once = np.ones((1, len(both[0].y)))
    value_a, value_b = (_replicate(e, iter([once]), recalls) for e in both)
    a, b = (_replicate(e, _draw(e, groups, n, seed), recalls) for e in both)
    differences = {}
    for name in a:
        interval = percentile_interval(name, a[name] - b[name], level)
        differences[name] = Difference(float(value_a[name][0] - value_b[name][0]), *interval)
    return differences


def _draw(
    evaluation: Evaluation, groups: npt.ArrayLike | None, n: int, seed: int
) -> Iterator[Array]:
    """How often each image is drawn, [B, N] at a time, n rows in all."""
    strata = None if evaluation.task == "multi-label" else evaluation.y
    width = max(len(evaluation.y), evaluation.L * evaluation.C**2)
    return draw_counts(len(evaluation.y), strata, groups, n, seed, width)


def draw_counts(
    N: int,
    strata: npt.NDArray[np.int64] | None,
    groups: npt.ArrayLike | None,
    n: int,
    seed: int,
    width: int = 1,
) -> Iterator[Array]:
    """How often each of N images is drawn in each of n resamples, [B, N] at a time.

    strata: int [N], images are drawn within each; None: from all. With groups, whole groups are
    drawn and strata do not count. width: numbers held per resample, where more than N.
    """
    if n < 1:
        raise ValueError(f"n: expected at least one bootstrap replicate; found {n}")
    if groups is not None:
        names, unit = np.unique(np.asarray(groups), return_inverse=True)
        if unit.shape != (N,):
            raise ValueError(f"groups: expected [{N}], one per image; found {[*unit.shape]}")
        if len(names) < 2:
            raise ValueError("groups: all images are of one group; leave groups out")
        parts = [np.arange(len(names))]
    else:
        unit = np.arange(N)
        kinds = [] if strata is None else np.unique(strata).tolist()
        parts = [np.flatnonzero(strata == k) for k in kinds] or [unit]
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(N, width))
    for start in range(0, n, rows):
        # one row after the other, so that the draws do not depend on the size of a chunk
        counts = np.zeros((min(rows, n - start), unit.max() + 1))
        for row in counts:
            for part in parts:
                drawn = rng.integers(len(part), size=len(part))
                row[part] = np.bincount(drawn, minlength=len(part))
        yield counts if groups is None else counts[:, unit]


def _replicate(evaluation: Evaluation, draws: Iterator[Array], recalls: bool) -> dict[str, Array]:
    """Every metric under every draw, [n] each; chunks of draws on as many threads as torch has."""
    import torch

    def measure(weights: Array) -> dict[str, Array]:
        values = evaluation.weighted(weights)
        if recalls:
            values |= evaluation.weighted_recalls(weights)
        return values

    # The first chunk sorts the images, which the others then need not.
    parts = [measure(next(draws))]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[dict[str, Array]]] = deque()
        for weights in draws:
            waiting.append(pool.submit(measure, weights))
            if len(waiting) > threads:
                parts.append(waiting.popleft().result())
        parts += [future.result() for future in waiting]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def percentile_interval(name: str, values: Array, level: float) -> Interval:
    """The interval of replicates [n], those that are NaN left out; ValueError where all are."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1; found {level}")
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        found = f"none of {len(values)} bootstrap replicates"
        raise ValueError(f"{name}: defined in {found}; too few images or groups for an interval")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(values) - len(defined))
