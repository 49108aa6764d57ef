"""One call of run_all.py from plan to report, and what it prints."""

from __future__ import annotations

import time
from pathlib import Path

from lib.batch.index import write_index
from lib.batch.plan import PlannedRun
from lib.batch.progress import Speed, seconds_in_words
from lib.batch.runner import Report, is_done, open_executor, run_plan
from lib.batch.study import Study
from lib.batch.summary import write_summary


def print_plan(
    study: Study, runs: list[PlannedRun], study_folder: Path, *, force: bool = False
) -> None:
    """Say what would run: each run, what it needs, and what is already done."""
    runs = each_once(runs)
    speed = Speed.from_results(runs, study_folder)
    todo = [run for run in runs if force or not is_done(study_folder, run.name)]
    print(f"{study.name}: {study.title}")
    for run in runs:
        state = "to do" if run in todo else "done "
        need = f"  needs {', '.join(run.needs)}" if run.needs else ""
        seconds = speed.estimate(run) if run in todo else None
        about = f"  about {seconds_in_words(seconds)}" if seconds is not None else ""
        print(f"  {state}  {run.name}{need}{about}")
    known = [speed.estimate(run) for run in todo]
    seconds = sum(s for s in known if s is not None)
    total = (
        f", about {seconds_in_words(seconds)} one at a time" if todo and None not in known else ""
    )
    print(f"{len(runs)} runs, {len(runs) - len(todo)} done, {len(todo)} to do{total}")


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
    force: bool,
    scheduler: str | None,
    slurm: Path | None,
) -> int:
    """Run what is selected, write summary.csv and index.html, print where the report is.

    runs: the whole plan, which summary and index cover as far as it is done.
    Returns the exit status: 0 when every selected run is done, 1 when some failed.
    """
    began = time.time()
    selected, names = each_once(selected), [run.name for run in runs]
    with open_executor(jobs, scheduler, slurm) as (executor, slots):
        report = run_plan(
            selected,
            study.name,
            study_folder,
            executor,
            slots=slots,
            force=force,
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
