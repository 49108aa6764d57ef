"""A controlled long tail: the training images cut so that classes shrink by a fixed factor."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError, DataSet, Split
from lib.data.cache import combined_hash
from lib.data.pool import pool_images, take_images

Counts = npt.NDArray[np.int64]


def tail_counts(available: npt.ArrayLike, ratio: float) -> Counts:
    """How many images of each class a long tail keeps, int64 [K].

    Cui et al. 2019, Class-Balanced Loss Based on Effective Number of Samples, section 5.1: the
    class of rank k, from 0 in the order of its own size, keeps n_max · ratio^(−k / (K − 1)),
    rounded. n_max is the largest number for which every class has that many, so largest over
    smallest is `ratio` but for rounding, whatever the imbalance before. At least 1 is kept of a
    class that has any; a class without images has no rank.

    available: int [K]. Raises DataError for a ratio below 1 or fewer than two classes with images.
    """
    counts = np.asarray(available, dtype=np.int64)
    if not ratio >= 1:
        raise DataError(f"imbalance_ratio: {ratio:g}; largest over smallest is 1 or more, 0 is off")
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    if len(order) < 2:
        raise DataError("imbalance_ratio: fewer than two classes have training images")
    profile = ratio ** (-np.arange(len(order)) / (len(order) - 1))
    largest = (counts[order] / profile).min()
    kept = np.zeros_like(counts)
    kept[order] = np.clip(np.rint(largest * profile), 1, counts[order])
    return kept


def cut_long_tail(data: DataSet, ratio: float, seed: int) -> DataSet:
    """The data set with its training split cut to a long tail; validation and test are untouched.

    ratio: largest over smallest class, see `tail_counts`; 0 gives the data set back as it is. The
    seed orders the images of each class, and a class keeps the first of them: of two ratios, the
    images that one keeps of a class are among those that the other does. Raises DataError without
    labels or with several labels an image.
    """
    if ratio == 0:
        return data
    train = data.splits["train"]
    if train.y is None or train.y.ndim == 2:
        what = "no labels" if train.y is None else "several labels an image"
        raise DataError(f"imbalance_ratio: {data.name} has {what}; set it to 0")
    counts = np.bincount(train.y, minlength=len(data.classes))
    kept = tail_counts(counts, ratio)
    rng = np.random.default_rng([seed, 53])
    rows = np.sort(
        np.concatenate(
            [rng.permutation(np.flatnonzero(train.y == k))[: kept[k]] for k in range(len(kept))]
        )
    )
    groups = None if train.groups is None else train.groups[rows]
    cut = Split(
        take_images(pool_images([train.images]), rows), train.y[rows], train.ids[rows], groups
    )
    most, least = int(kept.argmax()), int(np.where(kept > 0, kept, kept.max()).argmin())
    note = f"Long tail: of {len(train):,} training images {len(rows):,} are used, "
    note += f"{kept[most]:,} of {data.classes[most]} down to {kept[least]:,} of "
    note += f"{data.classes[least]} ({kept[most] / kept[least]:.4g} to 1, asked for {ratio:g}); "
    note += "validation and test are as they were."
    return dataclasses.replace(
        data,
        splits={**data.splits, "train": cut},
        fingerprint=combined_hash([data.fingerprint, "tail", ratio, seed]),
        notes=(*data.notes, note),
    )
