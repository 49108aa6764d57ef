"""The embedding map: which images a loop holds, in words and in pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.evaluation.cloud import Sample
from lib.figures.features import make_key
from lib.widgets import map as module
from lib.widgets.map import HOW, SHOWN, SYMBOLS, explore_map, images_of, make_figure, say_selection
from tests.synthetic import make_data
from tests.widgets.test_thumbnails import decoded

DATA = make_data()
TEST = DATA.splits["test"]
ROWS = np.arange(1, 24, 2)
assert TEST.y is not None
SAMPLE = Sample("test", ROWS, TEST.y[ROWS].astype(np.int64), None, 24)
IN_MAP = np.arange(12) % 4 != 3  # nine of the sample's twelve images are in the maps
KEY = make_key(SAMPLE.y[IN_MAP], DATA)
POINTS = np.random.default_rng(0).normal(size=(9, 2))


def test_images_are_those_of_the_points() -> None:
    rows = ROWS[IN_MAP]
    for i, thumbnail in zip([0, 4, 8], images_of([8, 0, 4], SAMPLE, IN_MAP, DATA), strict=True):
        assert np.array_equal(thumbnail.image, TEST.images[rows[i]])
        assert thumbnail.lines == (DATA.classes[TEST.y[rows[i]]], TEST.ids[rows[i]])
    assert images_of([], SAMPLE, IN_MAP, DATA) == []


def test_of_many_images_some_of_everywhere_are_shown() -> None:
    many = Sample("train", np.arange(36).repeat(5), DATA.splits["train"].y.repeat(5), None, 180)
    shown = images_of(range(180), many, np.ones(180, bool), DATA)
    assert len(shown) == SHOWN
    assert len({t.lines[1] for t in shown}) == 36


def test_counts_by_class_in_words() -> None:
    assert say_selection([], KEY) == HOW
    assert say_selection([3], KEY).startswith("1 image: 1 of ")
    everything = say_selection(range(9), KEY)
    assert everything.startswith("9 images: ")
    for k, name in enumerate(KEY.names):
        n = int((KEY.group == k).sum())
        assert f"{n} of {n} {name}" in everything


def test_the_figure_has_every_point_once_in_its_groups_style() -> None:
    figure = make_figure(POINTS, KEY)
    assert len(figure.data) == len(KEY.names)
    assert sum(len(trace.x) for trace in figure.data) == 9
    for k, trace in enumerate(figure.data):
        assert np.array_equal(trace.x, POINTS[KEY.group == k, 0])
        assert trace.marker.color == KEY.colours[k]
        assert trace.marker.symbol == SYMBOLS[KEY.marks[k]]


def test_nothing_where_nobody_watches() -> None:
    assert explore_map({"map": POINTS}, KEY, SAMPLE, IN_MAP, DATA) is None


def lasso(figure: Any, places: list[int]) -> None:
    """What the figure's JavaScript sends when a loop is drawn around these points of the map."""
    trace = KEY.group[places].tolist()
    inside = [int((KEY.group[:i] == KEY.group[i]).sum()) for i in places]
    loop = {"type": "lasso", "selector_state": {"xs": [0, 1], "ys": [0, 1]}}
    at = {"trace_indexes": trace, "point_indexes": inside, "xs": [0] * len(places)}
    points = {**at, "ys": at["xs"]}
    figure._js2py_pointsCallback = {
        "event_type": "plotly_selected", "points": points, "selector": loop, "device_state": None,
    }  # fmt: skip


def test_the_shell_follows_the_loop_and_keeps_it_over_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_watched", lambda: True)
    maps = {"one\nmap": POINTS, "another": -POINTS}
    explorer = explore_map(maps, KEY, SAMPLE, IN_MAP, DATA)
    choice, figure, text, pictures = explorer.children
    assert choice.options == ("one · map", "another")
    for places in ([2, 5, 7], [7], [0, 8]):
        lasso(figure, places)
        expected = images_of(places, SAMPLE, IN_MAP, DATA)
        assert np.array_equal(
            np.stack(decoded(pictures.value)), np.stack([t.image for t in expected])
        )
        assert say_selection(places, KEY) in text.value
    choice.value = "another"
    assert np.array_equal(figure.data[0].x, -POINTS[KEY.group == 0, 0])
    assert len(decoded(pictures.value)) == 2
    assert sum(len(trace.selectedpoints) for trace in figure.data) == 2
    figure._js2py_pointsCallback = {
        "event_type": "plotly_deselect",
        "points": {"trace_indexes": [], "point_indexes": [], "xs": [], "ys": []},
    }
    assert decoded(pictures.value) == []
    assert HOW in text.value
