"""What image size buys and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.evaluation.downsampling import FLOOR, AtSize, pareto_front
from lib.figures.base import colour_of, new_figure, tidy
from lib.findings.downsampling import budgets_of
from lib.names import METRIC_NAMES, name_labels, name_source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_pareto(found: Sequence[AtSize], metric: str = "auroc") -> Figure:
    """A metric on the test split against the cost of pretraining: a panel per label budget.

    Sizes on the Pareto front, which no other size beats in both, are filled and joined.
    """
    budgets = budgets_of(found)
    figure, grid = new_figure(1.2 + 3.9 * len(budgets), 4.2, 1, len(budgets))
    for axes, labels in zip(grid[0], budgets, strict=True):
        draw_panel(axes, found, labels, metric)
        axes.set_title(name_labels(labels), fontsize=10)
        axes.set_xlabel("seconds for 1,000 image passes")
        tidy(axes)
    low = min(axes.get_ylim()[0] for axes in grid[0])
    high = max(axes.get_ylim()[1] for axes in grid[0])
    for axes in grid[0]:
        axes.set_ylim(low, high)
    grid[0][0].set_ylabel(f"test {METRIC_NAMES[metric]} (95% interval)")
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, names, frameon=False, fontsize=8, ncols=len(names), loc="outside lower center"
    )
    return figure


def draw_panel(axes: Axes, found: Sequence[AtSize], labels: str, metric: str) -> None:
    """The sizes at one budget, and the untrained encoder at each."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    points = [(at, r) for at in found if (r := at.test(labels)) is not None]
    costs = [at.cost.seconds_per_thousand for at, _ in points]
    values = [r.metrics[metric] for _, r in points]
    front = pareto_front(costs, values)
    method, augment = points[0][1].source, points[0][1].augment
    colour = colour_of(method, augment)
    for (at, r), x, y, best in zip(points, costs, values, front, strict=True):
        interval = r.intervals[metric]
        axes.errorbar(
            x,
            y,
            yerr=[[max(y - interval.low, 0)], [max(interval.high - y, 0)]],
            fmt="o",
            ms=7,
            capsize=3,
            lw=1.2,
            color=colour,
            mfc=colour if best else "white",
        )
        axes.annotate(
            f"{at.size} px",
            (x, y),
            (7, 7),
            textcoords="offset points",
            fontsize=8,
            # The line to the next point may pass behind it.
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
        )
    joined = sorted((x, y) for x, y, best in zip(costs, values, front, strict=True) if best)
    axes.plot(
        *zip(*joined, strict=True),
        lw=1.4,
        color=colour,
        label=f"{name_source(method, augment)}: Pareto front (filled)",
    )
    floors = [
        (x, f) for (at, _), x in zip(points, costs, strict=True) if (f := at.test(labels, FLOOR))
    ]
    if floors:
        axes.plot(
            [x for x, _ in floors],
            [f.metrics[metric] for _, f in floors],
            "s",
            ms=5,
            color=colour_of(FLOOR),
            label="untrained encoder at the same size (no pretraining)",
        )
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.7, max(costs) * 1.9)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
