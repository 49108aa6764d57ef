"""Carrying out a plan: what can run runs, what is done stays, what a failure bars is skipped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.batch.execute import Outcome, Spec, execute_in_process
from lib.batch.plan import PlannedRun
from lib.batch.progress import Progress
from lib.batch.study import StudyError, read_yaml
from lib.page import SYNTHETIC


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


def make_spec(run: PlannedRun, study: str, study_folder: Path, slots: int) -> Spec:
    """What executing `run` takes."""
    params = {**run.params, "study": study, "results": str(study_folder.parent)}
    banner = SYNTHETIC if run.synthetic else ""
    return Spec(run.name, run.notebook, params, str(study_folder), slots, banner, run.data)


def run_plan(
    runs: list[PlannedRun],
    study: str,
    study_folder: Path,
    executor: Executor,
    *,
    slots: int,
    forced: Collection[str] = (),
    show: Callable[[str], None] = print,
    after_each: Callable[[], object] = lambda: None,
) -> Report:
    """Execute `runs` (ordered so that each follows what it needs) and say how it goes.

    slots: how many run at a time. forced: names of runs to do again although they are done. A run
    that fails does not stop the others; those that need it are skipped, and the report says why.
    after_each is called whenever a run has ended, before any that needs it starts.
    """
    report = Report()
    waiting = {run.name: run for run in runs}
    for name in list(waiting):
        if is_done(study_folder, name) and name not in forced:
            report.already.append(name)
            del waiting[name]
    progress = Progress(list(waiting.values()), study_folder, show, slots)
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
                spec = make_spec(run, study, study_folder, slots)
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
            after_each()
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
    `jobs` workers and ended afterwards. Workers must see the same files. Raises StudyError where
    the scheduler does not answer or the file's arguments are not SLURMCluster's.
    """
    if scheduler is None and slurm is None:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool, jobs
        return
    from dask.distributed import Client

    with ExitStack() as stack:
        try:
            cluster = scheduler if slurm is None else stack.enter_context(start_slurm(slurm, jobs))
            client = stack.enter_context(Client(cluster))
        except (OSError, TypeError, ValueError) as error:
            asked = f"--slurm {slurm}" if slurm is not None else f"--scheduler {scheduler}"
            raise StudyError([f"{asked}: {' '.join(str(error).split())}"]) from error
        if slurm is not None:
            began = time.time()
            client.wait_for_workers(1, timeout=3600)
            print(f"first Slurm worker after {time.time() - began:.0f} s")
        slots = max(1, sum(client.nthreads().values()), jobs if slurm is not None else 0)
        yield stack.enter_context(client.get_executor(pure=False)), slots


def check_slurm(file: Path, *, submit: bool) -> None:
    """StudyError where the file is missing or no mapping, or `submit` and there is no Slurm."""
    if not isinstance(read_yaml(file), dict):
        raise StudyError([f"{file}: expected the arguments of SLURMCluster as keys and values"])
    if submit and shutil.which("sbatch") is None:
        raise StudyError(
            [f"--slurm {file}: no sbatch command here; call run_all.py on a login node"]
        )


def start_slurm(file: Path, jobs: int) -> Any:
    """Start a Slurm cluster of `jobs` workers from the keyword arguments in a YAML file."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(**read_yaml(file))
    cluster.scale(jobs=jobs)
    return cluster
