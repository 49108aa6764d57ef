"""Figures: what is drawn, that nothing written is cut off, and no pyplot state."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.evaluation.evaluate import Evaluated, label_budgets, probe_features
from lib.figures.base import (
    AUGMENT_COLOURS,
    COLOURS,
    FROZEN,
    UNTRAINED,
    WHOLE,
    colour_of,
    colours_of,
    line_style,
    to_png,
)
from lib.figures.classifiers import plot_budgets, plot_confusion, plot_confusions
from lib.figures.images import plot_class_counts, plot_gallery, sample_gallery
from lib.figures.training import plot_history
from lib.findings.data import describe_data
from lib.models.embed import flatten_pixels
from tests.synthetic import NAMES, TASKS, make_data, unlabelled, with_unlabelled

LONG = (
    "actinic keratoses and intraepithelial carcinoma",
    "basal cell carcinoma",
    "benign keratosis-like lesions",
    "dermatofibroma",
    "melanoma",
    "melanocytic nevi",
    "vascular lesions",
)


def png(figure: Figure) -> bytes:
    """The picture a report gets; fails where text or marks lie outside of it."""
    data = to_png(figure)
    assert data.startswith(b"\x89PNG\r\n")
    canvas = FigureCanvasAgg(figure)
    width, height = canvas.get_width_height()
    for axes in figure.axes:
        box = axes.get_tightbbox(canvas.get_renderer())
        if box is not None:
            found = f"{axes.get_title() or axes.get_ylabel()!r}: {box} in {width} × {height}"
            assert box.x0 >= -1 and box.y0 >= -1, found
            assert box.x1 <= width + 1 and box.y1 <= height + 1, found
        assert axes.get_position().width > 0.01, "no room left for the axes"
    return data


def results_of(task: Any = "multi-class") -> list[Evaluated]:
    data = make_data(task)
    h = flatten_pixels(data)
    budgets, _ = label_budgets(data, "12,24,all", 0, 0)
    features = {"simclr": h, "random": h, "pixels": h}
    return probe_features(features, data, budgets, augment="novel", knn_k=5, bootstrap=100)


@pytest.fixture(scope="module")
def results() -> list[Evaluated]:
    return results_of()


def test_no_pyplot_even_when_a_figure_is_shown() -> None:
    code = (
        "import sys, numpy as np\nfrom lib.figures.classifiers import plot_confusion\n"
        "figure = plot_confusion(np.eye(2, dtype=int), ('a', 'b'))\n"
        "assert figure._repr_mimebundle_()[0]\nprint('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_figures_are_sharp_enough_and_saved_as_they_are_shown() -> None:
    figure = plot_confusion(np.eye(2, dtype=np.int64), ("a", "b"))
    figure.draw_without_rendering()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    assert buffer.getvalue() == png(figure)
    assert figure.dpi >= 100


def test_colours_tell_methods_and_augmentations_apart() -> None:
    from lib.augment import SEQUENCES

    assert len(set(COLOURS.values())) == len(COLOURS)
    assert set(AUGMENT_COLOURS) == set(SEQUENCES)
    assert len({colour_of("simclr", a) for a in SEQUENCES}) == len(SEQUENCES)
    assert colour_of("random", "novel") == colour_of("random") == COLOURS["random"]
    assert colour_of("new") not in COLOURS.values()
    # Source, variant and settings change nothing.
    assert colour_of("supcon from a (100 labels)") == COLOURS["supcon"]
    for settings in ("natural, adapted", "natural crop_scale=0.2", "natural, rotation=10"):
        assert colour_of("simclr", settings) == AUGMENT_COLOURS["natural"]
    several = [("simclr", "natural"), ("simclr", "natural, adapted"), ("simclr from a", "natural")]
    beside = colours_of([*several, ("random", ""), several[0]])
    assert beside["simclr", "natural"] == AUGMENT_COLOURS["natural"].lower()
    assert beside["random", ""] == COLOURS["random"].lower()
    assert len(set(beside.values())) == 4


def test_lines_mean_the_same_in_every_figure() -> None:
    assert line_style("simclr (long)", "finetune") == line_style("random", "finetune") == WHOLE
    assert line_style("simclr from a", "probe") == line_style("supcon", "knn") == FROZEN
    assert line_style("random (long)", "probe") == line_style("pixels", "knn") == UNTRAINED


# The data


def test_class_counts() -> None:
    table = pd.DataFrame(
        {"train": [4010, 12], "val": [500, 3], "test": [1003, 0], "share": ["98%", "2%"]},
        index=[LONG[0], "b"],
    )
    figure = plot_class_counts(table)
    assert [axes.get_title() for axes in figure.axes] == ["train", "val", "test"]
    for axes in figure.axes:
        assert [bar.get_width() for bar in axes.patches] == list(table[axes.get_title()])
        assert axes.yaxis_inverted()
    assert [text.get_text() for text in figure.axes[0].texts] == ["4,010", "12"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [LONG[0], "b"]
    png(figure)


@pytest.mark.filterwarnings("error")
def test_class_counts_of_many_classes_of_an_empty_split_and_without_labels() -> None:
    many = pd.DataFrame({"train": range(14), "val": [0] * 14}, index=list("abcdefghijklmn"))
    png(plot_class_counts(many))
    figure = plot_class_counts(describe_data(with_unlabelled(7)))
    assert [a.get_title() for a in figure.axes] == ["train", "val", "test", "unlabelled"]
    figure = plot_class_counts(describe_data(unlabelled()))
    assert [axes.patches[0].get_width() for axes in figure.axes] == [36, 18, 24]
    png(figure)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("columns", [1, 8])
def test_gallery(channels: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (columns, 12, 12, channels), dtype=np.uint8)
    rows = {LONG[0]: images, "one": images[:1], LONG[2]: images}
    figure = plot_gallery(rows)
    assert len(figure.axes) == 3 * columns
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 2 * columns + 1
    expected = images[0, ..., 0] if channels == 1 else images[0]
    assert np.array_equal(np.asarray(shown[0]), expected)
    first = figure.axes[0].images[0]
    assert first.get_clim() == (0, 255)  # not stretched to each image's own range
    png(figure)
    labels = [figure.axes[i * columns].get_ylabel() for i in range(3)]
    assert [" ".join(label.split()) for label in labels] == list(rows)
    side = figure.axes[0].get_position().height * figure.get_figheight()
    assert side > 0.4, f"images of {side:.2f} inches"


@pytest.mark.parametrize("task", TASKS)
def test_sample_gallery_shows_images_of_the_class(task: Any) -> None:
    data = make_data(task)
    train = data.splits["train"]
    gallery = sample_gallery(data, 4, seed=0)
    assert tuple(gallery) == NAMES[task]
    y = train.y
    assert y is not None
    for k, images in enumerate(gallery.values()):
        assert len(images) == 4
        has = y[:, k] == 1 if task == "multi-label" else y == k
        for image in images:
            assert any(np.array_equal(image, own) for own in train.images[has])
    other = sample_gallery(data, 4, seed=1)
    assert any(not np.array_equal(gallery[name], other[name]) for name in gallery)
    png(plot_gallery(gallery))


def test_sample_gallery_without_labels_and_of_few_images() -> None:
    assert {k: len(v) for k, v in sample_gallery(unlabelled(), 5, 0).items()} == {
        "without labels": 5
    }
    assert [len(v) for v in sample_gallery(make_data(), 64, 0).values()] == [12, 12, 12]


# Pretraining


def history(monitored: bool = True) -> list[dict[str, float]]:
    rows = []
    for epoch in range(1, 7):
        row = {"epoch": float(epoch), "loss": 5 / epoch, "top1": epoch / 10, "top5": epoch / 7}
        if monitored and epoch % 2 == 0:
            row["val_knn_auroc"] = 0.5 + epoch / 20
        rows.append(row)
    return rows


def test_history() -> None:
    figure = plot_history(history(), 4)
    left, middle, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([5 / e for e in range(1, 7)])
    assert [len(line.get_xdata()) for line in middle.lines] == [6, 6]
    # Checked every second epoch: no gaps, no zeros in between.
    assert list(right.lines[0].get_xdata()) == [2, 4, 6]
    assert right.lines[0].get_ydata() == pytest.approx([0.6, 0.7, 0.8])
    assert list(right.lines[1].get_xdata()) == [4, 4]
    png(figure)


def test_history_without_labels_and_of_one_epoch() -> None:
    figure = plot_history(history(monitored=False), 6)
    assert figure.axes[2].lines[:] == []
    png(figure)
    png(plot_history(history()[:1], 1))


# Probes


def test_budgets(results: list[Evaluated]) -> None:
    figure = plot_budgets(results)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["12", "24", "all"]
    assert len(axes.containers) == 5
    for container in axes.containers:
        line, _, (bars,) = container
        source = {"SimCLR, novel": "simclr", "random encoder": "random", "raw pixels": "pixels"}
        name, _, protocol = str(container.get_label()).partition(": ")
        mine = [
            r
            for r in results
            if r.predictions.split == "test"
            and r.source == source[name]
            and r.protocol == {"kNN": "knn", "logistic regression": "probe"}[protocol]
        ]
        assert line.get_ydata() == pytest.approx([r.metrics["auroc"] for r in mine])
        for segment, r in zip(bars.get_segments(), mine, strict=True):
            value, (low, high, _) = r.metrics["auroc"], r.intervals["auroc"]
            assert segment[:, 1] == pytest.approx([min(low, value), max(high, value)])
        assert np.rint(line.get_xdata()).tolist() == [0, 1, 2]
    legend = axes.get_legend()
    assert legend is not None
    assert len({text.get_text() for text in legend.get_texts()}) == 5
    png(figure)


def test_budgets_of_another_metric(results: list[Evaluated]) -> None:
    figure = plot_budgets([r for r in results if r.labels == "all"], "recall_ring")
    assert len(figure.axes[0].get_xticklabels()) == 1
    png(figure)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("K", [2, 7, 11])
def test_confusion(K: int) -> None:
    names = (*LONG, "h", "i", "j", "k")[:K]
    counts = np.arange(K * K).reshape(K, K) * 100
    counts[-1] = 0  # a class without images: shares of nothing
    figure = plot_confusion(counts, names)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.texts] == [f"{n:,}" for n in counts.ravel()]
    shares = np.asarray(axes.images[0].get_array())
    assert shares.sum(axis=1) == pytest.approx([1] * (K - 1) + [0])
    # Truth in rows: both axes name the classes in the same order.
    assert [t.get_text() for t in axes.get_yticklabels()] == list(names)
    assert [t.get_text() for t in axes.get_xticklabels()] == list(names)
    png(figure)


@pytest.mark.parametrize("task", TASKS)
def test_confusions_of_every_task(task: Any) -> None:
    result = next(r for r in results_of(task) if r.predictions.split == "test")
    figure = plot_confusions(result)
    (axes,) = figure.axes
    if task == "multi-label":
        recalls = [result.metrics[f"recall_{name}"] for name in NAMES[task]]
        assert [bar.get_width() for bar in axes.patches] == recalls
    else:
        assert sum(int(t.get_text()) for t in axes.texts) == 24
    png(figure)
