"""Carrying out a plan: what can run runs, what is done stays, what a failure bars is skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from lib.batch.disk import cannot_write, say_trouble
from lib.batch.done import is_done
from lib.batch.engine import Engine
from lib.batch.gpus import count_gpus
from lib.batch.launch import execute_in_process
from lib.batch.locks import WATCH, lock_path
from lib.batch.plan import PlannedRun
from lib.batch.progress import Progress
from lib.batch.spec import Outcome, Spec
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
    def anything_new(self) -> bool:
        """Whether a run has been done, here or by another process."""
        return bool(self.elsewhere) or any(outcome.ok for outcome in self.outcomes.values())

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
    engine: Engine,
    *,
    forced: Collection[str] = (),
    drop: tuple[str, ...] = ("checkpoints",),
    show: Callable[[str], None] = print,
    after_each: Callable[[Report, list[str]], object] = lambda report, running: None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Execute `runs` (ordered so that each follows what it needs) and say how it goes.

    forced: names of runs to do again although they are done. drop: what is not kept of a run. A run
    that fails does not stop the others; those that need it are skipped, and the report says why. A
    run that another process is at is left to it, and waited for. after_each is called whenever a
    run has ended, before any that needs it starts, with what there is to report so far and the
    names of the runs under way. Once `stop` says so, what runs is ended, and its checkpoints stay.
    When the disk takes nothing more, nothing is started any more.
    """
    plan = _Plan(runs, study, study_folder, engine, frozenset(forced), drop, show)
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
        engine: Engine,
        forced: frozenset[str],
        drop: tuple[str, ...],
        show: Callable[[str], None],
    ) -> None:
        self.study, self.folder, self.engine = study, study_folder, engine
        self.room, self.forced, self.drop = engine.room(), forced, drop
        self.report = Report()
        self.waiting = {run.name: run for run in runs}
        for name in list(self.waiting):
            if is_done(study_folder, name) and name not in forced:
                self.report.already.append(name)
                del self.waiting[name]
        self.progress = Progress(list(self.waiting.values()), study_folder, show, self.room.runs)
        self.running: dict[Future[Outcome], PlannedRun] = {}
        self.gpus: dict[str, int] = {}  # that each run under way has
        self.next_look: dict[str, float] = {}  # at runs that others are at

    def start_what_can(self) -> None:
        """Start what has its needs and a slot; skip what needs a failed run."""
        if self.report.trouble:
            return
        self.room = self.engine.room()
        self.progress.slots = max(1, self.room.runs)
        # Runs without a GPU must not fill the places of those that could be on one.
        for run in sorted(self.waiting.values(), key=lambda run: not self.count_gpus(run)):
            broken = [need for need in run.needs if is_broken(need, self.report)]
            if broken:
                self.report.skipped[run.name] = f"needs {broken[0]}"
                self.progress.skipped(run, broken[0])
                del self.waiting[run.name]
            elif self.has_place(run) and not set(run.needs) & (
                set(self.waiting) | {r.name for r in self.running.values()}
            ):
                self.start(run)

    def has_place(self, run: PlannedRun) -> bool:
        """Whether a run can start beside those under way."""
        beside = [self.gpus[other.name] for other in self.running.values()]
        return self.room.fits(self.count_gpus(run), beside)

    def count_gpus(self, run: PlannedRun) -> int:
        """GPUs that a run gets; one that asks for more than there are says so itself."""
        return min(count_gpus(run.params), self.room.most)

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
        slots = self.room.runs
        spec = make_spec(run, self.study, self.folder, slots, forced=forced, drop=self.drop)
        self.gpus[run.name] = self.count_gpus(run)
        self.running[self.engine.submit(execute_in_process, spec, self.gpus[run.name])] = run
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
        trouble = self.engine.trouble()
        for future in done:
            run = self.running.pop(future)
            outcome = finished(future, run)
            if trouble and not outcome.ok:
                self.report.trouble = trouble
                self.report.stopped.append(run.name)
            elif outcome.busy:
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
        self.engine.end({future: run.name for future, run in self.running.items()})
        for future, run in self.running.items():
            outcome = finished(future, run) if future.done() else None
            if outcome is not None and outcome.ok:
                self.note(run, outcome)
            else:
                self.report.stopped.append(run.name)
        self.report.unstarted += list(self.waiting)
        self.waiting, self.running = {}, {}


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
