"""Summaries of studies that never ran, with effects that are known because they are put in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.run import COLUMNS
from lib.study.measurements import read_summary

Row = dict[str, Any]
PROBE = {"method": "simclr", "augment": "novel", "protocol": "probe"}
SCRATCH = {"method": "random", "augment": "", "protocol": "finetune"}


def make_row(**columns: Any) -> Row:
    """One row of summary.csv: the test AUROC of a SimCLR probe unless told otherwise."""
    usual = {
        "study": "made",
        "run": "probe-cells-s0",
        "notebook": "02_probe",
        "dataset": "cells",
        "size": 28,
        "encoder": "resnet18",
        "labels": "100",
        "seed": 0,
        "split": "test",
        "metric": "auroc",
        "value": 0.8,
        "commit": "abc",
    }
    return {**dict.fromkeys(COLUMNS, ""), **usual, **PROBE, **columns}


def over(
    side: Row,
    mean: float,
    *,
    datasets: Sequence[str] = ("cells",),
    labels: Sequence[str] = ("100",),
    seeds: Iterable[int] = range(5),
    spread: float = 0.002,
    **columns: Any,
) -> list[Row]:
    """Rows of one side with values about `mean`, differing by `spread` over seeds and places."""
    rows = []
    # The same side gives the same values again.
    named = repr([*sorted({**side, **columns}.items()), *datasets])
    rng = np.random.default_rng(zlib.crc32(named.encode()))
    for dataset in datasets:
        for budget in labels:
            for seed in seeds:
                where = {"dataset": dataset, "labels": budget, "seed": seed, **columns}
                run = f"{side['method']}-{side['protocol']}-{dataset}-{seed}"
                value = mean + spread * float(rng.normal())
                rows.append(make_row(**{**side, **where, "run": run, "value": value}))
    return rows


def as_table(rows: Sequence[Row], folder: Path) -> pd.DataFrame:
    """Rows as `read_summary` gives them."""
    return read_summary(write(rows, folder / "summary.csv"))


def write(rows: Sequence[Row], path: Path) -> Path:
    """Rows as a summary.csv."""
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(path, index=False, lineterminator="\n")
    return path


def whole_study(
    datasets: Sequence[str] = ("bloodmnist", "dermamnist", "retinamnist"), seeds: int = 5
) -> list[Row]:
    """A study that speaks on every claim, with what pretraining gains put in.

    Pretraining gains 0.10 over scratch, novel 0.02 over natural, transfer loses 0.03, size 14
    costs nothing and size 7 costs 0.08, undersampling gains balanced accuracy and costs accuracy,
    SupCon gains 0.05.
    """
    rows: list[Row] = []
    place: dict[str, Any] = {"datasets": datasets, "labels": ("100", "all"), "seeds": range(seeds)}
    for metric, level in (("auroc", 0.8), ("accuracy", 0.7), ("balanced_accuracy", 0.6)):
        means = [
            (PROBE, level + 0.1),
            ({**PROBE, "augment": "natural"}, level + 0.08),
            ({**PROBE, "protocol": "finetune"}, level + 0.12),
            ({**PROBE, "augment": "natural", "protocol": "finetune"}, level + 0.1),
            (SCRATCH, level),
            ({**SCRATCH, "protocol": "probe"}, level - 0.03),
            ({**PROBE, "method": "simclr from pathmnist"}, level + 0.07),
            ({**PROBE, "method": "supcon"}, level + 0.15),
        ]
        for side, mean in means:
            rows += over(side, mean, metric=metric, **place)
        for size, loss in ((14, 0.0), (7, 0.08)):
            rows += over(PROBE, level + 0.1 - loss, metric=metric, size=size, **place)
        gain = 0.05 if metric == "balanced_accuracy" else -0.05
        cut = {**PROBE, "protocol": "probe+undersample"}
        each = {**place, "labels": ("25 per class",)}
        rows += over(cut, level + 0.1 + gain, metric=metric, **each)
    for dataset in datasets:
        for seed in range(seeds):
            timed = {"dataset": dataset, "seed": seed, "run": f"pretrain-{dataset}-{seed}"}
            timed |= {"notebook": "01_pretrain", "protocol": "pretrain", "labels": ""}
            rows.append(make_row(**timed, split="train", metric="seconds", value=360.0))
    return rows
