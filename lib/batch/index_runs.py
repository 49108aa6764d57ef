"""The runs of a study as a table that can be sorted and filtered, and what became of each."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import Any

from lib.batch.done import read_metrics
from lib.batch.execute import Outcome
from lib.batch.plan import PlannedRun
from lib.batch.progress import seconds_in_words
from lib.batch.spec import LOG
from lib.identity import column_name
from lib.methods import FLOORS
from lib.names import name_source
from lib.study.published import name_dataset

# Files of a run that a reader may want, and what the table calls them.
FILES = {
    "notebook.ipynb": "notebook",
    "predictions.csv": "predictions",
    "history.csv": "history",
    "params.yaml": "parameters",
}


@dataclass(frozen=True)
class Done:
    """What the page says of a finished run, from its metrics.json."""

    headline: str
    seconds: float
    auroc: float | None
    device: str
    versions: Mapping[str, str]
    commits: tuple[str, ...]
    answers: Mapping[str, str]


def read_done(folder: Path) -> Done | None:
    """A finished run; None for one that is not, or damaged. Read once, until its file changes."""
    try:
        return _read(folder, (folder / "metrics.json").stat().st_mtime_ns)
    except FileNotFoundError:
        return None


@lru_cache(maxsize=4096)
def _read(folder: Path, _changed: int) -> Done:
    metrics = read_metrics(folder.parent.parent, folder.name)
    if metrics is None:  # raised, since an answer would be remembered
        raise FileNotFoundError(folder / "metrics.json")
    rows = metrics.get("rows", [])
    return Done(
        str(metrics.get("headline", "")),
        float(metrics["seconds"]),
        main_auroc(rows),
        str(metrics.get("device", "")),
        metrics.get("versions", {}),
        tuple(dict.fromkeys(str(row["commit"]) for row in rows if row.get("commit"))),
        metrics.get("answers", {}),
    )


def main_auroc(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The test AUROC of a run's own encoder with its largest budget; None where it has none.

    Of the whole network where it was trained, else of logistic regression on its features. Budgets
    stand in a run from small to large.
    """
    found = {
        row["protocol"]: float(row["value"])
        for row in rows
        if (row["metric"], row["split"]) == ("auroc", "test") and row["method"] not in FLOORS
    }
    return found.get("finetune", found.get("probe"))


def not_done(study_folder: Path, failed: Mapping[str, Outcome], skipped: Mapping[str, str]) -> str:
    """What failed, with its reason and its report, and what was skipped; empty without either."""
    if not failed and not skipped:
        return ""
    items = [failure(name, outcome, study_folder) for name, outcome in failed.items()]
    items += [f"<li>{html.escape(n)}: skipped, {html.escape(w)}</li>" for n, w in skipped.items()]
    return f"<h2>Not done</h2><ul class='failed'>{''.join(items)}</ul>"


def failure(name: str, outcome: Outcome, study_folder: Path) -> str:
    """One failed run: which cell, which error, which report."""
    report = Path(outcome.report) if outcome.report else None
    where = f"cell {outcome.cell}: " if outcome.cell else ""
    text = f"{html.escape(name)}: {html.escape(where + outcome.error)}"
    if report is not None and report.is_relative_to(study_folder):
        text += f" (<a href='{html.escape(str(report.relative_to(study_folder)))}'>report</a>)"
    return f"<li>{text}</li>"


def runs_table(
    runs: Sequence[PlannedRun],
    study_folder: Path,
    failed: Collection[str] = (),
    skipped: Collection[str] = (),
    running: Collection[str] = (),
) -> str:
    """Every run with links to its report and files, its numbers and its time."""
    states = {run.name: "not done" for run in runs}
    states |= dict.fromkeys(skipped, "skipped") | dict.fromkeys(running, "running")
    found = {run.name: read_done(study_folder / "runs" / run.name) for run in runs}
    states |= {name: "done" for name, done in found.items() if done}
    states |= dict.fromkeys(failed, "failed")
    rows = [row_of(run, found[run.name], states[run.name], study_folder) for run in runs]
    # A column that says the same of every run, or nothing, is left out.
    shown = [k for k in COLUMNS if k in ALWAYS or len({row[k][0] for row in rows}) > 1]
    head = "".join(f"<th scope='col'{COLUMNS[k]}>{k}</th>" for k in shown)
    body = "".join("<tr>" + "".join(cell(k, *row[k]) for k in shown) + "</tr>" for row in rows)
    return (
        "<h2>Runs</h2>"
        "<div class='scroll wide' tabindex='0' role='group' aria-label='Table of runs'>"
        "<table class='runs' data-table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


LONGEST = 110  # letters of what a run came to; its report says all of it
ALWAYS = ("run", "what it came to", "time")
# Column → attributes of its heading: filters for what has few values, no sorting by links.
COLUMNS = {
    "run": "",
    "data set": " data-filter",
    "size": " data-filter",
    "encoder": " data-filter",
    "fold": " data-filter",
    "seed": " data-filter",
    "state": " data-filter",
    "test AUROC": " class='number'",
    "what it came to": "",
    "time": " class='number'",
    "experiment": " data-filter",
    "files": " data-plain",
}


def row_of(
    run: PlannedRun, done: Done | None, state: str, study_folder: Path
) -> dict[str, tuple[str, str]]:
    """Column → value that sorts, and what is shown as HTML."""
    p = run.params
    method = str(p.get("method", "")) or run.origin.method
    augment = str(p.get("augment", run.origin.augment))
    name = html.escape(run.name)
    link = f"<a href='runs/{name}/report.html'>{name}</a>" if done else name
    texts = {
        "experiment": run.experiment,
        "data set": name_dataset(column_name(p)),
        "size": str(p.get("size", "")),
        "encoder": name_source(method, augment) if method else "",
        "fold": str(p["fold"]) if p.get("folds") else "",
        "seed": str(p.get("seed", "")),
        "state": state,
        "what it came to": shorten(done.headline, LONGEST, placeholder=" …") if done else state,
    }
    cells = {column: (text, html.escape(text)) for column, text in texts.items()}
    auroc, seconds = (done.auroc, done.seconds) if done else (None, None)
    # A path may be broken over lines: it would be wider than all else.
    cells["data set"] = (texts["data set"], re.sub("([:/])", r"\1<wbr>", cells["data set"][1]))
    cells["run"] = (run.name, link)
    cells["test AUROC"] = ("", "") if auroc is None else (f"{auroc:.6f}", f"{auroc:.3f}")
    cells["time"] = ("", "") if seconds is None else (f"{seconds}", seconds_in_words(seconds))
    folder = study_folder / "runs" / run.name
    files = {f: word for f, word in FILES.items() if done and (folder / f).exists()}
    links = [f"<a href='runs/{name}/{file}'>{word}</a>" for file, word in files.items()]
    log = Path("work") / run.name / LOG
    if not done and (study_folder / log).exists():  # of a run under way, or one that failed
        links.append(f"<a href='{html.escape(str(log))}'>log</a>")
    cells["files"] = (" ".join(files), " ".join(links))
    return cells


def cell(column: str, value: str, shown: str) -> str:
    """One cell; what it is sorted by stands in an attribute where it is not what is shown."""
    kinds = {
        "test AUROC": "number",
        "time": "number",
        "files": "files",
        "what it came to": "result",
    }
    kind = f" class='{kinds[column]}'" if column in kinds else ""
    sorts = f" data-value='{value}'" if kinds.get(column) == "number" else ""
    return f"<td{kind}{sorts}>{shown}</td>"
