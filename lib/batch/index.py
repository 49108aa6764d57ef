"""index.html: a study at a glance, made from its summary.csv and its list of runs."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lib.batch.execute import Outcome
from lib.batch.plan import REPORT_NOTEBOOKS, PlannedRun
from lib.batch.progress import seconds_in_words
from lib.batch.study import Study
from lib.batch.summary import conclusions, findings, headline
from lib.data.embedded import EMBEDDED
from lib.figures.base import as_typed, colour_of, new_figure, tidy
from lib.files import write_text
from lib.findings import report_grades
from lib.findings.claims import CLAIMS
from lib.findings.names import name_source
from lib.grades import NOTEBOOK as GRADED
from lib.grades import grading_stats
from lib.identity import commit
from lib.measurements import hidden_runs, label_order, measurements, over_seeds, read_summary
from lib.page import SYNTHETIC, page

if TYPE_CHECKING:
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

PROBING = ("02_probe", GRADED)  # notebooks that probe frozen features


def write_index(
    study: Study,
    runs: Sequence[PlannedRun],
    study_folder: Path,
    failed: Mapping[str, Outcome],
    skipped: Mapping[str, str],
) -> Path:
    """Write the study's page; it opens from disk, with pictures inside and links to the reports."""
    table = read_summary(study_folder / "summary.csv")
    parts = [f"<p class='question'>{html.escape(study.question)}</p>" if study.question else ""]
    parts.append(verdicts(runs, study_folder))
    probes = table[table["notebook"].isin(PROBING)]
    if not measurements(probes).empty:
        parts.append(glance(probes))
    trained = measurements(table[table["notebook"] == "03_finetune"])
    if not trained.empty:
        parts += [
            "<h2>Test AUROC when the whole encoder is trained</h2>",
            "<p>Finetuned, and the same architecture from scratch with the same steps and the same "
            "learning rates to choose from; beside them the frozen features.</p>",
            picture(plot_lines(trained), "AUROC of finetuned encoders against labelled images"),
        ]
    stats = grading_stats(table)
    if not stats.empty:
        parts += [
            "<h2>Grading</h2>",
            f"<p>Mean ± standard deviation over {repeats(table[table['notebook'] == GRADED])}. "
            "Error in grades: of grades read off the nearest training images, lower is better. "
            "Severity: distance to healthy images.</p>",
            to_html(report_grades.grades_table(stats)),
        ]
    parts.append(runs_section(runs, study_folder, failed, skipped))
    synthetic = any(run.params.get("dataset") in EMBEDDED for run in runs)
    footer = {
        "study": study.name,
        "code": commit(),
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "numbers": "summary.csv beside this page",
    }
    banner = SYNTHETIC if synthetic else None
    path = study_folder / "index.html"
    write_text(path, page(study.title, "\n".join(parts), banner=banner, footer=footer))
    return path


def glance(table: pd.DataFrame) -> str:
    """Table, figure and sentences over all probes of the study."""
    parts = [
        "<h2>Test AUROC of frozen features</h2>",
        f"<p>Mean ± standard deviation over {repeats(measurements(table))}. Everything was chosen "
        "on the validation split; the test split was scored once.</p>",
        to_html(headline(table)),
        variants(table),
        picture(plot_study(table), "AUROC against labelled images, a panel for each data set"),
        "<h2>What this shows</h2>",
        "<ul>" + "".join(f"<li>{html.escape(c)}.</li>" for c in conclusions(table)) + "</ul>",
    ]
    for dataset, lines in findings(table).items():
        items = "".join(f"<li>{html.escape(line)}.</li>" for line in lines)
        parts.append(f"<h3>{html.escape(dataset)}</h3><ul>{items}</ul>")
    parts.append(
        "<p>Intervals are Student's t over seeds, paired by seed, or the corrected resampled t of "
        "Nadeau and Bengio over folds; they are not corrected for the number of comparisons on "
        "this page.</p>"
    )
    return "\n".join(parts)


def repeats(rows: pd.DataFrame) -> str:
    """What numbers are averaged over: `seeds 0, 1, 2`, `folds 0, 1`, or the one or the other."""
    seeds = sorted(set(rows.loc[rows["fold"] == "", "seed"]), key=int)
    folds = sorted(set(rows["fold"]) - {""}, key=int)
    named = {"seeds": seeds, "folds": folds}
    return " or ".join(f"{unit} {', '.join(found)}" for unit, found in named.items() if found)


def verdicts(runs: Sequence[PlannedRun], study_folder: Path) -> str:
    """What the study's report answers to each claim, with a link to it; empty without a report."""
    parts = []
    for run in runs:
        file = study_folder / "runs" / run.name / "metrics.json"
        if run.notebook not in REPORT_NOTEBOOKS or not file.exists():
            continue
        answers = json.loads(file.read_text(encoding="utf-8")).get("answers", {})
        link = f"runs/{html.escape(run.name)}/report.html"
        rows = "".join(
            f"<tr><td>{html.escape(CLAIMS[claim].text)}</td><td>{html.escape(answer)}</td></tr>"
            for claim, answer in answers.items()
        )
        parts += [
            "<h2>Verdicts</h2>",
            f"<p>Claims of the systems that this study builds on, from <a href='{link}'>the "
            "study's report</a>, which says how each was tested.</p>",
            "<div class='scroll'><table><tr><th>claim</th><th>answer</th></tr>"
            f"{rows}</table></div>",
        ]
    return "\n".join(parts)


