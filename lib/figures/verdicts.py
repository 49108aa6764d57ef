"""The comparisons behind a verdict: differences with intervals, a panel for each data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.figures.base import as_typed, first_in_row, new_panels, tidy
from lib.findings.claims import name_cell, name_side
from lib.names import METRIC_NAMES
from lib.study.measurements import label_order
from lib.study.published import name_dataset
from lib.study.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_verdict(verdict: Verdict, level: float = 0.95) -> Figure | None:
    """The differences of a claim with intervals: a panel per data set, a colour per comparison.

    Along x the budget, or the size where the claim is about sizes. Filled marks are clear after
    correction. None where there is nothing to draw.
    """
    if verdict.cells.empty:
        return None
    by_size = verdict.rule == "some"
    cells = verdict.cells.assign(name=[name_cell(c) for c in verdict.cells.itertuples()])
    if by_size:
        sides = cells[["method", "augment", "protocol"]].itertuples(index=False)
        names = [name_side(*map(str, side)) for side in sides]
        cells = cells.assign(
            name=[f"{n}, {w}" for n, w in zip(names, cells["labels"], strict=True)]
        )
    names = list(dict.fromkeys(cells["name"]))
    datasets = list(dict.fromkeys(cells["dataset"]))
    figure, panels = new_panels(len(datasets), (3.6, 2.9), (1.6, 0.5 + 0.22 * len(names)))
    colours = {name: f"C{i % 10}" for i, name in enumerate(names)}
    legend: dict[str, Any] = {}
    for axes, dataset in zip(panels, datasets, strict=True):
        here = cells[cells["dataset"] == dataset]
        if by_size:
            ticks = [f"{s} px" for s in sorted(set(here["size"]), reverse=True)]
            at = [ticks.index(f"{s} px") for s in here["size"]]
        else:
            ticks = label_order(here["labels"])
            at = [ticks.index(w) for w in here["labels"]]
        for x, cell in zip(at, here.itertuples(), strict=True):
            i = names.index(str(cell.name))
            clear = bool(cell.corrected < 1 - level)
            legend[names[i]] = draw_cell(axes, x, i, len(names), cell, clear, colours[names[i]])
        axes.axhline(0, color="black", lw=0.8)
        if by_size:
            axes.axhline(float(here["margin"].iloc[0]), color="black", lw=0.8, ls=":")
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
        below = "" if by_size else "labelled training images"
        axes.set(title=as_typed(name_dataset(dataset)), xlabel=below)
        tidy(axes)
    for axes in first_in_row(panels):
        axes.set_ylabel(f"difference in {METRIC_NAMES.get(verdict.metric, verdict.metric)}")
    figure.legend(
        [legend[n] for n in names], names, loc="outside lower center", ncols=1, fontsize=8
    )
    return figure


def draw_cell(axes: Any, x: int, i: int, n: int, cell: Any, clear: bool, colour: str) -> Any:
    """One difference with its interval, beside the n − 1 others at its place."""
    width = min(0.12, 0.8 / n)
    low, high = cell.mean - cell.low, cell.high - cell.mean
    spread = None if pd.isna(low) else [[low], [high]]
    return axes.errorbar(
        x + width * (i - (n - 1) / 2),
        cell.mean,
        yerr=spread,
        fmt="o",
        ms=5,
        capsize=2,
        color=colour,
        markerfacecolor=colour if clear else "white",
        label=str(cell.name),
    )
