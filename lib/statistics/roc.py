"""Receiver operating characteristics with bands over resampled test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.statistics.bootstrap import draw_counts
from lib.statistics.outranking import Array
from lib.statistics.predictions import Predictions

GRID = 101  # false positive rates at which bands are computed
RESAMPLES = 300  # at most: a band needs no more, and each class is ranked in each


@dataclass(frozen=True)
class Curve:
    """One ROC. fpr, tpr: its corners, [M]. grid, low, high: the 95% band, [GRID]. auc: below it."""

    name: str
    fpr: Array
    tpr: Array
    grid: Array
    low: Array
    high: Array
    auc: float


def roc_curves(p: Predictions, *, bootstrap: int = RESAMPLES, seed: int = 0) -> list[Curve]:
    """One curve for each class against the others, or for each label; one for two classes.

    A class that no image has, or every image, has no curve. Bands hold 95% of the true positive
    rates at a false positive rate, point by point, over resampled images (groups where there are
    any); resamples without the class are left out.
    """
    if p.task == "multi-label":
        members = {name: p.y[:, k] == 1 for k, name in enumerate(p.classes)}
    else:
        classes = list(enumerate(p.classes))[1:] if p.task == "binary" else enumerate(p.classes)
        members = {name: p.y == k for k, name in classes}
    strata = None if p.task == "multi-label" else p.y
    n = min(bootstrap, RESAMPLES)
    draws = np.concatenate(list(draw_counts(len(p.y), strata, p.groups, n, seed, GRID)))
    columns = {name: k for k, name in enumerate(p.classes)}
    return [
        curve(name, p.scores[:, columns[name]].astype(float), member, draws)
        for name, member in members.items()
        if 0 < member.sum() < len(member)
    ]


def curve(name: str, scores: Array, member: npt.NDArray[np.bool_], draws: Array) -> Curve:
    """The ROC of one class, and its band. scores, member: [N]. draws: [B, N], how often drawn."""
    fpr, tpr = corners(scores, member, np.ones((1, len(scores))))
    grid = np.linspace(0, 1, GRID)
    fprs, tprs = corners(scores, member, draws)
    found = np.array([np.interp(grid, x, y) for x, y in zip(fprs, tprs, strict=True)])
    found = found[np.isfinite(found).all(axis=1)]
    low, high = (
        np.quantile(found, [0.025, 0.975], axis=0) if len(found) else np.full((2, GRID), np.nan)
    )
    auc = float(np.sum(np.diff(fpr[0]) * (tpr[0][1:] + tpr[0][:-1]) / 2))
    return Curve(name, fpr[0], tpr[0], grid, low, high, auc)


def corners(scores: Array, member: npt.NDArray[np.bool_], weights: Array) -> tuple[Array, Array]:
    """False and true positive rates at each threshold, from 0 to 1: [B, M] for weights [B, N].

    Images with equal scores pass a threshold together. NaN where a row has no image of the class,
    or no other.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    rates = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for side in (~member, member):
            passed = np.cumsum(weights[:, order] * side[order], axis=1)
            rates.append(np.insert(passed[:, last] / passed[:, -1:], 0, 0.0, axis=1))
    return rates[0], rates[1]
