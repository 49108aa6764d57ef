"""What a study of all twelve data sets × five seeds × three augmentations costs, from measurements.

`python -m bench.cost [--from bench/measured]`. 180 pretrainings with the epochs of
`params/study.yaml`, at 28 px with its 3×3 stem and with the 7×7 stem. A pretraining takes its
views, 2 × training images × epochs, over the views per second that `bench.pretraining` measured
for this project with that stem (the slowest of its batches and sequences at 28 px, which stands for
the third sequence too), and the fixed cost of a run from `bench.overhead`. Probes, finetuning and
the other experiments of the study are not in it.

Nothing is guessed: where the JSON of a device is not there, its column says `not measured`. Eight
GPUs are eight times one: runs share nothing, but that eight side by side keep the speed of one
alone is taken for granted, and so is the fixed cost, of which only that on this project's CPU
machine may have been measured.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measuring import OUT, write_rows
from lib.batch.study import read_yaml
from lib.data.medmnist import info
from lib.params import ROOT

SEEDS, AUGMENTS, SIZE = 5, 3, 28
STEMS = {"small": "3×3", "imagenet": "7×7"}
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Device:
    """Where a study runs. file: the measurement of one; slots: runs at a time."""

    name: str
    file: str
    slots: int


DEVICES = (
    Device("2 CPU cores", "pretraining.json", 1),
    Device("one GPU", "gpu_pretraining.json", 1),
    Device("eight GPUs", "gpu_pretraining.json", 8),
)


def read(path: Path) -> dict[str, Any] | None:
    """A measurement, None where there is none."""
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def views_of(params: Path) -> dict[str, int]:
    """Views that one pretraining of each data set takes, by the epochs of a params file."""
    cases = read_yaml(params)["experiments"]["pretrain"]["cases"]
    epochs = {case["dataset"]: case["epochs"] for case in cases}
    return {
        name: 2 * entry["n_samples"]["train"] * epochs[name]
        for name, entry in info().items()
        if name in epochs
    }


def slowest_rate(measured: dict[str, Any] | None, stem: str) -> float | None:
    """Views per second of ours with a stem at 28 px, the slowest of what was measured."""
    rows = measured["rows"] if measured else []
    rates = [
        row["views_per_s"]
        for row in rows
        if row["contender"] == "ours"
        and row["stem"] == stem
        and row["size"] == SIZE
        and row["views_per_s"] is not None
    ]
    return min(rates, default=None)


def fixed_cost(measured: dict[str, Any] | None, *, gpu: bool) -> float | None:
    """Seconds of a run that does nothing: a fork where that was measured, else a fresh process.

    gpu: runs beside one are fresh processes (`lib.batch.launch.can_fork`).
    """
    rows = {row["what"]: row["seconds"] for row in measured["rows"]} if measured else {}
    fresh = rows.get("a run, a fresh process")
    found = fresh if gpu else rows.get("a run, forked after imports", fresh)
    return None if found is None else float(found)


def makespan(seconds: Iterable[float], slots: int) -> float:
    """Seconds until all runs have ended: the longest first, each to the slot that is free first."""
    free = [0.0] * slots
    for run in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + run)
    return max(free)


def cost(views: Sequence[int], rate: float, fixed: float, slots: int) -> float:
    """Seconds of the study; views: of one pretraining of each data set."""
    runs = [v / rate + fixed for v in views for _ in range(SEEDS * AUGMENTS)]
    return makespan(runs, slots)


def estimate(folder: Path, params: Path) -> list[dict[str, Any]]:
    """A row for each stem and device."""
    views = views_of(params)
    overhead = read(folder / "overhead.json")
    rows = []
    for stem, called in STEMS.items():
        for device in DEVICES:
            rate = slowest_rate(read(folder / device.file), stem)
            fixed = fixed_cost(overhead, gpu="GPU" in device.name)
            seconds = None
            if rate is not None and fixed is not None:
                seconds = cost(list(views.values()), rate, fixed, device.slots)
            rows.append(
                {
                    "device": device.name,
                    "stem": called,
                    "runs": len(views) * SEEDS * AUGMENTS,
                    "million_views": round(sum(views.values()) * SEEDS * AUGMENTS / 1e6, 1),
                    "views_per_s": rate,
                    "fixed_s_a_run": fixed,
                    "hours": None if seconds is None else round(seconds / 3600, 2),
                }
            )
    return rows


def in_words(hours: float | None) -> str:
    """`12.3 h`, `4.5 days` or `not measured`."""
    if hours is None:
        return NOT_MEASURED
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"


def main(arguments: list[str] | None = None) -> int:
    """Compute, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--from", dest="folder", type=Path, default=OUT, help="where JSON lies")
    parser.add_argument("--params", type=Path, default=ROOT / "params" / "study.yaml")
    parser.add_argument("--out", type=Path, default=OUT / "cost.csv")
    options = parser.parse_args(arguments)
    rows = estimate(options.folder, options.params)
    for row in rows:
        rate = NOT_MEASURED if row["views_per_s"] is None else f"{row['views_per_s']:,.0f} views/s"
        print(f"{row['device']:<12}{row['stem']:>5} stem{rate:>20}  {in_words(row['hours'])}")
    write_rows(options.out, rows, settings=vars(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
