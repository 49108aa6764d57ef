"""The twelve MedMNIST 2D sets, as the medmnist package describes them."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.archive import Source, image_header, read_array, read_headers, read_images
from lib.data.base import SPLITS, DataError, DataSet, Split, Task
from lib.data.cache import IN_MEMORY, combined_hash
from lib.data.decode import DECODER_VERSION
from lib.data.download import check_md5, fetch

NATIVE_SIZES = (28, 64, 128, 224)
TASKS: dict[str, Task] = {
    "binary-class": "binary",
    "multi-class": "multi-class",
    "ordinal-regression": "ordinal",
    "multi-label, binary-class": "multi-label",
}
SOURCE = "MedMNIST v2, Yang et al. 2023"
CAVEATS = {
    "dermamnist": (
        "The official split has pictures of one lesion on both sides (train and test), "
        "so test figures are too good."
    ),
    "retinamnist": "Very small: figures swing by about 0.03 AUROC from seed to seed.",
    "breastmnist": "Very small: figures swing by about 0.03 AUROC from seed to seed.",
}


@functools.cache
def info() -> dict[str, dict[str, Any]]:
    """`medmnist.INFO` of the 2D sets, read as the literal that it is.

    Nothing of the package is run: it would import torch, and make a folder in the user's home.
    """
    package = importlib.util.find_spec("medmnist")
    if package is None or package.origin is None:
        raise DataError("the package medmnist is not installed; it names and locates the data sets")
    path = Path(package.origin).with_name("info.py")
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "INFO":
            everything: dict[str, dict[str, Any]] = ast.literal_eval(statement.value)
            return {name: facts for name, facts in everything.items() if not name.endswith("3d")}
    raise DataError(f"{path}: assigns no INFO, which names and locates the data sets")


def names() -> tuple[str, ...]:
    """The twelve names, in the package's order."""
    return tuple(info())


def classes(name: str) -> tuple[str, ...]:
    """Class names in the order of their numbers."""
    labels = info()[name]["label"]
    return tuple(str(labels[str(k)]) for k in range(len(labels)))


def task(name: str) -> Task:
    """The task, in this project's word for it."""
    return TASKS[info()[name]["task"]]


def native_file(name: str, size: int, root: Path) -> tuple[Path, str, int]:
    """Path, official MD5 and native size of the file that images of `size` come from.

    A native size comes from its own file. Another comes from the nearest larger file that is
    there, else from the nearest larger there is (to be downloaded); over 224 from 224.
    """
    larger = [s for s in NATIVE_SIZES if s >= size] or [NATIVE_SIZES[-1]]
    present = [s for s in larger if (root / _file_name(name, s)).exists()]
    native = size if size in NATIVE_SIZES else (present or larger)[0]
    suffix = "" if native == 28 else f"_{native}"
    return root / _file_name(name, native), info()[name][f"MD5{suffix}"], native


def _file_name(name: str, native: int) -> str:
    return f"{name}.npz" if native == 28 else f"{name}_{native}.npz"


def _address(name: str, native: int) -> str:
    mirror = os.environ.get("MEDMNIST_URL")
    if mirror:
        return f"{mirror.rstrip('/')}/{_file_name(name, native)}"
    return str(info()[name]["url" if native == 28 else f"url_{native}"])


def fingerprint(name: str, size: int, root: Path) -> str:
    """Of the official file that `load_medmnist` would read or download, and the size."""
    _, md5, native = native_file(name, size, root)
    return combined_hash([md5, size, 0 if native == size else DECODER_VERSION])


def check_file(name: str, size: int, root: Path, cache: Path) -> None:
    """DataError where the file is there, but is not the official one."""
    path, md5, _ = native_file(name, size, root)
    if path.exists():
        check_md5(path, md5, cache)


def load_medmnist(
    name: str,
    size: int,
    root: Path,
    cache: Path,
    *,
    limit: int = IN_MEMORY,
    progress: bool = True,
) -> DataSet:
    """Load a set with its official splits, downloading the file if it is not there.

    The MD5 of every file is checked (once, then remembered by size and modification time).
    Raises DataError for a file that cannot be had, has another MD5, or is not what INFO says.
    """
    facts = info()[name]
    mark = fingerprint(name, size, root)  # before a download changes what is there
    path, md5, native = native_file(name, size, root)
    fetch(_address(name, native), path, md5, progress=progress)
    check_md5(path, md5, cache)
    source = Source(path, md5, cache, limit)
    splits = {s: _split(name, s, source, size) for s in SPLITS}
    notes = [CAVEATS[name]] if name in CAVEATS else []
    y_test = splits["test"].y
    if name == "chestmnist" and y_test is not None:
        notes.append(
            f"Predicting no finding for every image scores an accuracy of {1 - y_test.mean():.3f}: "
            "read AUROC and average precision."
        )
    if native != size:
        notes.append(f"Images of {size} px are resampled from the official {native} px file.")
    return DataSet(
        name=name,
        title=str(facts["python_class"]),
        task=task(name),
        classes=classes(name),
        size=size,
        channels=int(facts["n_channels"]),
        splits=splits,
        fingerprint=mark,
        source=SOURCE,
        licence=str(facts["license"]),
        notes=tuple(notes),
    )


def _split(name: str, split: str, source: Source, size: int) -> Split:
    header = image_header(source.path, read_headers(source.path), f"{split}_images")
    expected = info()[name]["n_samples"][split]
    if header.shape[0] != expected:
        raise DataError(
            f"{source.path}: {split}_images holds {header.shape[0]} images, official are {expected}"
        )
    y = read_array(source.path, f"{split}_labels")
    y = y.astype(np.uint8) if task(name) == "multi-label" else y.reshape(-1).astype(np.int64)
    ids = np.asarray([f"{split}-{i}" for i in range(len(y))])
    return Split(read_images(source, f"{split}_images", size), y, ids)
