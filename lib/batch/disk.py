"""Whether results can be written: asked before a run starts, and said in one line where not."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

# What these errors mean, in words; nothing a run does can mend them.
DISK = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "read-only file system",
    errno.EIO: "input/output error of the disk",
}
# Exit status of a run that could not write: its reason cannot be written either.
CANNOT_WRITE = 74
# A run's own report takes about as much; less free than this is as good as nothing.
PROBE_BYTES = 2 * 2**20


def say_trouble(error: OSError, folder: Path) -> str:
    """One line: what cannot be written, why, and what to do."""
    where = error.filename or folder
    why = DISK.get(error.errno or 0) or (error.strerror or str(error)).lower()
    return f"{where}: cannot be written: {why}; make room or give another --results, and run again"


def cannot_write(study_folder: Path) -> str:
    """Why a study's folder takes no more files; empty where it does. Leaves nothing behind."""
    folder = study_folder / "work"
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with probe.open("wb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        error.filename = str(study_folder)
        return say_trouble(error, study_folder)
    return ""
