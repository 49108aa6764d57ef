"""What a study of grades found, over its folds or seeds."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from lib.findings.claims import name_p, nothing, with_interval
from lib.findings.severity import LESS_IS_BETTER
from lib.names import METHOD_NAMES, METRIC_NAMES, name_labels, name_source
from lib.study.grades import GRADING
from lib.study.measurements import label_order
from lib.study.published import name_dataset

HEADS = {**METRIC_NAMES, "grade_mae": "error in grades", "spearman": "severity, Spearman"}
CLASSIFIED = ("probe", "knn", "finetune")  # protocols with a label budget
WORDS = ("clearly better", "clearly **worse**", "no clear difference")
Entries = dict[tuple[str, str, str], dict[str, str]]


def name_features(method: str, augment: str, protocol: str) -> str:
    """What is measured: features by their encoder, or the network trained by cross-entropy."""
    if protocol == "finetune":
        return "cross-entropy network"
    return name_source(method, augment) + (" (kNN)" if protocol == "knn" else "")


def grades_table(stats: pd.DataFrame) -> pd.DataFrame:
    """Mean ± sd of every metric by data set (rows) and features (columns).

    stats: of `lib.study.grades.grading_stats`. The error of grades read off neighbours takes all
    training images, severity only the healthy references: they stand with the largest budget.
    """
    entries: Entries = {}
    for r in stats.itertuples():
        place = f"{name_dataset(str(r.dataset))}, {r.size} px"
        protocol = str(r.protocol)
        if protocol not in CLASSIFIED:
            protocol = "knn" if r.method == "pixels" else "probe"
        same = (stats["dataset"] == r.dataset) & (stats["size"] == r.size)
        same &= (stats["method"] == r.method) & (stats["protocol"] == protocol)
        budgets = label_order(stats[same]["labels"])
        labels = str(r.labels) if r.protocol in CLASSIFIED or not budgets else budgets[-1]
        name = name_features(str(r.method), str(r.augment), protocol)
        spread = f" ± {r.std:.3f}" if int(r.count) > 1 else ""  # type: ignore[call-overload]
        cell = f"{r.mean:.3f}{spread}"
        entries.setdefault((place, name, name_labels(labels)), {})[str(r.metric)] = cell
    return as_table(entries)


def differences_table(cells: pd.DataFrame) -> pd.DataFrame:
    """SupCon less each rival (columns), by data set and metric (rows).

    cells: of `lib.study.grades.compare_grading`.
    """
    entries: Entries = {}
    several = len(set(zip(cells["method"], cells["augment"], strict=True))) > 1
    for cell in cells.itertuples():
        p = float(cell.corrected)  # type: ignore[arg-type]
        text = with_interval(cell) + ("" if math.isnan(p) else f", {name_p(p)}")
        place, ours, other = rivals(cell)
        name = f"{ours}, over {other}" if several else f"over {other}"
        entries.setdefault((place, name, "all labels"), {})[str(cell.metric)] = text
    return as_table(entries)


def as_table(entries: Entries) -> pd.DataFrame:
    """Cells by place, name, detail and metric: metrics as in GRADING below one another.

    A column for each name and detail, floors last; `all labels` goes without saying, and so does
    the data set where there is one.
    """
    if not entries:
        return nothing()
    floors = [METHOD_NAMES["random"], f"{METHOD_NAMES['pixels']} (kNN)"]
    every = dict.fromkeys((name, detail) for _, name, detail in entries)
    columns = sorted(every, key=lambda column: column[0] in floors)
    rows = {}
    for place in dict.fromkeys(place for place, _, _ in entries):
        for metric in GRADING:
            cells = [entries.get((place, *column), {}).get(metric, "–") for column in columns]
            if set(cells) != {"–"}:
                rows[place, HEADS[metric]] = cells
    names = [name if detail == "all labels" else f"{name}, {detail}" for name, detail in columns]
    index = pd.MultiIndex.from_tuples(list(rows), names=["data set", "metric"])
    table = pd.DataFrame(list(rows.values()), index, names)
    return table.droplevel("data set") if index.get_level_values(0).nunique() == 1 else table


def rivals(cell: Any) -> tuple[str, str, str]:
    """Where a comparison is, and its two sides as printed."""
    place = f"{name_dataset(str(cell.dataset))}, {cell.size} px"
    if cell.labels not in ("all", "") and cell.protocol in CLASSIFIED:
        place += f", {name_labels(str(cell.labels))}"
    ours = name_features(str(cell.method), str(cell.augment), str(cell.protocol))
    other = (str(cell.method_other), str(cell.augment_other), str(cell.protocol_other))
    return place, ours, name_features(*other)


def say_grading(cells: pd.DataFrame, level: float = 0.95) -> str:
    """For each data set and rival: in which metrics SupCon is clearly better, and clearly worse.

    Clear is a p value, corrected over all comparisons of the table, below one minus the level.
    """
    if cells.empty:
        return "SupCon has no counterpart here that it could be compared with."
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for cell in cells.itertuples():
        gain = float(cell.mean)  # type: ignore[arg-type]
        gain = -gain if cell.metric in LESS_IS_BETTER else gain
        clear = float(cell.corrected) < 1 - level  # type: ignore[arg-type]
        word = WORDS[2] if not clear else WORDS[0] if gain > 0 else WORDS[1]
        text = f"{HEADS[str(cell.metric)]} {with_interval(cell)}"
        found.setdefault(rivals(cell), {}).setdefault(word, []).append(text)
    lines = []
    for (place, ours, other), by_word in found.items():
        said = [f"{word} in {', '.join(by_word[word])}" for word in WORDS if word in by_word]
        lines.append(f"- **{place}**: {ours} against {other}: {'; '.join(said)}.")
    return "\n".join(lines)
