"""Calibration and ROC bands: against slow oracles, closed forms, and scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from lib.data.base import Task
from lib.figures.curves import plot_reliability, plot_roc
from lib.findings.calibration import name_claim, say_calibration
from lib.statistics.calibration import claims_of, measure_reliability, wilson
from lib.statistics.predictions import Predictions
from lib.statistics.roc import corners, roc_curves
from tests.figures.test_figures import png
from tests.synthetic import NAMES, TASKS


def make_predictions(task: Task, N: int = 60, seed: int = 0, grouped: bool = False) -> Predictions:
    rng = np.random.default_rng(seed)
    K = len(NAMES[task])
    if task == "multi-label":
        y: npt.NDArray[np.int64] = rng.integers(0, 2, (N, K))
        scores = np.clip(0.3 * y + 0.7 * rng.random((N, K)), 0, 1)
    else:
        y = rng.permutation(np.arange(N) % K)
        raw = rng.random((N, K)) + 0.8 * (y[:, None] == np.arange(K))
        scores = raw / raw.sum(axis=1, keepdims=True)
    ids = np.array([f"{i}.png" for i in range(N)])
    groups = np.array([f"p{i // 3}" for i in range(N)]) if grouped else None
    return Predictions(ids, y, scores.astype(np.float32), task, NAMES[task], "test", groups)


def slow_ece(stated: Any, true: Any, bins: int) -> float:
    """The definition: bin by bin, image by image."""
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [i for i, s in enumerate(stated) if (low < s or b == 0) and s <= high]
        if inside:
            gap = abs(sum(true[i] for i in inside) - sum(stated[i] for i in inside)) / len(inside)
            total += len(inside) / len(stated) * gap
    return total


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("bins", [1, 7, 10])
def test_ece_is_that_of_the_definition(task: Task, bins: int) -> None:
    p = make_predictions(task)
    found = measure_reliability(p, bins=bins, bootstrap=20)
    stated, true = claims_of(p)
    assert found.ece == pytest.approx(slow_ece(list(stated), list(true), bins), abs=1e-12)
    assert found.counts.sum() == len(stated)
    assert found.interval.low <= found.interval.high


def test_what_is_claimed_depends_on_the_task() -> None:
    p = make_predictions("multi-class")
    stated, true = claims_of(p)
    assert list(stated) == [float(row.max()) for row in p.scores]
    assert list(true) == [float(row.argmax() == y) for row, y in zip(p.scores, p.y, strict=True)]
    p = make_predictions("binary")
    assert list(claims_of(p)[0]) == [float(row[1]) for row in p.scores]
    p = make_predictions("multi-label")
    assert claims_of(p)[0].shape == (60 * 2,)
    assert name_claim("binary") != name_claim("ordinal")


def certain(share: float, stated: float, N: int = 200) -> Predictions:
    """A binary classifier that always states the same, where `share` of images are ill."""
    y = (np.arange(N) < round(share * N)).astype(np.int64)
    scores = np.tile([1 - stated, stated], (N, 1)).astype(np.float32)
    return Predictions(y.astype(str), y, scores, "binary", NAMES["binary"], "test")


def test_a_constant_claim_is_off_by_its_difference() -> None:
    found = measure_reliability(certain(0.25, 0.75), bootstrap=50)
    assert found.ece == pytest.approx(0.5, abs=1e-6)
    assert (found.counts > 0).sum() == 1
    assert "too high in bins with 200 of 200 claims" in say_calibration(found)
    assert "0.75 was stated where 0.25 came true" in say_calibration(found)
    under = measure_reliability(certain(0.75, 0.25), bootstrap=50)
    assert "too low in bins with 200 of 200 claims" in say_calibration(under)
    right = measure_reliability(certain(0.5, 0.5), bootstrap=50)
    assert right.ece == pytest.approx(0, abs=1e-6)
    assert "In no bin" in say_calibration(right)


def test_groups_are_drawn_whole() -> None:
    alone = measure_reliability(make_predictions("binary"), bootstrap=200)
    grouped = measure_reliability(make_predictions("binary", grouped=True), bootstrap=200)
    assert alone.ece == grouped.ece
    assert alone.interval != grouped.interval


def test_wilsons_interval() -> None:
    # Closed form at 0 of n: low is 0, high is z² / (n + z²).
    low, high = wilson(np.array([0.0, 10.0]), np.array([10.0, 10.0]))
    z2 = 1.959964**2
    assert low[0] == pytest.approx(0, abs=1e-12)
    assert high[0] == pytest.approx(z2 / (10 + z2))
    assert (1 - low[1], 1 - high[1]) == (pytest.approx(high[0]), pytest.approx(0, abs=1e-12))
    assert math.isnan(wilson(np.array([0.0]), np.array([0.0]))[0][0])


# ROC


@pytest.mark.parametrize("task", TASKS)
def test_curves_are_those_of_scikit_learn(task: Task) -> None:
    p = make_predictions(task)
    found = {c.name: c for c in roc_curves(p, bootstrap=40)}
    expected = p.classes[1:] if task == "binary" else p.classes
    assert tuple(found) == tuple(expected)
    for name, c in found.items():
        k = p.classes.index(name)
        member = p.y[:, k] == 1 if task == "multi-label" else p.y == k
        fpr, tpr, _ = roc_curve(member, p.scores[:, k], drop_intermediate=False)
        np.testing.assert_allclose((c.fpr, c.tpr), (fpr, tpr), atol=1e-12)
        assert c.auc == pytest.approx(roc_auc_score(member, p.scores[:, k]), abs=1e-12)
        inside = np.interp(c.grid, c.fpr, c.tpr)
        # A percentile band holds the curve itself nearly everywhere.
        assert np.mean((c.low <= inside + 1e-9) & (inside <= c.high + 1e-9)) > 0.9


def test_equal_scores_pass_a_threshold_together() -> None:
    scores, member = np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, False, True, False])
    fpr, tpr = corners(scores, member, np.ones((1, 4)))
    assert fpr[0].tolist() == [0, 0.5, 1]
    assert tpr[0].tolist() == [0, 1, 1]


def test_weights_are_repeated_images() -> None:
    rng = np.random.default_rng(3)
    scores, member = rng.random(12), np.arange(12) % 3 == 0
    times = rng.integers(0, 3, 12)
    fpr, tpr = corners(scores, member, times[None].astype(float))
    again = roc_curve(np.repeat(member, times), np.repeat(scores, times), drop_intermediate=False)
    grid = np.linspace(0, 1, 50)
    np.testing.assert_allclose(np.interp(grid, fpr[0], tpr[0]), np.interp(grid, *again[:2]))


def test_a_class_without_images_has_no_curve() -> None:
    p = make_predictions("multi-class")
    kept = p.y != 2
    some = Predictions(p.ids[kept], p.y[kept], p.scores[kept], p.task, p.classes, "test")
    assert [c.name for c in roc_curves(some, bootstrap=5)] == list(p.classes[:2])


def test_the_figures_hold_the_numbers_and_are_not_cut_off() -> None:
    p = make_predictions("multi-class")
    curves = roc_curves(p, bootstrap=20)
    figure = plot_roc(curves)
    assert [a.get_title() for a in figure.axes if a.axison] == list(p.classes)
    assert all(f"{c.auc:.3f}" in figure.alt for c in curves)  # type: ignore[attr-defined]
    png(figure)
    found = measure_reliability(p, bootstrap=20)
    figure = plot_reliability(found, name_claim(p.task))
    assert f"{found.ece:.3f}" in figure.axes[0].get_title()
    assert [bar.get_height() for bar in figure.axes[1].patches] == list(found.counts)
    png(figure)
