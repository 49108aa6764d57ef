"""`folder:PATH` to a list of image files with their labels and splits."""

from __future__ import annotations

from pathlib import Path

from lib.checks import has_control
from lib.data.base import SPLITS, UNLABELLED, DataError
from lib.data.decode import SUFFIXES
from lib.data.tables import SPLIT_WORDS, UNLABELLED_WORDS, FileTable


def read_folder(path: Path) -> FileTable:
    """Read a folder with one sub-folder a class, or with train, (val,) test, each so divided.

    Images may lie deeper inside a class. A folder of images without sub-folders is unlabelled, and
    so are those in a sub-folder `unlabelled`, beside the classes or beside train and test.
    Raises DataError for a missing or empty folder, or for only one class.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    tops, apart = _classes_of(path)
    parts = {SPLIT_WORDS.get(p.name.lower(), ""): p for p in tops}
    given = {"train", "test"} <= set(parts) <= set(SPLITS)
    found: list[tuple[Path, str, str]] = []
    other = loose = 0
    for split, top in parts.items() if given else [("", path)]:
        class_folders, without = (tops, []) if top == path else _classes_of(top)
        if without and split != "train":
            raise DataError(
                f"{without[0]}: images without a label can only be trained on; move the folder "
                f"beside {top.name}"
            )
        apart += without
        if class_folders:
            loose += sum(p.suffix.lower() in SUFFIXES for p in top.iterdir() if p.is_file())
        for folder in class_folders or [top]:
            images, rest = _files(folder)
            found += [(file, folder.name if class_folders else "", split) for file in images]
            other += rest
    labels, unlabelled = _labels_of_folders(path, [label for _, label, _ in found]), None
    # Without class folders, everything below the folder is unlabelled, these too.
    if given or tops:
        split = UNLABELLED if labels is not None else "train"
        for folder in apart:
            images, rest = _files(folder)
            found += [(file, "", split) for file in images]
            other += rest
    if labels is not None and len(found) > len(labels):
        labels += [""] * (len(found) - len(labels))
        unlabelled = [not label for label in labels]
    if not found:
        raise DataError(f"{path}: no images in it ({', '.join(SUFFIXES)})")
    names = [str(file.relative_to(path)) for file, _, _ in found]
    if odd := [name for name in names if has_control(name)]:
        raise DataError(f"{path}: {odd[0]!r}: a name that is not UTF-8 or no line; rename it")
    notes = [f"{other:,} files without an image's extension are ignored."] if other else []
    if loose:
        notes.append(f"{loose:,} images outside the class folders are ignored.")
    return FileTable(
        where=str(path),
        title=path.absolute().name,
        names=names,
        paths=[file for file, _, _ in found],
        labels=labels,
        groups=None,
        splits=[split for _, _, split in found] if given else None,
        notes=tuple(notes),
        unlabelled=unlabelled,
    )


def _classes_of(path: Path) -> tuple[list[Path], list[Path]]:
    """The sub-folders, and apart from them those that hold images without a label."""
    folders = _subfolders(path)
    apart = [p for p in folders if p.name.lower() in UNLABELLED_WORDS]
    return [p for p in folders if p not in apart], apart


def _labels_of_folders(path: Path, labels: list[str]) -> list[str] | None:
    """The labels, or None where there are none; DataError where only some splits have classes."""
    if set(labels) <= {""}:
        return None
    if "" in labels:
        raise DataError(f"{path}: one split has class folders and another has none")
    return labels


def _files(folder: Path) -> tuple[list[Path], int]:
    """The images in a folder, at any depth, and how many other files it holds.

    DataError for a folder that is a link to where it lies: it would hold every other's images.
    """
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder}: a link to a folder that it lies in; remove it")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    return images, len(files) - len(images)


def _subfolders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
