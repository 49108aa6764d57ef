"""Grades read off neighbours: the mean, the scale, the errors, the choice on validation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk
from sklearn.neighbors import KNeighborsRegressor

from lib.data.base import DataError
from lib.evaluation.grading import (
    Neighbours,
    compare_grading,
    grade_by_neighbours,
    grade_errors,
    grade_features,
    grading_rows,
    translate,
)
from lib.evaluation.search import nearest
from lib.identity import Origin
from lib.models.embed import flatten_pixels
from tests.synthetic import make_data, make_run

RNG = np.random.default_rng(0)
FIVE_TO_FOUR = (0, 1, 2, 3, 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learns_regressor(weighted: bool) -> None:
    library, queries = RNG.normal(size=(80, 6)), RNG.normal(size=(30, 6))
    y = RNG.integers(0, 5, 80)
    found = grade_by_neighbours(*nearest(queries, library, 7), y, Neighbours(7, weighted))
    model = KNeighborsRegressor(
        7, weights="distance" if weighted else "uniform", metric="cosine", algorithm="brute"
    )
    assert found == pytest.approx(model.fit(library, y).predict(queries), abs=1e-4)


def test_more_neighbours_than_asked_for_are_left_out() -> None:
    library, queries, y = RNG.normal(size=(40, 4)), RNG.normal(size=(9, 4)), RNG.integers(0, 4, 40)
    many = nearest(queries, library, 20)
    few = nearest(queries, library, 3)
    assert grade_by_neighbours(*many, y, Neighbours(3)) == pytest.approx(
        grade_by_neighbours(*few, y, Neighbours(3))
    )


def test_a_copy_decides_alone() -> None:
    library, y = np.eye(5), np.arange(5)
    found = grade_by_neighbours(*nearest(library, library, 5), y, Neighbours(5, weighted=True))
    assert found == pytest.approx(y, abs=1e-4)
    assert grade_by_neighbours(*nearest(library, library, 5), y, Neighbours(5)) == pytest.approx(2)


def test_grades_are_translated_before_they_are_averaged() -> None:
    similarity = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])
    index = np.array([[0, 3, 4], [4, 4, 3]])
    grades = np.arange(5)
    found = grade_by_neighbours(similarity, index, grades, Neighbours(3), FIVE_TO_FOUR)
    assert found == pytest.approx([2, 3])
    assert grade_by_neighbours(similarity, index, grades, Neighbours(3)) == pytest.approx(
        [7 / 3, 11 / 3]
    )
    assert (translate(grades, FIVE_TO_FOUR) == [0, 1, 2, 3, 3]).all()
    with pytest.raises(ValueError, match="do not fall"):
        translate(grades, (0, 2, 1, 3, 3))
    with pytest.raises(ValueError, match="4 grades given, found grade 4"):
        translate(grades, (0, 1, 2, 3))


def test_missing_neighbours_do_not_count() -> None:
    similarity = np.array([[0.9, -np.inf], [0.9, 0.1]])
    index = np.array([[2, -1], [2, 0]])
    for weighted, second in ((False, 1), (True, 2 * 10 / (10 + 1 / 0.9))):
        found = grade_by_neighbours(similarity, index, [0, 1, 2], Neighbours(2, weighted))
        assert found == pytest.approx([2, second])
    with pytest.raises(ValueError, match="query 1 has no neighbour"):
        grade_by_neighbours(similarity, np.array([[2, -1], [-1, -1]]), [0, 1, 2], Neighbours(2))


def test_errors_equal_the_libraries() -> None:
    y = RNG.integers(0, 5, 200)
    predicted = np.clip(y + RNG.normal(size=200), 0, 4)
    found = grade_errors(predicted, y, n_grades=5, n=200)
    rounded = np.floor(predicted + 0.5).astype(int)
    assert found["grade_mae"].value == pytest.approx(sk.mean_absolute_error(y, predicted))
    kappa = sk.cohen_kappa_score(y, rounded, weights="quadratic")
    assert found["quadratic_kappa"].value == pytest.approx(kappa)
    assert found["spearman"].value == pytest.approx(stats.spearmanr(predicted, y).statistic)
    assert all(e.low < e.value < e.high for e in found.values())
    repeated = np.random.default_rng(4).integers(0, 3, 200)
    again = grade_errors(np.repeat(predicted, repeated), np.repeat(y, repeated), n_grades=5, n=50)
    expected = np.repeat(np.abs(predicted - y), repeated).mean()
    assert again["grade_mae"].value == pytest.approx(expected)


def test_intervals_are_over_groups_where_there_are_any() -> None:
    patient = np.repeat(np.arange(30), 6)
    y = np.random.default_rng(1).integers(0, 5, 30)[patient]
    wrong = np.random.default_rng(2).normal(size=30)[patient]
    a, b = (grade_errors(y + wrong, y, g, n_grades=5, n=300)["grade_mae"] for g in (patient, None))
    assert a.value == b.value and a.high - a.low > 1.5 * (b.high - b.low)


def test_halves_are_rounded_up_and_kept_on_the_scale() -> None:
    y = np.array([1, 2, 3, 3])
    found = grade_errors(np.array([0.5, 1.5, 2.5, 3.4]), y, n_grades=4, n=50)
    assert found["quadratic_kappa"].value == 1


def test_equal_predictions_have_no_correlation() -> None:
    found = grade_errors(np.ones(20), np.repeat([0, 1], 10), n_grades=2, n=50)
    assert np.isnan(found["spearman"].value) and found["grade_mae"].value == 0.5


@pytest.mark.parametrize("task", ["ordinal", "binary"])
def test_the_way_is_chosen_on_validation(task) -> None:
    data = make_data(task, grouped=True)
    h = flatten_pixels(data)
    tried = [Neighbours(k, weighted) for k in (1, 5, 500) for weighted in (False, True)]
    results = grade_features({"simclr": h, "pixels": h}, data, tried, augment="novel", bootstrap=50)
    assert [(r.source, r.augment) for r in results] == [("simclr", "novel"), ("pixels", "")]
    first = results[0]
    assert set(first.curve) == set(tried[:4])  # 500 neighbours there are not
    assert first.curve[first.chosen] == min(first.curve.values())
    again = grade_by_neighbours(
        *nearest(h["test"], h["train"], first.chosen.k), data.splits["train"].y, first.chosen
    )
    assert (first.predicted == again).all() and first.n_grades == len(data.classes)
    assert first.errors["grade_mae"].value < first.guess
    same = compare_grading(*results, 50, 0)
    assert all(e[:3] == (0, 0, 0) for e in same.values())


def test_test_labels_do_not_choose() -> None:
    data = make_data("ordinal")
    h = flatten_pixels(data)
    shuffled = dataclasses.replace(
        data.splits["test"], y=np.random.default_rng(0).permutation(data.splits["test"].y)
    )
    other = dataclasses.replace(data, splits={**data.splits, "test": shuffled})
    tried = [Neighbours(k) for k in (1, 3, 9)]
    a, b = (grade_features({"random": h}, d, tried, bootstrap=50)[0] for d in (data, other))
    assert a.chosen == b.chosen and (a.predicted == b.predicted).all()
    assert a.errors != b.errors


def test_another_scale_of_the_queries() -> None:
    data = make_data("ordinal")  # three grades; validation and test join the upper two
    splits = dict(data.splits)
    for name in ("val", "test"):
        splits[name] = dataclasses.replace(splits[name], y=np.minimum(splits[name].y, 1))
    joined = dataclasses.replace(data, splits=splits)
    h = flatten_pixels(data)
    found = grade_features({"random": h}, joined, [Neighbours(5)], scale=(0, 1, 1), bootstrap=50)[0]
    assert found.n_grades == 2 and found.predicted.max() <= 1
    assert found.errors["quadratic_kappa"].value > 0.5


@pytest.mark.parametrize("task", ["multi-class", "multi-label"])
def test_classes_without_order_have_no_grades(task) -> None:
    data = make_data(task)
    with pytest.raises(DataError, match="have no order"):
        grade_features({"random": flatten_pixels(data)}, data, [Neighbours(5)])


def test_more_neighbours_than_images_are_refused() -> None:
    data = make_data("ordinal")
    with pytest.raises(DataError, match="36 training images, fewer than any k"):
        grade_features({"random": flatten_pixels(data)}, data, [Neighbours(50)])


def test_rows(tmp_path: Path) -> None:
    data = make_data("ordinal")
    h = flatten_pixels(data)
    results = grade_features({"simclr": h, "pixels": h}, data, [Neighbours(5)], bootstrap=50)
    run = make_run(tmp_path, Origin("simclr", "novel", "x"))
    rows = grading_rows(results, run, "resnet18")
    assert [r["metric"] for r in rows] == ["grade_mae", "quadratic_kappa", "spearman"] * 2
    assert {(r["method"], r["encoder"]) for r in rows} == {("simclr", "resnet18"), ("pixels", "")}
    assert {(r["protocol"], r["labels"], r["split"]) for r in rows} == {
        ("retrieval", "all", "test")
    }
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows)
