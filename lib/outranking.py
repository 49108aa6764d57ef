"""AUROC and average precision of one class against the rest, under many weightings at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Outranking:
    """One class against the rest, from the highest score down.

    order: [N] images by falling score; positive: [P] images of the class in that order.
    first, last: [P] how many images stand above the first / up to the last image tied with each
    positive; first_hit, last_hit: the same, of positives only.
    """

    order: Indices
    positive: Indices
    first: Indices
    last: Indices
    first_hit: Indices
    last_hit: Indices

    @classmethod
    def of(cls, member: npt.NDArray[np.bool_], score: npt.NDArray[np.floating]) -> Outranking:
        """From member bool [N], whether an image is of the class, and its score [N]."""
        order = np.argsort(-score, kind="stable")
        falling = -score[order]
        place = np.flatnonzero(member[order])
        first = np.searchsorted(falling, falling[place], side="left")
        last = np.searchsorted(falling, falling[place], side="right")
        hits = np.searchsorted(place, first), np.searchsorted(place, last)
        return cls(order, order[place], first, last, *hits)

    def weighted(self, weights: Array) -> tuple[Array, Array]:
        """AUROC and average precision, [B] each."""
        w = weights.take(self.positive, axis=1)  # take: half the time of an index
        seen, hits = running(weights.take(self.order, axis=1)), running(w)
        seen_last, hits_last = seen[:, self.last], hits[:, self.last_hit]
        above = seen[:, self.first] - hits[:, self.first_hit]  # negatives that outrank it
        ahead = (above + seen_last - hits_last) / 2  # those tied with it count half
        P = hits[:, -1]
        negatives = seen[:, -1] - P
        won = negatives * P - (w * ahead).sum(axis=1)
        precision = divide(hits_last, seen_last, undefined=0)
        return divide(won, negatives * P), divide((w * precision).sum(axis=1), P)


def running(values: Array) -> Array:
    """Running sums [B, N + 1] that begin with 0."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def divide(a: Array, b: Array, undefined: float = np.nan) -> Array:
    """a / b [B, …], and `undefined` where b is 0."""
    result = np.full(b.shape, undefined, dtype=np.float64)
    np.divide(a, b, out=result, where=b > 0)
    return result
