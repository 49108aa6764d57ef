"""Tiny data sets of every task type with patterns a probe can learn, and runs to go with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataSet, Split, Task
from lib.identity import RANDOM, Origin
from lib.run import Run

TASKS: tuple[Task, ...] = ("binary", "multi-class", "ordinal", "multi-label")
NAMES: dict[Task, tuple[str, ...]] = {
    "binary": ("healthy", "ill"),
    "multi-class": ("disc", "ring", "bar"),
    "ordinal": ("none", "mild", "severe"),
    "multi-label": ("effusion", "mass"),
}
COUNTS = {"train": 36, "val": 18, "test": 24}
SIZE = 12


def patterns(member: npt.NDArray[np.bool_], channels: int, seed: int) -> npt.NDArray[np.uint8]:
    """Noise, with a bright stripe [rows 4k to 4k + 3] for each class k an image belongs to."""
    N, K = member.shape
    noise = np.random.default_rng(seed).normal(80, 35, (N, SIZE, SIZE, channels))
    for k in range(K):
        noise[member[:, k], 4 * k : 4 * k + 3] += 45
    return noise.clip(0, 255).astype(np.uint8)


def make_split(name: str, task: Task, channels: int, *, grouped: bool) -> Split:
    n, K, seed = COUNTS[name], len(NAMES[task]), list(COUNTS).index(name)
    y: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    if task == "multi-label":
        # None, the first, the second, both: a quarter of the images carry no label at all.
        member = np.array([[i % 4 in (1, 3), i % 4 in (2, 3)] for i in range(n)])
        y = member.astype(np.uint8)
    else:
        y = np.arange(n, dtype=np.int64) % K
        member = y[:, None] == np.arange(K)
    ids = np.array([f"{name}-{i}.png" for i in range(n)])
    groups = np.array([f"patient-{i // 2}" for i in range(n)]) if grouped else None
    return Split(patterns(member, channels, seed), y, ids, groups)


def make_data(task: Task = "multi-class", *, grouped: bool = False, **changes: Any) -> DataSet:
    """A data set of 36 + 18 + 24 images at 12 px; binary ones are grey, the others RGB."""
    channels = 1 if task == "binary" else 3
    splits = {name: make_split(name, task, channels, grouped=grouped) for name in COUNTS}
    about = {
        "name": f"tiny-{task}",
        "title": f"Tiny {task}",
        "task": task,
        "classes": NAMES[task],
        "size": SIZE,
        "channels": channels,
        "splits": splits,
        "fingerprint": "f00d",
    }
    return DataSet(**{**about, **changes})


def unlabelled() -> DataSet:
    """What the loader gives for images without labels: no classes, y of None."""
    data = make_data("binary")
    splits = {name: Split(s.images, None, s.ids) for name, s in data.splits.items()}
    return dataclasses.replace(data, task="multi-class", classes=(), splits=splits)


def with_unlabelled(n: int, groups: list[str] | None = None, task: Task = "multi-class") -> DataSet:
    """A data set with n images without a label beside its labelled ones; groups: of these n."""
    data = make_data(task, grouped=groups is not None)
    images = patterns(np.zeros((n, 3), bool), data.channels, seed=9)
    names = np.array([f"more-{i}.png" for i in range(n)])
    more = Split(images, None, names, None if groups is None else np.array(groups))
    return dataclasses.replace(data, unlabelled=more)


def make_run(folder: Path, origin: Origin = RANDOM, **params: Any) -> Run:
    """A run as `start` gives it to 02_probe, without reading any data."""
    known = {
        "dataset": "phantom",
        "size": SIZE,
        "init": "scratch",
        "encoder": "resnet18",
        "stem": "strided",
        "floors": True,
        "seed": 0,
        "study": "tiny",
    }
    values = SimpleNamespace(**{**known, **params})
    return Run("probe-tiny-s0-0", "02_probe", values, folder, origin, "cpu", "fp32", False)
