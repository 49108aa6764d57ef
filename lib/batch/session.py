"""One call of run_all.py from plan to report, and what it prints."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from lib.batch.aside import say_replaced
from lib.batch.clean import say_superseded
from lib.batch.disk import cannot_write, say_trouble
from lib.batch.done import discard, interrupted, is_done, recover
from lib.batch.engine import open_engine
from lib.batch.estimate import Estimates
from lib.batch.launch import choose_threads
from lib.batch.locks import hold
from lib.batch.overview import Overview
from lib.batch.owner import record_owner
from lib.batch.plan import ENCODER_NOTEBOOKS, PlannedRun
from lib.batch.progress import seconds_in_words
from lib.batch.room import needed_bytes, say_room, too_little_room
from lib.batch.runner import Report, run_plan
from lib.batch.sizes import KEEP, say_bytes, study_bytes
from lib.batch.stop import Stop
from lib.batch.study import Study, StudyError
from lib.batch.why import Reasons

# How much more than its number of jobs a speed-up may be, by timing alone.
BUSY = 1.3
STOPPED = 130  # the exit status of a study that was told to stop


def print_plan(
    study: Study,
    runs: list[PlannedRun],
    study_folder: Path,
    *,
    plan: list[PlannedRun],
    params: Path,
    forced: Collection[str] = (),
    jobs: int = 1,
) -> None:
    """Say what would run: each run and why, what it needs, what is done, what the rest will take.

    plan: all runs of the study, of which `runs` are to be looked at. params: its file. The times
    are estimates, from a few training steps timed here.
    """
    runs = each_once(runs)
    undone = to_do(runs, study_folder, forced)
    todo = [run for run in runs if run.name in undone]
    reasons = Reasons(plan, study_folder, forced)
    print(f"{study.name}: {study.title}")
    # Timed as the runs will compute: side by side they share the cores.
    alone = Estimates(runs if todo else [], choose_threads(1), study_folder)
    shared = alone
    if jobs > 1 and choose_threads(jobs) != choose_threads(1):
        shared = Estimates(runs if todo else [], choose_threads(jobs), study_folder)
    for run in runs:
        state = "to do" if run in todo else "done "
        why = f"  ({reasons.why(run)})" if run in todo else ""
        need = f"  needs {say_needs(run)}" if run.needs else ""
        seconds = shared.seconds.get(run.name) if run in todo else None
        about = f"  about {seconds_in_words(seconds)}" if seconds is not None else ""
        print(f"  {state}  {run.name}{why}{need}{about}")
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
    if todo and one is not None and several is not None and one > BUSY * jobs * several:
        print(
            f"The estimates contradict each other, --jobs {jobs} cannot be {one / several:.1f} "
            "times as fast: this machine is busy with something else; ask again when it is not"
        )
    for line in say_superseded(study_folder, plan, params):
        print(line)
    for line in say_replaced(study_folder, [run.name for run in plan]) if todo else ():
        print(line)
    if todo:
        needed = needed_bytes(runs, undone, study_folder, jobs=jobs, keep=study.keep)
        print(f"What is to do takes {say_room(needed, study_folder)[0]}")
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
    params: Path,
    per_gpu: int = 1,
) -> int:
    """Run what is selected, write summary.csv and index.html, print where the report is.

    runs: the whole plan, which summary and index cover as far as it is done. forced: names of runs
    to do again although they are done. params: the study's file. jobs, scheduler, slurm, per_gpu:
    as `lib.batch.engine.open_engine` has them.
    Returns the exit status: 0 when every selected run is done, 1 when some failed or nothing more
    could be written, 130 when it was stopped by Ctrl-C or a signal. Raises StudyError where the
    results cannot be written from the start, or the disk is far too small for them.
    """
    began = time.time()
    refuse(cannot_write(study_folder), study_folder)
    selected, names = each_once(selected), [run.name for run in runs]
    at_once, at_end = KEEP[study.keep]
    # An encoder that was not kept is made again for a run that needs it.
    forced = {*forced, *without_encoder(selected, study_folder, forced)}
    undone = to_do(selected, study_folder, forced)
    lacking = too_little_room(selected, undone, study_folder, jobs=jobs, keep=study.keep)
    refuse(lacking, study_folder)

    overview = Overview(study, runs, study_folder, undone)

    def carry_out() -> Report:
        where = (jobs, scheduler, slurm) if undone else (1, None, None)
        places = open_engine(*where, per_gpu=per_gpu, folder=study_folder, stop=stop.asked)
        with places as engine:
            record_owner(study_folder, study.file)
            tidy(study_folder)
            for line in say_replaced(study_folder, names) if undone else ():
                print(line)
            overview.begin()
            return run_plan(
                selected,
                study.name,
                study_folder,
                engine,
                forced=forced,
                drop=at_once,
                after_each=overview.go_on,
                stop=stop.asked,
            )

    with Stop() as stop:
        try:
            report = carry_out()
        except StudyError:
            discard_empty(study_folder)
            raise
        index = None
        try:
            index = overview.end(report)
        except OSError as error:
            report.trouble = report.trouble or say_trouble(error, study_folder)
    print_end(report, selected, time.time() - began)
    if report.ok and len(selected) == len(each_once(runs)):
        drop_unneeded(study_folder, names, at_end)
    print(f"on the disk: {say_bytes(study_bytes(study_folder, names))}")
    for line in say_superseded(study_folder, runs, params):
        print(line)
    if report.trouble:
        print(report.trouble)
    if overview.untouched(report):
        print(f"nothing new was done: summary.csv and index.html in {study_folder} are as before")
    if index is not None:
        print(f"report: {index}")
    if stop.asked():
        return STOPPED
    return 0 if report.ok else 1


def to_do(
    runs: Sequence[PlannedRun], study_folder: Path, forced: Collection[str]
) -> frozenset[str]:
    """Names of the runs that will run: forced, not done, or done but without what is needed."""
    named = {r.name for r in runs if r.name in forced or not is_done(study_folder, r.name)}
    return frozenset(named | without_encoder(runs, study_folder, forced))


def without_encoder(
    runs: Sequence[PlannedRun], study_folder: Path, forced: Collection[str]
) -> set[str]:
    """Names of finished runs whose encoder was not kept and that a run to be done starts from."""
    by_name = {run.name: run for run in runs}
    queue = [r for r in runs if r.name in forced or not is_done(study_folder, r.name)]
    found: set[str] = set()
    while queue:
        for need in queue.pop().needs:
            run = by_name.get(need)
            if run is None or need in found or run.notebook not in ENCODER_NOTEBOOKS:
                continue
            folder = study_folder / "runs" / need
            kept = (folder / "encoder.safetensors").exists()
            if folder.is_dir() and not kept and is_done(study_folder, need):
                found.add(need)
                queue.append(run)
    return found


def drop_unneeded(study_folder: Path, names: Sequence[str], drop: Sequence[str]) -> None:
    """Remove from finished runs what `keep` does not keep, but for runs that someone is at."""
    for name in dict.fromkeys(names):
        found = [study_folder / "runs" / name / file for file in drop]
        if any(path.exists() for path in found):
            with hold(study_folder, name) as other:
                for path in found if other is None else ():
                    discard(path)


def tidy(study_folder: Path) -> None:
    """Bring in order what killed processes left of runs, but for those that others are at."""
    for name in interrupted(study_folder):
        with hold(study_folder, name) as other:
            if other is None:
                recover(study_folder / "work" / name, study_folder / "runs" / name)


def refuse(trouble: str, study_folder: Path) -> None:
    """StudyError where there is trouble with the results folder, and nothing is left behind."""
    if trouble:
        discard_empty(study_folder)
        raise StudyError([f"--results {trouble}"])


def discard_empty(study_folder: Path) -> None:
    """Remove the folders that a refused study has made, as far as they are empty."""
    for folder in (study_folder / "work", study_folder, study_folder.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def print_end(report: Report, runs: list[PlannedRun], seconds: float) -> None:
    """The closing lines: what was done, what failed and where to look."""
    failed = [outcome for outcome in report.outcomes.values() if not outcome.ok]
    done = len(report.outcomes) - len(failed)
    text = f"{len(runs)} runs: {done} done in {seconds_in_words(seconds)}"
    for count, what in (
        (len(report.already), "already done"),
        (len(report.elsewhere), "done by another process"),
        (len(failed), "failed"),
        (len(report.skipped), "skipped"),
        (len(report.stopped), "stopped"),
        (len(report.unstarted), "not started"),
    ):
        text += f", {count} {what}" if count else ""
    print(text)
    for outcome in failed:
        where = f"cell {outcome.cell}: " if outcome.cell else ""
        print(f"  failed   {outcome.name}: {where}{outcome.error}\n           see {outcome.report}")
    for name, need in report.skipped.items():
        print(f"  skipped  {name}: {need}")
    for name in report.stopped:
        print(f"  stopped  {name}")
    if report.stopped or report.unstarted:
        print("The same command goes on from here; trainings from their last checkpoint.")
