"""What a plan needs of a data set before anything is loaded: mistakes, classes, a fingerprint."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.data.base import SPLITS, DataError, Task
from lib.data.cache import cache_folder, data_folder
from lib.data.decode import MIN_SIDE, glance
from lib.data.embedded import EMBEDDED

if TYPE_CHECKING:
    from lib.data.tables import FileTable

MIN_SIZE, MAX_SIZE = MIN_SIDE, 1024  # pixels
LOOKED = 200  # image files whose beginning is read when a study is planned
KINDS = ("npz", "folder", "csv")
IMAGE_FILES = ("folder", "csv")
PREPROCESSES = ("none", "fundus")


@dataclass(frozen=True)
class DataInfo:
    """What is known of a data set before its images are loaded.

    channels: None where only decoding tells; counts: images per split, unreadable ones included,
    and under `unlabelled`, where there are any, the images that pretraining sees beside train;
    fingerprint: that of the loaded DataSet. classes is empty for a set without labels.
    """

    name: str
    title: str
    task: Task
    classes: tuple[str, ...]
    channels: int | None
    counts: Mapping[str, int]
    fingerprint: str
    synthetic: bool = False
    source: str = ""
    licence: str = ""


def check_dataset(
    name: str,
    size: int,
    data_root: str | Path | None = None,
    *,
    max_unreadable: float = 0.01,
    preprocess: str = "none",
) -> list[str]:
    """Mistakes that show without decoding, downloading or writing anything; none if empty.

    An official MedMNIST file that is not there is no mistake: it will be downloaded.
    `preprocess` is for image files: finished arrays are refused.
    """
    from lib.data import medmnist

    low, high = MIN_SIZE, EMBEDDED[name].sizes[1] if name in EMBEDDED else MAX_SIZE
    mistakes = []
    if isinstance(size, bool) or not isinstance(size, int) or not low <= size <= high:
        mistakes.append(f"size: {size!r} given for {name}; a whole number from {low} to {high}")
    kind, colon, path = name.partition(":")
    if preprocess not in PREPROCESSES:
        mistakes.append(f"preprocess: {preprocess!r}; known are {', '.join(PREPROCESSES)}")
    elif preprocess != "none" and not (colon and kind in IMAGE_FILES):
        mistakes.append(
            f"preprocess: {preprocess} is for image files (folder:PATH, csv:PATH); {name} comes "
            "as finished arrays, set it to none"
        )
    try:
        root = data_folder(data_root)
        if root.exists() and not root.is_dir():
            mistakes.append(f"data_root: {root} is a file, not a folder")
        elif colon and kind in KINDS:
            mistakes += _check_own(name, kind, Path(path).expanduser(), max_unreadable)
        elif name not in EMBEDDED and name not in medmnist.names():
            mistakes.append(_unknown(name, medmnist.names()))
        elif name not in EMBEDDED and not mistakes:
            file, _, _ = medmnist.native_file(name, size, root)
            if file.exists():
                from lib.data.archive import read_headers

                read_headers(file)
    except DataError as error:
        mistakes.append(str(error))
    except OSError as error:
        mistakes.append(f"{error.filename or name}: cannot be read ({error.strerror or error})")
    return mistakes


def _check_own(name: str, kind: str, path: Path, max_unreadable: float) -> list[str]:
    if kind != "folder" and not path.is_file():
        return [f"{path}: no such file ({name})"]
    if kind == "npz":
        from lib.data.npz import read_table

        read_table(path)
        return []
    from lib.data.own import encode_labels, read_own_table

    table = read_own_table(name)
    encode_labels(table)
    missing = [n for n, p in zip(table.names, table.paths, strict=True) if p is None]
    if len(missing) == len(table.names) or len(missing) > max_unreadable * len(table.names):
        return [
            f"{path}: {len(missing):,} of {len(table.names):,} images are not there, the first is "
            f"{missing[0]}; sought in {path.absolute().parent} and its sub-folders"
        ]
    return _look_at(table, path, len(missing), max_unreadable) if max_unreadable < 1 else []


def _look_at(table: FileTable, path: Path, missing: int, max_unreadable: float) -> list[str]:
    """What the beginnings of some files tell: the share that is no image is too large as it is."""
    present = [(n, p) for n, p in zip(table.names, table.paths, strict=True) if p is not None]
    unfit = []
    for name, file in present[:: max(1, len(present) // LOOKED)]:
        if reason := glance(file):
            unfit.append(f"{name} ({reason})")
    if not unfit or missing + len(unfit) <= max_unreadable * len(table.names):
        return []
    return [
        f"{path}: {missing + len(unfit):,} of {len(table.names):,} images or more cannot be read, "
        f"the first is {unfit[0]}; mend or remove them, or raise max_unreadable"
    ]


def _unknown(name: str, names: Sequence[str]) -> str:
    known = [*names, *EMBEDDED]
    base, _, size = name.partition("_")
    if base in known and size.isdigit():
        return f"dataset: {name} is unknown; write `dataset: {base}` and `size: {size}`"
    if name.lower().endswith("3d"):
        return f"dataset: {name} is a 3D set; only MedMNIST's 2D sets are read"
    close = difflib.get_close_matches(name.lower(), known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
    return f"dataset: {name} is unknown; {hint} Own images: npz:PATH, folder:PATH, csv:PATH"


def describe_dataset(
    name: str,
    size: int = 28,
    data_root: str | Path | None = None,
    *,
    split_seed: int = 0,
    preprocess: str = "none",
    cache_root: str | Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> DataInfo:
    """What a plan needs of a data set, without decoding or downloading it.

    Own images are hashed, in parallel and once. Raises DataError like `load_dataset`.
    """
    mistakes = check_dataset(name, size, data_root, max_unreadable=1.0, preprocess=preprocess)
    if mistakes:
        raise DataError(mistakes[0])
    root, cache = data_folder(data_root), cache_folder(data_root, cache_root)
    kind, _, path = name.partition(":")
    if name in EMBEDDED:
        known = EMBEDDED[name]
        return DataInfo(
            name=name,
            title=known.title,
            task=known.task,
            classes=known.classes,
            channels=known.channels,
            counts=dict(zip(SPLITS, known.counts, strict=True)),
            fingerprint=known.fingerprint(size),
            synthetic=True,
        )
    if kind == "npz":
        from lib.data.npz import describe_npz

        found = describe_npz(Path(path).expanduser(), size, cache, split_seed=split_seed)
        table, counts, mark = found
        return DataInfo(
            name=name,
            title=Path(path).name,
            task=table.task,
            classes=table.classes,
            channels=table.channels,
            counts=counts,
            fingerprint=mark,
            source=path,
        )
    if kind in KINDS:
        import numpy as np

        from lib.data.own import survey
        from lib.data.own_split import count_rows

        own = survey(
            name,
            size,
            cache,
            split_seed=split_seed,
            preprocess=preprocess,
            workers=workers,
            progress=progress,
        )
        rows = np.arange(len(own.digests), dtype=np.int64)
        return DataInfo(
            name=name,
            title=own.table.title,
            task=own.task,
            classes=own.classes,
            channels=None,
            counts=count_rows(own, rows, split_seed),
            fingerprint=own.fingerprint,
            source=own.table.where,
        )
    from lib.data import medmnist

    facts = medmnist.info()[name]
    medmnist.check_file(name, size, root, cache)
    return DataInfo(
        name=name,
        title=str(facts["python_class"]),
        task=medmnist.task(name),
        classes=medmnist.classes(name),
        channels=int(facts["n_channels"]),
        counts={s: int(facts["n_samples"][s]) for s in SPLITS},
        fingerprint=medmnist.fingerprint(name, size, root),
        source=medmnist.SOURCE,
        licence=str(facts["license"]),
    )
