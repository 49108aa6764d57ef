"""How well classifiers do: over label budgets, and class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lib.evaluation.evaluate import Evaluated
from lib.figures.base import as_typed, colour_of, line_style, new_figure, tidy
from lib.names import PROTOCOL_NAMES, name_source

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = {"probe": "o", "knn": "s"}


def plot_budgets(results: Sequence[Evaluated], metric: str = "auroc") -> Figure:
    """A metric on the test split over label budgets: a line per features and classifier."""
    test = [r for r in results if r.predictions.split == "test"]
    budgets = list(dict.fromkeys(r.labels for r in test))
    figure, grid = new_figure(8.5, 3.8)
    axes = grid[0][0]
    keys = list(dict.fromkeys((r.source, r.augment, r.protocol) for r in test))
    for i, (source, augment, protocol) in enumerate(keys):
        mine = [r for r in test if (r.source, r.augment, r.protocol) == (source, augment, protocol)]
        # Lines stand side by side, so that their intervals can be told apart.
        x = np.array([budgets.index(r.labels) for r in mine]) + 0.06 * (i - (len(keys) - 1) / 2)
        y = np.array([r.metrics[metric] for r in mine])
        low = y - np.array([r.intervals[metric].low for r in mine])
        high = np.array([r.intervals[metric].high for r in mine]) - y
        axes.errorbar(
            x,
            y,
            yerr=np.maximum([low, high], 0),
            fmt=MARKS[protocol] + line_style(source, protocol),
            ms=4,
            capsize=2,
            lw=1.4,
            color=colour_of(source, augment),
            label=f"{name_source(source, augment)}: {PROTOCOL_NAMES[protocol]}",
        )
    axes.set_xticks(range(len(budgets)), budgets)
    axes.set(xlabel="labelled training images", ylabel=f"test {metric.upper()} (95% interval)")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(axes)
    return figure


def plot_confusion(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Confusion matrix [K, K] as shares of each true class, with the counts written in."""
    K, classes = len(classes), [as_typed(str(name)) for name in classes]
    side = 1.8 + 0.62 * K
    figure, grid = new_figure(side + 0.6, side)
    axes = grid[0][0]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i in range(K):
        for j in range(K):
            ink = "white" if share[i, j] > 0.55 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(K), classes, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(K), classes, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def plot_confusions(result: Evaluated) -> Figure:
    """The confusion matrix of one classifier; for multi-label tasks the recall of each label."""
    from lib.statistics.metrics import confusion_matrix

    p = result.predictions
    if p.task != "multi-label":
        return plot_confusion(confusion_matrix(p.y, p.scores, p.task), p.classes)
    figure, grid = new_figure(7, 0.9 + 0.3 * len(p.classes))
    axes = grid[0][0]
    names = [as_typed(name) for name in p.classes]
    axes.barh(names, [result.metrics[f"recall_{name}"] for name in p.classes], color="#0072B2")
    axes.invert_yaxis()
    axes.set(xlabel="recall at threshold 0.5", xlim=(0, 1))
    tidy(axes)
    return figure
