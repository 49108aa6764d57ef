"""Tables hold the numbers of the results; sentences follow the intervals, whatever they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.evaluation.evaluate import Evaluated, compare, label_budgets, probe_features
from lib.findings import probing
from lib.findings.probing import (
    headline,
    main_result,
    metrics_table,
    results_table,
    say_difference,
    say_probe,
)
from lib.models.embed import flatten_pixels
from lib.names import METRIC_NAMES
from lib.statistics.bootstrap import Difference
from lib.statistics.metrics import compute_metrics
from tests.synthetic import TASKS, make_data

ROWS = [
    ("SimCLR, novel", "logistic regression"),
    ("SimCLR, novel", "kNN"),
    ("random encoder", "logistic regression"),
    ("random encoder", "kNN"),
    ("raw pixels", "kNN"),
]
SOURCES = {"SimCLR, novel": "simclr", "random encoder": "random", "raw pixels": "pixels"}
PROTOCOLS = {"logistic regression": "probe", "kNN": "knn"}


def probed(task: Any = "multi-class", noise: float = 0.5, swap: bool = False) -> list[Evaluated]:
    """SimCLR sees the pixels, the random encoder noise among them; `swap` exchanges the two."""
    data = make_data(task)
    good = flatten_pixels(data)
    rng = np.random.default_rng(0)
    bad = {
        name: (h + noise * rng.normal(size=h.shape)).astype(np.float32) for name, h in good.items()
    }
    if swap:
        good, bad = bad, good
    budgets, _ = label_budgets(data, "24,12,all", 0, 0)
    features = {"simclr": good, "random": bad, "pixels": good}
    return probe_features(features, data, budgets, augment="novel", knn_k=5, bootstrap=100)


@pytest.fixture(scope="module")
def results() -> list[Evaluated]:
    return probed(noise=3)


def find(results: list[Evaluated], source: str, protocol: str, labels: str) -> Evaluated:
    (found,) = [
        r
        for r in results
        if (r.source, r.protocol, r.labels, r.predictions.split)
        == (source, protocol, labels, "test")
    ]
    return found


def cell(r: Evaluated, metric: str) -> str:
    low, high, _ = r.intervals[metric]
    return f"{r.metrics[metric]:.3f} ({low:.3f}–{high:.3f})"


@pytest.mark.parametrize("metric", ["auroc", "recall_ring"])
def test_results_table(results: list[Evaluated], metric: str) -> None:
    table = results_table(results, metric)
    assert list(table.index) == ROWS  # in the order of the results, not of the alphabet
    assert list(table.columns) == ["24 labels", "12 labels", "all labels"]
    for features, classifier in ROWS:
        for labels in ("24", "12", "all"):
            r = find(results, SOURCES[features], PROTOCOLS[classifier], labels)
            assert table.loc[(features, classifier), f"{labels} labels"] == cell(r, metric)


def test_results_table_keeps_numbers_in_their_rows_where_some_are_missing(
    results: list[Evaluated],
) -> None:
    some = [r for r in results if (r.source, r.labels) != ("simclr", "24")]
    table = results_table(some[::-1])
    assert sorted(table.index) == sorted(ROWS)
    for features, classifier in ROWS:
        r = find(results, SOURCES[features], PROTOCOLS[classifier], "all")
        assert table.loc[(features, classifier), "all labels"] == cell(r, "auroc")
    # A result that is not there is an empty cell, not another's number.
    assert not isinstance(table.loc[ROWS[0], "24 labels"], str)


def test_the_validation_table_has_no_intervals(results: list[Evaluated]) -> None:
    table = results_table(results, split="val")
    assert all(len(text) == len("0.123") for text in table.to_numpy().ravel())
    assert not table.equals(results_table(results))


def test_metrics_table(results: list[Evaluated]) -> None:
    table = metrics_table(results)
    assert list(table.columns) == [tuple(row) for row in ROWS]
    r = find(results, "random", "knn", "all")
    p = r.predictions
    fresh = compute_metrics(p.y, p.scores, p.task, p.classes)
    column = table["random encoder", "kNN"].to_dict()
    for metric, value in fresh.items():
        assert column.pop(METRIC_NAMES[metric]) == f"{value:.3f}"
    assert set(column) == {"recall of disc", "recall of ring", "recall of bar"}
    other = metrics_table(results, "12")["random encoder", "kNN"]
    assert other["AUROC"] == f"{find(results, 'random', 'knn', '12').metrics['auroc']:.3f}"


# Sentences


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (Difference(0.12, 0.05, 0.2), "above the random encoder (kNN) by +0.120, 95% interval"),
        (Difference(-0.12, -0.2, -0.05), "**below** the random encoder (kNN): -0.120"),
        (Difference(0.12, -0.01, 0.2), "no clear difference from the random encoder (kNN) (+0.120"),
        (Difference(-0.12, -0.2, 0.01), "no clear difference"),
        (Difference(0.12, 0.0, 0.2), "no clear difference"),
        (Difference(0.0, 0.0, 0.0), "no clear difference"),
    ],
)
def test_words_follow_the_interval(
    results: list[Evaluated],
    monkeypatch: pytest.MonkeyPatch,
    difference: Difference,
    expected: str,
) -> None:
    monkeypatch.setattr(probing, "compare", lambda *_: {"auroc": difference})
    r = find(results, "random", "knn", "all")
    text = say_difference(r, r, 100, 0)
    assert text.startswith(expected)
    assert f"{difference.low:+.3f} to {difference.high:+.3f}" in text
    words = ("above", "below", "no clear")
    assert sum(word in text for word in words) == 1


def test_say_probe_compares_each_budget_with_each_floor(results: list[Evaluated]) -> None:
    lines = say_probe(results, 100, 0).splitlines()
    assert len(lines) == 3
    for line, labels in zip(lines, ("24", "12", "all"), strict=True):
        mine = find(results, "simclr", "probe", labels)
        assert line.startswith(
            f"- **{labels} labels**: SimCLR, novel reaches AUROC {mine.metrics['auroc']:.3f}; "
        )
        for floor in (("random", "probe"), ("pixels", "knn")):
            d = compare(mine, find(results, *floor, labels), 100, 0)["auroc"]
            assert f"{d.value:+.3f}" in line
    assert "above the random encoder (logistic regression)" in lines[-1]


def test_say_probe_says_when_pretraining_is_worse() -> None:
    lines = say_probe(probed(noise=3, swap=True), 100, 0).splitlines()
    assert "**below** the random encoder (logistic regression): -" in lines[-1]
    assert "above" not in lines[-1]


def test_say_probe_says_when_there_is_nothing_between_them() -> None:
    text = say_probe(probed(noise=0), 100, 0)
    assert text.count("no clear difference from the random encoder") == 3


def test_only_floors(results: list[Evaluated]) -> None:
    floors = [r for r in results if r.source != "simclr"]
    assert say_probe(floors, 100, 0).startswith("Only floors were measured")
    main = main_result(floors)
    assert (main.source, main.protocol, main.predictions.split) == ("random", "probe", "test")
    assert headline(floors).startswith("random encoder: test AUROC 0.")


@pytest.mark.parametrize("task", TASKS)
def test_headline_is_the_main_result(task: Any) -> None:
    results = probed(task)
    main = main_result(results)
    assert main is find(results, "simclr", "probe", "all")
    values = [find(results, "simclr", "probe", k).metrics["auroc"] for k in ("24", "12", "all")]
    assert headline(results) == (
        f"SimCLR, novel: test AUROC {values[0]:.3f} (24), {values[1]:.3f} (12), "
        f"{values[2]:.3f} (all)"
    )
