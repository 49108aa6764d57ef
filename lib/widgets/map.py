"""The embedding map: draw a loop around points, see which images they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataSet
from lib.evaluation.cloud import Sample
from lib.figures.features import Key
from lib.findings.retrieval import name_labels_of
from lib.watched import is_watched
from lib.widgets.thumbnails import Thumbnail, note, strip

Points = npt.NDArray[np.float64]
SHOWN = 60  # images of a selection, at most
SYMBOLS = {"o": "circle", "^": "triangle-up", "s": "square", "x": "x"}
HOW = (
    "Draw a loop around some points: their images appear here. A double click beside the loop lets "
    "them go."
)


def images_of(
    selected: Sequence[int], sample: Sample, shown: npt.NDArray[np.bool_], data: DataSet
) -> list[Thumbnail]:
    """The images of points, in their order: with label and name. selected: places in the map.

    Of more than SHOWN as many are taken, evenly spread over the selection.
    """
    places = np.asarray(sorted(selected), np.int64)
    if len(places) > SHOWN:
        places = places[np.linspace(0, len(places) - 1, SHOWN).round().astype(int)]
    rows, labels, split = sample.rows[shown], sample.y[shown], data.splits[sample.view]
    return [
        Thumbnail(
            np.asarray(split.images[int(rows[i])]),
            (name_labels_of(labels[i], data.classes), str(split.ids[int(rows[i])])),
        )
        for i in places
    ]


def say_selection(selected: Sequence[int], key: Key) -> str:
    """How many points a selection holds and of which classes, the most frequent first."""
    if not len(selected):
        return HOW
    counts = np.bincount(key.group[np.asarray(selected, np.int64)], minlength=len(key.names))
    totals = np.bincount(key.group, minlength=len(key.names))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    parts = [f"{counts[k]} of {totals[k]} {key.names[k]}" for k in order]
    text = f"{len(selected)} image{'s' if len(selected) > 1 else ''}: {', '.join(parts)}"
    return text + (f" ({SHOWN} of them shown)" if len(selected) > SHOWN else "") + "."


def group_places(key: Key) -> list[npt.NDArray[np.int64]]:
    """The places in the map of each group's points: what a trace of the figure holds."""
    return [np.flatnonzero(key.group == k) for k in range(len(key.names))]


def make_figure(points: Points, key: Key) -> Any:
    """The map as a figure that answers to a lasso: a trace a group, coloured as in reports.

    It says nothing of a point under the mouse: hovering and a drawn loop reach the kernel as values
    of one trait, and while a message is on its way ipywidgets keeps only the latest value, so a
    point passed on the way out of a loop would take the loop's place.
    """
    import plotly.graph_objects as go

    traces = []
    for k, places in enumerate(group_places(key)):
        traces.append(
            go.Scatter(
                x=points[places, 0], y=points[places, 1], mode="markers", name=key.names[k],
                marker={"color": key.colours[k], "symbol": SYMBOLS[key.marks[k]], "size": 6,
                        "opacity": 0.8},
                unselected={"marker": {"opacity": 0.15}},
            )
        )  # fmt: skip
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False, "title": None}
    figure = go.FigureWidget(traces)
    figure.update_layout(
        dragmode="lasso", hovermode=False, width=720, height=480,
        margin={"l": 10, "r": 10, "t": 34, "b": 10},
        xaxis=axis, yaxis=axis, template="plotly_white", uirevision="map",
        legend={"itemsizing": "constant"},
    )  # fmt: skip
    return figure


def explore_map(
    maps: Mapping[str, Points],
    key: Key,
    sample: Sample,
    shown: npt.NDArray[np.bool_],
    data: DataSet,
    *,
    pictures: bool = True,
) -> Any:
    """Maps of the same images, one at a time, with a lasso; None where nobody watches.

    maps: title → float [N, 2], of the images of the sample that are `shown`. What is selected on
    one map stays selected on the next: do neighbours stay together? pictures: whether the
    selected images are shown, or only counted.
    """
    if not is_watched():
        return None
    import ipywidgets as w

    titles = {" · ".join(title.split("\n")): title for title in maps}
    choice = w.Dropdown(options=list(titles), description="map", layout=w.Layout(width="560px"))
    figure = make_figure(maps[titles[choice.value]], key)
    groups, text, images = group_places(key), w.HTML(note(HOW)), w.HTML()
    kept: set[int] = set()

    def show() -> None:
        text.value = note(say_selection(sorted(kept), key))
        if pictures:
            images.value = strip(images_of(sorted(kept), sample, shown, data), 72)

    def select(k: int, points: Any) -> None:
        # Every trace is told of its own points, also of having none; the last one last.
        kept.difference_update(groups[k].tolist())
        kept.update(groups[k][points.point_inds].tolist())
        if k == len(groups) - 1:
            show()

    def let_go(*_: Any) -> None:
        kept.clear()
        show()

    def change_map(_: Any) -> None:
        points = maps[titles[choice.value]]
        with figure.batch_update():
            for trace, places in zip(figure.data, groups, strict=True):
                trace.x, trace.y = points[places, 0], points[places, 1]
            figure.update_layout(xaxis_autorange=True, yaxis_autorange=True, selections=[])

    for k, trace in enumerate(figure.data):
        trace.on_selection(lambda _, points, __, k=k: select(k, points))
        trace.on_deselect(let_go)
    choice.observe(change_map, "value")
    explorer = w.VBox([choice, figure, text, images])
    explorer.add_class("map-explorer")
    return explorer
