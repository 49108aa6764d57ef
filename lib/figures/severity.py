"""Severity and read-off grades against the true grade, and what references do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.evaluation.grading import Graded
from lib.evaluation.severity import Severity
from lib.figures.base import as_typed, colour_of, new_figure, tidy
from lib.names import name_source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 600  # points of one grade that are drawn; the box counts all
BINS = 40


def plot_severity(results: Sequence[Severity], classes: Sequence[str], seed: int = 0) -> Figure:
    """Distance to the healthy references by grade: a panel for each method's features."""
    labels = {"xlabel": "grade", "ylabel": "median cosine distance\nto healthy images"}
    panels = [(r.source, r.augment, r.distance, r.y) for r in results]
    return _by_grade(panels, classes, labels, seed)


def plot_grades(results: Sequence[Graded], classes: Sequence[str], seed: int = 0) -> Figure:
    """Grades read off neighbours by true grade, the diagonal dotted: a panel for each method."""
    labels = {"xlabel": "true grade", "ylabel": "grade of its neighbours"}
    panels = [(r.source, r.augment, r.predicted, r.y) for r in results]
    figure = _by_grade(panels, classes, labels, seed)
    for axes in figure.axes:
        axes.plot(range(len(classes)), range(len(classes)), ":", color="black", lw=1, zorder=4)
    return figure


def plot_references(sweep: pd.DataFrame, augments: Mapping[str, str]) -> Figure:
    """Spearman with the grade over the number of references, a dot for each choice.

    sweep: of `lib.evaluation.severity.vary_references`. augments: the augmentation of each method.
    """
    figure, grid = new_figure(7.5, 3.6)
    axes = grid[0][0]
    counts = sorted(sweep["references"].unique())
    for i, (source, group) in enumerate(sweep.groupby("source", sort=False)):
        augment = augments.get(str(source), "")
        colour, shift = colour_of(str(source), augment), 0.1 * i
        x = np.array([counts.index(c) for c in group["references"]]) + shift
        axes.plot(x, group["spearman"], "o", ms=4, alpha=0.5, mew=0, color=colour)
        means = group.groupby("references")["spearman"].mean()
        at = np.array([counts.index(c) for c in means.index]) + shift
        axes.plot(at, means, "-", lw=1.6, color=colour, label=name_source(str(source), augment))
    axes.set_xticks(range(len(counts)), [f"{c:,}" for c in counts])
    axes.set(xlabel="healthy reference images", ylabel="Spearman with the grade")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(axes)
    return figure


Panel = tuple[str, str, npt.NDArray[np.float64], npt.NDArray[np.int64]]


def _by_grade(
    panels: Sequence[Panel], classes: Sequence[str], labels: Mapping[str, str], seed: int
) -> Figure:
    width = max(3.2, 0.8 * len(classes))
    figure, grid = new_figure(width * len(panels) + 0.8, 3.8, 1, len(panels))
    for axes, (source, augment, values, y) in zip(grid[0], panels, strict=True):
        _strip(axes, values, y, len(classes), colour_of(source, augment), seed)
        counts = [f"{as_typed(str(name))}\n({(y == k).sum():,})" for k, name in enumerate(classes)]
        turned: dict[str, Any] = {}
        if max(map(len, map(str, classes))) > 9:
            turned = {"rotation": 45, "ha": "right"}
        axes.set_xticks(range(len(classes)), counts, fontsize=8, **turned)
        axes.set_title(name_source(source, augment), fontsize=9)
        axes.set_xlabel(labels["xlabel"])
        tidy(axes)
    grid[0][0].set_ylabel(labels["ylabel"])
    return figure


def _strip(
    axes: Axes,
    values: npt.NDArray[np.float64],
    y: npt.NDArray[np.int64],
    n_grades: int,
    colour: str,
    seed: int,
) -> None:
    """A swarm for each grade, as wide as its values are dense there, and a box over it."""
    rng = np.random.default_rng(seed)
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for k in range(n_grades):
        mine = values[y == k]
        if len(mine) == 0:
            continue
        shown = mine if len(mine) <= SHOWN else rng.choice(mine, SHOWN, replace=False)
        bins = np.clip(np.digitize(shown, edges) - 1, 0, BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        reach = 0.4 * counts[bins] / counts.max()
        x = k + reach * rng.uniform(-1, 1, len(shown))
        alpha = 0.8 if len(shown) <= 50 else 0.5
        axes.plot(x, shown, "o", ms=4, mew=0, alpha=alpha, color=colour, zorder=2)
        axes.boxplot(
            [mine],
            positions=[k],
            widths=0.3,
            showfliers=False,
            whis=(5, 95),
            manage_ticks=False,
            medianprops={"color": "black", "lw": 1.6},
            zorder=3,
        )
    axes.set_xlim(-0.6, n_grades - 0.4)
