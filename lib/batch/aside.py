"""Numbers of earlier runs in a study's summary: kept aside before others take their place.

summary.csv and index.html are of one plan. Where code or a params file has changed since, they are
all that a reader has of the runs before (and a published study comes with them), so they stay
until a new run is done, and then as earlier-COMMIT.csv and earlier-COMMIT.html beside it.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from lib.batch.plan import REPORT_NOTEBOOKS, PlannedRun
from lib.files import write_text


def foreign_rows(study_folder: Path, names: Collection[str]) -> dict[str, str]:
    """Run → commit of the runs in summary.csv that are not among `names`; empty without any."""
    planned = set(names)
    try:
        with (study_folder / "summary.csv").open(newline="", encoding="utf-8") as file:
            rows = [(row.get("run"), row.get("commit")) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return {run: commit or "unknown" for run, commit in rows if run and run not in planned}


def kept_name(commits: Collection[str]) -> str:
    """What earlier results are called: by the commit of most of their runs."""
    counted = list(commits)
    commit = max(dict.fromkeys(counted), key=counted.count)
    return "earlier-" + re.sub(r"[^A-Za-z0-9+]+", "-", commit)


def keep_aside(study_folder: Path, names: Collection[str]) -> None:
    """Copy summary.csv and index.html where the summary has rows of runs that are not `names`.

    Nothing is copied twice, and no other copy is overwritten.
    """
    found = foreign_rows(study_folder, names)
    if not found:
        return
    text = (study_folder / "summary.csv").read_text(encoding="utf-8")
    base = kept_name(found.values())
    for number in itertools.count(1):
        copy = study_folder / f"{base}{f'-{number}' if number > 1 else ''}.csv"
        if not copy.exists():
            break
        if copy.read_text(encoding="utf-8") == text:
            return
    page = study_folder / "index.html"
    if page.exists():
        # Beside the page as it was, so that its links to reports go on leading there.
        old = page.read_text(encoding="utf-8")
        write_text(copy.with_suffix(".html"), old.replace("'summary.csv'", f"'{copy.name}'"))
    write_text(copy, text)  # last: with it the copy is complete


def waits(
    study_folder: Path, runs: Sequence[PlannedRun], undone: Collection[str], names: Collection[str]
) -> bool:
    """Whether summary and page are to stay as they are until a run is done.

    So they are while they show earlier runs and there is more to do than reports on a summary.
    """
    work = any(run.name in undone and run.notebook not in REPORT_NOTEBOOKS for run in runs)
    return work and bool(foreign_rows(study_folder, names))


def say_replaced(study_folder: Path, names: Collection[str]) -> list[str]:
    """A line on the earlier results that a study replaces; none where there are none."""
    found = foreign_rows(study_folder, names)
    if not found:
        return []
    kept = kept_name(found.values())
    return [
        f"summary.csv and index.html in {study_folder} show {len(found)} earlier run(s); once a "
        f"run is done they are replaced and kept as {kept}.csv and .html (--results OTHER leaves "
        "them alone)"
    ]
