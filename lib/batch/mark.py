"""Which state of the code a process goes by, so that workers with another are told apart."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata

from lib.params import NOTEBOOKS, ROOT


@cache
def code_mark() -> str:
    """A short hash of `lib`'s and the notebooks' files, as they were when this was first asked."""
    found = hashlib.sha256()
    for file in sorted([*(ROOT / "lib").rglob("*.py"), *NOTEBOOKS.glob("*.ipynb")]):
        found.update(f"{file.relative_to(ROOT).as_posix()}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:12]


def describe_code() -> dict[str, str]:
    """What must be the same wherever the runs of one study are executed."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"code": code_mark(), "torch": metadata.version("torch"), "python": python}
