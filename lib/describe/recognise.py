"""What a person typed after `python -m lib.describe` as a name that `dataset` takes."""

from __future__ import annotations

import csv
from pathlib import Path

from lib.data.base import DataError
from lib.data.describe import KINDS
from lib.data.embedded import EMBEDDED

TABLE_COLUMNS = {"label", "level"}  # one of them, beside `image`, makes a csv a table of images


def recognise(given: str) -> str:
    """A data set's name from a name, `folder:PATH`, `csv:PATH`, `npz:PATH` or a bare path.

    A bare path is what it is on disk: a `.csv`, an `.npz`, a folder; a folder that holds a single
    csv of images and labels is described by that csv. Raises DataError for anything else.
    """
    from lib.data import medmnist

    kind, colon, _ = given.partition(":")
    if (colon and kind in KINDS) or given in EMBEDDED or given in medmnist.names():
        return given
    path = Path(given).expanduser()
    if path.is_dir():
        tables = [file for file in sorted(path.glob("*.csv")) if is_table(file)]
        if len(tables) > 1:
            listed = ", ".join(file.name for file in tables)
            raise DataError(f"{given}: holds several tables of images ({listed}); name one")
        return f"csv:{tables[0]}" if tables else f"folder:{path}"
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".csv", ".npz"):
        return f"{suffix[1:]}:{path}"
    if path.exists():
        raise DataError(f"{given}: neither a folder nor a .csv or .npz file")
    if "/" in given or suffix:
        raise DataError(f"{given}: no such folder or file")
    return given  # a misspelt name: `check_dataset` knows what is near to it


def is_table(path: Path) -> bool:
    """Whether a csv has the columns of a table of images."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            line = file.readline()
    except (OSError, UnicodeDecodeError):
        return False
    [header] = list(csv.reader([line], delimiter=";" if ";" in line else ",")) or [[]]
    columns = {name.strip().lower() for name in header}
    return "image" in columns and bool(TABLE_COLUMNS & columns)
