"""Every image of a data set read once, in parallel: what each is, and which cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.bars import Bar
from lib.data.base import SPLITS, UNLABELLED, DataError, Task
from lib.data.cache import cache_folder, data_folder, file_hashes
from lib.data.decode import bit_depth, centre_square, decode_image, resample, to_uint8
from lib.data.describe import IMAGE_FILES, check_dataset
from lib.data.load import load_dataset
from lib.data.parallel import for_each_row
from lib.data.unlabelled import HELD
from lib.describe.pictures import Picture, picture_from_array, picture_from_file

READ_SIZE = 28  # pixels at which sets that come in several sizes are read unless told otherwise


@dataclass(frozen=True)
class Look:
    """A data set of N images, seen once.

    name: as `dataset` takes it. ids: what each image is called; splits: "" where none is given.
    labels: the classes of each image (none, one or several), or None without labels; unlabelled:
    rows without a label beside labelled ones, which have no class and whose split is train where
    one is given; groups: or None. pictures: None where one cannot be read; failures: row → why.
    fetch: the image of a row at a size, uint8 [size, size, C]; data: the bytes of its file, where
    images are files. notes: what reading the table said.
    """

    name: str
    title: str
    where: str
    task: Task
    classes: tuple[str, ...]
    ids: list[str]
    splits: list[str]
    labels: list[tuple[str, ...]] | None
    groups: list[str] | None
    pictures: list[Picture | None]
    failures: Mapping[int, str]
    fetch: Callable[[int, int], npt.NDArray[np.uint8]]
    notes: tuple[str, ...] = ()
    data: Callable[[int], bytes] | None = None
    unlabelled: frozenset[int] = frozenset()

    @property
    def files(self) -> bool:
        """Whether the images are files of their own, which can be read at any size."""
        return self.name.partition(":")[0] in IMAGE_FILES and ":" in self.name

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def readable(self) -> list[int]:
        """Rows of the images that could be read."""
        return [row for row, picture in enumerate(self.pictures) if picture is not None]

    @property
    def labelled(self) -> list[int]:
        """Readable rows but for the unlabelled ones."""
        return [row for row in self.readable if row not in self.unlabelled]

    @property
    def copied(self) -> set[int]:
        """Unlabelled files that are byte-for-byte copies of a labelled one: a study drops them."""
        known = {self.pictures[row].digest for row in self.labelled if self.files}  # type: ignore[union-attr]
        rows = self.unlabelled.intersection(self.readable)
        return {row for row in rows if self.pictures[row].digest in known}  # type: ignore[union-attr]

    @property
    def beside_train(self) -> set[int]:
        """Unlabelled rows that pretraining sees: of no group in val or test, and no copies."""
        rows = set(self.unlabelled.intersection(self.readable) - self.copied)
        if self.groups is None:
            return rows
        held = {self.groups[row] for row in self.labelled if self.splits[row] in HELD}
        return {row for row in rows if self.groups[row] not in held}


def look_at(
    name: str,
    size: int | None = None,
    data_root: str | Path | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Look:
    """Read all images of a data set named as `dataset` takes it.

    size: of the MedMNIST file or the phantom, in pixels; image files are read as they are.
    Raises DataError, in one line, for what `load_dataset` would refuse, but for unreadable images:
    these are listed.
    """
    mistakes = check_dataset(name, size or READ_SIZE, data_root, max_unreadable=1.0)
    if mistakes:
        raise DataError(mistakes[0])
    kind, colon, _ = name.partition(":")
    if colon and kind in IMAGE_FILES:
        return _look_at_files(name, workers, progress)
    return _look_at_arrays(name, size, data_root, workers, progress)


def _look_at_files(name: str, workers: int | None, progress: bool) -> Look:
    from lib.data.own import encode_labels, read_own_table

    table = read_own_table(name)
    _, classes, task = encode_labels(table)
    several = task == "multi-label"
    labels = None
    if table.labels is not None:
        parts = [text.split("|") if several else [text] for text in table.labels]
        labels = [tuple(p.strip() for p in row if p.strip()) for row in parts]

    def data(row: int) -> bytes:
        path = table.paths[row]
        if path is None:
            raise FileNotFoundError("file not found")
        return path.read_bytes()

    def fetch(row: int, size: int) -> npt.NDArray[np.uint8]:
        decoded = decode_image(data(row), size)
        deep = decoded.pixels.dtype == np.uint16  # shown on its own scale
        return to_uint8(decoded.pixels, bit_depth(decoded.peak)) if deep else decoded.pixels

    pictures, failures = _read_all(
        len(table.names), lambda row: picture_from_file(data(row)), table.title, workers, progress
    )
    splits = ["train" if s == UNLABELLED else s for s in table.splits or [""] * len(table.names)]
    return Look(
        name, table.title, table.where, task, classes, table.names, splits, labels,
        table.groups, pictures, failures, fetch, table.notes, data,
        frozenset(row for row, apart in enumerate(table.unlabelled or ()) if apart),
    )  # fmt: skip


@dataclass(frozen=True)
class _Arrays:
    """Finished arrays: per split, and `unlabelled`, images [N, H, W(, C)], y, ids and groups."""

    title: str
    where: str
    task: Task
    classes: tuple[str, ...]
    images: Mapping[str, Any]
    y: Mapping[str, Any]
    ids: Mapping[str, npt.NDArray[np.str_]]
    groups: Mapping[str, npt.NDArray[np.str_] | None]
    notes: tuple[str, ...]


def _look_at_arrays(
    name: str, size: int | None, data_root: str | Path | None, workers: int | None, progress: bool
) -> Look:
    found = _npz(name, data_root) if name.startswith("npz:") else _loaded(name, size, data_root)
    present = [s for s in (*SPLITS, UNLABELLED) if s in found.images]
    lengths = [len(found.images[s]) for s in present]
    starts = np.cumsum([0, *lengths])

    def image(row: int) -> npt.NDArray[np.uint8]:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        pixels = np.asarray(found.images[present[part]][row - starts[part]])
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def fetch(row: int, size: int) -> npt.NDArray[np.uint8]:
        return np.asarray(resample(centre_square(image(row)[None]), size)[0], np.uint8)

    pictures, failures = _read_all(
        int(starts[-1]), lambda row: picture_from_array(image(row)), found.title, workers, progress
    )
    labels = None
    apart = lengths[-1] if present[-1] == UNLABELLED else 0
    if found.classes and found.y[present[0]] is not None:
        rows = [row for s in present if s != UNLABELLED for row in found.y[s]]
        if found.task == "multi-label":
            labels = [tuple(found.classes[k] for k in np.flatnonzero(row)) for row in rows]
        else:
            labels = [(found.classes[int(row)],) for row in rows]
        labels += [()] * apart
    grouped = all(found.groups[s] is not None for s in present)
    groups = [str(g) for s in present for g in found.groups[s]] if grouped else None  # type: ignore[union-attr]
    return Look(
        name, found.title, found.where, found.task, found.classes,
        [str(i) for s in present for i in found.ids[s]],
        ["train" if s == UNLABELLED else s
         for s, n in zip(present, lengths, strict=True) for _ in range(n)],
        labels, groups, pictures, failures, fetch, found.notes,
        unlabelled=frozenset(range(int(starts[-1]) - apart, int(starts[-1]))),
    )  # fmt: skip


def _npz(name: str, data_root: str | Path | None) -> _Arrays:
    """The file's own splits: a missing val is not carved from train here."""
    from lib.data.archive import Source, read_images
    from lib.data.npz import read_table

    path = Path(name.partition(":")[2]).expanduser()
    table, cache = read_table(path), cache_folder(data_root)
    source = Source(path, file_hashes([path], cache)[0], cache)
    images = {s: read_images(source, f"{s}_images", table.side) for s in table.ids}
    return _Arrays(
        path.name, str(path), table.task, table.classes, images, table.y, table.ids,
        table.groups, table.notes,
    )  # fmt: skip


def _loaded(name: str, size: int | None, data_root: str | Path | None) -> _Arrays:
    data = load_dataset(name, size or READ_SIZE, data_root)
    parts = data.splits.items()
    where = data.source or "drawn by this project"
    return _Arrays(
        data.title,
        where if data.synthetic else f"{where}, in {data_folder(data_root)}",
        data.task,
        data.classes,
        {s: p.images for s, p in parts},
        {s: p.y for s, p in parts},
        {s: p.ids for s, p in parts},
        {s: p.groups for s, p in parts},
        data.notes,
    )


def _read_all(
    n: int, read: Callable[[int], Picture], label: str, workers: int | None, progress: bool
) -> tuple[list[Picture | None], dict[int, str]]:
    """All pictures, and why some are none."""
    pictures: list[Picture | None] = [None] * n
    failures: dict[int, str] = {}

    def work(row: int) -> None:
        try:
            pictures[row] = read(row)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise anything on a damaged file; it is listed
            failures[row] = " ".join(str(error).split()) or type(error).__name__

    for_each_row(n, work, Bar(f"Looking at {label}", n, "image", show=progress), workers)
    return pictures, dict(sorted(failures.items()))