def variants(table: pd.DataFrame) -> str:
    """A warning where runs differ in a parameter that the tables of this page cannot tell apart."""
    hidden = hidden_runs(table)
    if not hidden:
        return ""
    text = f"Not in this section: {len(hidden)} run(s) that differ from another in a parameter "
    text += (
        "other than data set, size, method, augmentation, encoder or seed. Their numbers are in "
    )
    text += f"summary.csv and their reports: {', '.join(hidden)}."
    return f"<p>{html.escape(text)}</p>"


def plot_study(table: pd.DataFrame) -> Figure:
    """Test AUROC against the label budget: a panel per data set, a line per features."""
    rows = measurements(table)
    return plot_lines(rows[(rows["protocol"] == "probe") | (rows["method"] == "pixels")])


def plot_lines(rows: pd.DataFrame) -> Figure:
    """Mean ± sd of measurements against the label budget: a panel per data set and size."""
    stats = over_seeds(rows)
    whole = "finetune" in set(stats["protocol"])
    panels = list(dict.fromkeys(zip(stats["dataset"], stats["size"], strict=True)))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure, grid = new_figure(4.0 * columns + 1.2, 3.4 * lines + 0.5, lines, columns)
    names: dict[str, ErrorbarContainer] = {}
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, (dataset, size) in zip(grid.flat, panels, strict=False):
        here = stats[(stats["dataset"] == dataset) & (stats["size"] == size)]
        budgets = label_order(here["labels"])
        for key, line in here.groupby(["method", "augment", "protocol"], sort=False):
            method, augment, protocol = map(str, key)
            ordered = line.set_index("labels").reindex(budgets)
            label = name_line(method, augment, protocol) if whole else name_source(method, augment)
            floor = method in ("random", "pixels") or (whole and protocol == "probe")
            names[as_typed(label)] = axes.errorbar(
                range(len(budgets)),
                ordered["mean"],
                yerr=ordered["std"].fillna(0),
                fmt="o--" if floor else "o-",
                ms=4,
                capsize=3,
                color=colour_of(method, augment),
            )
        axes.set_xticks(range(len(budgets)), budgets)
        axes.set(title=as_typed(f"{dataset}, {size} px"), xlabel="labelled training images")
        tidy(axes)
    for axes_row in grid:
        axes_row[0].set_ylabel("test AUROC, mean ± sd")
    fitting = min(4, max(1, int(figure.get_figwidth() // 2.3)))
    figure.legend(
        handles=list(names.values()), labels=list(names), loc="outside lower center", ncols=fitting
    )
    return figure


def name_line(method: str, augment: str, protocol: str) -> str:
    """A line where networks trained whole stand beside frozen features."""
    if (method, protocol) == ("random", "finetune"):
        return "from scratch"
    how = {"finetune": "finetuned", "probe": "frozen"}.get(protocol, protocol)
    return f"{name_source(method, augment)}: {how}"


def runs_section(
    runs: Sequence[PlannedRun],
    study_folder: Path,
    failed: Mapping[str, Outcome],
    skipped: Mapping[str, str],
) -> str:
    """The list of runs with links to their reports; what failed comes first, with its reason."""
    parts = []
    if failed or skipped:
        items = [failure(name, outcome, study_folder) for name, outcome in failed.items()]
        items += [
            f"<li>{html.escape(n)}: skipped, {html.escape(w)}</li>" for n, w in skipped.items()
        ]
        parts.append(f"<h2>Not done</h2><ul class='failed'>{''.join(items)}</ul>")
    parts.append("<h2>Runs</h2>")
    for experiment in dict.fromkeys(run.experiment for run in runs):
        rows = [run_row(run, study_folder) for run in runs if run.experiment == experiment]
        head = "<tr><th>run</th><th>what it came to</th><th>time</th></tr>"
        parts.append(f"<h3>{html.escape(experiment)}</h3>")
        parts.append(f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>")
    return "\n".join(parts)


def failure(name: str, outcome: Outcome, study_folder: Path) -> str:
    """One failed run: which cell, which error, which report."""
    report = Path(outcome.report) if outcome.report else None
    where = f"cell {outcome.cell}: " if outcome.cell else ""
    text = f"{html.escape(name)}: {html.escape(where + outcome.error)}"
    if report is not None and report.is_relative_to(study_folder):
        text += f" (<a href='{html.escape(str(report.relative_to(study_folder)))}'>report</a>)"
    return f"<li>{text}</li>"


def run_row(run: PlannedRun, study_folder: Path) -> str:
    """One row of the list of runs."""
    file = study_folder / "runs" / run.name / "metrics.json"
    if not file.exists():
        return f"<tr><td>{html.escape(run.name)}</td><td>not done</td><td></td></tr>"
    metrics = json.loads(file.read_text(encoding="utf-8"))
    link = f"<a href='runs/{html.escape(run.name)}/report.html'>{html.escape(run.name)}</a>"
    came_to = html.escape(str(metrics.get("headline", "")))
    took = seconds_in_words(float(metrics["seconds"]))
    return f"<tr><td>{link}</td><td>{came_to}</td><td>{took}</td></tr>"


def picture(figure: Figure, alt: str) -> str:
    """A figure as an image inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"<img alt='{html.escape(alt)}' src='data:image/png;base64,{data}'>"


def to_html(table: pd.DataFrame) -> str:
    """A table for the page, scrolling sideways where it is wide."""
    return f"<div class='scroll'>{table.to_html(border=0, classes='dataframe')}</div>"
