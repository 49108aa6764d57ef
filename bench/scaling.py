"""How cost grows: with image size, batch, images in the data set, and runs in a params file.

`python -m bench.scaling [--quick] [--parts size batch images runs]`. Each point is a pretraining
as the notebooks run it (`lib.training.pretrain.pretrain`, ResNet-18), ended after a few steps, in
a process of its own: seconds a view over steps after the first ones, and the most anonymous memory,
which leaves out the pages of a memory-mapped file that happen to be in memory. `images` trains on a
memory-mapped .npy of up to a million images of 28 px, written here first and read in shuffled
batches; it is likely to be in the system's cache then, as small data sets are after their first
epoch. `runs` plans params files of so many runs, without timing what the runs would cost.

Exponents are fitted on logarithms (`bench.fitting`); plots lie beside the table.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch

import lib.training.pretrain
from bench.fitting import Power, plot_growth
from bench.measuring import OUT, STATUS, read_status, write_rows
from bench.pretraining import Cell, bench_data, bench_recipe
from lib.batch.plan import plan_study
from lib.batch.study import read_study
from lib.device import choose_precision
from lib.training.contrastive import ContrastiveModule, Views
from lib.training.steps import Batches

WARM_UP, STEPS = 2, 4
SERIES = {
    "size": ("size", [28, 64, 128, 224], "image side (pixels)"),
    "batch": ("batch", [32, 64, 128, 256, 512, 1024], "batch (images, two views each)"),
    "images": ("images", [1_000, 10_000, 100_000, 1_000_000], "training images (memory-mapped)"),
}
RUN_COUNTS = (10, 30, 100, 300, 1000)
BASE = {"size": 28, "batch": 64, "images": 0, "stem": "imagenet", "augment": "natural", "file": ""}
QUICK = {"size": 2, "batch": 2, "images": 2}  # points of each series
PLAN = """study: many-{runs}
title: Many runs
question: How long does planning take?
experiments:
  pretrain:
    notebook: 01_pretrain
    set: {{dataset: phantom}}
    matrix: {{seed: [{seeds}]}}
"""


class Stepwise(ContrastiveModule):
    """Notes when each step begins, in epochs of WARM_UP + STEPS of them and one more."""

    began: list[float] = []  # noqa: RUF012 - one run at a time

    def batches(self, epoch: int) -> Batches:
        """The first batches of an epoch."""
        return list(islice(super().batches(epoch), WARM_UP + STEPS + 1))

    def loss_of_part(self, given: Views, part: slice) -> torch.Tensor:
        """Note the time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        Stepwise.began.append(time.perf_counter())
        return super().loss_of_part(given, part)


@contextmanager
def anonymous_memory(interval: float = 0.01) -> Iterator[list[float]]:
    """Anonymous memory of this process in MiB, noted all the while; empty where not on Linux."""
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(interval):
            seen.append(read_status("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    if STATUS.exists():
        seen.append(read_status("RssAnon"))
        watcher.start()
    try:
        yield seen
    finally:
        done.set()
        if watcher.ident is not None:
            watcher.join()


def measure(point: dict[str, Any], device: str, precision: str) -> dict[str, Any]:
    """Seconds a view and memory of one pretraining; point: like BASE.

    images: of the data set, the first of those in `file`; 0 means as many as the steps take.
    """
    batch, size = point["batch"], point["size"]
    n = point["images"] or batch * (WARM_UP + STEPS + 1)
    images: npt.NDArray[np.uint8]
    if point["file"]:
        images = np.load(point["file"], mmap_mode="r")[:n]
    else:
        images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)
    cell = Cell(point["augment"], size, point["stem"], batch, 0, 1, device, precision, 1)
    data, recipe = bench_data(images, size), bench_recipe(cell, 1)
    Stepwise.began = []
    before = read_status("RssAnon") if STATUS.exists() else 0.0
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(lib.training.pretrain, "ContrastiveModule", Stepwise),
        anonymous_memory() as seen,
    ):
        lib.training.pretrain.pretrain(
            data, recipe, Path(folder), device=device, precision=precision
        )
    steps = [b - a for a, b in pairwise(Stepwise.began[WARM_UP:])]
    seconds = statistics.median(steps)
    views = 2 * n / math.ceil(n / batch)  # an epoch's images are dealt out evenly
    memory: float | None
    if device != "cpu":
        memory = torch.cuda.max_memory_allocated() / 2**20
    else:
        memory = max(seen) - before if seen else None
    return {
        **{key: value for key, value in point.items() if key != "file"},
        "images": n,
        "views_per_s": round(views / seconds, 1),
        "s_per_step": round(seconds, 5),
        "s_per_view": seconds / views,
        "memory_mib": None if memory is None else round(memory, 1),
    }


