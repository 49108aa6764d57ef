"""Label efficiency, and trainings epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.evaluation.label_efficiency import SCRATCH, BudgetStudy
from lib.figures.base import colour_of, line_style, new_figure, tidy
from lib.findings.finetuning import name_classifier
from lib.names import name_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_label_efficiency(study: BudgetStudy, metric: str = "auroc") -> Figure:
    """A metric on the test split over the number of labels: a line for each classifier."""
    figure, grid = new_figure(8.5, 4)
    axes = grid[0][0]
    kinds = [(study.method, "finetune"), (study.method, "probe"), (SCRATCH, "finetune")]
    kinds = [kind for kind in dict.fromkeys(kinds) if study.test(*kind)]
    for i, (method, protocol) in enumerate(kinds):
        found = study.test(method, protocol)
        first = next(iter(found.values()))
        # Points stand a little apart, so that their intervals can be told from each other.
        x = np.array([study.counts[name] for name in found]) * 1.03 ** (i - (len(kinds) - 1) / 2)
        y = np.array([r.metrics[metric] for r in found.values()])
        low = y - np.array([r.intervals[metric].low for r in found.values()])
        high = np.array([r.intervals[metric].high for r in found.values()]) - y
        axes.errorbar(
            x,
            y,
            yerr=np.maximum([low, high], 0),
            fmt="o" + line_style(method, protocol),
            ms=4,
            capsize=2,
            lw=1.4,
            color=colour_of(method, first.augment),
            label=name_classifier(method, first.augment, protocol),
        )
    counts = sorted(set(study.counts.values()))
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{n:,}" for n in counts])
    axes.minorticks_off()
    axes.set(xlabel="labelled training images", ylabel=f"test {metric.upper()} (95% interval)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    tidy(axes)
    return figure


def plot_trainings(study: BudgetStudy) -> Figure:
    """Loss and validation AUROC by epoch, a column for each budget; a ring marks the epoch kept.

    The rate that was chosen is drawn strong, the others tried are pale.
    """
    budgets = sorted(study.counts, key=lambda name: study.counts[name])
    figure, grid = new_figure(2.6 * len(budgets) + 0.8, 4.4, 2, len(budgets))
    augments = {r.source: r.augment for r in study.results}
    for column, labels in enumerate(budgets):
        for method in dict.fromkeys(method for method, _ in study.trainings):
            tuned = study.trainings[method, labels]
            colour = colour_of(method, augments[method])
            for lr, history in tuned.tried.items():
                table, chosen = pd.DataFrame(history), lr == tuned.lr
                style = {"color": colour, "lw": 1.5, "alpha": 1.0 if chosen else 0.3}
                name = name_classifier(method, augments[method], "finetune") if chosen else None
                grid[0][column].plot(table["epoch"], table["loss"], label=name, **style)
                if "val_auroc" in table:
                    seen = table.dropna(subset="val_auroc")
                    grid[1][column].plot(seen["epoch"], seen["val_auroc"], ".-", ms=3, **style)
            if tuned.val_auroc is not None:
                ring = {"ms": 7, "mfc": "none", "color": colour}
                grid[1][column].plot(tuned.selected, tuned.val_auroc, "o", **ring)
        grid[0][column].set(title=name_labels(labels))
        grid[1][column].set(xlabel="epoch")
    grid[0][0].set(ylabel="training loss")
    grid[1][0].set(ylabel="validation AUROC")
    for axes in grid.flat:
        axes.xaxis.get_major_locator().set_params(integer=True)
        tidy(axes)
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    return figure
