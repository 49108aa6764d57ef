"""Rare classes drawn: recall class by class under each remedy, and what each remedy gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lib.evaluation.imbalance import RemedyStudy
from lib.evaluation.remedy_gains import Gain
from lib.figures.base import as_typed, new_figure, tidy
from lib.findings.imbalance import classes_by_size, name_remedy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICT_COLOURS = {"better": "#0072B2", "worse": "#D55E00", "no clear difference": "#7F7F7F"}


def plot_recalls(study: RemedyStudy) -> Figure:
    """Heat map of recall on the test split: remedies in rows, classes in columns by size.

    The number under a class is how many training images it has without a remedy.
    """
    results, classes = study.on("test"), classes_by_size(study)
    share = np.array([[r.metrics[f"recall_{name}"] for name in classes] for r in results])
    N, K = share.shape
    longest = max(len(title) for title in classes.values())
    figure, grid = new_figure(2.6 + 0.68 * K, 0.7 + 0.34 * N + 0.06 * longest)
    axes = grid[0][0]
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i in range(N):
        for j in range(K):
            ink = "white" if share[i, j] > 0.55 else "black"
            text = f"{share[i, j]:.2f}"
            axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=8)
    titles = [as_typed(title) for title in classes.values()]
    axes.set_xticks(range(K), titles, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(N), [name_remedy(r) for r in results], fontsize=8)
    axes.set(xlabel="class (training images)")
    return figure


def plot_gains(gains: Sequence[Gain]) -> Figure:
    """Balanced accuracy of each remedy minus that of none, with its 95% interval."""
    figure, grid = new_figure(7.5, 0.9 + 0.32 * max(1, len(gains)))
    axes = grid[0][0]
    for i, g in enumerate(gains):
        colour = VERDICT_COLOURS[g.verdict]
        axes.plot([g.low, g.high], [i, i], color=colour, lw=1.6)
        axes.plot(g.value, i, "o", color=colour, ms=5)
    used = [v for v in VERDICT_COLOURS if v in {g.verdict for g in gains}]
    for verdict in used:
        axes.plot([], [], "o-", color=VERDICT_COLOURS[verdict], ms=5, lw=1.6, label=verdict)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(gains)), [name_remedy(g) for g in gains], fontsize=8)
    axes.set_ylim(max(1, len(gains)) - 0.5, -0.5)
    axes.set(xlabel="test balanced accuracy, difference from no remedy (95% interval)")
    if used:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(axes)
    return figure
