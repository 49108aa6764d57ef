"""Maps of features: a point an image, coloured by its class."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lib.data.base import DataSet
from lib.evaluation.projection import SHARE, Components, Map
from lib.figures.base import as_typed, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's palette without its yellow, which is too light for small points; with two shapes
# it tells 14 classes apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
SHAPES = ("o", "^")
SEVERAL, NONE = ("#7F7F7F", "s"), ("#BBBBBB", "x")
LINES = ("-", "--", ":", "-.")
WARNING = (
    "Distances between groups and the sizes of groups mean nothing on t-SNE and UMAP maps: they "
    "change with the perplexity and the seed. Who lies next to whom is mostly kept; how well, "
    "the trust says (1 is best)."
)


@dataclass(frozen=True)
class Key:
    """How points are drawn. group: int [N], an image's entry in names, colours and marks."""

    group: npt.NDArray[np.int64]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    marks: tuple[str, ...]


def make_key(y: npt.NDArray[np.int64], data: DataSet) -> Key:
    """Colours and marks of images with labels y, int [N] or 0/1 [N, K].

    Ordinal grades run along one scale, dark to light. Several labels an image: see
    `findings.features.say_sample`. Only groups that occur have an entry.
    """
    names = [as_typed(str(name)) for name in data.classes]
    K = len(names)
    if data.task == "ordinal":
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        steps = np.linspace(0, 0.9, K)
        styles = [(to_hex(colormaps["viridis"](step)), "o") for step in steps]
    else:
        shapes = [(colour, shape) for shape, colour in product(SHAPES, PALETTE)]
        styles = [shapes[k % len(shapes)] for k in range(K)]
    if y.ndim == 2:
        count = y.sum(axis=1)
        group = np.where(count == 1, y.argmax(axis=1), np.where(count > 1, K, K + 1))
        names, styles = [*names, "several labels", "no label"], [*styles, SEVERAL, NONE]
    else:
        group = y
    present, group = np.unique(group, return_inverse=True)
    kept = [styles[k] for k in present]
    return Key(
        group.astype(np.int64),
        tuple(names[k] for k in present),
        tuple(colour for colour, _ in kept),
        tuple(mark for _, mark in kept),
    )


def plot_maps(maps: Mapping[str, npt.NDArray[np.float64]], key: Key, warn: bool = True) -> Figure:
    """Maps side by side: title → float [N, 2], the points by `key`, one legend for all.

    warn: write under them what t-SNE and UMAP do not show.
    """
    columns = min(len(maps), 3 if len(maps) != 4 else 2)
    rows = -(-len(maps) // columns)
    figure, grid = new_figure(2.9 * columns + 2.3, 3.0 * rows + 0.5, rows, columns)
    cells = grid.ravel()
    for axes, (title, points) in zip(cells, maps.items(), strict=False):
        # Large groups first, so that rare classes lie on top.
        for k in np.argsort(-np.bincount(key.group), kind="stable"):
            mine = key.group == k
            style = {"color": key.colours[k], "marker": key.marks[k], "label": key.names[k]}
            axes.scatter(*points[mine].T, s=11, alpha=0.75, linewidths=0.6, **style)
        axes.set_title("\n".join(textwrap.fill(t, 34) for t in title.split("\n")), fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in cells[len(maps) :]:
        axes.axis("off")
    found = dict(zip(*reversed(cells[0].get_legend_handles_labels()), strict=True))
    labels = [textwrap.fill(name, 26) for name in key.names]
    handles = [found[name] for name in key.names]
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside right center")
    if warn:
        figure.supxlabel(textwrap.fill(WARNING, 42 * columns + 14), fontsize=9)
    return figure


def titled(maps: Sequence[Map]) -> dict[str, npt.NDArray[np.float64]]:
    """Maps with their names and trust as titles, for `plot_maps`."""
    return {f"{m.name}\ntrust {m.trust:.2f}": m.coordinates for m in maps}


def titled_by_source(maps: Mapping[str, Map]) -> dict[str, npt.NDArray[np.float64]]:
    """Maps of several features, the features' names first in the titles."""
    return {f"{name}\n{m.name}, trust {m.trust:.2f}": m.coordinates for name, m in maps.items()}


def plot_components(components: Mapping[str, Components], key: Key) -> Figure:
    """The first two principal components of each of several features."""
    maps = {
        f"{name}\n{c.explained[:2].sum():.0%} of the variance": c.coordinates
        for name, c in components.items()
    }
    return plot_maps(maps, key, warn=False)


def plot_explained(components: Mapping[str, Components]) -> Figure:
    """Share of the variance that the first components explain together, by features."""
    figure, grid = new_figure(8.5, 3.2)
    axes = grid[0][0]
    for (name, c), line, colour in zip(
        components.items(), LINES * len(components), PALETTE * len(components), strict=False
    ):
        share = np.concatenate([[0], c.explained.cumsum()])
        label = f"{textwrap.fill(name, 30)}:\n{c.needed:,} for {SHARE:.0%}"
        axes.plot(np.arange(len(share)), share, line, color=colour, label=label)
        axes.plot([c.needed], [share[c.needed]], "o", color=colour, ms=5)
    axes.axhline(SHARE, color="black", lw=0.8, ls=":")
    top = max(c.needed for c in components.values())
    axes.set(xlim=(-0.02 * top, max(1.3 * top, 5)), ylim=(0, 1.02))
    axes.set(xlabel="principal components", ylabel="share of the variance explained")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(axes)
    return figure
