"""A person's own image files (`folder:`, `csv:`) as a data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.data.base import SPLITS, UNLABELLED, DataError, DataSet, Split, Task
from lib.data.cache import IN_MEMORY, combined_hash, file_hashes, open_array, take_rows
from lib.data.decoded import DecodedFiles, decode_files, decoder_version
from lib.data.folders import read_folder
from lib.data.own_split import kept_together, split_rows, unlabelled_rows
from lib.data.pool import pool_images, take_images
from lib.data.split import Groups, Indices, Labels
from lib.data.tables import FileTable, read_csv


@dataclass(frozen=True)
class OwnData:
    """Everything about a user's images that is known before one is decoded.

    y: of all rows of the table, −1 (or all 0) where one is unlabelled; digests: one per row;
    fingerprint: of images, labels and split.
    """

    table: FileTable
    y: Labels
    classes: tuple[str, ...]
    task: Task
    digests: list[str]
    fingerprint: str

    @property
    def unlabelled(self) -> npt.NDArray[np.bool_]:
        """Rows without a label beside labelled ones, [N]."""
        return unlabelled_of(self.table)


def unlabelled_of(table: FileTable) -> npt.NDArray[np.bool_]:
    """Rows of a table without a label beside labelled ones, [N]."""
    return np.asarray(table.unlabelled or [False] * len(table.names), bool)


def read_own_table(name: str) -> FileTable:
    """The table behind `csv:PATH` or `folder:PATH`."""
    kind, _, path = name.partition(":")
    location = Path(path).expanduser()
    return read_csv(location) if kind == "csv" else read_folder(location)


def survey(
    name: str,
    size: int,
    cache: Path,
    *,
    split_seed: int = 0,
    preprocess: str = "none",
    workers: int | None = None,
    progress: bool = False,
) -> OwnData:
    """Read the table and hash the images (remembered: a second look only asks for their dates)."""
    table = read_own_table(name)
    y, classes, task = encode_labels(table)
    digests = file_hashes(table.paths, cache, workers=workers, progress=progress)
    digests = [
        f"missing {table.names[i]}" if digest == "missing" else digest
        for i, digest in enumerate(digests)
    ]
    carved = None if set(table.splits or ()) - {UNLABELLED} == set(SPLITS) else split_seed
    made = [*decoder_version(preprocess), size]
    parts = [*made, digests, table.labels, table.groups, table.splits]
    # A table without unlabelled rows keeps the hash that it had before there were any.
    apart = [] if table.unlabelled is None else [np.flatnonzero(table.unlabelled).tolist()]
    mark = combined_hash([*parts, table.ordinal, carved, *apart])
    return OwnData(table, y, classes, task, digests, mark)


def encode_labels(table: FileTable) -> tuple[Labels, tuple[str, ...], Task]:
    """Numbers for label texts: int64 [N], or uint8 [N, K] when any holds `|`.

    Unlabelled rows are −1, or zeros. Classes are sorted, by value when all are whole numbers.
    Raises DataError for a single class.
    """
    if table.labels is None:
        return None, (), "multi-class"
    rows = np.flatnonzero(~unlabelled_of(table))
    given = [table.labels[row] for row in rows]
    several = any("|" in label for label in given)
    sets = [
        {part.strip() for part in label.split("|") if part.strip()} if several else {label}
        for label in given
    ]
    found = set().union(*sets)
    whole = all(re.fullmatch(r"[+-]?\d+", label) for label in found)
    classes = tuple(sorted(found, key=int) if whole else sorted(found))
    if len(classes) < 2:
        raise DataError(
            f"{table.where}: only one class ({', '.join(classes)}); two are needed, or no labels "
            "at all (pretraining only)"
        )
    number = {label: k for k, label in enumerate(classes)}
    if several:
        many = np.zeros((len(table.labels), len(classes)), np.uint8)
        for row, labels in zip(rows, sets, strict=True):
            many[row, [number[label] for label in labels]] = 1
        return many, classes, "multi-label"
    task: Task = "binary" if len(classes) == 2 else "ordinal" if table.ordinal else "multi-class"
    y = np.full(len(table.labels), -1, np.int64)
    y[rows] = [number[label] for label in given]
    return y, classes, task


def load_own(
    name: str,
    size: int,
    cache: Path,
    *,
    split_seed: int = 0,
    max_unreadable: float = 0.01,
    preprocess: str = "none",
    workers: int | None = None,
    limit: int = IN_MEMORY,
    progress: bool = True,
) -> DataSet:
    """Load `csv:PATH` or `folder:PATH`, decoding the images unless the cache has them.

    Unreadable images (missing files too) are left out, listed in a csv file in the cache and
    counted in the notes. Raises DataError when their share exceeds `max_unreadable`.
    """
    own = survey(
        name,
        size,
        cache,
        split_seed=split_seed,
        preprocess=preprocess,
        workers=workers,
        progress=progress,
    )
    table = own.table
    decoded = decode_files(
        table.paths,
        table.names,
        own.digests,
        size,
        cache,
        label=table.title,
        preprocess=preprocess,
        workers=workers,
        progress=progress,
    )
    notes = [*table.notes, *_unreadable(table, decoded, max_unreadable), *decoded.notes]
    rows = np.setdiff1d(np.arange(len(table.names)), list(decoded.failures)).astype(np.int64)
    chosen, split_notes = split_rows(own, rows, split_seed)
    more, more_notes = unlabelled_rows(own, rows)
    together = kept_together(own, rows)
    if own.y is None:
        notes.append("Without labels: for pretraining only.")
    array = open_array(decoded.array, limit)

    def images(split: str) -> npt.NDArray[np.uint8]:
        rows = chosen[split]
        part = f"{decoded.array.stem}-{split}-{combined_hash(rows.tolist())[:12]}.npy"
        fits = not isinstance(array, np.memmap)
        return array[rows] if fits else take_rows(array, rows, decoded.array.with_name(part), limit)

    return DataSet(
        name=name,
        title=table.title,
        task=own.task,
        classes=own.classes,
        size=size,
        channels=array.shape[3],
        splits={s: _take(own, images(s), chosen[s], together) for s in SPLITS},
        fingerprint=own.fingerprint,
        source=table.where,
        notes=(*notes, *split_notes, *more_notes),
        unlabelled=(
            _take(own, take_images(pool_images([array]), more), more, None, labelled=False)
            if len(more)
            else None
        ),
    )


def _take(
    own: OwnData,
    images: npt.NDArray[np.uint8],
    rows: Indices,
    together: Groups,
    *,
    labelled: bool = True,
) -> Split:
    groups = own.table.groups
    return Split(
        images=images,
        y=None if own.y is None or not labelled else own.y[rows],
        ids=np.asarray(own.table.names)[rows],
        groups=None if groups is None else np.asarray(groups)[rows],
        together=None if together is None else together[rows],
    )


def _unreadable(table: FileTable, decoded: DecodedFiles, max_unreadable: float) -> Sequence[str]:
    failures: Mapping[int, str] = decoded.failures
    if not failures:
        return []
    total, row = len(table.names), min(failures)
    count = f"{len(failures):,} of {total:,} images unreadable"
    first = f"{table.names[row]} ({failures[row]})"
    if len(failures) == total or len(failures) > max_unreadable * total:
        raise DataError(
            f"{table.where}: {count}, allowed is a share of {max_unreadable:g}; the first is "
            f"{first}, all are listed in {decoded.listing}; mend or remove them, or raise "
            "max_unreadable"
        )
    more = ", …" if len(failures) > 1 else ""
    return [f"{count} and left out: {first}{more}; listed in {decoded.listing}."]
