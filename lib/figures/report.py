"""Label efficiency of this study's encoders beside what others have published."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.figures.base import (
    as_typed,
    colour_of,
    colours_of,
    first_in_row,
    line_style,
    new_panels,
    tidy,
)
from lib.figures.study import name_line
from lib.methods import split_method
from lib.names import METRIC_NAMES
from lib.study.measurements import label_order, mean_interval, measurements
from lib.study.published import REBUILT, name_dataset, our_side, read_published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = ("probe", "finetune")
CALLED = {"rethinking-model-prototyping-MedMNISTPlus": "MedMNIST+"}
MARKS = {
    "simclr-medical-imaging": "D",
    "MedMNIST v2 paper": "s",
    "rethinking-model-prototyping-MedMNISTPlus": "^",
    "SupCon-DR": "v",
}
SPREAD = 0.05  # between things drawn at the same budget


def curves(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """What is drawn as a line: probed and finetuned encoders that saw no other data set."""
    rows = measurements(table, metric)
    rows = rows[rows["protocol"].isin(DRAWN) & (rows["fold"] == "") & (rows["size"] > 0)]
    own = [split_method(m)[1] == "" for m in rows["method"]]
    return rows[pd.Series(own, index=rows.index, dtype=bool)]


def published_points(dataset: str, size: int, metric: str) -> pd.DataFrame:
    """Published facts on a data set to draw: in-domain or supervised, classes as they come.

    Columns of the facts, and method, protocol and augment as this study names them.
    """
    facts = read_published()
    name = REBUILT.get(dataset, (dataset,))[0]
    here = facts[(facts["dataset"] == name) & (facts["size"] == size) & (facts["metric"] == metric)]
    sides = [our_side(fact)[:2] for _, fact in here.iterrows()]
    here = here.assign(method=[m for m, _ in sides], protocol=[p for _, p in sides])
    drawn = [" from " not in method and protocol in DRAWN for method, protocol in sides]
    return here[pd.Series(drawn, index=here.index, dtype=bool)]


def chosen_panels(rows: pd.DataFrame, metric: str) -> list[tuple[str, int]]:
    """Data sets and sizes to draw: those with published points, else the largest of a data set."""
    chosen = []
    for dataset, here in rows.groupby("dataset", sort=False):
        sizes = sorted({int(size) for size in here["size"]}, reverse=True)
        known = [s for s in sizes if not published_points(str(dataset), s, metric).empty]
        chosen += [(str(dataset), size) for size in known or sizes[:1]]
    return chosen


def plot_beside(table: pd.DataFrame, metric: str, level: float = 0.95) -> Figure | None:
    """Label efficiency: ours as lines with intervals over seeds, published as hollow marks.

    A panel for each data set, at the sizes that others published, or else at its largest. table:
    real rows. None where there is nothing to draw.
    """
    rows = curves(table, metric)
    places = chosen_panels(rows, metric)
    if not places:
        return None
    figure, panels = new_panels(len(places), (3.6, 3.2), (1.6, 1.4))
    legend: dict[str, Any] = {}
    colours = colours_of(zip(rows["method"], rows["augment"], strict=True))
    for axes, (dataset, size) in zip(panels, places, strict=True):
        here = rows[(rows["dataset"] == dataset) & (rows["size"] == size)]
        facts = published_points(dataset, size, metric)
        budgets = label_order([*here["labels"], *facts["labels"]])
        right = draw_ours(axes, here, budgets, level, colours, legend)
        draw_published(axes, facts, budgets, right, legend)
        axes.set_xticks(range(len(budgets)), budgets, rotation=30 if len(budgets) > 5 else 0)
        axes.set(
            title=as_typed(f"{name_dataset(dataset)}, {size} px"), xlabel="labelled training images"
        )
        tidy(axes)
    for axes in first_in_row(panels):
        axes.set_ylabel(f"test {METRIC_NAMES[metric]}")
    fitting = int(6.5 * figure.get_figwidth())  # letters of a label in half the width
    labels = [textwrap.fill(name, fitting) for name in legend]
    figure.legend(list(legend.values()), labels, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def draw_ours(
    axes: Any,
    rows: pd.DataFrame,
    budgets: list[str],
    level: float,
    colours: Mapping[tuple[str, str], str],
    legend: dict[str, Any],
) -> float:
    """A line for each method and protocol, its mean over seeds with an interval.

    Returns how far they reach to the right of a budget's place.
    """
    kinds = list(rows.groupby(["method", "augment", "protocol", "encoder"], sort=False))
    several = rows["encoder"].nunique() > 1
    for i, (kind, line) in enumerate(kinds):
        method, augment, protocol, encoder = map(str, kind)
        shift = SPREAD * (i - (len(kinds) - 1) / 2)
        found = {str(w): mean_interval(list(g["value"]), level) for w, g in line.groupby("labels")}
        shown = [w for w in budgets if w in found]
        means = [found[w][0] for w in shown]
        spread = [[abs(found[w][0] - found[w][k]) for w in shown] for k in (1, 2)]
        handle = axes.errorbar(
            [budgets.index(w) + shift for w in shown],
            means,
            yerr=pd.DataFrame(spread).fillna(0).to_numpy(),
            fmt="o" + line_style(method, protocol),
            ms=4,
            lw=1.4,
            capsize=2,
            color=colours[method, augment],
        )
        name = name_line(method, augment, protocol) + (f", {encoder}" if several else "")
        handle.set_label(f"ours: {name}")
        legend.setdefault(f"ours: {name}", handle)
    return SPREAD * (len(kinds) - 1) / 2


def draw_published(
    axes: Any, facts: pd.DataFrame, budgets: list[str], right: float, legend: dict[str, Any]
) -> None:
    """Hollow marks right of ours, their shape by source, their colour by method and sequence."""
    kinds = list(facts.groupby(["source", "method", "augment", "protocol"], sort=False))
    for i, (kind, points) in enumerate(kinds):
        source, method, augment, protocol = map(str, kind)
        shift = right + SPREAD * (i + 1)
        who = source.partition(",")[0]
        [handle] = axes.plot(
            [budgets.index(w) + shift for w in points["labels"]],
            points["value"],
            linestyle="none",
            marker=MARKS.get(who, "P"),
            ms=6,
            markerfacecolor="none",
            markeredgecolor=colour_of(method, augment),
            # Finetuned ones are drawn thicker, as they share a colour with probed ones.
            markeredgewidth=1.9 if protocol == "finetune" else 0.9,
        )
        handle.set_label(f"{CALLED.get(who, who)}: {name_line(method, augment, protocol)}")
        legend.setdefault(str(handle.get_label()), handle)
