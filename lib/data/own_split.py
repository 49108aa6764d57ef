"""Which of a person's own images are in which split, and what a split never tears apart."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lib.data.base import SPLITS, UNLABELLED, DataError
from lib.data.split import Groups, Indices, carve_val, grouped_stratified_split, say_unit
from lib.data.unlabelled import HELD, apart_from

if TYPE_CHECKING:
    from lib.data.own import OwnData

SHARES = (0.7, 0.1, 0.2)


def split_rows(
    own: OwnData, rows: Indices, seed: int
) -> tuple[dict[str, Indices], tuple[str, ...]]:
    """Which of `rows` of the table are in which split, and sentences about it.

    Unlabelled rows are in none. A given split is kept; a missing val is carved from train.
    Otherwise 70/10/20, by group; copies of one file (byte for byte) stay together too.
    Raises DataError when train or test is empty.
    """
    table, notes = own.table, []
    rows = rows[~own.unlabelled[rows]]
    y = None if own.y is None else own.y[rows]
    digests = np.asarray(own.digests)[rows]
    copies = len(digests) - len(np.unique(digests))
    if copies:
        notes.append(f"{copies:,} images are byte-for-byte copies of another.")
    groups = np.asarray(table.groups)[rows] if table.groups is not None else None
    together = kept_together(own, rows)
    by = groups if together is None else together[rows]
    unit = say_unit(groups, together)
    if table.splits is None:
        try:
            parts = grouped_stratified_split(y, by, SHARES, seed, n=len(rows))
        except DataError as error:
            alike = f" ({copies:,} are copies of another, and stay with it)" if copies else ""
            raise DataError(f"{table.where}: {error}{alike}") from error
        notes.append(f"No split given: 70/10/20, {unit}, seed {seed}.")
        return {s: rows[part] for s, part in zip(SPLITS, parts, strict=True)}, tuple(notes)
    given = np.asarray(table.splits)[rows]
    chosen = {s: rows[given == s] for s in SPLITS}
    empty = [s for s in ("train", "test") if not len(chosen[s])]
    if empty:
        raise DataError(
            f"{table.where}: column split leaves {empty[0]} empty; fill it, or remove the column "
            "to have the images split 70/10/20"
        )
    if not len(chosen["val"]):
        inside = given == "train"
        try:
            parts2 = carve_val(
                None if y is None else y[inside],
                None if by is None else by[inside],
                seed,
                n=int(inside.sum()),
            )
        except DataError as error:
            raise DataError(f"{table.where}: no val split, and of train {error}") from error
        chosen["train"], chosen["val"] = (chosen["train"][part] for part in parts2)
        notes.append(f"No val split given: an eighth of train, {unit}, seed {seed}.")
    if torn := _torn(digests, given):  # groups are refused where the table is read
        text = f"The given split tears apart {torn:,} copied images: its test figures are too good."
        notes.append(text)
    return chosen, tuple(notes)


def unlabelled_rows(own: OwnData, rows: Indices) -> tuple[Indices, tuple[str, ...]]:
    """The unlabelled ones of `rows`, less byte-for-byte copies of labelled ones; sentences."""
    apart, digests = own.unlabelled[rows], np.asarray(own.digests)[rows]
    found = rows[apart]
    copies = np.isin(digests[apart], digests[~apart])
    if not copies.any():
        return found, ()
    note = f"{copies.sum():,} images without a label are byte-for-byte copies of a labelled one: "
    return found[~copies], (f"{note}left out.",)


def count_rows(own: OwnData, rows: Indices, seed: int) -> dict[str, int]:
    """How many of `rows` are in each split, and how many unlabelled ones pretraining sees."""
    chosen, _ = split_rows(own, rows, seed)
    counts = {name: len(part) for name, part in chosen.items()}
    more, _ = unlabelled_rows(own, rows)
    if own.table.groups is not None and len(more):
        groups = np.asarray(own.table.groups)
        seen = apart_from(groups[more], [groups[chosen[name]] for name in HELD])
        more = more if seen is None else more[seen]
    return counts | ({UNLABELLED: len(more)} if len(more) else {})


def kept_together(own: OwnData, rows: Indices) -> Groups:
    """What no split may tear apart (`Split.together`), by row of the table.

    Only labelled ones of `rows` count: None where none of them is a copy of another.
    """
    rows = rows[~own.unlabelled[rows]]
    digests = np.asarray(own.digests)
    if len(np.unique(digests[rows])) == len(rows):
        return None
    if own.table.groups is None:
        return digests
    together = np.asarray(own.table.groups)
    together[rows] = _linked(together[rows], digests[rows])
    return together


def _linked(groups: npt.NDArray[np.str_], digests: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """Groups, with those joined that hold copies of one file."""
    joined: dict[str, str] = {}

    def root(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    first: dict[str, str] = {}
    for group, digest in zip(groups.tolist(), digests.tolist(), strict=True):
        mine, other = root(group), root(first.setdefault(digest, group))
        if mine != other:
            joined[mine] = other
    return np.asarray([root(group) for group in groups.tolist()])


def _torn(keys: npt.NDArray[np.str_], given: npt.NDArray[np.str_]) -> int:
    """How many keys occur in more than one split."""
    pairs = set(zip(keys.tolist(), given.tolist(), strict=True))
    return sum(times > 1 for times in Counter(key for key, _ in pairs).values())
