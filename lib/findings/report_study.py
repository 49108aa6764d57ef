"""What a study ran and what that took, from its summary.csv alone."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from lib.findings.claims import nothing
from lib.names import name_source
from lib.study.measurements import hidden_runs, label_order
from lib.study.published import name_dataset

HOUR = 3600


def listed(values: Iterable[str]) -> str:
    """Different values in their order, with commas; a dash where there are none."""
    return ", ".join(v for v in dict.fromkeys(values) if v) or "–"


def in_number(values: Iterable[str]) -> list[str]:
    """Different numbers, given as text, from small to large."""
    return sorted(set(values), key=lambda v: (len(v), v))


def runs_table(table: pd.DataFrame) -> pd.DataFrame:
    """What was tested, a line for each data set and encoder.

    pixels: image sizes. protocols: a number in brackets counts remedies for unequal classes.
    """
    if table.empty:
        return nothing()
    rows = {}
    tested = table[(table["split"] == "test") & (table["method"] != "")]
    order = {dataset: i for i, dataset in enumerate(dict.fromkeys(tested["dataset"]))}
    tested = tested.sort_values("dataset", key=lambda c: c.map(order), kind="stable")
    kinds = ["dataset", "method", "augment"]
    for (dataset, method, augment), here in tested.groupby(kinds, sort=False):
        place = name_dataset(str(dataset))
        base = [protocol.partition("+")[0] for protocol in here["protocol"]]
        remedies = here.loc[here["protocol"].str.contains("+", regex=False), "protocol"].nunique()
        rows[place, name_source(str(method), str(augment))] = {
            "runs": here["run"].nunique(),
            "pixels": listed([str(size) for size in sorted(set(here["size"]), reverse=True)]),
            "protocols": listed(base) + (f" (+{remedies})" if remedies else ""),
            "labels": listed(label_order(here["labels"])),
            "seeds": listed(in_number(here["seed"])),
            "folds": listed(in_number(here["fold"])),
        }
    if not rows:
        return nothing("no encoder has been tested")
    result = pd.DataFrame.from_dict(rows, orient="index")
    result.index = pd.MultiIndex.from_tuples(list(rows), names=["data set", "encoder"])
    return result


def say_runs(real: pd.DataFrame, synthetic: pd.DataFrame) -> str:
    """How many runs of how many notebooks on what, and by which code."""
    everything = pd.concat([real, synthetic])
    if everything.empty:
        return "The summary has no rows: nothing has been run."
    text = f"Study {listed(sorted(set(everything['study'])))}: {everything['run'].nunique()} runs "
    text += f"of {listed(sorted(set(everything['notebook'])))} "
    text += f"on {real['dataset'].nunique()} real and {synthetic['dataset'].nunique()} synthetic "
    text += "data set(s)"
    commits = list(dict.fromkeys(everything["commit"]))
    text += f"; code: commit {listed(commits)}."
    if len(commits) > 1:
        text += " More than one commit: the runs were not all made by the same code."
    if any(commit.endswith("+") for commit in commits):
        text += " A plus marks code that differed from its commit."
    hidden = hidden_runs(everything)
    if hidden:
        text += (
            f" {len(hidden)} run(s) measured what another had measured before them, with another "
        )
        text += "result, since a parameter without a column in the summary differs; those numbers "
        text += f"are left out ({listed(hidden)})."
    seeds = real["seed"].replace("", pd.NA).nunique()
    if seeds == 1 and not (real["fold"] != "").any():
        text += " There is one seed only, so no difference on this page could be tested."
    return text


def cost_table(table: pd.DataFrame) -> pd.DataFrame:
    """Time noted by the runs, hours by notebook, data set and size; one line for the whole."""
    timed = table[table["metric"] == "seconds"]
    if timed.empty:
        return nothing("no run has noted its time")
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for (notebook, dataset, size), here in timed.groupby(["notebook", "dataset", "size"]):
        key = (str(notebook), name_dataset(str(dataset)), f"{size} px")
        rows[key] = time_entry(here)
    rows["all", "", ""] = time_entry(timed)
    result = pd.DataFrame.from_dict(rows, orient="index")
    result.index = pd.MultiIndex.from_tuples(list(rows), names=["notebook", "data set", "size"])
    return result


def time_entry(timed: pd.DataFrame) -> dict[str, str]:
    """Runs, hours together and minutes a run."""
    runs, seconds = timed["run"].nunique(), float(timed["value"].sum())
    return {
        "runs": str(runs),
        "hours": f"{seconds / HOUR:.2f}",
        "minutes a run": f"{seconds / 60 / runs:.1f}",
    }


def say_cost(table: pd.DataFrame) -> str:
    """The time of the whole study, and what is not known of it."""
    timed = table[table["metric"] == "seconds"]
    untimed = sorted(set(table["notebook"]) - set(timed["notebook"]))
    if timed.empty:
        return "No run has noted its time."
    text = f"Training took {timed['value'].sum() / HOUR:.2f} hours in {timed['run'].nunique()} runs"
    text += " one after the other"
    text += f"; the runs of {listed(untimed)} note no training time" if untimed else ""
    return (
        f"{text}. The machine stands in the report and metrics.json of each run, not in a summary."
    )
