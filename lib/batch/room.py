"""Whether the disk has the room that a study will take, asked before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from lib.batch.done import is_done
from lib.batch.plan import ENCODER_NOTEBOOKS, PlannedRun
from lib.batch.sizes import folder_bytes, size_in_words

# Bytes of a kept encoder, and how many times as much its training has on the disk: a checkpoint
# holds the optimizer's two moments beside the weights, and a new one is complete before the old
# one goes.
ENCODERS = {"resnet18": 45e6, "resnet50": 95e6}
TRAINING = 6
# Bytes of a run without its encoder (report, notebook, numbers, logs): the most that one of its
# notebook takes in the published studies, rounded up.
BESIDE = {
    "00_data": 2.1e6, "01_pretrain": 1.1e6, "02_probe": 1.9e6, "03_finetune": 1.5e6,
    "04_imbalance": 1.2e6, "05_transfer": 1.4e6, "06_downsampling": 1.7e6, "07_retrieval": 0.9e6,
    "08_features": 0.6e6, "09_report": 1.4e6, "10_retinopathy": 3.9e6, "11_selection": 0.6e6,
}  # fmt: skip


def needed_bytes(
    runs: Sequence[PlannedRun], todo: Collection[str], study_folder: Path, *, jobs: int, keep: str
) -> float:
    """About what the runs to do will take on the disk at most, with `jobs` at a time.

    todo: their names. keep: the study's; whatever it is, encoders stay as long as the study runs.
    Of a notebook that has finished runs, these say what the rest takes.
    """
    seen: dict[str, list[int]] = {}
    for run in runs:
        if run.name not in todo and is_done(study_folder, run.name):
            folder = study_folder / "runs" / run.name
            encoder = folder / "encoder.safetensors"
            size = folder_bytes(folder) - (encoder.stat().st_size if encoder.exists() else 0)
            seen.setdefault(run.notebook, []).append(size)
    total, trainings = 0.0, []
    for run in runs:
        if run.name not in todo:
            continue
        own = seen.get(run.notebook)
        total += sum(own) / len(own) if own else BESIDE.get(run.notebook, 2e6)
        if run.notebook in ENCODER_NOTEBOOKS:
            encoder_bytes = ENCODERS.get(str(run.params.get("encoder")), ENCODERS["resnet18"])
            total += encoder_bytes
            trainings.append(TRAINING * encoder_bytes)
    # Checkpoints are there while a run is; with `keep: all` they stay, the last of each training.
    kept = sum(trainings) / 2 if keep == "all" else 0.0
    return total + max(kept, sum(sorted(trainings)[-jobs:]))


def say_room(needed: float, study_folder: Path) -> tuple[str, bool]:
    """A line on what a study takes and what is free, and whether that is far too little.

    What is needed is an estimate: with less free than half of it, a study had better not start.
    """
    folder = study_folder
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    line = f"about {size_in_words(needed)} on the disk, {size_in_words(free)} free"
    return line, free < needed / 2


def too_little_room(
    runs: Sequence[PlannedRun], todo: Collection[str], study_folder: Path, *, jobs: int, keep: str
) -> str:
    """Why a study should not start here; empty where the disk has room for it."""
    needed = needed_bytes(runs, todo, study_folder, jobs=jobs, keep=keep)
    line, too_little = say_room(needed, study_folder)
    if not too_little:
        return ""
    advice = "make room, give another --results, or do a part with --only"
    return f"{study_folder}: the study takes {line}; {advice}"
