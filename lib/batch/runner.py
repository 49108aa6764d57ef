"""Carrying out a plan: what can run runs, what is done stays, what a failure bars is skipped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.batch.execute import Outcome, Spec, execute_in_process
from lib.batch.plan import PlannedRun
from lib.batch.progress import Progress

SYNTHETIC = "Synthetic data: phantom is drawn by this project, not photographed. No medical claim."


@dataclass
class Report:
    """How a study went: outcomes by run, in the order they ended, and the runs skipped."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    already: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every run is done."""
        return not self.skipped and all(outcome.ok for outcome in self.outcomes.values())


def is_done(study_folder: Path, name: str) -> bool:
    """Whether a run is complete: folders are moved into place whole, metrics.json included."""
    return (study_folder / "runs" / name / "metrics.json").exists()


def make_spec(run: PlannedRun, study: str, study_folder: Path, threads: int) -> Spec:
    """What executing `run` takes."""
    params = {**run.params, "study": study, "results": str(study_folder.parent)}
    banner = SYNTHETIC if run.params["dataset"] == "phantom" else ""
    return Spec(run.name, run.notebook, params, str(study_folder), threads, banner)


def run_plan(
    runs: list[PlannedRun],
    study: str,
    study_folder: Path,
    executor: Executor,
    *,
    slots: int,
    force: bool = False,
    show: Callable[[str], None] = print,
) -> Report:
    """Execute `runs` (ordered so that each follows what it needs) and say how it goes.

    slots: how many run at a time. A run that fails does not stop the others; those that need it
    are skipped, and the report says why.
    """
    report = Report()
    waiting = {run.name: run for run in runs}
    for name in list(waiting):
        if is_done(study_folder, name) and not force:
            report.already.append(name)
            del waiting[name]
    threads = max(1, (os.cpu_count() or 1) // slots)
    progress = Progress(list(waiting.values()), study_folder, show)
    running: dict[Future[Outcome], PlannedRun] = {}
    while waiting or running:
        for run in list(waiting.values()):
            broken = [need for need in run.needs if is_broken(need, report)]
            if broken:
                report.skipped[run.name] = f"needs {broken[0]}"
                progress.skipped(run, broken[0])
                del waiting[run.name]
            elif len(running) < slots and not set(run.needs) & (
                set(waiting) | {r.name for r in running.values()}
            ):
                spec = make_spec(run, study, study_folder, threads)
                running[executor.submit(execute_in_process, spec)] = run
                progress.started(run)
                del waiting[run.name]
        if not running:
            continue
        done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        progress.tick()
        for future in done:
            run = running.pop(future)
            outcome = finished(future, run)
            report.outcomes[run.name] = outcome
            progress.ended(run, outcome)
    progress.close()
    return report


def is_broken(name: str, report: Report) -> bool:
    """Whether a needed run has failed or was skipped."""
    outcome = report.outcomes.get(name)
    return name in report.skipped or (outcome is not None and not outcome.ok)


def finished(future: Future[Outcome], run: PlannedRun) -> Outcome:
    """The outcome of a run, also where its worker died instead of answering."""
    try:
        return future.result()
    except Exception as error:
        return Outcome(run.name, False, 0.0, "", None, f"worker: {type(error).__name__}: {error}")


@contextmanager
def open_executor(
    jobs: int, scheduler: str | None = None, slurm: Path | None = None
) -> Iterator[tuple[Executor, int]]:
    """An executor and how many runs to hand it at a time.

    Local by default: `jobs` processes. scheduler: the address of a running Dask scheduler. slurm:
    a YAML file with the keyword arguments of `dask_jobqueue.SLURMCluster`, which is started with
    `jobs` workers and ended afterwards. Workers must see the same files.
    """
    if scheduler is None and slurm is None:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool, jobs
        return
    from dask.distributed import Client

    cluster: Any = scheduler
    if slurm is not None:
        cluster = start_slurm(slurm, jobs)
    with Client(cluster) as client:
        if slurm is not None:
            began = time.time()
            client.wait_for_workers(1, timeout=3600)
            print(f"first Slurm worker after {time.time() - began:.0f} s")
        slots = max(1, sum(client.nthreads().values()), jobs if slurm is not None else 0)
        try:
            with client.get_executor(pure=False) as executor:
                yield executor, slots
        finally:
            if slurm is not None:
                cluster.close()


def start_slurm(file: Path, jobs: int) -> Any:
    """Start a Slurm cluster of `jobs` workers from the keyword arguments in a YAML file."""
    from dask_jobqueue import SLURMCluster

    from lib.batch.study import read_yaml

    cluster = SLURMCluster(**read_yaml(file))
    cluster.scale(jobs=jobs)
    return cluster
