"""What is said of features, and the maps: words by where an interval lies, nothing cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.data.base import DataSet
from lib.evaluation.cloud import Cloud, Sample, choose_sample
from lib.evaluation.projection import Map, components_of
from lib.evaluation.representation import knn_purity, silhouettes, uniformity
from lib.figures.features import (
    WARNING,
    make_key,
    plot_components,
    plot_explained,
    plot_maps,
    titled,
    titled_by_source,
)
from lib.findings import features as findings
from lib.models.embed import flatten_pixels
from lib.statistics.bootstrap import Difference
from lib.statistics.means import mean_intervals, mean_values
from tests.figures.test_figures import LONG, png
from tests.synthetic import TASKS, make_data


def cloud(source: str, sample: Sample, h: Any) -> Cloud:
    measures = {} if sample.y.ndim == 2 else {"silhouette": silhouettes(h, sample.y)}
    measures |= {"knn_purity": knn_purity(h, sample.y, 5), "alignment": np.abs(h).sum(axis=1)}
    values = mean_values(measures) | {"uniformity": uniformity(h)}
    intervals = mean_intervals(measures, n=100)
    augment = "novel" if source == "simclr" else ""
    return Cloud(source, augment, sample, h, measures, values, intervals)


def clouds_of(data: DataSet, noise: float = 3.0) -> list[Cloud]:
    """SimCLR sees the pixels, the random encoder noise among them."""
    sample = choose_sample(data, "test", 100, 0)
    h = flatten_pixels(data)["test"]
    bad = h + noise * np.random.default_rng(0).normal(size=h.shape).astype(np.float32)
    return [cloud("simclr", sample, h), cloud("random", sample, bad), cloud("pixels", sample, h)]


@pytest.mark.parametrize("task", TASKS)
def test_the_table_holds_the_numbers(task: Any) -> None:
    clouds = clouds_of(make_data(task))
    components = components_of(findings.pick_features(clouds))
    table = findings.numbers_table(clouds, components)
    assert list(table.columns) == ["SimCLR, novel", "random encoder", "raw pixels"]
    for metric, name in findings.NAMES.items():
        if metric == "silhouette" and task == "multi-label":
            assert name not in table.index
            continue
        cell = str(table.loc[name, "random encoder"])
        assert cell.startswith(f"{clouds[1].values[metric]:.3f}")
        assert (" to " in cell) == (metric != "uniformity")
    needed = components["random encoder"].needed
    assert table.loc["components for 90% of the variance", "random encoder"] == f"{needed}"


@pytest.mark.parametrize(
    ("difference", "metric", "expected"),
    [
        (Difference(0.1, 0.05, 0.2), "silhouette", "above raw pixels by +0.100"),
        (Difference(-0.1, -0.2, -0.05), "knn_purity", "**below** raw pixels: -0.100"),
        (Difference(0.1, 0.05, 0.2), "alignment", "**wider apart** than raw pixels by +0.100"),
        (Difference(-0.1, -0.2, -0.05), "alignment", "closer together than raw pixels: -0.100"),
        (Difference(0.1, -0.05, 0.2), "silhouette", "no clear difference from raw pixels (+0.1"),
        (Difference(0.0, 0.0, 0.0), "alignment", "no clear difference"),
    ],
)
def test_words_follow_the_interval(difference: Difference, metric: str, expected: str) -> None:
    assert findings.in_words(difference, metric, "raw pixels").startswith(expected)


def test_sentences() -> None:
    data = make_data()
    clouds = clouds_of(data)
    lines = findings.say_features(clouds, data, 100, 0).splitlines()
    assert f"SimCLR, novel has {clouds[0].values['silhouette']:.3f}" in lines[0]
    assert "above random encoder by +" in lines[0]
    assert "no clear difference from raw pixels (+0.000" in lines[0]
    assert "chance 0.304" in lines[1]  # 7 of the 23 other images
    assert "read together" in lines[-1]
    same = findings.say_features(clouds_of(data, noise=0), data, 100, 0)
    assert same.count("no clear difference") == 6
    floors = findings.say_features(clouds[1:], data, 100, 0)
    assert floors.startswith("Only floors were measured")
    assert findings.headline(clouds[::-1]).startswith("SimCLR, novel: test silhouette 0.")


def test_what_is_looked_at_is_said() -> None:
    data = make_data("multi-label")
    text = findings.say_sample(choose_sample(data, "test", 20, 0), data, ["A note."])
    assert "20 (drawn at random) of the 24 test images are looked at." in text
    assert "Silhouettes need one class an image" in text
    assert text.endswith("- A note.")
    ordinal = make_data("ordinal")
    text = findings.say_sample(choose_sample(ordinal, "test", 50, 0), ordinal, [])
    assert text.startswith("- All 24 test images are looked at.")
    assert "order of the grades" in text


# Figures


def fourteen() -> DataSet:
    names = tuple(f"{LONG[k % 7]} {k}" for k in range(14))
    return make_data(classes=names)


def test_fourteen_classes_differ_in_colour_or_mark() -> None:
    key = make_key(np.arange(14), fourteen())
    assert len(set(zip(key.colours, key.marks, strict=True))) == 14
    assert len(set(key.colours)) == 7
    few = make_key(np.array([2, 5, 5]), fourteen())
    assert few.names == (fourteen().classes[2], fourteen().classes[5])
    assert few.group.tolist() == [0, 1, 1]
    # A class keeps its colour when others are left out.
    assert few.colours[1] == key.colours[5]


def test_grades_run_along_one_scale() -> None:
    from matplotlib.colors import to_rgb

    data = make_data("ordinal", classes=("0", "1", "2", "3", "4"))
    key = make_key(np.arange(5), data)
    light = [np.dot(to_rgb(c), (0.299, 0.587, 0.114)) for c in key.colours]
    assert light == sorted(light)
    assert set(key.marks) == {"o"}


def test_several_labels_and_none_are_groups_of_their_own() -> None:
    y = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    key = make_key(y, make_data("multi-label"))
    assert [key.names[g] for g in key.group] == ["effusion", "mass", "several labels", "no label"]


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5])
def test_maps_carry_the_warning_and_nothing_is_cut_off(panels: int) -> None:
    rng = np.random.default_rng(0)
    data = fourteen()
    key = make_key(np.arange(60) % 14, data)
    maps = [Map(f"t-SNE, perplexity {i}", rng.normal(size=(60, 2)), 0.9) for i in range(panels)]
    figure = plot_maps(titled(maps), key)
    png(figure)
    shown = [axes for axes in figure.axes if axes.collections]
    assert len(shown) == panels
    points = np.concatenate([c.get_offsets() for c in shown[0].collections])
    assert sorted(map(tuple, points)) == sorted(map(tuple, maps[0].coordinates))
    assert shown[0].get_title() == "t-SNE, perplexity 0\ntrust 0.90"
    (legend,) = figure.legends
    texts = [" ".join(t.get_text().split()) for t in legend.get_texts()]
    assert texts == list(data.classes)
    written = figure.get_supxlabel()
    assert " ".join(written.split()) == WARNING
    width, height = figure.canvas.get_width_height()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for artist in (legend, figure._supxlabel):  # type: ignore[attr-defined]
        box = artist.get_window_extent(renderer)
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= width and box.y1 <= height
    others = [axes.get_tightbbox(renderer) for axes in shown]
    assert all(box.x1 <= legend.get_window_extent(renderer).x0 + 1 for box in others)


def test_components_and_how_many_are_needed() -> None:
    data = make_data()
    clouds = clouds_of(data)
    components = components_of(findings.pick_features(clouds))
    figure = plot_explained(components)
    (axes,) = figure.axes
    first = components["SimCLR, novel"]
    assert list(axes.lines[0].get_ydata())[1:] == pytest.approx(list(first.explained.cumsum()))
    assert list(axes.lines[1].get_xdata()) == [first.needed]
    png(figure)
    figure = plot_components(components, make_key(clouds[0].sample.y, data))
    assert figure.get_supxlabel() == ""  # distances do mean something here
    assert figure.axes[0].get_title().startswith("SimCLR, novel\n")
    png(figure)
    named = titled_by_source({"raw pixels": Map("t-SNE, perplexity 5", first.coordinates, 0.5)})
    assert list(named) == ["raw pixels\nt-SNE, perplexity 5, trust 0.50"]
