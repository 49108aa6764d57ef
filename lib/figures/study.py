"""A whole study in one figure: means over seeds against the label budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.figures.base import as_typed, colours_of, first_in_row, line_style, new_panels, tidy
from lib.names import name_scratch, name_source
from lib.study.measurements import label_order, measurements, over_seeds
from lib.study.published import name_dataset

if TYPE_CHECKING:
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure


def probed(table: pd.DataFrame) -> pd.DataFrame:
    """The test AUROC of frozen features: logistic regression, and kNN on raw pixels."""
    rows = measurements(table)
    return rows[(rows["protocol"] == "probe") | (rows["method"] == "pixels")]


def plot_lines(rows: pd.DataFrame) -> Figure:
    """Mean ± sd of measurements against the label budget: a panel per data set and size."""
    stats = over_seeds(rows)
    whole = "finetune" in set(stats["protocol"])
    places = list(dict.fromkeys(zip(stats["dataset"], stats["size"], strict=True)))
    figure, panels = new_panels(len(places), (4.0, 3.4), (1.2, 0.5))
    colours = colours_of(zip(stats["method"], stats["augment"], strict=True))
    names: dict[str, ErrorbarContainer] = {}
    for axes, (dataset, size) in zip(panels, places, strict=True):
        here = stats[(stats["dataset"] == dataset) & (stats["size"] == size)]
        budgets = label_order(here["labels"])
        lines = list(here.groupby(["method", "augment", "protocol"], sort=False))
        # Side by side, so that no error bar hides another.
        aside = (np.arange(len(lines)) - (len(lines) - 1) / 2) * 0.03
        for shift, (key, line) in zip(aside, lines, strict=True):
            method, augment, protocol = map(str, key)
            ordered = line.set_index("labels").reindex(budgets)
            label = name_line(method, augment, protocol) if whole else name_source(method, augment)
            label = as_typed(label)
            names[label] = axes.errorbar(
                np.arange(len(budgets)) + shift,
                ordered["mean"],
                yerr=ordered["std"].fillna(0),
                fmt="o" + line_style(method, protocol),
                ms=4,
                capsize=3,
                color=colours[method, augment],
                label=label,
            )
        axes.set_xticks(range(len(budgets)), budgets)
        axes.set(
            title=as_typed(f"{name_dataset(str(dataset))}, {size} px"),
            xlabel="labelled training images",
        )
        tidy(axes)
    for axes in first_in_row(panels):
        axes.set_ylabel("test AUROC, mean ± sd")
    # An entry is a handle and its longest name, in inches, roughly.
    entry = 0.6 + 0.075 * max((len(name) for name in names), default=1)
    fitting = min(4, max(1, int(figure.get_figwidth() // entry)))
    figure.legend(
        handles=list(names.values()), labels=list(names), loc="outside lower center", ncols=fitting
    )
    return figure


def name_line(method: str, augment: str, protocol: str) -> str:
    """A line where networks trained whole stand beside frozen features."""
    if scratch := name_scratch(method, protocol):
        return scratch
    how = {"finetune": "finetuned", "probe": "frozen"}.get(protocol, protocol)
    return f"{name_source(method, augment)}: {how}"
