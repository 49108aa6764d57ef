"""`csv:PATH` to a list of image files with their labels, groups and splits."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lib.checks import has_control
from lib.data.base import SPLITS, UNLABELLED, DataError
from lib.data.decode import SUFFIXES

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
UNLABELLED_WORDS = (UNLABELLED, "unlabeled")
SHOWN = 5  # how many offenders an error names


@dataclass(frozen=True)
class FileTable:
    """A list of N image files.

    where: what errors name; title: what reports print; names: as written by the user; paths: None
    where there is no such file; labels: text, with `a|b` for several; groups, splits: None where
    not given; ordinal: the classes are grades; notes: sentences for the report. unlabelled: rows
    without a label beside labelled ones, whose split is `unlabelled` where one is given; None where
    all rows have a label, or none has.
    """

    where: str
    title: str
    names: list[str]
    paths: list[Path | None]
    labels: list[str] | None
    groups: list[str] | None
    splits: list[str] | None
    ordinal: bool = False
    notes: tuple[str, ...] = ()
    unlabelled: list[bool] | None = None


def read_csv(path: Path) -> FileTable:
    """Read a csv with the columns `image,label[,group][,split]`, or Kaggle's `image,level`.

    Images are sought relative to the csv file, then in its sub-folders; an extension may be
    missing. `level` holds grades (ordinal), and names that end in `_left` or `_right` give the
    patient as the group. Without a label column, or with an empty one, images are unlabelled.
    Beside labelled rows, one without a label is unlabelled: its split, where there is such a
    column, is blank, `unlabelled` or train. Where labels are several (`a|b`), a blank one means
    none of these, and only the split `unlabelled` says that there is none.
    Raises DataError naming the file and the lines for anything that cannot be meant.
    """
    columns, lines = _columns(path)
    names = columns["image"]
    label_column = "label" if "label" in columns else "level"
    labels = columns.get(label_column)
    if labels is not None and not any(labels):
        labels = None
    groups, notes = columns.get("group"), []
    if groups is not None:
        _refuse_empty(path, "group", groups, lines)
    elif label_column in columns and label_column == "level":
        groups = [re.sub(r"_(left|right)$", "", _stem(name)) for name in names]
        if len(set(groups)) == len(names):
            groups = None
        else:
            notes.append("Groups are patients, from the names before _left and _right.")
    splits, unlabelled = _read_splits(path, columns.get("split"), label_column, labels, lines)
    _refuse_torn(path, groups, splits, lines)
    finder = _Finder(path.parent)
    paths = [finder.find(name) for name in names]
    # `a.png` and `./a.png` are one file.
    places = [None if p is None else os.path.normpath(p) for p in paths]
    twice = [p for p, times in Counter(p for p in places if p is not None).items() if times > 1]
    if twice:
        rows = [str(lines[i]) for i, p in enumerate(places) if p == twice[0]]
        raise DataError(
            f"{path}: {Path(twice[0]).name} is listed more than once (lines "
            f"{', '.join(rows[:SHOWN])}); give one line an image, several labels as a|b"
        )
    return FileTable(
        where=str(path),
        title=f"{path.absolute().parent.name}/{path.name}",
        names=names,
        paths=paths,
        labels=labels,
        groups=groups,
        splits=splits,
        ordinal=label_column == "level" and labels is not None,
        notes=tuple(notes),
        unlabelled=unlabelled,
    )


def _read_splits(
    path: Path,
    cells: list[str] | None,
    label_column: str,
    labels: list[str] | None,
    lines: list[int],
) -> tuple[list[str] | None, list[bool] | None]:
    """Splits in this project's words, None where none is given, and the unlabelled rows."""
    splits = None if cells is None else [_split_word(cell) for cell in cells]
    known = (*SPLITS, UNLABELLED, "")
    _refuse_split(path, splits, [s not in known for s in splits or ()], lines)
    if labels is None:
        # Nothing is labelled, so nothing is set apart from it.
        splits = None if splits is None else ["train" if s == UNLABELLED else s for s in splits]
        _refuse_split(path, splits, [not s for s in splits or ()], lines)
        return splits, None
    words = splits or [""] * len(labels)
    for line, word, label in zip(lines, words, labels, strict=True):
        if word == UNLABELLED and label:
            raise DataError(
                f"{path}: line {line} has the {label_column} {label} and the split {UNLABELLED}; "
                "blank the one or change the other"
            )
    if any("|" in label for label in labels):
        unlabelled = [word == UNLABELLED for word in words]
    else:
        may_lack = ("", "train", UNLABELLED)
        unlabelled = [
            not label and word in may_lack for word, label in zip(words, labels, strict=True)
        ]
        missing = ["-" if apart else label for apart, label in zip(unlabelled, labels, strict=True)]
        _refuse_empty(path, label_column, missing, lines)
    if not any(unlabelled):
        _refuse_split(path, splits, [not s for s in splits or ()], lines)
        return splits, None
    if not any(word for word, apart in zip(words, unlabelled, strict=True) if not apart):
        return None, unlabelled  # the column says only which rows have no label
    splits = [UNLABELLED if apart else s for s, apart in zip(words, unlabelled, strict=True)]
    _refuse_split(path, splits, [not s for s in splits], lines)
    return splits, unlabelled


