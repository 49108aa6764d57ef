"""A data set split anew: folds of a cross-validation, and classes cut to a size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lib.data.base import SPLITS, UNLABELLED, DataError, DataSet, Split
from lib.data.cache import combined_hash
from lib.data.pool import pool_images, take_images
from lib.data.split import Indices, carve_val, cross_validation_folds, say_unit
from lib.data.unlabelled import leave_out_groups

DEVELOPMENT = ("train", "val")  # what a recipe may be chosen by
WHICH = {"all": "all", "trainval": "the train and val splits'"}
HELD_TOGETHER = ("groups", "together")  # columns of what is never torn apart
OWN_SPLIT = "The data set's own split is not used."
FoldsOf = Literal["all", "trainval"]


def choose_fold(data: DataSet, folds: int, fold: int, seed: int, of: FoldsOf = "all") -> DataSet:
    """The images of a data set, split anew: test is fold number `fold` of `folds`.

    of: all images, or those of train and val alone, to choose a recipe by; the images that are
    kept for the one test at the end then take no part, nor do unlabelled ones of their groups; the
    other unlabelled images stay beside whatever is train. Of the rest an eighth is val. Stratified;
    groups (patients, lesions) and copies of one file (`Split.together`) are never torn. The seed
    decides the folds, so the tests of all folds together are every image once. Images are not
    copied where they are memory-mapped. Raises DataError for fewer than 2 folds, a fold that is
    not there, more folds than groups, or groups that only some splits have.
    """
    if not 0 <= fold < folds:
        raise DataError(f"fold: {fold} of {folds}; the first is 0, the last {folds - 1}")
    among = DEVELOPMENT if of == "trainval" else SPLITS
    y, groups, together = (pooled(data, name, among) for name in ("y", "groups", "together"))
    by = groups if together is None else together
    n = sum(len(data.splits[name]) for name in among)
    try:
        rest, test = cross_validation_folds(y, by, folds, seed, n=n)[fold]
        inner = carve_val(
            None if y is None else y[rest],
            None if by is None else by[rest],
            seed,
            n=len(rest),
        )
    except DataError as error:
        alike = "" if together is None else " (copies of a file are kept together)"
        raise DataError(f"{error}{alike}") from error
    rows = dict(zip(SPLITS, (rest[inner[0]], rest[inner[1]], test), strict=True))
    note = f"Cross-validation: fold {fold + 1} of {folds} of {WHICH[of]} {n:,} images, "
    note += f"{say_unit(groups, together)}, seed {seed}; an eighth of the rest is val. "
    note += "The test split was put away." if of == "trainval" else OWN_SPLIT
    chosen: list[str] = [of] if of == "trainval" else []
    # Without copies a fold keeps the hash that it had before they were kept together.
    chosen += [] if together is None else ["together"]
    mark = combined_hash([data.fingerprint, "fold", *chosen, folds, fold, seed])
    unlabelled = data.unlabelled
    if of == "trainval" and unlabelled is not None:
        unlabelled = leave_out_groups(unlabelled, [data.splits["test"].groups])
        put_away = len(data.unlabelled or ()) - len(unlabelled or ())
        note += f" With it {put_away:,} unlabelled images of its groups." if put_away else ""
    return dataclasses.replace(
        data,
        splits=take(data, rows, among),
        fingerprint=mark,
        notes=(*data.notes, note),
        unlabelled=unlabelled,
    )


def cap_classes(data: DataSet, most: int, seed: int) -> DataSet:
    """At most `most` images of each class in the whole data set, chosen by the seed.

    Each split keeps its share of a class; unlabelled images stay. Raises DataError for data without
    labels or with several labels an image, where a class cannot be cut alone.
    """
    y = pooled(data, "y")
    if y is None or y.ndim == 2:
        what = "no labels" if y is None else "several labels an image"
        raise DataError(f"cap_per_class: {data.name} has {what}; set it to 0")
    rng = np.random.default_rng([seed, 97])
    split_of = np.repeat(np.arange(len(SPLITS)), [len(data.splits[s]) for s in SPLITS])
    kept: list[npt.NDArray[np.int64]] = []
    for k in range(len(data.classes)):
        own = rng.permutation(np.flatnonzero(y == k))
        # Interleaved by rank within their split, so that cutting keeps the splits' shares.
        rank = np.empty(len(own))
        for s in range(len(SPLITS)):
            here = np.flatnonzero(split_of[own] == s)
            rank[here] = (np.arange(len(here)) + 0.5) / max(1, len(here))
        kept.append(own[np.argsort(rank, kind="stable")[:most]])
    chosen = np.sort(np.concatenate(kept))
    rows = {s: chosen[split_of[chosen] == i] for i, s in enumerate(SPLITS)}
    note = f"At most {most:,} images of each class are used: {len(chosen):,} of {len(y):,}."
    mark = combined_hash([data.fingerprint, "cap", most, seed])
    notes = (*data.notes, note)
    return dataclasses.replace(data, splits=take(data, rows), fingerprint=mark, notes=notes)


def pooled(data: DataSet, name: str, among: Sequence[str] = SPLITS) -> Any:
    """A column of some splits (`y`, `ids`, `groups`, `together`), one after the other.

    None where one has none; but DataError where only some have groups, which would be torn apart.
    """
    parts = {s: getattr(data.splits[s], name) for s in among}
    lacking = [s for s, part in parts.items() if part is None]
    if not lacking:
        return np.concatenate(list(parts.values()))
    if name in HELD_TOGETHER and len(lacking) < len(parts):
        known = next(s for s in parts if s not in lacking)
        raise DataError(
            f"{data.name}: {known} has {name} but {lacking[0]} has none, so they cannot be pooled; "
            "give all splits theirs, or none"
        )
    return None


def take(
    data: DataSet, rows: Mapping[str, Indices], among: Sequence[str] = SPLITS
) -> dict[str, Split]:
    """New splits from rows of some splits pooled."""
    images = pool_images([data.splits[s].images for s in among])
    columns: dict[str, Any] = {
        name: pooled(data, name, among) for name in ("y", "ids", *HELD_TOGETHER)
    }

    def split(index: Indices) -> Split:
        chosen: dict[str, Any] = {
            name: None if c is None else c[index] for name, c in columns.items()
        }
        return Split(take_images(images, index), **chosen)

    return {name: split(index) for name, index in rows.items()}


def fold_counts(
    counts: Mapping[str, int], folds: int, of: Literal["all", "trainval"] = "all"
) -> dict[str, int]:
    """About how many images each split of a fold has, for planning; unlabelled ones stay apart."""
    apart = {name: n for name, n in counts.items() if name == UNLABELLED}
    among = DEVELOPMENT if of == "trainval" else SPLITS
    n = sum(counts.get(name, 0) for name in among)
    test = n // folds
    val = (n - test) // 8
    return {"train": n - test - val, "val": val, "test": test, **apart}


def cut_for_run(
    data: DataSet,
    *,
    cap_per_class: int,
    folds: int,
    fold: int,
    folds_of: FoldsOf,
    split_seed: int,
) -> DataSet:
    """What a run sees of a data set: at most so many images of each class, then its fold.

    0 leaves either as it is.
    """
    if cap_per_class:
        data = cap_classes(data, cap_per_class, split_seed)
    return choose_fold(data, folds, fold, split_seed, folds_of) if folds else data
