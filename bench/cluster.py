"""What a second worker is worth: a study of independent runs with one, and with two.

`python -m bench.cluster [--quick]`. The runs are pretrainings of several seeds, with one thread
each, so that a run computes the same whoever does it. They are executed by `--jobs` here and by the
workers of a Dask scheduler (`lib.batch.remote`); each way is warm before it is timed, for imports
are paid once a study. The speed-up is the time with one over the time with two; what keeps it below
2 are the runs at the end that have no other beside them, and what the cores share.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measuring import OUT, Goal, say_goals, write_rows
from lib.batch.engine import Engine, open_engine
from lib.batch.plan import PlannedRun, plan_study
from lib.batch.runner import run_plan
from lib.batch.study import read_study
from lib.params import ROOT

GOAL, WORKERS = 1.7, 2
STUDY = """
study: {name}
title: Independent runs
defaults: {{dataset: phantom, cap_per_class: {images}, device: cpu, precision: fp32}}
experiments:
  pretrain:
    notebook: 01_pretrain
    matrix: {{seed: {seeds}}}
    set: {{epochs: {epochs}, batch_size: 32, knn_k: 5, knn_every: {epochs}, pictures: false}}
"""


Plan = tuple[list[PlannedRun], Path]


def plan_runs(folder: Path, name: str, seeds: list[int], epochs: int, images: int) -> Plan:
    """Independent runs of a study of their own; its folder."""
    path = folder / name / "study.yaml"
    path.parent.mkdir()
    text = STUDY.format(name=name, seeds=seeds, epochs=epochs, images=images)
    path.write_text(text, encoding="utf-8")
    results = folder / "results"
    return plan_study(read_study(path), path, results), results / name


def seconds_of(plan: Plan, engine: Engine) -> float:
    """Seconds that a study takes; RuntimeError where a run failed: its time would mean nothing."""
    runs, folder = plan
    folder.mkdir(parents=True)
    began = time.perf_counter()
    report = run_plan(runs, folder.name, folder, engine, show=lambda _: None)
    passed = time.perf_counter() - began
    for outcome in report.outcomes.values():
        if not outcome.ok:
            raise RuntimeError(f"{outcome.name}: {outcome.error} (see {outcome.report})")
    return passed


@contextmanager
def start_workers(count: int, folder: Path) -> Iterator[str]:
    """A scheduler with so many workers of one thread each; its address."""
    from dask.distributed import Client, LocalCluster

    options = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    workers: list[subprocess.Popen[bytes]] = []
    with LocalCluster(n_workers=0, processes=False, **options) as cluster:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        command += ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
        command += ["--local-directory", str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        try:
            for _ in range(count):
                workers.append(
                    subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
                )
            with Client(cluster) as client:
                client.wait_for_workers(count, timeout=300)
            yield cluster.scheduler_address
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def say_nothing(_: str) -> None:
    """What is known of workers is not news here."""


@contextmanager
def open_way(way: str, count: int, folder: Path) -> Iterator[Engine]:
    """An engine of `--jobs` or `--scheduler` that has so many runs at a time."""
    if way == "--jobs":
        with open_engine(count, say=say_nothing) as engine:
            yield engine
    else:
        with (
            start_workers(count, folder) as address,
            open_engine(1, address, say=say_nothing) as engine,
        ):
            while engine.room().runs < count:
                time.sleep(0.1)
            yield engine


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--runs", type=int, default=6, help="runs of the study")
    parser.add_argument("--epochs", type=int, default=5, help="of each")
    parser.add_argument("--images", type=int, default=50, help="of each class")
    parser.add_argument("--quick", action="store_true", help="two short runs, by --scheduler")
    parser.add_argument("--out", type=Path, default=OUT / "cluster.csv")
    options = parser.parse_args(arguments)
    ways = ["--jobs", "--scheduler"]
    if options.quick:
        options.runs, options.epochs, options.images, ways = 2, 1, 5, ways[1:]
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: list[dict[str, Any]] = []
    goals = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for way in ways:
            seconds = {}
            for count in (1, WORKERS):
                study = f"{way.strip('-')}-{count}"
                warm = plan_runs(folder, f"{study}-warm", list(range(100, 100 + count)), 1, 5)
                seeds = list(range(options.runs))
                plan = plan_runs(folder, study, seeds, options.epochs, options.images)
                with open_way(way, count, folder) as engine:
                    seconds_of(warm, engine)
                    seconds[count] = seconds_of(plan, engine)
                row = {"way": way, "workers": count, "runs": options.runs}
                rows.append({**row, "seconds": round(seconds[count], 2)})
                print(f"{way:<12} {count} at a time {seconds[count]:>8.1f} s", flush=True)
            what = f"speed-up of {options.runs} independent runs by {way}, 2 against 1"
            cores = os.cpu_count() or 1
            reason = "--quick" if options.quick else f"{cores} core" if cores < WORKERS else ""
            value = None if reason else round(seconds[1] / seconds[WORKERS], 3)
            print(f"{way}: {seconds[1] / seconds[WORKERS]:.2f}×")
            goals.append(Goal(what, value, GOAL, "×", True, reason))
    print(say_goals(goals))
    write_rows(options.out, rows, goals, vars(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
