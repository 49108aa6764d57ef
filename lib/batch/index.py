"""index.html: a study at a glance, made from its summary.csv and its list of runs."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from lib.batch.drawings import Drawings
from lib.batch.execute import Outcome
from lib.batch.index_runs import not_done, read_done, runs_table
from lib.batch.neighbours import link_reports
from lib.batch.plan import REPORT_NOTEBOOKS, PlannedRun
from lib.batch.provenance import footer_of, made_section, references
from lib.batch.study import Study
from lib.batch.summary import findings, headline
from lib.data.embedded import is_synthetic
from lib.figures.report import plot_beside
from lib.figures.study import plot_lines, probed
from lib.files import write_text
from lib.findings import report_grades, report_published
from lib.findings.answer import answer, split_answer
from lib.findings.claims import CLAIMS, say_untested
from lib.findings.worth import NOTHING
from lib.findings.worth import answers as worth_answers
from lib.pages.markup import tidy
from lib.pages.page import SYNTHETIC, page
from lib.study.grades import NOTEBOOK as GRADED
from lib.study.grades import grading_stats
from lib.study.measurements import VERDICT, hidden_runs, measurements, read_summary
from lib.study.published import with_counterparts
from lib.study.verdicts import NOT_TESTED
from lib.study.worth import weigh

PROBING = ("02_probe", GRADED)  # notebooks that probe frozen features
WORTH_FIRST = 4  # answers on single data sets that stand open; the others are folded
REFRESH = 20  # seconds after which a page of a running study reads itself again


def write_index(
    study: Study,
    runs: Sequence[PlannedRun],
    study_folder: Path,
    failed: Mapping[str, Outcome],
    skipped: Mapping[str, str],
    running: Collection[str] | None = None,
) -> Path:
    """Write the study's page; it opens from disk, with pictures inside and links to the reports.

    Beside it come figures/*.svg and references.bib, and links between the reports of the runs that
    are done. running: names of the runs under way, while the study still runs: the page then says
    so and reads itself again; None when it has ended. Meant to be called after every run: figures
    whose numbers are the same are not drawn again.
    """
    runs = list({run.name: run for run in runs}.values())
    table = read_summary(study_folder / "summary.csv", short=True)
    real = table[~table["dataset"].map(is_synthetic).astype(bool) & (table["protocol"] != VERDICT)]
    drawings = Drawings(study_folder / "figures")
    probes = table[table["notebook"].isin(PROBING)]
    finetuned = table[table["notebook"] == "03_finetune"]
    section = drawings.section
    parts = [
        opening(study, runs, study_folder, len(failed), running),
        section("answer", table, lambda: answer_box(table)),
        not_done(study_folder, failed, skipped),
        verdicts(runs, study_folder),
        section("frozen", probes, lambda: glance(probes, drawings)),
        section("trained", finetuned, lambda: trained(finetuned, drawings)),
        section("grading", table, lambda: grading(table)),
        section("published", real, lambda: beside_published(real, drawings)),
        runs_table(runs, study_folder, failed, skipped, running or ()),
        made_section(runs, study_folder),
    ]
    cited = references(runs, table)
    if cited:
        write_text(study_folder / "references.bib", cited)
    parts.append(downloads(drawings, cited))
    synthetic = any(is_synthetic(str(run.params.get("dataset", ""))) for run in runs)
    path = study_folder / "index.html"
    text = page(
        study.title,
        "\n".join(part for part in parts if part),
        banner=SYNTHETIC if synthetic else None,
        footer=footer_of(study.name, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        script="table.js",
        refresh=0 if running is None else REFRESH,
    )
    write_text(path, text)
    link_reports(study_folder, [run.name for run in runs], study.title)
    return path


def opening(
    study: Study,
    runs: Sequence[PlannedRun],
    study_folder: Path,
    failed: int,
    running: Collection[str] | None,
) -> str:
    """The question, and how far a running study is."""
    parts = [f"<p class='question'>{html.escape(study.question)}</p>" if study.question else ""]
    if running is not None:
        done = sum(read_done(study_folder / "runs" / run.name) is not None for run in runs)
        text = f"Still running: {done} of {len(runs)} runs done"
        text += f", {failed} failed" if failed else ""
        text += f", {len(running)} under way" if running else ""
        parts.append(
            f"<div class='running' role='status'>{text}. What stands here is of the runs that are "
            f"done; this page reads itself again every {REFRESH} seconds."
            f"<progress value='{done}' max='{len(runs)}' aria-label='runs done'></progress></div>"
        )
    return "\n".join(parts)


def answer_box(table: pd.DataFrame) -> str:
    """What the numbers answer; empty where there is nothing to compare yet.

    First whether pretraining is worth it, on each data set; then on average.
    """
    worth = [line for line in worth_answers(weigh(table)) if line != NOTHING]
    open_lines, folded = split_answer(answer(table))
    first, rest = (
        "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        for lines in (worth[:WORTH_FIRST] + open_lines, worth[WORTH_FIRST:] + folded)
    )
    if not first:
        return ""
    more = f"<details><summary>more comparisons</summary><ul>{rest}</ul></details>" if rest else ""
    return (
        "<div class='answer'><p><strong>The answer</strong>, computed from "
        f"<a href='summary.csv'>summary.csv</a>:</p><ul>{first}</ul>{more}</div>"
    )


def glance(table: pd.DataFrame, drawings: Drawings) -> str:
    """Table, figure and sentences over all probes of the study; empty without any."""
    if measurements(table).empty:
        return ""
    rows = probed(table)
    title = "Test AUROC of frozen features against labelled images"
    parts = [
        "<h2>Test AUROC of frozen features</h2>",
        f"<p>Mean ± standard deviation over {repeats(measurements(table))}. Everything was chosen "
        "on the validation split; the test split was scored once.</p>",
        drawings.show("frozen-features", title, plot_lines(rows)),
        to_html(headline(table)),
        variants(table),
    ]
    said = findings(table)
    if said:
        parts.append("<details><summary>Every difference, data set by data set</summary>")
        for dataset, lines in said.items():
            items = "".join(f"<li>{html.escape(line)}.</li>" for line in lines)
            parts.append(f"<p><strong>{html.escape(dataset)}</strong></p><ul>{items}</ul>")
        parts.append("</details>")
    parts.append(
        "<p>Intervals are Student's t over seeds, paired by seed, or the corrected resampled t of "
        "Nadeau and Bengio over folds; they are not corrected for the number of comparisons on "
        "this page.</p>"
    )
    return "\n".join(parts)


def trained(table: pd.DataFrame, drawings: Drawings) -> str:
    """Networks trained whole beside frozen features; empty without any."""
    rows = measurements(table)
    if rows.empty:
        return ""
    title = "Test AUROC of networks trained whole against labelled images"
    return (
        "<h2>Test AUROC when the whole encoder is trained</h2>"
        "<p>Finetuned, and the same architecture from scratch with the same steps and the same "
        "learning rates to choose from; beside them the frozen features.</p>"
        + drawings.show("trained-whole", title, plot_lines(rows))
    )


def grading(table: pd.DataFrame) -> str:
    """What the methods reach in grading; empty where nothing was graded."""
    stats = grading_stats(table)
    if stats.empty:
        return ""
    return (
        "<h2>Grading</h2>"
        f"<p>Mean ± standard deviation over {repeats(table[table['notebook'] == GRADED])}. "
        "Error in grades: of grades read off the nearest training images, lower is better. "
        "Severity: distance to healthy images.</p>" + to_html(report_grades.grades_table(stats))
    )


def beside_published(real: pd.DataFrame, drawings: Drawings) -> str:
    """Published figures beside ours; empty where none has a counterpart."""
    beside = with_counterparts(real)
    if beside.empty:
        return ""
    title = "Test AUROC of this study (lines) and published (hollow marks)"
    return "\n".join(
        [
            "<h2>Beside published figures</h2>",
            f"<p>{html.escape(report_published.say_beside(beside))}</p>",
            drawings.show("beside-published", title, plot_beside(real, "auroc")),
            to_html(report_published.beside_table(beside)),
            notes_list(beside),
        ]
    )


def notes_list(beside: pd.DataFrame) -> str:
    """Where each published number is from, and what is known against it."""
    items = "".join(
        f"<li>[{number}] <a href='{html.escape(url)}'>{html.escape(source)}</a>: "
        f"{html.escape(encoder)}; {html.escape(caveat)}.</li>"
        for (source, url, encoder, caveat), number in report_published.number_notes(beside).items()
    )
    return f"<ul>{items}</ul>"


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
        done = read_done(study_folder / "runs" / run.name)
        if run.notebook not in REPORT_NOTEBOOKS or done is None:
            continue
        link = f"runs/{html.escape(run.name)}/report.html"
        rows = "".join(
            f"<tr><td>{html.escape(CLAIMS[claim].text)}</td><td>{html.escape(answer)}</td></tr>"
            for claim, answer in done.answers.items()
            if answer != NOT_TESTED
        )
        untested = say_untested([c for c, a in done.answers.items() if a == NOT_TESTED])
        table = (
            "<div class='scroll' tabindex='0' role='group' aria-label='Table of verdicts'><table>"
            "<thead><tr><th scope='col'>claim</th><th scope='col'>answer</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
        parts += [
            "<h2>Verdicts</h2>",
            f"<p>Claims of the systems that this study builds on, from <a href='{link}'>the "
            "study's report</a>, which says how each was tested.</p>",
            table if rows else "",
            f"<p>{html.escape(untested)}</p>" if untested else "",
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


def downloads(drawings: Drawings, cited: str) -> str:
    """The study's files for other programs."""
    items = ["<li><a href='summary.csv' download>summary.csv</a>: every number, a row each</li>"]
    items += [
        f"<li><a href='{file}' download>{file}</a>: {html.escape(title)}</li>"
        for file, title in drawings.saved.items()
    ]
    if cited:
        items.append(
            "<li><a href='references.bib' download>references.bib</a>: the data and methods used, "
            "as BibTeX</li>"
        )
    return f"<h2>Downloads</h2><ul>{''.join(items)}</ul>"


def to_html(table: pd.DataFrame) -> str:
    """A table for the page, scrolling sideways where it is wide, its numbers aligned."""
    return tidy(table.to_html(border=0, classes="dataframe"))