def apart(point: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own, whose memory is its own."""
    command = [sys.executable, "-m", "bench.scaling", "--one", json.dumps(point)]
    command += ["--threads", str(options.threads), "--device", options.device]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_images(path: Path, n: int, size: int = 28) -> Path:
    """A .npy of n random images uint8 [n, size, size, 3], written block by block.

    Raises OSError where the disk has not room for it twice over.
    """
    needed = n * size * size * 3
    free = shutil.disk_usage(path.parent).free
    if free < 2 * needed:
        raise OSError(f"{path.parent}: {free >> 20} MiB free; {n:,} images need {needed >> 20}")
    shape = (n, size, size, 3)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    rng = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        part = images[start : start + 10_000]
        part[:] = rng.integers(0, 256, part.shape, np.uint8)
    images.flush()
    return path


def time_planning(folder: Path, runs: int) -> float:
    """Seconds from a params file to its plan."""
    path = folder / f"many-{runs}.yaml"
    path.write_text(
        PLAN.format(runs=runs, seeds=", ".join(map(str, range(runs)))), encoding="utf-8"
    )
    began = time.perf_counter()
    planned = plan_study(read_study(path), path, folder)
    seconds = time.perf_counter() - began
    if len(planned) != runs:
        raise RuntimeError(f"{path}: planned {len(planned)} runs, not {runs}")
    return seconds


def fit_of(series: str, quantity: str, fit: Power) -> dict[str, Any]:
    """A fit as a row; the error is None from two points."""
    error = None if np.isnan(fit.error) else round(fit.error, 3)
    return {
        "against": series,
        "of": quantity,
        "exponent": round(fit.exponent, 3),
        "error": error,
        "points": fit.points,
    }


def draw(rows: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Plots of all series that have been measured at two points or more, and their exponents."""
    fits = []
    for series, (key, _, label) in SERIES.items():
        points = [row for row in rows if row["series"] == series]
        if len({row[key] for row in points}) < 2:
            continue
        x = [row[key] for row in points]
        time_of, unit = ("s_per_step", "step") if series == "batch" else ("s_per_view", "view")
        name = f"seconds a {unit}"
        found = plot_growth(
            folder / f"scaling_{series}_time.svg",
            {name: (x, [row[time_of] for row in points])}, label, f"time (s per {unit})",
        )  # fmt: skip
        memory = [row["memory_mib"] for row in points]
        if all(m is not None and m > 0 for m in memory):
            found |= plot_growth(
                folder / f"scaling_{series}_memory.svg",
                {"memory": (x, memory)}, label, "anonymous memory of training (MiB)",
            )  # fmt: skip
        fits += [fit_of(label, quantity, fit) for quantity, fit in found.items()]
    planned = [row for row in rows if row["series"] == "runs"]
    if len(planned) > 1:
        x, y = [row["runs"] for row in planned], [row["seconds"] for row in planned]
        label = "runs in a params file"
        found = plot_growth(
            folder / "scaling_runs_time.svg", {"planning": (x, y)}, label, "time to plan (s)"
        )
        fits.append(fit_of(label, "planning", found["planning"]))
    return fits


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, draw, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    add = parser.add_argument
    add("--parts", nargs="+", choices=(*SERIES, "runs"), default=[*SERIES, "runs"])
    add("--device", default="cpu")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--quick", action="store_true", help="the two cheapest points of each series")
    add("--out", type=Path, default=OUT / "scaling.csv")
    add("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    precision = choose_precision(options.device)
    if options.one:
        print(json.dumps(measure(json.loads(options.one), options.device, precision)))
        return 0
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for series in [part for part in options.parts if part in SERIES]:
            key, values, _ = SERIES[series]
            values = values[: QUICK[series]] if options.quick else values
            file = ""
            if series == "images":
                file = str(write_images(folder / "images.npy", max(values)))
            for value in values:
                row = apart({**BASE, key: value, "file": file}, options)
                rows.append({"series": series, **row})
                memory = "–" if row["memory_mib"] is None else f"{row['memory_mib']:,.0f} MiB"
                print(f"{series:<7}{value:>9,}{row['views_per_s']:>10,.0f} views/s{memory:>12}",
                      flush=True)  # fmt: skip
        if "runs" in options.parts:
            time_planning(folder, 1)  # imports, and the data set described once
        for runs in RUN_COUNTS[: 2 if options.quick else None] if "runs" in options.parts else ():
            seconds = time_planning(folder, runs)
            rows.append({"series": "runs", "runs": runs, "seconds": round(seconds, 4)})
            print(f"runs   {runs:>9,}{seconds:>10.2f} s to plan", flush=True)
    fits = draw(rows, options.out.parent)
    for fit in fits:
        error = "" if fit["error"] is None else f" ± {fit['error']:.2f}"
        print(f"{fit['of']} ∝ ({fit['against']})^{fit['exponent']:.2f}{error}")
    write_rows(options.out, rows, settings=vars(options), precision=precision, base=BASE, fits=fits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
