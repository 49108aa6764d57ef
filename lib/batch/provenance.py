"""How a study was made: by which code, on which machine, with which parameters, in what time."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.batch.earlier import superseded
from lib.batch.index_runs import Done, read_done
from lib.batch.plan import PlannedRun
from lib.batch.progress import seconds_in_words
from lib.batch.sizes import say_bytes, study_bytes
from lib.identity import DATASETS, commit, short_name
from lib.pages.references import bibliography, words_of
from lib.params import notebook_defaults

# Where files lie on a machine says nothing of how a study was made.
PLACES = ("results", "study", "out", "data_root", "summary", "device")
MOST = 8  # values of a parameter that are listed


def made_section(runs: Sequence[PlannedRun], study_folder: Path) -> str:
    """Code, machine, versions, hours, and the parameters of each experiment."""
    found = [read_done(study_folder / "runs" / run.name) for run in runs]
    done = [d for d in found if d is not None]
    facts = facts_of(done)
    sizes = study_bytes(study_folder, (run.name for run in runs))
    if sizes:
        facts["on the disk"] = say_bytes(sizes)
    left = superseded(study_folder, runs)
    if left:
        facts["left over"] = (
            f"{len(left)} runs that this plan does not have any more; `run_all.py clean` with the "
            "params file removes them"
        )
    entries = "".join(
        f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items()
    )
    own = {run.name for run in runs}
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(name)}</th>"
        + "".join(f"<td>{html.escape(text)}</td>" for text in parameters_of(group, own))
        + "</tr>"
        for name, group in by_experiment(runs).items()
    )
    head = "".join(
        f"<th scope='col'>{h}</th>" for h in ("experiment", "notebook", "runs", "set", "varied")
    )
    return (
        "<h2>How it was made</h2>"
        f"<dl class='made'>{entries}</dl>"
        "<p>Parameters that differ from a notebook's defaults; every run's own, all of them, are "
        "in its report and its params.yaml.</p>"
        "<div class='scroll' tabindex='0' role='group' aria-label='Table of parameters'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def facts_of(done: Sequence[Done]) -> dict[str, str]:
    """What is known of the machine, the code and the time of finished runs."""
    if not done:
        return {"code": commit()}
    seconds = sum(d.seconds for d in done)
    versions = [f"{k} {v}" for d in done for k, v in d.versions.items()]
    commits = listed(c for d in done for c in d.commits)
    facts = {
        "code": f"commit {commits}" if commits else commit(),
        "machine": listed(d.device for d in done),
        "libraries": listed(versions),
        "time": f"{seconds_in_words(seconds)} of computing in {len(done)} runs, one after another",
    }
    if "," in commits:
        facts["code"] += ": the runs were not all made by the same code"
    if "+" in commits:
        facts["code"] += "; a plus marks code that differed from its commit"
    return {k: v for k, v in facts.items() if v}


def listed(values: Iterable[str]) -> str:
    """Different values in their order, with commas."""
    return ", ".join(v for v in dict.fromkeys(values) if v)


def by_experiment(runs: Sequence[PlannedRun]) -> dict[str, list[PlannedRun]]:
    """The runs of each experiment, in the order of the params file."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(run.experiment, []).append(run)
    return groups


def parameters_of(
    group: Sequence[PlannedRun], own: Collection[str] = ()
) -> tuple[str, str, str, str]:
    """Notebook, number of runs, what is set for all of them, and what differs between them.

    own: names of all runs of the study, whose encoders are called that.
    """
    notebook = group[0].notebook
    try:
        defaults = notebook_defaults(notebook)
    except FileNotFoundError:  # a notebook that has since been renamed
        defaults = {}
    values: dict[str, list[str]] = {}
    for run in group:
        for name, value in run.params.items():
            if name not in PLACES:
                values.setdefault(name, []).append(say_value(name, value, own))
    fixed, varied = [], []
    for name, texts in values.items():
        different = list(dict.fromkeys(texts))
        if len(different) > 1:
            more = f" and {len(different) - MOST} more" if len(different) > MOST else ""
            varied.append(f"{name}: {', '.join(different[:MOST])}{more}")
        elif name not in defaults or different != [say_value(name, defaults[name])]:
            fixed.append(f"{name} {different[0]}")
    return notebook, str(len(group)), "; ".join(fixed) or "–", "; ".join(varied) or "–"


def say_value(name: str, value: Any, own: Collection[str] = ()) -> str:
    """A parameter's value without this machine's folders."""
    text = str(value)
    if name in DATASETS:
        return short_name(text)
    if name == "init":
        # An encoder is given by its run, or by a file in its run's folder.
        run = Path(text).parent.name if Path(text).suffix else text
        return "an encoder of this study" if run in own or not text else run or text
    return text


def study_words(runs: Sequence[PlannedRun], table: pd.DataFrame) -> set[str]:
    """The words that call for a study's references: data sets, methods, encoders, notebooks."""
    words = {word for column in ("method", "notebook", "encoder") for word in table[column]}
    # `simclr from pathmnist>dermamnist (warm)` was made of the parts.
    words |= {part for word in list(words) for part in word.replace(">", " ").split()}
    words |= {run.notebook for run in runs}
    for run in runs:
        words |= {str(run.params.get(k, "")) for k in ("method", "encoder", "init")}
        for key in DATASETS:
            words |= words_of(short_name(str(run.params.get(key, ""))))
        words |= {"folds"} if run.params.get("folds") else set()
        words |= {f"preprocess {run.params.get('preprocess', 'none')}"}
    return words - {""}


def references(runs: Sequence[PlannedRun], table: pd.DataFrame) -> str:
    """BibTeX of the data and methods that a study used."""
    return bibliography(study_words(runs, table))


def footer_of(name: str, made: str) -> Mapping[str, str]:
    """The lines at the foot of a study's page."""
    return {
        "study": name,
        "page made by code": commit(),
        "page made": made,
        "numbers": "summary.csv beside this page",
    }
