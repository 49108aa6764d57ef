"""The probe protocol: choice on validation, test scored once, every number from one place."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.data.base import DataError, DataSet, Split, Task, labels_of
from lib.evaluation.evaluate import (
    PIXELS,
    Budget,
    Evaluated,
    compare,
    label_budgets,
    probe_features,
    result_rows,
)
from lib.identity import Origin
from lib.models.embed import flatten_pixels
from lib.models.probe import fit_logistic, knn_scores
from lib.run import COLUMNS
from lib.statistics.bootstrap import bootstrap_intervals, paired_bootstrap
from lib.statistics.metrics import compute_metrics, compute_recalls
from lib.statistics.predictions import read_predictions, write_predictions
from tests.synthetic import NAMES, TASKS, make_data, make_run, unlabelled

SOURCES = ("simclr", "random", PIXELS)


def features_of(data: DataSet) -> dict[str, dict[str, Any]]:
    """Pixels under three names: how the protocol treats a source depends on its name alone."""
    return {source: flatten_pixels(data) for source in SOURCES}


def budgets_of(data: DataSet, labels: str = "12,all") -> list[Budget]:
    return label_budgets(data, labels, 0, seed=0)[0]


def probe(data: DataSet, labels: str = "12,all", **options: Any) -> list[Evaluated]:
    settings = {"augment": "novel", "knn_k": 5, "bootstrap": 100, "seed": 0, **options}
    return probe_features(features_of(data), data, budgets_of(data, labels), **settings)


def with_labels(data: DataSet, name: str, y: Any) -> DataSet:
    changed = dataclasses.replace(data.splits[name], y=y)
    return dataclasses.replace(data, splits={**data.splits, name: changed})


def scores_of(results: list[Evaluated]) -> list[Any]:
    return [r.predictions.scores for r in results]


# Budgets


@pytest.mark.parametrize("task", TASKS)
def test_budgets_are_exact_and_smaller_ones_part_of_larger_ones(task: Task) -> None:
    budgets, notes = label_budgets(make_data(task), "6,12,all", 0, seed=3)
    assert [b.name for b in budgets] == ["6", "12", "all"]
    assert [len(b.chosen.indices) for b in budgets] == [6, 12, 36]
    small, middle, full = (set(b.chosen.indices.tolist()) for b in budgets)
    assert small < middle < full == set(range(36))
    assert notes == []


def test_budgets_larger_than_the_data_are_left_out_and_said() -> None:
    budgets, notes = label_budgets(make_data(), "12,36,37,1000,all", 0, seed=0)
    assert [b.name for b in budgets] == ["12", "36", "all"]
    assert notes == [
        "37 labels: left out, Tiny multi-class has 36 training images.",
        "1000 labels: left out, Tiny multi-class has 36 training images.",
    ]


def test_labels_per_class() -> None:
    data = make_data()
    budgets, notes = label_budgets(data, "all", 4, seed=0)
    assert [b.name for b in budgets] == ["4 per class"]
    assert np.bincount(labels_of(data, "train")[budgets[0].chosen.indices]).tolist() == [4, 4, 4]
    assert notes == []
    _, notes = label_budgets(data, "all", 13, seed=0)
    assert len(notes) == 1
    assert "Fewer than 13" in notes[0]


def test_no_labels_no_budget() -> None:
    with pytest.raises(DataError, match="the train split has no labels"):
        label_budgets(unlabelled(), "all", 0, seed=0)
    empty = Split(np.zeros((0, 12, 12, 3), np.uint8), np.zeros(0, np.int64), np.array([], str))
    data = make_data()
    data = dataclasses.replace(data, splits={**data.splits, "val": empty})
    with pytest.raises(DataError, match="the val split has no labels"):
        labels_of(data, "val")


# The protocol


@pytest.mark.parametrize("task", TASKS)
def test_each_source_budget_classifier_and_split_once(task: Task) -> None:
    results = probe(make_data(task))
    keys = {(r.source, r.protocol, r.labels, r.predictions.split) for r in results}
    protocols = [("simclr", "probe"), ("simclr", "knn"), ("random", "probe"), ("random", "knn")]
    assert len(results) == len(keys)
    assert keys == {
        (*pair, labels, split)
        for pair in [*protocols, (PIXELS, "knn")]
        for labels in ("12", "all")
        for split in ("val", "test")
    }
    # A stripe in noise: learnable, so that a protocol mixing up rows would show.
    best = [r for r in results if (r.source, r.protocol, r.labels) == ("simclr", "probe", "all")]
    assert all(r.metrics["auroc"] > 0.9 for r in best)
    assert {r.augment for r in results if r.source == "simclr"} == {"novel"}
    assert {r.augment for r in results if r.source != "simclr"} == {""}


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_those_of_the_classifiers_fitted_by_hand(task: Task) -> None:
    import torch

    data = make_data(task)
    h, K = flatten_pixels(data), len(NAMES[task])
    rows = budgets_of(data, "12")[0].chosen.indices
    y, y_val = labels_of(data, "train")[rows], labels_of(data, "val")
    fitted = fit_logistic(h["train"][rows], y, h["val"], y_val, task, n_classes=K)
    bank = torch.from_numpy(h["train"][rows]), torch.from_numpy(y), torch.from_numpy(h["test"])
    neighbours = knn_scores(*bank, task=task, n_classes=K, k=5)
    found = {
        r.protocol: r
        for r in probe(data, "12")
        if r.source == "simclr" and r.predictions.split == "test"
    }
    np.testing.assert_allclose(
        found["probe"].predictions.scores, fitted.predict_proba(h["test"]), atol=1e-6
    )
    np.testing.assert_allclose(found["knn"].predictions.scores, neighbours.numpy(), atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_the_labels_of_the_test_split_change_no_score(task: Task) -> None:
    data = make_data(task)
    y = labels_of(data, "test")
    permuted = with_labels(data, "test", np.random.default_rng(0).permutation(y))
    before, after = probe(data), probe(permuted)
    assert all(map(np.array_equal, scores_of(before), scores_of(after)))
    assert before[0].predictions.split == "val"
    assert [r.metrics for r in before] != [r.metrics for r in after]


def test_validation_chooses_and_is_not_trained_on() -> None:
    data = make_data()
    y = labels_of(data, "val")
    permuted = with_labels(data, "val", np.random.default_rng(1).permutation(y))
    before, after = probe(data, "all"), probe(permuted, "all")
    for a, b in zip(before, after, strict=True):
        same = np.array_equal(a.predictions.scores, b.predictions.scores)
        # kNN has nothing to choose; the probe takes another strength, but learns no other labels.
        assert same == (a.protocol == "knn")
    test = [r for r in after if (r.protocol, r.predictions.split) == ("probe", "test")]
    assert all(r.metrics["auroc"] > 0.9 for r in test)


def test_only_the_labels_of_the_budget_count() -> None:
    data = make_data()
    rows = budgets_of(data, "12")[0].chosen.indices
    y = labels_of(data, "train")
    hidden = np.setdiff1d(np.arange(len(y)), rows)
    y[hidden] = np.random.default_rng(0).permutation(y[hidden])
    budget = budgets_of(data, "12")
    args = {"knn_k": 5, "bootstrap": 0}
    before = probe_features(features_of(data), data, budget, **args)
    changed = with_labels(data, "train", y)
    after = probe_features(features_of(data), changed, budget, **args)
    assert all(map(np.array_equal, scores_of(before), scores_of(after)))


# Numbers


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_for_the_test_split_and_over_groups_where_there_are(grouped: bool) -> None:
    data = make_data(grouped=grouped)
    for r in probe(data, "all"):
        p = r.predictions
        if p.split == "val":
            assert r.intervals == {}
            continue
        groups = np.array([f"patient-{i // 2}" for i in range(24)]) if grouped else None
        expected = bootstrap_intervals(
            p.y, p.scores, p.task, groups, n=100, seed=0, classes=p.classes
        )
        assert r.intervals == expected
        assert set(r.intervals) == set(r.metrics)


@pytest.mark.parametrize("task", TASKS)
def test_numbers_recomputed_from_the_written_predictions(tmp_path: Path, task: Task) -> None:
    results = probe(make_data(task))
    write_predictions(tmp_path / "predictions.csv", [r.predictions for r in results])
    run = make_run(tmp_path, Origin("simclr", "novel", "x"))
    rows = {
        (r["method"], r["protocol"], r["labels"], r["split"], r["metric"]): r["value"]
        for r in result_rows(results, run, "resnet18")
    }
    for p in read_predictions(tmp_path / "predictions.csv"):
        values = compute_metrics(p.y, p.scores, p.task, p.classes)
        values |= compute_recalls(p.y, p.scores, p.task, p.classes)
        for metric, value in values.items():
            key = (p.key["method"], p.key["protocol"], p.key["labels"], p.split, metric)
            assert rows.pop(key) == value
    assert rows == {}


def test_rows_have_every_column_and_intervals_on_test_only(tmp_path: Path) -> None:
    results = probe(make_data("ordinal"))
    run = make_run(tmp_path, Origin("simclr", "novel", "x"))
    rows = result_rows(results, run, "resnet50")
    assert len(rows) == len(results) * (9 + 3)  # nine metrics of grades, three recalls
    for row in rows:
        assert tuple(row) == COLUMNS
        assert (row["encoder"] == "") == (row["method"] == PIXELS)
        assert row["augment"] == ("novel" if row["method"] == "simclr" else "")
        if row["split"] == "val":
            assert (row["low"], row["high"]) == ("", "")
        else:
            assert row["split"] == "test"
            assert 0 <= row["low"] <= row["high"] <= 1 or row["metric"] == "quadratic_kappa"
    assert {row["encoder"] for row in rows} == {"resnet50", ""}


def test_compare_is_the_paired_bootstrap() -> None:
    data = make_data(grouped=True)
    test = [r for r in probe(data, "all") if r.predictions.split == "test"]
    a, b = test[0], test[-1]
    p, q = a.predictions, b.predictions
    expected = paired_bootstrap(p.y, p.scores, q.scores, p.task, p.groups, n=200, seed=4)
    assert compare(a, b, 200, 4) == expected
    assert expected["auroc"].value == pytest.approx(a.metrics["auroc"] - b.metrics["auroc"])
    assert compare(a, a, 100, 0)["auroc"][:3] == (0, 0, 0)


def test_the_same_seed_gives_the_same_results() -> None:
    data = make_data("multi-label")
    a, b = probe(data), probe(data)
    assert [(r.metrics, r.intervals) for r in a] == [(r.metrics, r.intervals) for r in b]


def without_class(data: DataSet, name: str, k: int) -> DataSet:
    """The data set with the images of one class taken out of one split."""
    split = data.splits[name]
    assert split.y is not None
    keep = split.y != k
    fewer = Split(split.images[keep], split.y[keep], split.ids[keep])
    return dataclasses.replace(data, splits={**data.splits, name: fewer})


def test_validation_without_a_rare_class_chooses_but_has_no_rows() -> None:
    data = without_class(make_data(), "val", 2)
    budgets, notes = label_budgets(data, "all", 0, 0)
    assert notes == [
        f"Validation images of {NAMES['multi-class'][2]} are missing: no validation AUROC."
    ]
    assert label_budgets(data, "all", 4, 0)[1] == notes
    results = probe_features(features_of(data), data, budgets, bootstrap=100)
    assert {r.predictions.split for r in results} == {"test"}


def test_a_test_split_without_a_class_fails_and_names_it() -> None:
    data = without_class(make_data(), "test", 1)
    budgets, _ = label_budgets(data, "all", 0, 0)
    with pytest.raises(ValueError, match=NAMES["multi-class"][1]):
        probe_features(features_of(data), data, budgets, bootstrap=100)


def test_no_budget_that_fits_is_refused() -> None:
    with pytest.raises(DataError, match=r"labels: 5000; .* has 36 training images"):
        label_budgets(make_data(), "5000", 0, 0)
