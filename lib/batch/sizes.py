"""What a study takes on the disk, and what of each run is kept (`keep` in a params file)."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
# What a file belongs to, by its name or the folder it lies in; the rest is numbers.
KINDS = {
    "encoder.safetensors": "encoders",
    "checkpoints": "checkpoints",
    "logs": "logs",
    "run.log": "logs",
    "report.html": "reports",
    "notebook.ipynb": "notebooks",
}
# How much is kept: what is thrown away when a run is complete, and when nothing needs it any more.
KEEP = {
    "all": ((), ()),
    "encoders": (("checkpoints",), ()),
    "reports": (("checkpoints", "logs"), ("encoder.safetensors", "notebook.ipynb")),
}


def size_in_words(count: float) -> str:
    """`1.2 GB`, `45 MB`, `3.1 kB`, `12 bytes`."""
    for unit, name in UNITS:
        if count >= unit:
            number = count / unit
            return f"{number:.0f} {name}" if number >= 10 else f"{number:.1f} {name}"
    return f"{count:.0f} bytes"


def sized_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files of a folder and the bytes that each takes, none where there is no such folder.

    What others move away or remove meanwhile is left out: `Path.rglob` would raise.
    """
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.lstat().st_size


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take, in bytes."""
    return sum(size for _, size in sized_files(folder))


def study_bytes(study_folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Bytes by kind (`encoders`, `reports`, …) of the finished runs named, the largest first.

    `unfinished` is what the work folder holds of any run.
    """
    found: Counter[str] = Counter()
    for name in dict.fromkeys(names):
        folder = study_folder / "runs" / name
        for path, size in sized_files(folder):
            parts = path.relative_to(folder).parts
            kind = next((KINDS[part] for part in parts if part in KINDS), "numbers")
            found[kind] += size
    unfinished = folder_bytes(study_folder / "work")
    if unfinished > 100_000:  # locks and the like are not worth a word
        found["unfinished"] = unfinished
    return dict(found.most_common())


def say_bytes(sizes: dict[str, int]) -> str:
    """`120 MB: encoders 90 MB, reports 25 MB, numbers 5.0 MB`."""
    parts = ", ".join(f"{kind} {size_in_words(count)}" for kind, count in sizes.items())
    return f"{size_in_words(sum(sizes.values()))}: {parts}" if sizes else "0 bytes"
