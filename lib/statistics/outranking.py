"""AUROC and average precision of one class against the rest, under many weightings at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Part = slice | Indices


class Won(NamedTuple):
    """What a class comes to under weights [N, B].

    pairs: [parts, B] weight of the pairs of a positive and a negative of each part in which the
    positive has the higher score, ties counting half. positive, negative: [B] their weights.
    precision: [B] average precision.
    """

    pairs: Array
    positive: Array
    negative: Array
    precision: Array

    @property
    def auroc(self) -> Array:
        """Share of all pairs that are won, [B]; NaN where there is none."""
        return divide(self.pairs.sum(axis=0), self.positive * self.negative)


@dataclass(frozen=True)
class Outranking:
    """One class against the rest: who outranks whom, so that only weights remain to be summed.

    positive: [P] images of the class by falling score; level: [Q] where in them each new score
    begins. place: [N] for each image 2 q, q being the levels above its score, and 1 more where a
    level equals it. parts: the images that are negatives, in parts that are told apart.
    between: sparse [Q + 1, N], 1 where a negative has q levels above its score.
    """

    positive: Indices
    level: Indices
    place: Indices
    parts: tuple[Part, ...]
    between: Any

    @classmethod
    def of(
        cls,
        member: npt.NDArray[np.bool_],
        score: npt.NDArray[np.floating],
        parts: Sequence[Part] | None = None,
    ) -> Outranking:
        """From member bool [N], whether an image is of the class, and its score [N].

        parts: of the other images, all of them together; one part unless given.
        """
        from scipy import sparse

        members = np.flatnonzero(member)
        positive = members[np.argsort(-score[members], kind="stable")]
        falling = -score[positive]
        level = np.flatnonzero(np.append(True, falling[1:] != falling[:-1])[: len(falling)])
        levels = falling[level]
        above = np.searchsorted(levels, -score, side="left")
        tied = np.searchsorted(levels, -score, side="right") > above
        others = np.flatnonzero(~member)
        cells = (np.ones(len(others)), (above[others], others))
        between = sparse.csr_array(cells, shape=(len(levels) + 1, len(score)))
        kept = (others,) if parts is None else tuple(parts)
        return cls(positive, level, 2 * above + tied, kept, between)

    def weighted(self, weights: Array) -> Won:
        """Pairs won and average precision; weights: [N, B], images in rows."""
        w = weights.take(self.positive, axis=0)
        if len(self.level) < len(self.positive):
            w = np.add.reduceat(w, self.level, axis=0)
        Q, B = w.shape
        hits = running(w)
        # By place: the positives above a score, and half of those with the same score.
        above = np.zeros((2 * Q + 1, B))
        above[::2], above[1::2] = hits, hits[:-1] + w / 2
        pairs = np.stack(
            [
                np.einsum("nb,nb->b", above.take(self.place[part], axis=0), weights[part])
                for part in self.parts
            ]
        )
        false = running(self.between @ weights)
        precision = divide(hits[1:], hits[1:] + false[1 : Q + 1], undefined=0)
        P = hits[-1]
        return Won(pairs, P, false[-1], divide((w * precision).sum(axis=0), P))


def running(values: Array) -> Array:
    """Running sums [Q + 1, B] down the rows of values [Q, B], beginning with 0."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1]))
    # Along contiguous memory: several times faster than down the rows.
    sums[1:] = np.cumsum(np.ascontiguousarray(values.T), axis=1).T
    return sums


def divide(a: Array, b: Array, undefined: float = np.nan) -> Array:
    """a / b [B, …], and `undefined` where b is 0."""
    result = np.full(b.shape, undefined, dtype=np.float64)
    np.divide(a, b, out=result, where=b > 0)
    return result
