"""The project's metrics against scikit-learn and medmnist.Evaluator."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from lib.data.base import Task
from lib.statistics.metrics import (
    Evaluation,
    compute_metrics,
    compute_recalls,
    confusion_matrix,
    expected_grade,
    predict,
)

SIZES: dict[Task, int] = {"binary": 2, "multi-class": 5, "ordinal": 4, "multi-label": 6}
MEDMNIST = {
    "binary": "binary-class",
    "multi-class": "multi-class",
    "ordinal": "ordinal-regression",
    "multi-label": "multi-label, binary-class",
}
TASKS = list(SIZES)


def sample(task: Task, N: int = 300, seed: int = 0, ties: bool = False) -> tuple[Any, Any]:
    """Labels, and scores that know something about them; with ties, in steps of 0.1."""
    rng = np.random.default_rng(seed)
    K = SIZES[task]
    if task == "multi-label":
        y: Any = (rng.random((N, K)) < np.linspace(0.05, 0.6, K)).astype(np.uint8)
        scores = 1 / (1 + np.exp(-(2 * y - 1 + 1.5 * rng.normal(size=(N, K)))))
    else:
        y = rng.choice(K, N, p=np.arange(1, K + 1) / np.arange(1, K + 1).sum())
        logits = 1.5 * np.eye(K)[y] + rng.normal(size=(N, K))
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, (scores.round(1) if ties else scores).astype(np.float32)


def one_against_one(y: Any, scores: Any, weight: Any) -> float:
    """Hand & Till's M with weights, which scikit-learn refuses: pair by pair, both ways."""
    weight, found = np.ones(len(y)) if weight is None else weight, []
    for i, j in itertools.permutations(range(scores.shape[1]), 2):
        rows = (y == i) | (y == j)
        w = {"sample_weight": weight[rows]}
        found.append(sk.roc_auc_score(y[rows] == i, scores[rows, i], **w))
    return float(np.mean(found))


def reference(y: Any, scores: Any, task: Task, weight: Any = None) -> dict[str, float]:
    """The same metrics from scikit-learn."""
    K = scores.shape[1]
    w: dict[str, Any] = {"sample_weight": weight}
    if task == "multi-label":
        columns = [(y[:, k], scores[:, k]) for k in range(K)]
        p = (scores > 0.5).astype(int)
        values = {
            "accuracy": np.mean([sk.accuracy_score(t, s > 0.5, **w) for t, s in columns]),
            "balanced_accuracy": np.mean(
                [sk.balanced_accuracy_score(t, s > 0.5, **w) for t, s in columns]
            ),
            "macro_f1": sk.f1_score(y, p, average="macro", **w),
            "weighted_precision": sk.precision_score(
                y, p, average="weighted", zero_division=0, **w
            ),
        }
    else:
        ranked = range(1, 2) if task == "binary" else range(K)
        columns = [(y == k, scores[:, k]) for k in ranked]
        p = (scores[:, 1] > 0.5).astype(int) if task == "binary" else scores.argmax(axis=1)
        values = {
            "accuracy": sk.accuracy_score(y, p, **w),
            "balanced_accuracy": sk.balanced_accuracy_score(y, p, **w),
            "macro_f1": sk.f1_score(y, p, average="macro", **w),
            "weighted_precision": sk.precision_score(
                y, p, average="weighted", zero_division=0, **w
            ),
        }
        if task != "binary":
            values["auroc_ovo"] = one_against_one(y, scores, weight)
        if task == "ordinal":
            values["quadratic_kappa"] = sk.cohen_kappa_score(y, p, weights="quadratic", **w)
            referable = scores[:, 2:].sum(axis=1, dtype=np.float64)
            values["auroc_referable"] = sk.roc_auc_score(y >= 2, referable, **w)
    values["auroc"] = np.mean([sk.roc_auc_score(t, s, **w) for t, s in columns])
    values["average_precision"] = np.mean(
        [sk.average_precision_score(t, s, **w) for t, s in columns]
    )
    return values


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_metrics_equal_scikit_learn(task: Task, ties: bool) -> None:
    y, scores = sample(task, ties=ties)
    found = compute_metrics(y, scores, task)
    assert found == pytest.approx(reference(y, scores, task), abs=1e-12)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("task", ["multi-class", "ordinal"])
