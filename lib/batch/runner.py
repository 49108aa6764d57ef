"""Carrying out a plan: what can run runs, what is done stays, what a failure bars is skipped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.batch.disk import cannot_write, say_trouble
from lib.batch.done import is_done
from lib.batch.launch import allow_runs, execute_in_process, stop_runs
from lib.batch.locks import WATCH, lock_path
from lib.batch.plan import PlannedRun
from lib.batch.progress import Progress
from lib.batch.spec import Outcome, Spec
from lib.batch.study import StudyError, read_yaml
from lib.pages.page import SYNTHETIC

# Seconds between two looks at a run that another process is at.
RETRY = 1.0


@dataclass
class Report:
    """How a study went: outcomes by run, in the order they ended, and the runs skipped.

    elsewhere: runs that another process did meanwhile. stopped: runs that were under way when the
    study was told to stop; unstarted: those that had not begun. trouble: why nothing could be
    written any more.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    already: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    unstarted: list[str] = field(default_factory=list)
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Whether every run is done."""
        broken = self.skipped or self.stopped or self.unstarted or self.trouble
        return not broken and all(outcome.ok for outcome in self.outcomes.values())


def make_spec(
    run: PlannedRun,
    study: str,
    study_folder: Path,
    slots: int,
    *,
    forced: bool = False,
    drop: tuple[str, ...] = ("checkpoints",),
) -> Spec:
    """What executing `run` takes."""
    params = {**run.params, "study": study, "results": str(study_folder.parent)}
    banner = SYNTHETIC if run.synthetic else ""
    return Spec(
        run.name, run.notebook, params, str(study_folder), slots, banner, run.data, forced, drop
    )


def run_plan(
    runs: list[PlannedRun],
    study: str,
    study_folder: Path,
    executor: Executor,
    *,
    slots: int,
    forced: Collection[str] = (),
    drop: tuple[str, ...] = ("checkpoints",),
    show: Callable[[str], None] = print,
    after_each: Callable[[Report, list[str]], object] = lambda report, running: None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Execute `runs` (ordered so that each follows what it needs) and say how it goes.

    slots: how many run at a time. forced: names of runs to do again although they are done. drop:
    what is not kept of a run. A run that fails does not stop the others; those that need it are
    skipped, and the report says why. A run that another process is at is left to it, and waited
    for. after_each is called whenever a run has ended, before any that needs it starts, with what
    there is to report so far and the names of the runs under way. Once `stop` says so, what runs is
    ended, and its checkpoints stay. When the disk takes nothing more, nothing is started any more.
    """
    plan = _Plan(runs, study, study_folder, executor, slots, frozenset(forced), drop, show)
    while plan.waiting or plan.running:
        if stop() or (plan.report.trouble and not plan.running):
            plan.end()
            break
        plan.start_what_can()
        if not plan.running:
            time.sleep(RETRY if plan.waiting else 0)
            continue
        for run, outcome in plan.ended():
            plan.note(run, outcome)
            try:
                after_each(plan.report, [run.name for run in plan.running.values()])
            except OSError as error:
                plan.report.trouble = say_trouble(error, study_folder)
    plan.progress.close()
    return plan.report


class _Plan:
    """The state of `run_plan`: which runs wait, which run, and what has become of the others."""

    def __init__(
        self,
        runs: list[PlannedRun],
        study: str,
        study_folder: Path,
        executor: Executor,
        slots: int,
        forced: frozenset[str],
        drop: tuple[str, ...],
        show: Callable[[str], None],
    ) -> None:
        self.study, self.folder, self.executor = study, study_folder, executor
        self.slots, self.forced, self.drop = slots, forced, drop
        self.report = Report()
        self.waiting = {run.name: run for run in runs}
        for name in list(self.waiting):
            if is_done(study_folder, name) and name not in forced:
                self.report.already.append(name)
                del self.waiting[name]
        self.progress = Progress(list(self.waiting.values()), study_folder, show, slots)
        self.running: dict[Future[Outcome], PlannedRun] = {}
        self.next_look: dict[str, float] = {}  # at runs that others are at

    def start_what_can(self) -> None:
        """Start what has its needs and a slot; skip what needs a failed run."""
        if self.report.trouble:
            return
        for run in list(self.waiting.values()):
            broken = [need for need in run.needs if is_broken(need, self.report)]
            if broken:
                self.report.skipped[run.name] = f"needs {broken[0]}"
                self.progress.skipped(run, broken[0])
                del self.waiting[run.name]
            elif len(self.running) < self.slots and not set(run.needs) & (
                set(self.waiting) | {r.name for r in self.running.values()}
            ):
                self.start(run)

    def start(self, run: PlannedRun) -> None:
        """Start a run, unless another process is at it or the disk takes nothing."""
        if time.monotonic() < self.next_look.get(run.name, 0.0):
            return
        other = WATCH.holder(lock_path(self.folder, run.name))
        if other is not None:
            self.leave(run, str(other))
            return
        trouble = cannot_write(self.folder)
        if trouble:
            self.report.trouble = trouble
            return
        if run.name not in self.next_look:
            self.progress.started(run)
        forced = run.name in self.forced
        spec = make_spec(run, self.study, self.folder, self.slots, forced=forced, drop=self.drop)
        self.running[self.executor.submit(execute_in_process, spec)] = run
        del self.waiting[run.name]

    def leave(self, run: PlannedRun, who: str) -> None:
        """Leave a run to the process that is at it, and look again in a while."""
        if run.name not in self.next_look:
            self.progress.busy(run, who)
        self.next_look[run.name] = time.monotonic() + RETRY
        self.waiting[run.name] = run

    def ended(self) -> list[tuple[PlannedRun, Outcome]]:
        """The runs that have ended within a second or so, and how."""
        done, _ = wait(self.running, timeout=1.0, return_when=FIRST_COMPLETED)
        self.progress.tick()
        found = []
        for future in done:
            run = self.running.pop(future)
            outcome = finished(future, run)
            if outcome.busy:
                self.leave(run, outcome.busy)
            else:
                found.append((run, outcome))
        return found

    def note(self, run: PlannedRun, outcome: Outcome) -> None:
        """Note how a run ended, and say it."""
        if outcome.elsewhere:
            self.report.elsewhere.append(run.name)
        else:
            self.report.outcomes[run.name] = outcome
        self.progress.ended(run, outcome)

    def end(self) -> None:
        """End what runs; what was done by then counts."""
        stop_runs()
        for future in self.running:
            future.cancel()
        local = isinstance(self.executor, ThreadPoolExecutor)
        wait(self.running, timeout=None if local else 1.0)
        for future, run in self.running.items():
            outcome = finished(future, run) if future.done() else None
            if outcome is not None and outcome.ok:
                self.note(run, outcome)
            else:
                self.report.stopped.append(run.name)
        self.report.unstarted += list(self.waiting)
        self.waiting, self.running = {}, {}
        allow_runs()


def is_broken(name: str, report: Report) -> bool:
    """Whether a needed run has failed or was skipped."""
    outcome = report.outcomes.get(name)
    return name in report.skipped or (outcome is not None and not outcome.ok)


def finished(future: Future[Outcome], run: PlannedRun) -> Outcome:
    """The outcome of a run, also where its worker died instead of answering."""
    try:
        return future.result()
    except (Exception, CancelledError) as error:
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
