"""What is written about a study as a whole while it runs and at its end: summary and page."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from lib.batch.aside import keep_aside, waits
from lib.batch.disk import DISK
from lib.batch.index import write_index
from lib.batch.locks import guard
from lib.batch.plan import PlannedRun
from lib.batch.runner import Report
from lib.batch.spec import Outcome
from lib.batch.study import Study
from lib.batch.summary import write_summary

# Seconds between two versions of the page of a running study; it reads itself again as often.
LIVE_SECONDS = 20.0


class Overview:
    """summary.csv and index.html of a study, written anew as its runs end.

    runs: the whole plan. undone: names of the runs that are about to run. What shows earlier runs
    stays as it is until one of these is done. What goes wrong with the page of a running study is
    said once and stops nothing: the page of the end is what counts.
    """

    def __init__(
        self,
        study: Study,
        runs: Sequence[PlannedRun],
        study_folder: Path,
        undone: Collection[str],
    ) -> None:
        self.study, self.runs, self.folder = study, runs, study_folder
        self.names = [run.name for run in runs]
        self.earlier_stays = waits(study_folder, runs, undone, self.names)
        self.written, self.complained = float("-inf"), False

    def untouched(self, report: Report) -> bool:
        """Whether all is as it was, since nothing new is done."""
        return self.earlier_stays and not report.anything_new

    def begin(self) -> None:
        """Write the summary: a report may be the only run left, and it be of an older plan."""
        if not self.earlier_stays:
            self.summarise()

    def go_on(self, report: Report, running: list[str]) -> None:
        """Write both after a run: a study that is broken off still leaves the numbers it had.

        The page only now and then. running: names of the runs under way.
        """
        if self.untouched(report):
            return
        self.summarise()
        if time.monotonic() - self.written < LIVE_SECONDS:
            return
        try:
            self.write_page(report, running)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK:
                raise  # a full disk concerns the study; a file moved away meanwhile does not
            if not self.complained:
                print(f"the page of the running study: {type(error).__name__}: {error}")
            self.complained = True
        self.written = time.monotonic()

    def end(self, report: Report) -> Path | None:
        """Write both at the end; the page's path, or None where all is as it was."""
        if self.untouched(report):
            return None
        self.summarise()
        return self.write_page(report)

    def summarise(self) -> None:
        """Write the summary of what is done by now."""
        # Whoever comes second has also read the runs of whoever came first.
        with guard(self.folder, "summary"):
            keep_aside(self.folder, self.names)
            write_summary(self.folder, self.names)

    def write_page(self, report: Report, running: list[str] | None = None) -> Path:
        """Write the page; running: None at the end."""
        with guard(self.folder, "summary"):
            failed = failures(report)
            return write_index(self.study, self.runs, self.folder, failed, report.skipped, running)


def failures(report: Report) -> dict[str, Outcome]:
    """The outcomes of the runs that failed, by name."""
    return {name: outcome for name, outcome in report.outcomes.items() if not outcome.ok}
