"""Checks of a training on validation and on test, and which of them each split would choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.evaluation.selection import Course, Rule
from lib.figures.base import COLOURS, colour_of, new_figure, tidy
from lib.findings.selection import name_course
from lib.names import METRIC_NAMES, name_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINING_MARKS = {"finetune": "o", "frozen": "s"}
# How what a split chooses is marked.
CHOSEN: dict[Rule, dict[str, Any]] = {
    "validation": {"marker": "o", "ms": 9, "mfc": "none", "mew": 1.6},
    "test": {"marker": "x", "ms": 8, "mfc": "none", "mew": 1.6},
}


def plot_checks(courses: Sequence[Course], metric: str) -> Figure:
    """Every check: validation score across, test score up; a panel for each label budget.

    A ring marks what validation chooses, a cross what test chooses; the way up from ring to cross
    is what the wrong protocol adds.
    """
    from matplotlib.lines import Line2D

    budgets = list(dict.fromkeys(c.labels for c in courses))
    figure, grid = new_figure(2.9 * len(budgets) + 0.9, 3.9, 1, len(budgets))
    for axes, labels in zip(grid[0], budgets, strict=True):
        for c in (c for c in courses if c.labels == labels):
            colour = colour_of(c.method, c.augment)
            x, y = c.scores["val", metric], c.scores["test", metric]
            mark = TRAINING_MARKS[c.protocol]
            axes.plot(x, y, mark, ms=3, alpha=0.35, color=colour, label=name_course(c), zorder=1)
            for rule, look in CHOSEN.items():
                at = c.chosen[metric, rule]
                axes.plot(x[at], y[at], **look, color=colour, zorder=2)
        low = min(min(*c.scores["val", metric], *c.scores["test", metric]) for c in courses)
        axes.axline((low, low), slope=1, lw=0.8, color=COLOURS["pixels"], zorder=0)
        axes.set(title=name_labels(labels), xlabel=f"validation {METRIC_NAMES[metric]}")
        tidy(axes)
    grid[0][0].set(ylabel=f"test {METRIC_NAMES[metric]}")
    handles, names = grid[0][0].get_legend_handles_labels()
    for rule, look in CHOSEN.items():
        handles.append(Line2D([], [], ls="", **look, color=COLOURS["pixels"]))
        names.append(f"chosen by {rule}, its maximum")
    figure.legend(handles, names, frameon=False, fontsize=8, loc="outside lower center", ncols=1)
    return figure


def plot_prices(courses: Sequence[Course], metric: str) -> Figure:
    """What choosing on test adds, in points, beside what of it is luck: a row for each training."""
    figure, grid = new_figure(7.5, 0.5 * len(courses) + 1.3)
    axes = grid[0][0]
    rows = np.arange(len(courses))[::-1]
    for shift, label, colour, values in (
        (0.16, "reported too much: test's choice − validation's", "#444444",
         [c.overstated(metric) for c in courses]),
        (-0.16, "optimism: chosen on half of test, scored on the other half", "#bbbbbb",
         [c.optimism(metric) for c in courses]),
    ):  # fmt: skip
        axes.barh(rows + shift, 100 * np.array(values), height=0.3, color=colour, label=label)
    names = [f"{name_course(c)},\n{name_labels(c.labels)}" for c in courses]
    axes.set_yticks(rows, names)
    axes.set(xlabel=f"points of test {METRIC_NAMES[metric]}")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.28))
    tidy(axes)
    return figure
