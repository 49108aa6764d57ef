"""One call of run_all.py from plan to report, and what it prints."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from lib.batch.estimate import Estimates
from lib.batch.execute import choose_threads
from lib.batch.index import write_index
from lib.batch.owner import record_owner
from lib.batch.plan import PlannedRun
from lib.batch.progress import seconds_in_words
from lib.batch.runner import Report, is_done, open_executor, run_plan
from lib.batch.study import Study
from lib.batch.summary import write_summary


def print_plan(
    study: Study,
    runs: list[PlannedRun],
    study_folder: Path,
    *,
    forced: Collection[str] = (),
    jobs: int = 1,
) -> None:
    """Say what would run: each run, what it needs, what is already done, what the rest will take.

    The times are estimates, from a few training steps timed here.
    """
    runs = each_once(runs)
    todo = [run for run in runs if run.name in forced or not is_done(study_folder, run.name)]
    print(f"{study.name}: {study.title}")
    # Timed as the runs will compute: side by side they share the cores.
    alone = Estimates(runs if todo else [], choose_threads(1), study_folder)
    shared = alone
    if jobs > 1 and choose_threads(jobs) != choose_threads(1):
        shared = Estimates(runs if todo else [], choose_threads(jobs), study_folder)
    for run in runs:
        state = "to do" if run in todo else "done "
        need = f"  needs {say_needs(run)}" if run.needs else ""
        seconds = shared.seconds.get(run.name) if run in todo else None
        about = f"  about {seconds_in_words(seconds)}" if seconds is not None else ""
        print(f"  {state}  {run.name}{need}{about}")
    for line in shared.missing:
        print(f"no estimate for {line}")
    if shared.timed and todo:
        print("Estimates, from a few steps timed here:")
        for work, speed in shared.timed.items():
            trained = f"{1 / speed.train:,.0f} images/s trained and {speed.step:.2f} s a step"
            print(
                f"  {work}, {shared.threads} thread(s): {trained}, {1 / speed.embed:,.0f} embedded"
            )
    if shared.corrected and todo:
        print(f"  corrected by finished runs of {', '.join(shared.corrected)}")
    totals = []
    one, several = alone.total(todo, 1), shared.total(todo, jobs)
    if todo and one is not None:
        totals.append(f"about {seconds_in_words(one)} one at a time")
    if todo and several is not None and jobs > 1:
        totals.append(f"about {seconds_in_words(several)} with --jobs {jobs}")
    count = f"{len(runs)} runs, {len(runs) - len(todo)} done, {len(todo)} to do"
    print(", ".join([count, *totals]))


def say_needs(run: PlannedRun) -> str:
    """The runs that a run needs, or how many where the list would be long."""
    return ", ".join(run.needs) if len(run.needs) <= 3 else f"{len(run.needs)} runs"


def each_once(runs: list[PlannedRun]) -> list[PlannedRun]:
    """The runs without those that a second experiment shares."""
    return list({run.name: run for run in runs}.values())


def run_study(
    study: Study,
    runs: list[PlannedRun],
    selected: list[PlannedRun],
    study_folder: Path,
    *,
    jobs: int,
    forced: Collection[str],
    scheduler: str | None,
    slurm: Path | None,
) -> int:
    """Run what is selected, write summary.csv and index.html, print where the report is.

    runs: the whole plan, which summary and index cover as far as it is done. forced: names of runs
    to do again although they are done.
    Returns the exit status: 0 when every selected run is done, 1 when some failed.
    """
    began = time.time()
    selected, names = each_once(selected), [run.name for run in runs]
    with open_executor(jobs, scheduler, slurm) as (executor, slots):
        record_owner(study_folder, study.file)
        # A report may be the only run left to do, and the summary be of an older plan.
        write_summary(study_folder, names)
        report = run_plan(
            selected,
            study.name,
            study_folder,
            executor,
            slots=slots,
            forced=forced,
            # A study that is broken off still leaves the numbers it had.
            after_each=lambda: write_summary(study_folder, names),
        )
    failed = {name: o for name, o in report.outcomes.items() if not o.ok}
    write_summary(study_folder, names)
    index = write_index(study, runs, study_folder, failed, report.skipped)
    print_end(report, selected, time.time() - began)
    print(f"report: {index}")
    return 0 if report.ok else 1


def print_end(report: Report, runs: list[PlannedRun], seconds: float) -> None:
    """The closing lines: what was done, what failed and where to look."""
    failed = [outcome for outcome in report.outcomes.values() if not outcome.ok]
    done = len(report.outcomes) - len(failed)
    text = f"{len(runs)} runs: {done} done in {seconds_in_words(seconds)}"
    text += f", {len(report.already)} already done" if report.already else ""
    text += f", {len(failed)} failed" if failed else ""
    text += f", {len(report.skipped)} skipped" if report.skipped else ""
    print(text)
    for outcome in failed:
        where = f"cell {outcome.cell}: " if outcome.cell else ""
        print(f"  failed   {outcome.name}: {where}{outcome.error}\n           see {outcome.report}")
    for name, need in report.skipped.items():
        print(f"  skipped  {name}: {need}")
