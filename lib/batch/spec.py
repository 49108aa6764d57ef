"""One run as it is handed to whoever executes it, and the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a run printed, its warnings and when each cell began: one file, beside its report.
LOG = "run.log"


@dataclass(frozen=True)
class Spec:
    """One run to execute.

    slots: runs at a time on its machine, which share the cores. banner: shown over its report.
    data: what identifies its data. forced: to be done although it is done. drop: names in its
    folder that are not kept. threads: of the CPU, where whoever asks decides it; 0: by slots.
    per_gpu: runs that may be on one GPU at a time.
    """

    name: str
    notebook: str
    params: dict[str, Any]
    study_folder: str
    slots: int
    banner: str = ""
    data: str = ""
    forced: bool = False
    drop: tuple[str, ...] = ("checkpoints",)
    threads: int = 0
    per_gpu: int = 1

    @classmethod
    def read(cls, file: Path) -> Spec:
        """The spec in a JSON file."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**content, "drop": tuple(content["drop"])})

    @property
    def work(self) -> Path:
        """Where the run is made."""
        return Path(self.study_folder) / "work" / self.name

    @property
    def final(self) -> Path:
        """Where it is moved when it is complete."""
        return Path(self.study_folder) / "runs" / self.name

    @property
    def log(self) -> Path:
        """Its log while it is made; it moves with the folder."""
        return self.work / LOG


@dataclass(frozen=True)
class Outcome:
    """How a run ended. cell: number of the failed cell; error: its one-line reason.

    busy: who is at the run, where that is another process: nothing was done here. elsewhere: it
    had been done by another process before this one came to it.
    """

    name: str
    ok: bool
    seconds: float
    report: str
    cell: int | None = None
    error: str = ""
    busy: str = ""
    elsewhere: bool = False
