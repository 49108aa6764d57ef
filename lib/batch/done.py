"""What stands on the disk of a run: complete, half made, or left by a process that was killed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lib.files import PARTIAL, to_disk, write_text

# In a work folder: the run is complete and on its way to its final place.
COMPLETE = "complete"
# What a run needs while it is made, and nobody afterwards.
SCRAPS = ("spec.json", "outcome.json", "progress")


def read_metrics(study_folder: Path, name: str) -> dict[str, Any] | None:
    """The metrics.json of a complete run; None where there is none, or none that can be read."""
    file = study_folder / "runs" / name / "metrics.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def is_done(study_folder: Path, name: str) -> bool:
    """Whether a run is complete: folders are moved into place whole, metrics.json included."""
    return read_metrics(study_folder, name) is not None


def place(work: Path, final: Path, drop: tuple[str, ...] = ("checkpoints",)) -> None:
    """Move a complete work folder to its final name; an earlier run of that name gives way.

    drop: names that are not kept; checkpoints are three times the size of the encoder, and of no
    use once the run is complete. A process killed at any point of this leaves what `finish_place`
    goes on with: nothing is thrown away before the mark says that the run is complete, and the
    mark is gone only when it is where it belongs.
    """
    for file in work.rglob("*"):
        if file.is_file() and file.relative_to(work).parts[0] not in drop:
            to_disk(file)
    write_text(work / COMPLETE, "\n".join(drop))
    finish_place(work, final)


def finish_place(work: Path, final: Path) -> None:
    """The rest of `place`, from wherever it was left."""
    if not (work / COMPLETE).exists():
        return
    for name in (*SCRAPS, *(work / COMPLETE).read_text(encoding="utf-8").split("\n")):
        discard(work / name) if name else None
    for partial in work.rglob(f"{PARTIAL}*"):
        discard(partial)
    final.parent.mkdir(parents=True, exist_ok=True)
    old = earlier(final)
    if final.exists():
        discard(old)
        final.replace(old)
    work.replace(final)
    (final / COMPLETE).unlink()
    to_disk(final.parent)
    discard(old)


def earlier(final: Path) -> Path:
    """Where a run waits while a newer one of its name takes its place."""
    return final.with_name(f".{final.name}.old")


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def recover(work: Path, final: Path) -> None:
    """Bring in order what a killed process left of one run; call it with the run's lock held.

    A complete run is moved to its place, one that had to give way for a newer one comes back where
    that never arrived, and half-written files go.
    """
    finish_place(work, final)
    (final / COMPLETE).unlink(missing_ok=True)  # arrived, and killed before the mark was gone
    if final.exists():
        discard(earlier(final))
    elif earlier(final).exists():
        earlier(final).replace(final)
    if work.exists():
        for partial in work.rglob(f"{PARTIAL}*"):
            discard(partial)
        # An earlier try's word on a run that this try has yet to finish.
        for name in ("metrics.json", "outcome.json", "progress"):
            discard(work / name)


def interrupted(study_folder: Path) -> list[str]:
    """Runs of which a killed process left something for `recover` outside of their work folder."""
    moving = {path.parent.name for path in (study_folder / "work").glob(f"*/{COMPLETE}")}
    moving |= {path.parent.name for path in (study_folder / "runs").glob(f"*/{COMPLETE}")}
    waiting = (study_folder / "runs").glob(".*.old")
    return sorted(moving | {path.name[1:-4] for path in waiting})
