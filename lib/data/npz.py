"""`npz:PATH`: a file with MedMNIST's own keys."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from lib.data.archive import Header, Source, image_header, read_array, read_headers, read_images
from lib.data.base import SPLITS, UNLABELLED, DataError, DataSet, Split, Task
from lib.data.cache import IN_MEMORY, combined_hash, file_hashes, take_rows
from lib.data.decode import DECODER_VERSION
from lib.data.split import carve_val
from lib.data.unlabelled import HELD, apart_from


@dataclass(frozen=True)
class NpzTable:
    """All of an `npz:` file but its images.

    present: the splits it has; y, ids, groups: per split, None where the file has none, ids and
    groups also under `unlabelled` where it has such images; side: of the squares that the images
    are cut to.
    """

    present: tuple[str, ...]
    y: Mapping[str, Any]
    ids: Mapping[str, npt.NDArray[np.str_]]
    groups: Mapping[str, npt.NDArray[np.str_] | None]
    task: Task
    classes: tuple[str, ...]
    channels: int
    side: int
    notes: tuple[str, ...]


def read_table(path: Path) -> NpzTable:
    """Read and check labels, ids, groups, task and classes; DataError names the file and the key.

    Keys: `train_images`, `train_labels`, …, and optionally `SPLIT_ids`, `SPLIT_groups` (of all
    splits or of none), `classes` (a name per class) and `task` (binary, multi-class, ordinal or
    multi-label). The val split may be missing. Without any labels: task multi-class, no classes.
    `unlabelled_images`, with or without ids and groups of their own, are images without a label
    beside the splits.
    """
    headers = read_headers(path)
    present = tuple(s for s in SPLITS if s != "val" or f"{s}_images" in headers)
    parts = (*present, *([UNLABELLED] if f"{UNLABELLED}_images" in headers else []))
    if f"{UNLABELLED}_labels" in headers:
        raise DataError(f"{path}: has {UNLABELLED}_labels; unlabelled images have none, remove it")
    shapes = [image_header(path, headers, f"{s}_images").shape for s in parts]
    sides = {(*s[1:3], s[3] if len(s) == 4 else 1) for s in shapes}
    if len(sides) > 1:
        raise DataError(f"{path}: the splits' images differ in height, width or channels: {sides}")
    labelled = _all_or_none(path, headers, present, "labels")
    counts = {s: shape[0] for s, shape in zip(parts, shapes, strict=True)}
    y: dict[str, Any] = dict.fromkeys(present)
    for s in labelled:
        y[s] = _labels(path, f"{s}_labels", headers, counts[s])
    if labelled and len({v.shape[1:] for v in y.values()}) > 1:
        raise DataError(f"{path}: the splits' *_labels differ in their number of columns")
    task, classes = _task(path, headers, y) if labelled else ("multi-class", ())
    notes = [] if "val" in present else ["No val split in the file: an eighth of train is taken."]
    notes += [] if labelled else ["Without labels: for pretraining only."]
    [(height, width, channels)] = sides
    if height != width:
        notes.append(f"Images are {height} × {width}: cropped to their middle square.")
    names = {s: _strings(path, headers, f"{s}_ids", counts[s]) for s in parts}
    groups = {s: _strings(path, headers, f"{s}_groups", counts[s]) for s in parts}
    _all_or_none(path, headers, present, "groups")
    _refuse_torn(path, {s: groups[s] for s in present})
    return NpzTable(
        present=present,
        y=y,
        ids={
            s: v if v is not None else np.asarray([f"{s}-{i}" for i in range(counts[s])])
            for s, v in names.items()
        },
        groups=groups,
        task=task,
        classes=classes,
        channels=channels,
        side=min(height, width),
        notes=tuple(notes),
    )


def describe_npz(
    path: Path, size: int, cache: Path, *, split_seed: int = 0
) -> tuple[NpzTable, dict[str, int], str]:
    """The table, how many images each split gets, and the fingerprint; no image is read.

    Under `unlabelled`, where there are any, stand the images that pretraining sees beside train.
    """
    table = read_table(path)
    [digest] = file_hashes([path], cache)
    counts = {s: len(table.ids[s]) for s in table.present}
    held = [table.groups.get(s) for s in HELD]
    carved = None
    if "val" not in counts:
        carved = split_seed
        try:
            rows = carve_val(table.y["train"], table.groups["train"], split_seed, n=counts["train"])
        except DataError as error:
            raise DataError(f"{path}: no val split, and of train {error}") from error
        counts = {"train": len(rows[0]), "val": len(rows[1]), "test": counts["test"]}
        whole = table.groups["train"]
        held[0] = None if whole is None else whole[rows[1]]
    if UNLABELLED in table.ids:
        seen = apart_from(table.groups[UNLABELLED], held)
        n = len(table.ids[UNLABELLED] if seen is None else seen)
        counts |= {UNLABELLED: n} if n else {}
    return table, counts, combined_hash([DECODER_VERSION, digest, size, carved])


def load_npz(
    name: str,
    path: Path,
    size: int,
    cache: Path,
    *,
    split_seed: int = 0,
    limit: int = IN_MEMORY,
) -> DataSet:
    """Load `npz:PATH`; a missing val split is carved from train. Raises DataError."""
    table, _, mark = describe_npz(path, size, cache, split_seed=split_seed)
    [digest] = file_hashes([path], cache)
    notes = list(table.notes)
    if table.side != size:
        notes.append(f"Images of {size} px are resampled from {table.side} px.")
    source = Source(path, digest, cache, limit)
    more = None
    if UNLABELLED in table.ids:
        images = read_images(source, f"{UNLABELLED}_images", size)
        more = Split(images, None, table.ids[UNLABELLED], table.groups[UNLABELLED])
    return DataSet(
        name=name,
        title=path.name,
        task=table.task,
        classes=table.classes,
        size=size,
        channels=table.channels,
        splits=_splits(table, source, size, split_seed),
        fingerprint=mark,
        source=str(path),
        notes=tuple(notes),
        unlabelled=more,
    )


def _splits(table: NpzTable, source: Source, size: int, seed: int) -> dict[str, Split]:
    splits = {
        s: Split(
            read_images(source, f"{s}_images", size), table.y[s], table.ids[s], table.groups[s]
        )
        for s in table.present
    }
    if "val" not in splits:
        whole = splits["train"]
        parts = carve_val(whole.y, whole.groups, seed, n=len(whole))
        for s, rows in zip(("train", "val"), parts, strict=True):
            stem = f"{source.path.stem}-{source.digest[:20]}-{size}px-{s}-seed{seed}"
            splits[s] = Split(
                take_rows(whole.images, rows, source.cache / "npz" / f"{stem}.npy", source.limit),
                None if whole.y is None else whole.y[rows],
                whole.ids[rows],
                None if whole.groups is None else whole.groups[rows],
            )
    return {s: splits[s] for s in SPLITS}


def _all_or_none(
    path: Path, headers: Mapping[str, Header], present: tuple[str, ...], what: str
) -> tuple[str, ...]:
    """The splits that have an array `SPLIT_what`: all or none, else DataError."""
    having = tuple(s for s in present if f"{s}_{what}" in headers)
    if having and having != present:
        absent = next(s for s in present if s not in having)
        raise DataError(
            f"{path}: has {having[0]}_{what} but no {absent}_{what}; give all splits theirs, or "
            "none"
        )
    return having


def _refuse_torn(path: Path, groups: Mapping[str, npt.NDArray[np.str_] | None]) -> None:
    """DataError where a group (a patient, a lesion) is in two splits."""
    known = {s: set(g.tolist()) for s, g in groups.items() if g is not None}
    for a, b in itertools.combinations(known, 2):
        if torn := sorted(known[a] & known[b]):
            raise DataError(
                f"{path}: group {torn[0]} is in {a} and {b} ({len(torn):,} such groups): test "
                "figures would be too good; give each group to one split"
            )


def _labels(path: Path, key: str, headers: Mapping[str, Header], n: int) -> npt.NDArray[Any]:
    """int64 [N], or uint8 [N, K] for K > 1 columns."""
    given = headers[key].shape
    if len(given) not in (1, 2) or given[0] != n:
        shape = " × ".join(map(str, given))
        raise DataError(f"{path}: {key} is {shape}; there are {n} images, so N or N × K with N {n}")
    y = read_array(path, key)
    whole = y.dtype.kind in "iubf" and np.isfinite(y).all() and np.array_equal(y, np.floor(y))
    if not whole:
        raise DataError(f"{path}: {key} holds {y.dtype} values that are not whole numbers")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    low, high = (int(y.min()), int(y.max())) if y.size else (0, 0)
    if y.ndim == 2 and not (0 <= low <= high <= 1):
        raise DataError(f"{path}: {key} has {y.shape[1]} columns, but {low} to {high}, not 0 or 1")
    if low < 0:
        raise DataError(f"{path}: {key} holds {low}; classes count from 0")
    return y.astype(np.int64 if y.ndim == 1 else np.uint8)


def _task(
    path: Path, headers: Mapping[str, Header], y: Mapping[str, Any]
) -> tuple[Task, tuple[str, ...]]:
    several = y["train"].ndim == 2
    k = y["train"].shape[1] if several else max(int(v.max()) for v in y.values()) + 1
    if "classes" in headers:
        names = tuple(str(c) for c in np.atleast_1d(read_array(path, "classes")))
        if len(names) < k or (several and len(names) != k) or len(set(names)) < len(names):
            raise DataError(
                f"{path}: classes holds {len(names)} names ({', '.join(names)}), labels {k}"
            )
    else:
        if not several:
            seen = np.unique(np.concatenate(list(y.values())))
            if len(seen) < k:
                gap = int(np.flatnonzero(seen != np.arange(len(seen)))[0])
                raise DataError(
                    f"{path}: *_labels go up to {k - 1}, but class {gap} never occurs; number "
                    "classes from 0 without gaps, or name all of them in an array `classes`"
                )
        names = tuple(map(str, range(k)))
    if len(names) < 2:
        raise DataError(f"{path}: *_labels hold one class only; two are needed")
    task: Task = "multi-label" if several else "binary" if len(names) == 2 else "multi-class"
    if "task" in headers:
        given = str(read_array(path, "task"))
        options = ("multi-label",) if several else ("binary", "multi-class", "ordinal")
        if (
            given not in get_args(Task)
            or given not in options
            or (given == "binary" and len(names) > 2)
        ):
            raise DataError(f"{path}: task is {given!r}; these labels allow {', '.join(options)}")
        task = next(t for t in get_args(Task) if t == given)
    return task, names


def _strings(
    path: Path, headers: Mapping[str, Header], key: str, n: int
) -> npt.NDArray[np.str_] | None:
    if key not in headers:
        return None
    if headers[key].shape not in ((n,), (n, 1)):
        shape = " × ".join(map(str, headers[key].shape))
        raise DataError(f"{path}: {key} is {shape or 'a single value'}; there are {n} images")
    return read_array(path, key).reshape(n).astype(np.str_)
