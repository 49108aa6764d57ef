"""Who is in train, val and test, and in which fold: stratified, seeded, groups never torn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError
from lib.data.budget import LabelBudget, choose_labels

__all__ = [
    "LabelBudget",
    "carve_val",
    "choose_labels",
    "cross_validation_folds",
    "grouped_stratified_split",
    "say_unit",
]

Labels = npt.NDArray[np.int64] | npt.NDArray[np.uint8] | None  # [N], [N, K] of 0/1, or none
Groups = npt.NDArray[np.str_] | None
Indices = npt.NDArray[np.int64]


def grouped_stratified_split(
    y: Labels,
    groups: Groups,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    *,
    n: int | None = None,
) -> tuple[Indices, Indices, Indices]:
    """Split N images into train, val and test; returns their sorted indices.

    No group is in two splits. Without groups each class is shared out by largest remainder, which
    is exact; with groups, or several labels an image, by iterative stratification (Sechidis et
    al., 2011) over groups, off by about the size of the last group. A class that occurs in three
    groups or more is in every split, unless groups that hold several classes forbid it.
    y is None: shared out at random, and `n` (or groups) says how many there are.
    Raises DataError for fewer groups than splits. A share of 0 gives an empty split.
    """
    part = _assign(y, groups, shares, seed, n)
    train, val, test = (np.flatnonzero(part == s).astype(np.int64) for s in range(3))
    return train, val, test


def carve_val(
    y: Labels, groups: Groups, seed: int = 0, *, n: int | None = None
) -> tuple[Indices, Indices]:
    """Train and val out of a train split that came without val: seven eighths and one eighth."""
    train, val, _ = grouped_stratified_split(y, groups, (7 / 8, 1 / 8, 0), seed, n=n)
    return train, val


def cross_validation_folds(
    y: Labels, groups: Groups, folds: int = 5, seed: int = 0, *, n: int | None = None
) -> list[tuple[Indices, Indices]]:
    """(train, test) indices of each fold: every image is tested once, groups are never torn.

    Stratified as in `grouped_stratified_split`. Raises DataError for fewer than two folds, or
    more folds than groups.
    """
    if folds < 2:
        raise DataError(f"folds: {folds} given, at least 2 are needed")
    part = _assign(y, groups, [1 / folds] * folds, seed, n)
    return [
        (np.flatnonzero(part != f).astype(np.int64), np.flatnonzero(part == f).astype(np.int64))
        for f in range(folds)
    ]


def say_unit(groups: Groups, together: Groups) -> str:
    """How images are shared out, for a note; together: as in `Split`."""
    unit = "stratified" if groups is None else f"by group ({len(np.unique(groups)):,})"
    return unit if together is None else f"{unit}, copies of a file kept together"


def _assign(
    y: Labels, groups: Groups, shares: Sequence[float], seed: int, n: int | None
) -> npt.NDArray[np.int64]:
    """The part each image goes to, [N]."""
    sized = next((a for a in (y, groups) if a is not None), None)
    count = len(sized) if sized is not None else int(n or 0)
    members = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    group_count = int(members.max()) + 1 if count else 0
    parts = sum(share > 0 for share in shares)
    if group_count < parts:
        what = "images" if groups is None else "groups"
        raise DataError(f"{group_count} {what} cannot be shared out over {parts} splits")
    onehot = _onehot(y, count)
    counts = np.zeros((group_count, onehot.shape[1]), np.int64)
    np.add.at(counts, members, onehot)
    size = np.bincount(members)
    part = _stratify(counts, size, np.asarray(shares, float), np.random.default_rng(seed))
    return np.asarray(part[members])


def _onehot(y: Labels, n: int) -> npt.NDArray[np.int64]:
    """[N, K] of 0/1."""
    if y is None:
        return np.ones((n, 1), np.int64)
    if y.ndim == 2:
        return y.astype(np.int64)
    return np.asarray(y[:, None] == np.unique(y), np.int64)


def _stratify(
    counts: npt.NDArray[np.int64],
    size: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Assign G groups of `size` images [G], `counts` of each class [G, K], to parts, as shares say.

    Class by class, rarest first: each part first gets one of the class's smallest groups, if there
    are enough, then the others go, largest first, to the part that lacks most of the class. For
    groups of one image and one class this is the method of the largest remainder.
    """
    shares = shares / shares.sum()
    open_parts = np.flatnonzero(shares > 0).tolist()
    # Plain lists from here on: numpy is slow on a handful of numbers at a time.
    wanted = (shares[:, None] * counts.sum(0)).tolist()  # [parts][K], images still to come
    total = (shares * size.sum()).tolist()
    luck = rng.permutation(len(shares)).tolist()
    shuffled = rng.permutation(len(counts))
    small_first = shuffled[np.argsort(size[shuffled], kind="stable")]
    part = np.full(len(counts), -1, np.int64)

    def give(group: int, to: int) -> None:
        part[group] = to
        for k in counts[group].nonzero()[0].tolist():
            wanted[to][k] -= int(counts[group, k])
        total[to] -= int(size[group])

    def neediest(among: list[int], k: int | None) -> int:
        """The part that lacks most of class k; on a tie most images; then luck decides."""

        def need(p: int) -> tuple[float, float, int]:
            return (0.0 if k is None else round(wanted[p][k], 6), round(total[p], 6), luck[p])

        return max(among, key=need)

    rarest_first = np.argsort((counts > 0).sum(0), kind="stable").tolist()
    holders = {k: small_first[counts[small_first, k] > 0] for k in rarest_first}
    for k in rarest_first:
        while len(holders[k]) >= len(open_parts):
            lacking = sorted(set(open_parts) - set(part[holders[k]].tolist()))
            free = holders[k][part[holders[k]] < 0]
            if not lacking or not len(free):
                break
            give(int(free[0]), neediest(lacking, k))
    for k in rarest_first:
        for group in holders[k][part[holders[k]] < 0][::-1].tolist():
            give(group, neediest(open_parts, k))
    for group in small_first[part[small_first] < 0].tolist():  # no label at all: fill up
        give(group, neediest(open_parts, None))
    return part
