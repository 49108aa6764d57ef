"""Which images ask for similar ones, which they may be given, and what chance would find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError, DataSet, labels_of
from lib.evaluation.ranking import Counts, chance_average_precision, share_label

PAIRS = 2**24  # pairs of query and library image looked at at a time: 64 MiB of similarities


@dataclass(frozen=True)
class Queries:
    """Which images ask, and what there is to be found.

    split, library: names of the splits. rows: int64 [Q], places in the query split; y: their
    labels; groups: [Q] or None. skip: codes of the queries [Q] and the library [M], equal where an
    image is of the query's own group (or itself) and is no candidate; None where that cannot be.
    relevant, candidates: int64 [Q], library images that share a label, and all that take part.
    notes: what was left out, in sentences.
    """

    split: str
    library: str
    rows: Counts
    y: Counts
    groups: npt.NDArray[np.str_] | None
    skip: tuple[Counts, Counts] | None
    relevant: Counts
    candidates: Counts
    notes: tuple[str, ...] = ()


def choose_queries(data: DataSet, split: str = "test", library: str = "train") -> Queries:
    """The queries of a data set and what each could find.

    Relevant is an image of the same class or grade, or one that shares at least one label. Images
    of the query's own group are no candidates, nor is the query itself where both splits are one.
    Queries without any label, or without a relevant image in the library, are left out and counted.
    Raises DataError without labels, or where no query is left.
    """
    y, z = labels_of(data, split), labels_of(data, library)
    skip = _own_images(data, split, library)
    relevant, candidates = np.zeros(len(y), np.int64), np.full(len(y), len(z), np.int64)
    for rows in row_batches(len(y), len(z)):
        shared = share_label(y[rows], z)
        if skip is not None:
            own = skip[0][rows, None] == skip[1][None]
            candidates[rows] -= own.sum(axis=1)
            shared &= ~own
        relevant[rows] = shared.sum(axis=1)
    unlabelled = y.sum(axis=1) == 0 if y.ndim == 2 else np.zeros(len(y), bool)
    keep = np.flatnonzero(relevant > 0)
    notes = []
    if unlabelled.any():
        notes.append(f"{unlabelled.sum():,} queries without any label were left out.")
    alone = int(((relevant == 0) & ~unlabelled).sum())
    if alone:
        notes.append(f"{alone:,} queries without a relevant {library} image were left out.")
    if len(keep) == 0:
        raise DataError(f"{data.name}: no {split} image shares a label with a {library} image")
    groups = data.splits[split].groups
    codes = None if skip is None else (skip[0][keep], skip[1])
    kept = None if groups is None else groups[keep]
    asked = relevant[keep], candidates[keep]
    return Queries(split, library, keep, y[keep], kept, codes, *asked, tuple(notes))


def chance(queries: Queries, metrics: Sequence[str]) -> dict[str, float]:
    """What a random ranking of the library is expected to reach in each metric."""
    share = queries.relevant / queries.candidates
    values = {}
    for metric in metrics:
        name, _, k = metric.partition("@")
        if name == "map":
            depth = int(k) if k else None
            expected = chance_average_precision(queries.relevant, queries.candidates, depth)
        else:
            expected = share if name == "precision" else int(k) / queries.candidates
        values[metric] = float(expected.mean())
    return values


def _own_images(data: DataSet, split: str, library: str) -> tuple[Counts, Counts] | None:
    """Codes that are equal where a library image is the query itself or of its group."""
    a, b = data.splits[split], data.splits[library]
    if a.groups is not None and b.groups is not None:
        names = a.groups, b.groups
    elif split == library:
        names = a.ids, b.ids
    else:
        return None
    _, codes = np.unique(np.concatenate(names), return_inverse=True)
    if not np.isin(codes[: len(a)], codes[len(a) :]).any():
        return None
    return codes[: len(a)].astype(np.int64), codes[len(a) :].astype(np.int64)


def row_batches(n: int, library: int) -> list[slice]:
    """Slices of n query rows, each with few enough pairs of images for the memory."""
    step = max(1, PAIRS // max(library, 1))
    return [slice(i, i + step) for i in range(0, n, step)]
