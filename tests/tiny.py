"""Small data sets in MedMNIST's format, one for each task, for tests that really run things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.data.base import DataSet, Split, Task
from lib.data.phantom import draw_cells

COUNTS = {"train": 48, "val": 24, "test": 32}


def images_and_grades(
    n: int, stream: int, classes: int, channels: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Cells of a few kinds at 28 px, every class present, in a fixed order."""
    y = np.arange(n) % classes
    images = draw_cells(y, 28, seed=7, stream=stream)
    if channels == 1:
        images = images.mean(axis=-1, keepdims=True).astype(np.uint8)
    return images, y.astype(np.int64)


def labels_for(
    task: Task, y: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64] | npt.NDArray[np.uint8]:
    """Labels as MedMNIST stores them, [N, 1], or [N, 3] for several labels an image."""
    if task != "multi-label":
        return y[:, None]
    return np.stack([y == 0, y >= 2, y % 2 == 1], axis=1).astype(np.uint8)


def classes_of(task: Task) -> int:
    return 2 if task == "binary" else 4


def write_npz(path: Path, task: Task, channels: int = 3, unlabelled: int = 0) -> Path:
    """A file with MedMNIST's keys; the task is stored beside them, and images without a label."""
    arrays = {}
    if unlabelled:
        images, _ = images_and_grades(unlabelled, 3, classes_of(task), channels)
        arrays["unlabelled_images"] = images[..., 0] if channels == 1 else images
    for stream, (split, n) in enumerate(COUNTS.items()):
        images, y = images_and_grades(n, stream, classes_of(task), channels)
        arrays[f"{split}_images"] = images[..., 0] if channels == 1 else images
        arrays[f"{split}_labels"] = labels_for(task, y)
    np.savez_compressed(path, task=np.array(task), **arrays)  # type: ignore[arg-type]
    return path


def make_dataset(task: Task = "multi-class", channels: int = 3, labelled: bool = True) -> DataSet:
    """The same, as a DataSet in memory."""
    splits = {}
    for stream, (split, n) in enumerate(COUNTS.items()):
        images, grades = images_and_grades(n, stream, classes_of(task), channels)
        y = labels_for(task, grades)
        labels = (y if task == "multi-label" else y[:, 0]) if labelled else None
        ids = np.array([f"{split}-{i}" for i in range(n)])
        splits[split] = Split(images, labels, ids)  # type: ignore[arg-type]
    names = ("a", "b", "c") if task == "multi-label" else ("a", "b", "c", "d")[: classes_of(task)]
    return DataSet("tiny", "tiny", task, names, 28, channels, splits, f"tiny-{task}-{channels}")
