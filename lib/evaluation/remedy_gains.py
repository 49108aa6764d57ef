"""What remedies against imbalance gain over none: differences, tested and corrected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lib.evaluation.evaluate import Evaluated
from lib.statistics.bootstrap import bootstrap_replicates
from lib.statistics.paired import holm

if TYPE_CHECKING:
    # A report that reads gains need not load what trains.
    from lib.evaluation.imbalance import RemedyStudy

ALPHA = 0.05


@dataclass(frozen=True)
class Gain:
    """Balanced accuracy of a remedy minus that of no remedy, on the same test images.

    protocol, labels: which classifier, as in summary.csv (`probe+undersample`, `25 per class`).
    low, high: 95% interval of this one difference; p: two-sided, over resampled test images;
    corrected: p by Holm over all remedies tried.
    """

    protocol: str
    labels: str
    value: float
    low: float
    high: float
    p: float
    corrected: float = 1.0

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `no clear difference`, by the corrected p."""
        if self.corrected >= ALPHA:
            return "no clear difference"
        return "better" if self.value > 0 else "worse"


def remedy_gains(study: RemedyStudy, bootstrap: int = 1000, seed: int = 0) -> list[Gain]:
    """Each remedy against none in balanced accuracy, by the paired bootstrap.

    p is twice the smaller share of resamples on one side of zero, with the observed one counted in
    (Davison & Hinkley 1997, section 4.2), so it is never below 2 / (bootstrap + 1).
    """
    none, *others = study.on("test")
    reference = replicates(none, bootstrap, seed)
    gains = []
    for r in others:
        d = replicates(r, bootstrap, seed) - reference
        d = d[np.isfinite(d)]
        low, high = np.quantile(d, [ALPHA / 2, 1 - ALPHA / 2])
        value = r.metrics["balanced_accuracy"] - none.metrics["balanced_accuracy"]
        rarer = min(int((d <= 0).sum()), int((d >= 0).sum())) + 1
        p = min(1.0, 2 * rarer / (len(d) + 1))
        gains.append(Gain(r.protocol, r.labels, value, float(low), float(high), p))
    corrected = holm([g.p for g in gains])
    return [replace(g, corrected=c) for g, c in zip(gains, corrected, strict=True)]


def replicates(r: Evaluated, n: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Balanced accuracy under n resamples of the test images, [n], the same for each classifier."""
    p = r.predictions
    found = bootstrap_replicates(p.y, p.scores, p.task, p.groups, n=n, seed=seed)
    return np.asarray(found["balanced_accuracy"])