def test_one_against_one_equals_scikit_learn(task: Task) -> None:
    y, scores = sample(task, N=200)
    proper = scores.astype(np.float64)
    proper /= proper.sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(y, proper, multi_class="ovo", average="macro")
    assert compute_metrics(y, scores, task)["auroc_ovo"] == pytest.approx(expected, abs=1e-6)


def test_one_against_one_does_not_change_with_the_sizes_of_classes() -> None:
    y, scores = sample("multi-class", N=200)
    counts = np.where(y == 0, 10, 1)
    once = compute_metrics(y, scores, "multi-class")
    more = compute_metrics(np.repeat(y, counts), np.repeat(scores, counts, axis=0), "multi-class")
    assert more["auroc_ovo"] == pytest.approx(once["auroc_ovo"], abs=1e-12)
    assert abs(more["auroc"] - once["auroc"]) > 1e-3


def test_referable_disease_is_grade_two_and_above() -> None:
    y = np.array([0, 1, 2, 3, 4])
    scores = np.zeros((5, 5))
    scores[[0, 1, 2, 3, 4], [1, 0, 4, 2, 3]] = 1  # every grade wrong, every referral right
    found = compute_metrics(y, scores, "ordinal")
    assert found["auroc_referable"] == 1.0 and found["accuracy"] == 0.0
    two = compute_metrics([0, 1], [[0.8, 0.2], [0.3, 0.7]], "ordinal")
    assert "auroc_referable" not in two and two["auroc_ovo"] == 1.0


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_weighted_metrics_equal_scikit_learn(task: Task, ties: bool) -> None:
    y, scores = sample(task, N=120, ties=ties)
    rng = np.random.default_rng(5)
    weights = np.concatenate([rng.integers(0, 4, (4, 120)).astype(float), rng.random((3, 120))])
    found = Evaluation(y, scores, task).weighted(weights)
    for b, weight in enumerate(weights):
        row = {name: value[b] for name, value in found.items()}
        assert row == pytest.approx(reference(y, scores, task, weight), abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_a_weight_is_a_repetition(task: Task) -> None:
    y, scores = sample(task, N=80, ties=True)
    counts = np.random.default_rng(2).integers(1, 4, 80)
    once = compute_metrics(np.repeat(y, counts, axis=0), np.repeat(scores, counts, axis=0), task)
    weighted = Evaluation(y, scores, task).weighted(counts[None].astype(float))
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(once, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_accuracy_and_auroc_equal_medmnist(task: Task, ties: bool) -> None:
    from medmnist.evaluator import getACC, getAUC

    y, scores = sample(task, seed=3, ties=ties)
    column = y if task == "multi-label" else y[:, None]  # as labels come in MedMNIST files
    found = compute_metrics(y, scores, task)
    assert found["accuracy"] == pytest.approx(getACC(column, scores, MEDMNIST[task]), abs=1e-12)
    assert found["auroc"] == pytest.approx(getAUC(column, scores, MEDMNIST[task]), abs=1e-12)


@pytest.mark.parametrize(("flag", "task"), [("breastmnist", "binary"), ("retinamnist", "ordinal")])
def test_equals_the_evaluator_on_real_labels(shared_data: Path, flag: str, task: Task) -> None:
    from medmnist import Evaluator

    evaluator = Evaluator(flag, "test", root=str(shared_data / "medmnist"))
    y = evaluator.labels[:, 0].astype(np.int64)
    scores = np.random.default_rng(0).dirichlet(np.ones(y.max() + 1), len(y)).astype(np.float32)
    expected = evaluator.evaluate(scores)
    found = compute_metrics(y, scores, task)
    assert (found["auroc"], found["accuracy"]) == pytest.approx(tuple(expected), abs=1e-12)


def test_auroc_equals_counting_pairs() -> None:
    y, scores = sample("binary", N=60, ties=True)
    positive, negative = scores[y == 1, 1], scores[y == 0, 1]
    won = [(p > q) + 0.5 * (p == q) for p in positive for q in negative]
    assert compute_metrics(y, scores, "binary")["auroc"] == pytest.approx(np.mean(won), abs=1e-12)


def test_perfect_and_reversed_scores() -> None:
    y = np.array([0, 0, 1, 1])
    s = np.array([0.1, 0.2, 0.8, 0.9])
    assert set(compute_metrics(y, np.stack([1 - s, s], 1), "binary").values()) == {1.0}
    wrong = compute_metrics(y, np.stack([s, 1 - s], 1), "binary")
    assert (wrong["auroc"], wrong["accuracy"], wrong["weighted_precision"]) == (0, 0, 0)
    level = compute_metrics(y, np.full((4, 2), 0.5), "binary")
    assert (level["auroc"], level["average_precision"]) == (0.5, 0.5)


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_class_is_named(task: Task) -> None:
    y, scores = sample(task)
    names = [f"kind {k}" for k in range(SIZES[task])]
    if task == "multi-label":
        y[:, 1] = 0
    else:
        y[y == 1] = 0
    with pytest.raises(ValueError, match=r"no image .* class 'kind 1', so AUROC"):
        compute_metrics(y, scores, task, names)
    confusion_matrix(y, scores, task)  # needs no AUROC


def test_a_label_that_every_image_has_is_named() -> None:
    y, scores = sample("multi-label")
    y[:, 4] = 1
    with pytest.raises(ValueError, match="every image of 300 belongs to class '4'"):
        compute_metrics(y, scores, "multi-label")


def test_undefined_replicates_are_nan_not_zero() -> None:
    y, scores = sample("multi-class", N=50)
    found = Evaluation(y, scores, "multi-class").weighted((y != 2)[None].astype(float))
    assert np.isnan(found["auroc"]) and np.isnan(found["average_precision"])
    assert np.isnan(found["balanced_accuracy"]) and np.isfinite(found["accuracy"])


@pytest.mark.parametrize("task", TASKS)
def test_confusion_and_recalls_equal_scikit_learn(task: Task) -> None:
    y, scores = sample(task)
    names = [f"kind {k}" for k in range(SIZES[task])]
    found = confusion_matrix(y, scores, task)
    recalls = compute_recalls(y, scores, task, names)
    if task == "multi-label":
        expected = sk.multilabel_confusion_matrix(y, scores > 0.5)
        recall = sk.recall_score(y, scores > 0.5, average=None)
    else:
        expected = sk.confusion_matrix(y, predict(scores, task))
        recall = sk.recall_score(y, predict(scores, task), average=None)
    assert found.dtype == np.int64 and (found == expected).all()
    assert recalls == pytest.approx(
        {f"recall_{name}": r for name, r in zip(names, recall, strict=True)}
    )


def test_scores_count_in_float32() -> None:
    y, scores = sample("multi-class")
    finer = scores.astype(np.float64) * (1 + 1e-12)
    assert compute_metrics(y, finer, "multi-class") == compute_metrics(y, scores, "multi-class")


def test_expected_grade() -> None:
    scores = np.array([[1, 0, 0], [0, 0, 1], [0.25, 0.5, 0.25], [0.2, 0, 0.6]])
    assert expected_grade(scores) == pytest.approx([0, 2, 1, 1.5])


@pytest.mark.parametrize(
    ("y", "scores", "task", "message"),
    [
        ([0, 1], [0.2, 0.8], "binary", "scores: expected"),
        ([0, 1], [[0.2, 0.3, 0.5]] * 2, "binary", "two columns"),
        ([0, 1, 1], [[0.2, 0.8]] * 2, "binary", "y: expected"),
        ([0.0, 1.0], [[0.2, 0.8]] * 2, "binary", "y: expected integers"),
        ([0, 3], [[0.2, 0.3, 0.5]] * 2, "ordinal", "0 to 2; found 0 to 3"),
        ([0, 1], [[-2.0, 3.0]] * 2, "binary", "logits"),
        ([0, 1], [[0.2, np.nan]] * 2, "binary", "nan"),
        ([0, 1], [[0.2, 0.8]] * 2, "multi-label", "y: expected"),
    ],
)
def test_wrong_arguments_are_refused(y: Any, scores: Any, task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_metrics(y, scores, task)


def test_names_must_fit() -> None:
    with pytest.raises(ValueError, match="classes: 3 names for scores of 2"):
        compute_metrics([0, 1], [[0.2, 0.8]] * 2, "binary", ["a", "b", "c"])
