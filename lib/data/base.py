"""What every data set looks like once it is loaded, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Task = Literal["binary", "multi-class", "ordinal", "multi-label"]
SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled"  # images without a label beside these


class DataError(Exception):
    """The data cannot be used as asked; the message says what, where and what to do next."""


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    images: uint8 [N, H, W, C], an array in memory or a read-only memory map.
    y: int64 [N], or uint8 [N, K] of zeros and ones for multi-label tasks, or None without labels.
    ids: str [N], what each image is called where it came from (a file name, or its row number).
    groups: str [N], what must not be torn apart (a patient, a lesion), or None.
    together: str [N], what must not be torn apart where files are copies of one another: groups,
    joined by copies, or without groups digests. None: groups, or else each image by itself.
    """

    images: npt.NDArray[np.uint8]
    y: npt.NDArray[np.int64] | npt.NDArray[np.uint8] | None
    ids: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_] | None = None
    together: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class DataSet:
    """A data set with its three splits and what a reader of a report must know about it.

    name: as typed by the user (`bloodmnist`, `phantom`, `csv:PATH`); title: as printed.
    classes: one name per class (K of them); for multi-label tasks one per label.
    fingerprint: a hash that changes whenever an image, a label or the split changes.
    notes: sentences for the report: known leaks, images skipped, how the split was made.
    unlabelled: images without a label (y None), which pretraining alone sees, beside those of
    train (`lib.data.unlabelled`); None where there are none.
    """

    name: str
    title: str
    task: Task
    classes: tuple[str, ...]
    size: int
    channels: int
    splits: Mapping[str, Split]
    fingerprint: str
    synthetic: bool = False
    source: str = ""
    licence: str = ""
    notes: tuple[str, ...] = field(default=())
    unlabelled: Split | None = None


def labels_of(data: DataSet, name: str) -> npt.NDArray[np.int64]:
    """Labels of a split, int64 [N] or [N, K]; DataError where there are none."""
    y = data.splits[name].y
    if y is None or len(y) == 0:
        raise DataError(f"{data.name}: the {name} split has no labels; a probe needs them")
    return y.astype(np.int64)
