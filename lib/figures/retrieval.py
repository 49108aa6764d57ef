"""What retrieval finds: precision over the number of hits, and the hits themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lib.data.base import DataSet, labels_of
from lib.evaluation.queries import Queries
from lib.evaluation.ranking import precision_at
from lib.evaluation.retrieval import Retrieval, intervals_of
from lib.figures.base import as_typed, colour_of, new_figure, tidy
from lib.figures.images import show_image
from lib.findings.retrieval import name_labels_of
from lib.names import name_source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 20  # numbers of hits drawn, at most
COLUMNS = 7  # hits shown of a query, at most
RIGHT, WRONG = "#0072B2", "#D55E00"
MARKS = ("o", "s", "^", "D", "v")


def plot_precision(results: Sequence[Retrieval], bootstrap: int, seed: int) -> Figure:
    """Precision@k over k, with 95% intervals: a line per features, and chance."""
    figure, grid = new_figure(8.5, 3.6)
    axes = grid[0][0]
    K = results[0].hits.shape[1]
    ks = np.unique(np.rint(np.geomspace(1, K, min(K, POINTS))).astype(int))
    for r, mark in zip(results, MARKS * len(results), strict=False):
        measures = {str(k): precision_at(r.found, int(k)) for k in ks}
        values = np.array([m.mean() for m in measures.values()])
        colour = colour_of(r.source, r.augment)
        name = name_source(r.source, r.augment)
        axes.plot(ks, values, mark + "-", ms=4, lw=1.4, color=colour, label=name)
        found = intervals_of(measures, r.queries.groups, bootstrap, seed)
        if found:
            low, high = ([getattr(i, side) for i in found.values()] for side in ("low", "high"))
            axes.fill_between(ks, low, high, color=colour, alpha=0.18, lw=0)
    queries = results[0].queries
    share = float((queries.relevant / queries.candidates).mean())
    axes.axhline(share, ls=":", color="black", lw=1.2, label="chance")
    axes.set(xlabel="nearest images looked at, k", ylabel="precision@k (95% interval)")
    axes.set_xlim(1 - 0.03 * K, K + 0.03 * K)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(axes)
    return figure


def plot_hits(result: Retrieval, data: DataSet, n: int, seed: int) -> Figure:
    """A few queries (left) and their nearest images, each with its label and 1 − cosine.

    A solid frame and ✓: it shares a label with the query; a dashed frame and ✗: it does not.
    """
    queries = result.queries
    chosen = choose_shown(queries, len(data.classes), n, seed)
    columns = min(result.hits.shape[1], COLUMNS)
    library = labels_of(data, queries.library)
    figure, grid = new_figure(1.25 * (columns + 1), 1.6 * len(chosen), len(chosen), columns + 1)
    for row, q in zip(grid, chosen, strict=True):
        show_image(row[0], data.splits[queries.split].images[int(queries.rows[q])])
        caption(row[0], "query", name_labels_of(queries.y[q], data.classes))
        for axes, hit, similarity, right in zip(
            row[1:], result.hits[q], result.similarity[q], result.found[q], strict=False
        ):
            if hit < 0:
                axes.axis("off")
                continue
            show_image(axes, data.splits[queries.library].images[int(hit)])
            first = f"{'✓' if right else '✗'} {1 - similarity:.3f}"
            caption(axes, first, name_labels_of(library[hit], data.classes))
            frame(axes, bool(right))
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, wspace=0.03, hspace=0.03)  # type: ignore[call-arg, union-attr]
    return figure


def choose_shown(queries: Queries, classes: int, n: int, seed: int) -> list[int]:
    """Queries to show: one of each class in turn, drawn at random; positions in `queries.rows`."""
    order = np.random.default_rng(seed).permutation(len(queries.rows))
    member = queries.y == 1 if queries.y.ndim == 2 else queries.y[:, None] == np.arange(classes)
    piles = [[int(q) for q in order if member[q, k]] for k in range(classes)]
    chosen: list[int] = []
    while len(chosen) < n and any(piles):
        for pile in piles:
            while pile and pile[0] in chosen:
                pile.pop(0)
            if pile and len(chosen) < n:
                chosen.append(pile.pop(0))
    return chosen


def caption(axes: Axes, first: str, labels: str) -> None:
    """Two short lines above an image; a long name is cut, since images stand close."""
    shown = textwrap.shorten(labels, 17, placeholder="…") if " " in labels else labels
    shown = shown if len(shown) <= 17 else shown[:16] + "…"
    axes.set_title(as_typed(f"{first}\n{shown}"), fontsize=7, pad=3)


def frame(axes: Axes, right: bool) -> None:
    """A frame that tells hits from misses by its line as well as by its colour."""
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(1.8)
    axes.spines[:].set_color(RIGHT if right else WRONG)
    axes.spines[:].set_linestyle("-" if right else (0, (2, 1.5)))
