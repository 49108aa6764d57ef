"""Predictions on disk: one CSV per run, from which every reported number can be recomputed."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from lib.data.base import Task
from lib.files import replacing

FIXED = ("split", "task", "id", "group")


@dataclass(frozen=True)
class Predictions:
    """The scores of one model on one split.

    ids: str [N]; groups: str [N] or None; y: int64 [N], or int64 [N, K] of zeros and ones for
    multi-label tasks; scores: float32 [N, K], K = len(classes). key tells several of them in one
    file apart, with the same fields for all: {"protocol": "linear", "labels": "100", "seed": "0"}.
    """

    ids: npt.NDArray[np.str_]
    y: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    task: Task
    classes: tuple[str, ...]
    split: str
    groups: npt.NDArray[np.str_] | None = None
    key: Mapping[str, str] = field(default_factory=dict)


def write_predictions(path: Path, collected: Sequence[Predictions]) -> None:
    """Write all predictions of a run to one CSV file, complete or not at all.

    Columns: those of `key`, then split, task, id, group, then y (the number of the class, from 0)
    or one `y_<class>` per label, then one `score_<class>` per class. Scores are rounded to float32
    and written with 9 significant digits, which give the same float32 back. Raises ValueError
    where there is nothing to write, or the parts do not share fields, classes and task.
    """
    if not collected:
        raise ValueError(f"{path}: no predictions to write")
    first = collected[0]
    for part in collected:
        _check(path, part)
        if _form(part) != _form(first):
            found = f"{_form(first)} and {_form(part)}"
            raise ValueError(
                f"{path}: one file has one form of rows; found {found}; write two files"
            )
    names = [(*map(str, part.key.values()), part.split) for part in collected]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: two predictions are both called {twice}; give them other keys")
    header = [*first.key, *FIXED, *_targets(first), *(f"score_{name}" for name in first.classes)]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for part in collected:
            writer.writerows(_rows(part))


def read_predictions(path: Path) -> list[Predictions]:
    """Read what `write_predictions` wrote, in its order, one entry per key and split.

    Raises ValueError, with the file and the line, for a table of another form.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        start = header.index("split") if "split" in header else 0
        body = start + len(FIXED)
        if tuple(header[start:body]) != FIXED:
            raise ValueError(f"{path}: expected columns {', '.join(FIXED)}; found {header[:12]}")
        columns = range(body, len(header))
        scores_at = next((i for i in columns if header[i].startswith("score_")), body)
        if scores_at == body:
            raise ValueError(f"{path}: no labels before the scores; found columns {header[body:]}")
        parts: dict[tuple[str, ...], list[list[str]]] = {}
        for row in reader:
            if len(row) != len(header):
                where = f"{path}, line {reader.line_num}"
                raise ValueError(f"{where}: expected {len(header)} fields, found {len(row)}")
            parts.setdefault(tuple(row[: start + 2]), []).append(row)
    return [_read_part(path, header, rows, start, scores_at) for rows in parts.values()]


def _read_part(
    path: Path, header: list[str], rows: list[list[str]], start: int, scores_at: int
) -> Predictions:
    split, task = rows[0][start : start + 2]
    if task not in get_args(Task):
        raise ValueError(f"{path}: unknown task {task!r}; expected {', '.join(get_args(Task))}")
    body = start + len(FIXED)
    y = np.array([[int(value) for value in row[body:scores_at]] for row in rows])
    groups = np.array([row[body - 1] for row in rows])
    part = Predictions(
        ids=np.array([row[body - 2] for row in rows]),
        y=y if task == "multi-label" else y[:, 0],
        # by way of float64: nine digits are never near the middle between two float32
        scores=np.array([list(map(float, row[scores_at:])) for row in rows]).astype(np.float32),
        task=cast(Task, task),
        classes=tuple(name.removeprefix("score_") for name in header[scores_at:]),
        split=split,
        groups=groups if (groups != "").any() else None,
        key=dict(zip(header[:start], rows[0], strict=False)),
    )
    if _targets(part) != header[body:scores_at]:
        raise ValueError(f"{path}: labels {header[body:scores_at]} do not fit task {task!r}")
    return part


def _form(part: Predictions) -> tuple[object, ...]:
    return (tuple(part.key), part.task, tuple(part.classes))


def _targets(part: Predictions) -> list[str]:
    return [f"y_{name}" for name in part.classes] if part.task == "multi-label" else ["y"]


def _check(path: Path, part: Predictions) -> None:
    N, K = len(part.ids), len(part.classes)
    clash = set(part.key) & {*FIXED, *_targets(part)}
    if N == 0 or clash:
        found = f"key fields named {', '.join(clash)}" if clash else "no image"
        raise ValueError(f"{path}: {part.split} predictions with {found}")
    y_shape = (N, K) if part.task == "multi-label" else (N,)
    group_shape = (N,) if part.groups is None else np.shape(part.groups)
    shapes = (np.shape(part.y), np.shape(part.scores), group_shape)
    if shapes != (y_shape, (N, K), (N,)):
        raise ValueError(f"{path}: {N} ids, {K} classes, but y, scores, groups of shape {shapes}")


def _rows(part: Predictions) -> Iterator[list[str]]:
    N = len(part.ids)
    start = [*map(str, part.key.values()), part.split, part.task]
    groups = [""] * N if part.groups is None else map(str, part.groups)
    labels = np.asarray(part.y, dtype=np.int64).reshape(N, -1).tolist()
    scores = np.asarray(part.scores, dtype=np.float32).tolist()
    for name, group, label, score in zip(part.ids, groups, labels, scores, strict=True):
        yield [*start, str(name), group, *map(str, label), *(f"{s:.9g}" for s in score)]
