"""Whether probabilities mean what they say: reliability and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.statistics.bootstrap import Interval, draw_counts, percentile_interval
from lib.statistics.metrics import predict
from lib.statistics.outranking import Array
from lib.statistics.predictions import Predictions

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Stated probabilities beside what came true, in bins of equal width.

    edges: [bins + 1] from 0 to 1. counts: int [bins]. stated, true: mean probability and share
    that came true in each bin, [bins], NaN where a bin is empty. low, high: Wilson's 95% interval
    of `true`. ece: expected calibration error. interval: of it, over resampled test images.
    """

    edges: Array
    counts: npt.NDArray[np.int64]
    stated: Array
    true: Array
    low: Array
    high: Array
    ece: float
    interval: Interval


def claims_of(p: Predictions) -> tuple[Array, Array]:
    """Probabilities and whether they came true, both [N], or [N · K] for several labels an image.

    With one label of several an image it is the probability of the class decided for, and whether
    that is right; with two classes or several labels, the probability of each label being there.
    """
    if p.task == "multi-label":
        return p.scores.astype(float).ravel(), p.y.astype(float).ravel()
    if p.task == "binary":
        return p.scores[:, 1].astype(float), p.y.astype(float)
    decided = predict(p.scores, p.task)
    return p.scores[np.arange(len(p.y)), decided].astype(float), (decided == p.y).astype(float)


def measure_reliability(
    p: Predictions, *, bins: int = BINS, bootstrap: int = 1000, seed: int = 0
) -> Reliability:
    """Reliability and the expected calibration error (Guo et al. 2017, equation 3).

    ECE = sum over bins of n_b / n · |true_b − stated_b|, with bins (a, b] of equal width. It is
    above zero by chance alone, and the more so the fewer images there are. bootstrap: resamples
    of the images, or of the groups where there are any.
    """
    stated, true = claims_of(p)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, stated, side="left") - 1, 0, bins - 1)
    member = (place[:, None] == np.arange(bins)).astype(float)
    counts = member.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = (stated @ member) / counts, (true @ member) / counts
    low, high = wilson(true @ member, counts)
    per_image = len(stated) // len(p.y)
    replicates = [
        calibration_error(np.repeat(weights, per_image, axis=1), stated, true, member)
        for weights in draw_counts(len(p.y), None, p.groups, bootstrap, seed, len(stated) + bins)
    ]
    ece = calibration_error(np.ones((1, len(stated))), stated, true, member)[0]
    interval = percentile_interval("ece", np.concatenate(replicates), 0.95)
    return Reliability(edges, counts.astype(np.int64), *means, low, high, float(ece), interval)


def calibration_error(weights: Array, stated: Array, true: Array, member: Array) -> Array:
    """ECE under each row of weights [B, N]: float [B]. member: 0/1 [N, bins]."""
    gaps = np.abs((weights * (true - stated)) @ member)
    return np.asarray(gaps.sum(axis=1) / weights.sum(axis=1))


def wilson(successes: Array, n: Array, z: float = 1.959964) -> tuple[Array, Array]:
    """Wilson's 95% interval of a share (1927); NaN where n is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = successes / n
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half
