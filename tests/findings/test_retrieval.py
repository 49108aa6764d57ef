"""What is said of retrieval: numbers of the results, words by where an interval lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.data.base import DataSet
from lib.evaluation.queries import chance, choose_queries
from lib.evaluation.retrieval import Retrieval, retrieve
from lib.figures.retrieval import choose_shown, plot_hits, plot_precision
from lib.findings import retrieval as findings
from lib.models.embed import flatten_pixels
from lib.statistics.bootstrap import Difference
from tests.figures.test_figures import LONG, png
from tests.synthetic import NAMES, TASKS, make_data


def found_in(
    data: DataSet, noise: float = 3.0, top_k: Any = (1, 5), **options: Any
) -> list[Retrieval]:
    """SimCLR sees the pixels, the random encoder noise among them."""
    good, rng = flatten_pixels(data), np.random.default_rng(0)
    bad = {
        name: (h + noise * rng.normal(size=h.shape)).astype(np.float32) for name, h in good.items()
    }
    features = {"simclr": good, "random": bad, "pixels": good}
    settings = {"augment": "novel", "bootstrap": 100, **options}
    return retrieve(features, data, choose_queries(data), top_k, **settings)


@pytest.fixture(scope="module")
def results() -> list[Retrieval]:
    return found_in(make_data())


def test_the_table_holds_the_numbers(results: list[Retrieval]) -> None:
    table = findings.retrieval_table(results)
    assert list(table.columns) == ["SimCLR, novel", "random encoder", "raw pixels", "by chance"]
    assert list(table.index) == ["mAP", "precision@1", "precision@5", "recall@1", "recall@5"]
    low, high, _ = results[1].intervals["map"]
    value = results[1].values["map"]
    assert table.loc["mAP", "random encoder"] == f"{value:.3f} ({low:.3f}–{high:.3f})"
    # One of twelve relevant images is 0.0833, not 0.083.
    assert str(table.loc["recall@1", "SimCLR, novel"])[:6] == f"{results[0].values['recall@1']:.4f}"
    expected = chance(results[0].queries, ["precision@5"])["precision@5"]
    assert table.loc["precision@5", "by chance"] == f"{expected:.3f}"


@pytest.mark.parametrize("task", TASKS)
def test_class_by_class(task: Any) -> None:
    data = make_data(task)
    results = found_in(data)
    table = findings.classes_table(results, data, 100, 0)
    assert tuple(table.index) == NAMES[task]
    queries = results[0].queries
    for k, name in enumerate(NAMES[task]):
        mine = queries.y[:, k] == 1 if task == "multi-label" else queries.y == k
        assert table.loc[name, "queries"] == f"{mine.sum()}"
        mean = results[0].measures["map"][mine].mean()
        assert str(table.loc[name, "SimCLR, novel"]).startswith(f"{mean:.3f} (")


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (Difference(0.12, 0.05, 0.2), "above random encoder by +0.120, 95% interval"),
        (Difference(-0.12, -0.2, -0.05), "**below** random encoder: -0.120"),
        (Difference(0.12, -0.01, 0.2), "no clear difference from random encoder (+0.120"),
        (Difference(0.12, 0.0, 0.2), "no clear difference"),
        (Difference(0.0, 0.0, 0.0), "no clear difference"),
    ],
)
def test_words_follow_the_interval(difference: Difference, expected: str) -> None:
    text = findings.in_words(difference, "random encoder")
    assert text.startswith(expected)
    assert f"{difference.low:+.3f} to {difference.high:+.3f}" in text
    assert sum(word in text for word in ("above", "below", "no clear")) == 1


def test_sentences(results: list[Retrieval]) -> None:
    lines = findings.say_retrieval(results, 100, 0).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "- **mAP**", "- **precision@1**", "- **precision@5**",
    ]  # fmt: skip
    assert f"SimCLR, novel reaches {results[0].values['map']:.3f}, chance 0." in lines[0]
    assert "above random encoder by +" in lines[0]
    # The pixels are the same features.
    assert all("no clear difference from raw pixels (+0.000" in line for line in lines)
    swapped = findings.say_retrieval(found_in(make_data(), noise=0), 100, 0)
    assert swapped.count("no clear difference") == 6
    floors = findings.say_retrieval(results[1:], 100, 0)
    assert floors.startswith("Only floors were measured")
    assert "**below** raw pixels" in floors


def test_the_headline_is_the_encoder(results: list[Retrieval]) -> None:
    v = results[0].values
    assert findings.headline(results[::-1]) == (
        f"SimCLR, novel: test mAP {v['map']:.3f}, precision@1 {v['precision@1']:.3f}, "
        f"precision@5 {v['precision@5']:.3f}"
    )
    assert findings.name_metric("map@1000") == "mAP@1000"


def test_what_was_left_out_is_said() -> None:
    data = make_data("multi-label", grouped=True)
    results = found_in(data, search="faiss")
    text = findings.say_queries(results[0].queries, results, ["k = 500: left out."])
    assert text.startswith("18 test images ask, each among 34 train images (those of its own group")
    assert "approximate search (FAISS)" in text
    assert "- 6 queries without any label were left out." in text
    assert text.endswith("- k = 500: left out.")
    plain = make_data()
    results = found_in(plain)
    text = findings.say_queries(results[0].queries, results, [])
    assert "FAISS" not in text
    assert "each among 36 train images. An image has 12 relevant" in text


# Figures


@pytest.mark.parametrize("top_k", [(1,), (1, 5), (1, 36)])
def test_precision_over_k(top_k: Any) -> None:
    results = found_in(make_data(), top_k=top_k)
    figure = plot_precision(results, 100, 0)
    (axes,) = figure.axes
    for line, r in zip(axes.lines, results, strict=False):
        for k, value in zip(line.get_xdata(), line.get_ydata(), strict=True):
            assert value == pytest.approx(r.found[:, : int(k)].mean())
        assert list(line.get_xdata())[:: len(line.get_xdata()) - 1 or 1][-1] == top_k[-1]
    assert list(axes.lines[-1].get_ydata()) == pytest.approx([1 / 3, 1 / 3])
    png(figure)


@pytest.mark.parametrize("task", TASKS)
def test_hits_and_misses_differ_in_more_than_colour(task: Any) -> None:
    names = LONG[: len(NAMES[task])]
    data = make_data(task, classes=names)
    (_, r, _) = found_in(data)
    figure = plot_hits(r, data, 4, seed=0)
    rows = [figure.axes[6 * i : 6 * i + 6] for i in range(4)]
    for axes_row, q in zip(rows, choose_shown(r.queries, len(names), 4, 0), strict=True):
        query = data.splits["test"].images[r.queries.rows[q]]
        shown = np.asarray(axes_row[0].images[0].get_array())
        assert np.array_equal(shown, query[..., 0] if data.channels == 1 else query)
        for j, axes in enumerate(axes_row[1:]):
            right = bool(r.found[q, j])
            title = axes.get_title()
            assert title.startswith(f"{'✓' if right else '✗'} {1 - r.similarity[q, j]:.3f}\n")
            style = axes.spines["left"].get_linestyle()
            assert (style in ("-", "solid")) == right
    assert {bool(f) for f in r.found.ravel()} == {True, False}
    png(figure)


def test_shown_queries_take_turns_over_classes(results: list[Retrieval]) -> None:
    queries = results[0].queries
    chosen = choose_shown(queries, 3, 6, seed=0)
    assert queries.y[chosen].tolist() == [0, 1, 2, 0, 1, 2]
    assert len(set(chosen)) == 6
    assert choose_shown(queries, 3, 6, seed=1) != chosen
    assert len(choose_shown(queries, 3, 500, seed=0)) == 24


def test_hits_that_do_not_exist_are_empty() -> None:
    data = make_data(grouped=True)
    results = found_in(data, top_k=(36,))
    assert (results[0].hits == -1).any()
    png(plot_hits(results[0], data, 2, 0))


def test_labels_of_an_image() -> None:
    assert findings.name_labels_of(np.array(1), ("a", "b")) == "b"
    assert findings.name_labels_of(np.array([1, 0, 1]), ("a", "b", "c")) == "a, c"
    assert findings.name_labels_of(np.array([0, 0]), ("a", "b")) == "no label"
