"""A training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lib.figures.base import new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_history(history: Sequence[Mapping[str, float]], selected: int) -> Figure:
    """A pretraining epoch by epoch: loss, rank of the other view, kNN AUROC on validation."""
    table = pd.DataFrame(list(history))
    figure, grid = new_figure(10, 2.9, 1, 3)
    left, middle, right = grid[0]
    left.plot(table["epoch"], table["loss"], color="#0072B2")
    left.set(ylabel="contrastive loss", xlabel="epoch")
    middle.plot(table["epoch"], table["top1"], color="#0072B2", label="first")
    middle.plot(table["epoch"], table["top5"], color="#56B4E9", label="among first five")
    middle.set(ylabel="other view ranked", xlabel="epoch", ylim=(0, 1.02))
    middle.legend(frameon=False, fontsize=8)
    if "val_knn_auroc" in table:
        seen = table.dropna(subset="val_knn_auroc")
        right.plot(seen["epoch"], seen["val_knn_auroc"], "o-", ms=3, color="#0072B2")
        right.axvline(selected, color="#D55E00", lw=1, label=f"kept: epoch {selected}")
        right.legend(frameon=False, fontsize=8)
    right.set(ylabel="validation kNN AUROC", xlabel="epoch")
    for axes in grid[0]:
        tidy(axes)
    return figure
