"""Whose results a study's folder holds: two params files of one study name would share it.

The runs themselves could not be confused, since a run is known by its hash; but summary.csv and
index.html would be of whichever file ran last, and the other's runs would look superseded.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from lib.files import write_json

RECORD = "study.json"
HEAD = 2**16  # bytes of a neighbouring file that are looked at


def label_of(path: Path) -> str:
    """A params file by its folder's name and its own, `params/evening.yaml`; "" for a pipe."""
    if not path.is_file():
        return ""
    return "/".join(path.absolute().parts[-2:])


def check_owner(study: str, path: Path, results: Path) -> list[str]:
    """What is wrong with `study` as the name of the params file at `path`; empty if nothing.

    Another file beside it may have the same name, or `results/STUDY/study.json` may say that
    another file's results are there. A file that was renamed or moved is another file: the
    message says what to do.
    """
    label = label_of(path)
    if not label:
        return []
    for other in sorted([*path.parent.glob("*.yaml"), *path.parent.glob("*.yml")]):
        if other.is_file() and not other.samefile(path) and names_study(other, study):
            return [f"study: {study} is also the name in {other}; results would mix: rename one"]
    record = results / study / RECORD
    try:
        owner = json.loads(record.read_text(encoding="utf-8"))["params"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if owner == label:
        return []
    return [
        f"study: {study}: {results / study} holds the results of {owner}, this is {label}; give "
        f"the study another name, or delete {record} if the file was renamed or moved"
    ]


def names_study(path: Path, study: str) -> bool:
    """Whether a file has the line `study: NAME`, as a params file does."""
    try:
        with path.open("rb") as file:
            text = file.read(HEAD).decode("utf-8", "replace")
    except OSError:
        return False
    pattern = rf"""^study:[ ]*["']?{re.escape(study)}["']?[ ]*(#.*)?\r?$"""
    return re.search(pattern, text, re.MULTILINE) is not None


def record_owner(study_folder: Path, label: str) -> None:
    """Note beside the results which params file they are of."""
    if label:
        study_folder.mkdir(parents=True, exist_ok=True)
        write_json(study_folder / RECORD, {"params": label})
