"""Label budgets: which training images a probe or a finetuning run may see the labels of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError

Labels = npt.NDArray[np.int64] | npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class LabelBudget:
    """The chosen training images.

    indices: int64 [n], sorted; note: what a reader must know about the choice, or "".
    """

    indices: npt.NDArray[np.int64]
    note: str = ""


def choose_labels(
    y: Labels,
    labels: int | Literal["all"] = "all",
    per_class: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> LabelBudget:
    """Choose labelled images: `labels` in all, or `per_class` of each class; exact and seeded.

    y: int64 [N], or uint8 [N, K] for several labels an image. `labels=n` gives n images whose
    class shares are those of y (see `shares_of`), at least one of each class once n ≥ K. For
    several labels an image: n images at random, but first of all one positive of each label, from
    the rarest up.
    For one seed smaller budgets are subsets of larger ones: 100 ⊂ 250 ⊂ all.
    `per_class=m` gives m of each, or all there are, which the note then says.
    classes: names for notes and messages.
    Raises DataError without labels, for both at once, for less than 1, for more than there are.
    """
    if y is None:
        raise DataError("labels: the data set has none; a probe or finetuning needs them")
    if labels != "all" and per_class is not None:
        raise DataError(f"labels: {labels} and per_class: {per_class} are both given; give one")
    if per_class is not None:
        return _each_class(y, per_class, seed, classes)
    if labels == "all":
        return LabelBudget(np.arange(len(y), dtype=np.int64))
    if isinstance(labels, bool) or not isinstance(labels, int | np.integer) or labels < 1:
        raise DataError(f"labels: {labels!r} given; a count from 1, or all")
    if labels > len(y):
        raise DataError(f"labels: {labels:,} asked for, the training split has {len(y):,}")
    if y.ndim == 2:
        return LabelBudget(np.sort(_multi_label_order(y, seed)[:labels]))
    order, rank = _shuffled_within_classes(y, seed)
    counts = np.unique(y, return_counts=True)[1]
    given = shares_of(int(labels), counts)
    indices = np.sort(order[rank < np.repeat(given, counts)])
    absent = int((given == 0).sum())
    note = f"{labels} labels leave {absent} classes without a labelled image." if absent else ""
    return LabelBudget(indices, note)


def _each_class(y: Labels, m: int, seed: int, names: Sequence[str] | None) -> LabelBudget:
    assert y is not None
    if y.ndim == 2:
        raise DataError(
            "per_class: images with several labels cannot be drawn so many a class; use labels: n"
        )
    if isinstance(m, bool) or not isinstance(m, int | np.integer) or m < 1:
        raise DataError(f"per_class: {m!r} given; a count from 1")
    order, rank = _shuffled_within_classes(y, seed)
    indices = np.sort(order[rank < m])
    found, counts = np.unique(y, return_counts=True)
    short = [
        f"{names[c] if names else c} ({n})" for c, n in zip(found, counts, strict=True) if n < m
    ]
    note = f"Fewer than {m} images, so all there are: {', '.join(short)}." if short else ""
    return LabelBudget(indices, note)


def _shuffled_within_classes(
    y: npt.NDArray[np.int64] | npt.NDArray[np.uint8], seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All indices, class by class and shuffled inside each, with their rank in their class."""
    shuffled = np.random.default_rng(seed).permutation(len(y))
    order = shuffled[np.argsort(y[shuffled], kind="stable")]
    counts = np.unique(y, return_counts=True)[1]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return order, np.arange(len(y)) - starts


def shares_of(budget: int, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many of `budget` images each class gives, [K], for classes of `counts` images.

    The quota method of Balinski & Young (1975), which never takes from a class when the budget
    grows (the largest remainder may) and stays less than 1 from the exact share; but each class
    first gives one, the largest first. At the full budget every class gives all it has.
    """
    n = counts.sum()
    given = np.zeros(len(counts), np.int64)
    given[np.argsort(-counts, kind="stable")[:budget]] = 1
    for h in range(len(counts) + 1, budget + 1):
        below_share = given * n < h * counts
        given[np.where(below_share, counts / (given + 1), -1).argmax()] += 1
    return given


def _multi_label_order(
    y: npt.NDArray[np.int64] | npt.NDArray[np.uint8], seed: int
) -> npt.NDArray[np.int64]:
    """All indices at random, but a positive of each label first, from the rarest label up."""
    order = np.random.default_rng(seed).permutation(len(y)).astype(np.int64)
    first: list[int] = []
    for k in np.argsort(y.sum(0, dtype=np.int64), kind="stable"):
        positives = order[y[order, k] > 0]
        if len(positives) and not y[first, k].any():
            first.append(int(positives[0]))
    rest = order[~np.isin(order, first)]
    return np.concatenate([np.asarray(first, np.int64), rest])
