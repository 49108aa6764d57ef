"""How a classifier ranks and how far its probabilities can be trusted."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lib.figures.base import as_typed, first_in_row, new_figure, new_panels, tell, tidy
from lib.figures.features import PALETTE
from lib.statistics.calibration import Reliability
from lib.statistics.roc import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


def plot_roc(curves: Sequence[Curve]) -> Figure:
    """A small panel for each class, its curve with its band and area; chance is dotted."""
    figure, panels = new_panels(len(curves), (2.3, 2.5), (0.5, 0.3), COLUMNS)
    for axes, c in zip(panels, curves, strict=True):
        axes.fill_between(c.grid, c.low, c.high, color=PALETTE[0], alpha=0.2, lw=0)
        axes.plot(c.fpr, c.tpr, color=PALETTE[0], lw=1.5)
        axes.plot([0, 1], [0, 1], ":", color="black", lw=0.9)
        axes.text(0.96, 0.06, f"AUROC {c.auc:.3f}", ha="right", fontsize=9)
        axes.set_title(as_typed(textwrap.fill(c.name, 26)), fontsize=9)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        tidy(axes)
    for axes in first_in_row(panels):
        axes.set_ylabel("true positive rate")
    for axes in panels[-COLUMNS:]:
        axes.set_xlabel("false positive rate")
    said = ", ".join(f"{c.name} {c.auc:.3f}" for c in curves)
    return tell(
        figure,
        f"Receiver operating characteristics on the test split with 95% bands, {len(curves)} "
        f"panel(s), one for each class. Area under each curve: {said}.",
    )


def plot_reliability(found: Reliability, asked: str = "probability") -> Figure:
    """What came true over what was stated, and how often that much was stated.

    asked: what the probability is of, for the axis. On the diagonal, probabilities mean what they
    say; below it they promise too much.
    """
    figure, grid = new_figure(4.6, 4.6, 2, 1)
    above, below = grid[0][0], grid[1][0]
    grid[0][0].get_gridspec().set_height_ratios([3, 1])
    seen = found.counts > 0
    x, y = found.stated[seen], found.true[seen]
    spread = np.maximum([y - found.low[seen], found.high[seen] - y], 0)
    above.plot([0, 1], [0, 1], ":", color="black", lw=1)
    above.errorbar(x, y, yerr=spread, fmt="o-", ms=4, lw=1.4, capsize=2, color=PALETTE[0])
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that came true (95% interval)")
    text = f"ECE {found.ece:.3f} ({found.interval.low:.3f}–{found.interval.high:.3f})"
    above.set_title(text, fontsize=10)
    widths = np.diff(found.edges)
    below.bar(found.edges[:-1], found.counts, widths, align="edge", color="#9AA5B0", ec="white")
    below.set(xlim=(0, 1), xlabel=asked, ylabel="stated")
    for axes in (above, below):
        tidy(axes)
    pairs = ", ".join(f"{s:.2f} came true in {t:.2f}" for s, t in zip(x, y, strict=True))
    return tell(
        figure,
        f"Reliability diagram: expected calibration error {found.ece:.3f}. Stated probabilities "
        f"and the share that came true, by bin: {pairs}.",
    )