def _split_word(cell: str) -> str:
    word = cell.lower()
    return UNLABELLED if word in UNLABELLED_WORDS else SPLIT_WORDS.get(word, cell)


def _refuse_split(
    path: Path, splits: list[str] | None, wrong: list[bool], lines: list[int]
) -> None:
    """DataError for the first row whose split is wrong."""
    for split, bad, line in zip(splits or (), wrong, lines, strict=False):
        if bad:
            raise DataError(
                f"{path}: column split holds {split!r} (line {line}); use train, val and test, or "
                f"{UNLABELLED} where there is no label"
            )


def _columns(path: Path) -> tuple[dict[str, list[str]], list[int]]:
    """The columns by lower-case name, and the line each row stands on."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            semicolons = ";" in file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=";" if semicolons else ",")
            numbered = [(reader.line_num, [c.strip() for c in row]) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a csv file in UTF-8 ({error})") from error
    for line, row in numbered:
        if has_control("".join(row)):
            raise DataError(f"{path}: line {line} holds a control character; remove it")
    if len(numbered) < 2:
        raise DataError(f"{path}: holds no rows; needed are the columns image,label and a row each")
    header = [name.lower() for name in numbered[0][1]]
    if "image" not in header:
        raise DataError(f"{path}: no column image (found: {', '.join(header)})")
    if {"label", "level"} <= set(header):
        raise DataError(f"{path}: has both a column label and a column level; keep one")
    if doubled := [c for c, times in Counter(header).items() if times > 1]:
        raise DataError(f"{path}: column {doubled[0]} occurs more than once")
    for line, row in numbered[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {line} has {len(row)} fields, the first line {len(header)}"
            )
    lines = [line for line, _ in numbered[1:]]
    columns = {c: [row[i] for _, row in numbered[1:]] for i, c in enumerate(header)}
    _refuse_empty(path, "image", columns["image"], lines)
    return columns, lines


def _refuse_empty(path: Path, column: str, cells: list[str], lines: list[int]) -> None:
    empty = [str(line) for cell, line in zip(cells, lines, strict=True) if not cell]
    if empty:
        shown = ", ".join(empty[:SHOWN]) + (", …" if len(empty) > SHOWN else "")
        raise DataError(
            f"{path}: column {column} is empty in {len(empty):,} rows (lines {shown}); fill them "
            "in or remove the rows"
        )


def _refuse_torn(
    path: Path, groups: list[str] | None, splits: list[str] | None, lines: list[int]
) -> None:
    """DataError where a group (a patient, a lesion) is in two splits.

    Unlabelled images of val's and test's groups are no mistake: pretraining leaves them out.
    """
    if groups is None or splits is None:
        return
    first: dict[str, int] = {}
    for i, group in enumerate(groups):
        if splits[i] == UNLABELLED:
            continue
        j = first.setdefault(group, i)
        if splits[i] != splits[j]:
            raise DataError(
                f"{path}: group {group} is in {splits[j]} (line {lines[j]}) and {splits[i]} (line "
                f"{lines[i]}): test figures would be too good; give each group to one split, or "
                "remove the column split to have the images split by group"
            )


def _stem(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


class _Finder:
    """Finds images by name: as written, else with an extension, else in a sub-folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.listings: dict[Path, dict[str, list[Path]]] = {}
        self.subfolders: list[Path] | None = None

    def find(self, name: str) -> Path | None:
        direct = self.base / name
        if direct.is_file():
            return direct
        if self.subfolders is None:
            self.subfolders = sorted(p for p in self.base.iterdir() if p.is_dir())
        folders = [direct.parent] + (self.subfolders if direct.parent == self.base else [])
        for key in (direct.name, _stem(name)):
            found = [p for folder in folders for p in self._listing(folder).get(key, [])]
            if len(found) > 1:
                raise DataError(f"{name} could be {found[0]} or {found[1]}; write its path in full")
            if found:
                return found[0]
        return None

    def _listing(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self.listings:
            listing: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                if path.suffix.lower() in SUFFIXES:
                    for key in (path.name, path.stem):
                        listing.setdefault(key, []).append(path)
            self.listings[folder] = listing
        return self.listings[folder]
