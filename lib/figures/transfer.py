"""Classifiers from several starts side by side, and gains of sources on targets."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.figures.base import as_typed, colour_of, new_figure, tidy
from lib.findings.transfer import budgets_of, name_classifier, shown
from lib.names import METRIC_NAMES, name_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lib.evaluation.transfer import Transfer

FLOOR_NAMES = {"imagenet": "ImageNet weights", "random": "no pretraining"}


def plot_transfer(found: Transfer, metric: str = "auroc") -> Figure:
    """A metric on the test split: a bar for each classifier, a panel for each budget.

    Bars of AUROC begin at 0.5, which is chance; finetuned classifiers are hatched.
    """
    results, budgets = shown(found), budgets_of(found)
    names = list(dict.fromkeys(name_classifier(r.source, r.augment, r.protocol) for r in results))
    figure, grid = new_figure(3.2 + 3.0 * len(budgets), 1.1 + 0.36 * len(names), 1, len(budgets))
    start = 0.5 if metric == "auroc" else 0.0
    lowest = min([start, *(r.intervals[metric].low for r in results)])
    further = [s.method for s in found.starts if s.kind == "further"]
    for axes, labels in zip(grid[0], budgets, strict=True):
        for r in (r for r in results if r.labels == labels):
            value, span = r.metrics[metric], r.intervals[metric]
            axes.barh(
                names.index(name_classifier(r.source, r.augment, r.protocol)),
                value - start,
                left=start,
                height=0.7,
                xerr=[[max(value - span.low, 0)], [max(span.high - value, 0)]],
                error_kw={"lw": 1.1, "capsize": 2},
                color=colour_of(r.source, r.augment),
                # Before and after further pretraining have one colour: the later one is full.
                alpha=1.0 if r.source in further or not further else 0.6,
                hatch="///" if r.protocol == "finetune" else "",
                edgecolor="white",
                lw=0,
            )
        # Unbroken, a long name would take the room of the bars.
        first = axes is grid[0][0]
        written = [as_typed(textwrap.fill(name, 36)) if first else "" for name in names]
        axes.set_yticks(range(len(names)), written)
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize=8, length=0)
        axes.set_title(name_labels(labels), fontsize=10)
        axes.set(xlabel=f"test {METRIC_NAMES[metric]}", xlim=(lowest - 0.01, 1.01))
        tidy(axes)
    return figure


def plot_transfer_matrix(matrix: pd.DataFrame, metric: str = "auroc") -> Figure:
    """A heat map of `study.transfer.transfer_matrix`: what sources gain on targets.

    Orange is a loss, purple a gain (ColorBrewer's PuOr, told apart by colour-blind readers); the
    values are written in, in-domain cells framed, cells that were not measured left grey.
    """
    from matplotlib.patches import Rectangle

    values = matrix.to_numpy(dtype=float)
    rows, columns = values.shape
    figure, grid = new_figure(3.4 + 0.95 * columns, max(3.0, 1.7 + 0.5 * rows))
    axes = grid[0][0]
    limit = max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-3)
    axes.set_facecolor("#E4E4E4")
    image = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    for i, source in enumerate(matrix.index):
        for j, target in enumerate(matrix.columns):
            if source == target:
                axes.add_patch(
                    Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, ec="black", lw=1.6)
                )
                axes.text(j, i, "in-domain", ha="center", va="center", fontsize=7)
            elif np.isfinite(values[i, j]):
                ink = "white" if abs(values[i, j]) > 0.65 * limit else "black"
                text = f"{values[i, j]:+.3f}"
                axes.text(j, i, text, ha="center", va="center", fontsize=8, color=ink)
    names = [FLOOR_NAMES.get(n, as_typed(n.replace(">", " then "))) for n in matrix.index]
    axes.set_yticks(range(rows), names, fontsize=8)
    targets = [as_typed(str(name)) for name in matrix.columns]
    axes.set_xticks(range(columns), targets, rotation=35, ha="right", fontsize=8)
    axes.set(xlabel="target", ylabel="source")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label(f"{METRIC_NAMES[metric]} over in-domain", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure
