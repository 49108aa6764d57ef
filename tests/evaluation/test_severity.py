"""Severity from features: the references, the distance, the order, and what references do to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from lib.data.base import DataError
from lib.evaluation.severity import (
    choose_references,
    compare_severity,
    compare_with_probe,
    mean_agreement,
    median_distance,
    order_by_severity,
    severity_rows,
    vary_references,
)
from lib.identity import Origin
from lib.models.embed import flatten_pixels
from lib.statistics.metrics import expected_grade
from tests.synthetic import make_data, make_run

RNG = np.random.default_rng(0)


def graded_features(data, noise: float = 0.5, seed: int = 0) -> dict[str, np.ndarray]:
    """Features that turn away from the first axis with the grade."""
    rng, h = np.random.default_rng(seed), {}
    for name, split in data.splits.items():
        angle = 0.5 * split.y + noise * rng.normal(size=len(split))
        h[name] = np.stack([np.cos(angle), np.sin(angle), np.zeros(len(split))], 1)
        h[name] = (h[name] * rng.uniform(1, 5, (len(split), 1))).astype(np.float32)
    return h


def test_references_are_healthy_seeded_and_nested() -> None:
    y = RNG.integers(0, 5, 200)
    few, many = choose_references(y, 10, 3), choose_references(y, 20, 3)
    assert (y[many] == 0).all() and len(set(many.tolist())) == 20
    assert (few == many[:10]).all() and (many == choose_references(y, 20, 3)).all()
    assert set(many.tolist()) != set(choose_references(y, 20, 4).tolist())


@pytest.mark.parametrize("n", [0, 7])
def test_too_few_healthy_images_are_refused(n: int) -> None:
    with pytest.raises(DataError, match=rf"eyes: {n} healthy images asked for, there are 6"):
        choose_references(np.repeat([0, 1, 2], 6), n, 0, name="eyes")


@pytest.mark.parametrize("M", [1, 6, 7])
def test_distance_equals_scipy(M: int, monkeypatch: pytest.MonkeyPatch) -> None:
    h, references = RNG.normal(size=(50, 8)), RNG.normal(size=(M, 8))
    expected = np.median(cdist(h, references, "cosine"), axis=1)
    assert median_distance(h, references) == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr("lib.evaluation.severity.PAIRS", 9)  # in blocks
    assert median_distance(h, references) == pytest.approx(expected, abs=1e-6)
    assert median_distance(h[:0], references).shape == (0,)


def test_distance_of_copies_opposites_and_nothing() -> None:
    references = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    h = np.array([[3.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    assert median_distance(h, references) == pytest.approx([0, 2, 1])
    with pytest.raises(ValueError, match="expected"):
        median_distance(h, np.zeros((0, 2)))
    with pytest.raises(ValueError, match="expected"):
        median_distance(h, np.zeros((3, 5)))


@pytest.mark.parametrize("task", ["ordinal", "binary"])
@pytest.mark.parametrize("grouped", [False, True])
def test_order_by_grade(task, grouped: bool) -> None:
    data = make_data(task, grouped=grouped)
    h = graded_features(data)
    features = {"supcon": h, "random": flatten_pixels(data)}
    found = order_by_severity(features, data, 8, augment="novel", bootstrap=100)
    assert [(r.source, r.augment) for r in found] == [("supcon", "novel"), ("random", "")]
    r = found[0]
    y = data.splits["test"].y
    rows = choose_references(data.splits["train"].y, 8, 0)
    assert r.distance == pytest.approx(
        np.median(cdist(h["test"], h["train"][rows], "cosine"), axis=1), abs=1e-6
    )
    assert r.order["spearman"].value == pytest.approx(stats.spearmanr(r.distance, y).statistic)
    assert r.order["kendall"].value == pytest.approx(stats.kendalltau(r.distance, y).statistic)
    assert r.order["spearman"].low <= r.order["spearman"].value <= r.order["spearman"].high


def test_only_the_grade_of_the_references_is_used() -> None:
    data = make_data("ordinal")
    y = data.splits["train"].y
    swapped = dataclasses.replace(data.splits["train"], y=np.array([0, 2, 1])[y])
    other = dataclasses.replace(data, splits={**data.splits, "train": swapped})
    h = {"random": graded_features(data)}
    a, b = (order_by_severity(h, d, 8, bootstrap=50)[0] for d in (data, other))
    assert (a.distance == b.distance).all()


def test_more_references_than_healthy_images_are_all_of_them() -> None:
    data = make_data("ordinal")
    found = order_by_severity({"random": flatten_pixels(data)}, data, 1000, bootstrap=50)[0]
    assert found.references == 12


def test_features_without_spread_have_no_order(tmp_path: Path) -> None:
    data = make_data("ordinal")
    h = {name: np.ones((len(split), 3), np.float32) for name, split in data.splits.items()}
    found = order_by_severity({"random": h}, data, 5, bootstrap=50)
    assert np.isnan(found[0].order["spearman"].value)
    assert severity_rows(found, make_run(tmp_path), "resnet18") == []


def test_varying_the_references() -> None:
    data = make_data("ordinal")
    features = {"simclr": graded_features(data), "pixels": flatten_pixels(data)}
    sweep = vary_references(features, data, [1, 4, 12, 50], [0, 1, 2])
    assert len(sweep) == 2 * 3 * 3  # 50 are as many as 12, all there are
    assert [*sweep.columns] == [
        "source", "references", "seed", "spearman", "kendall", "agreement",
    ]  # fmt: skip
    all_of_them = sweep[sweep["references"] == 12]
    assert (all_of_them.groupby("source")["spearman"].nunique() == 1).all()
    assert all_of_them["agreement"].to_numpy() == pytest.approx(1)
    one = sweep[(sweep["references"] == 4) & (sweep["seed"] == 1) & (sweep["source"] == "simclr")]
    rows = choose_references(data.splits["train"].y, 4, 1)
    h = features["simclr"]
    expected = stats.spearmanr(
        median_distance(h["test"], h["train"][rows]), data.splits["test"].y
    ).statistic
    assert one["spearman"].item() == pytest.approx(expected)


def test_agreement_is_the_mean_correlation_with_the_others() -> None:
    a, b, c = RNG.normal(size=(3, 40))
    found = mean_agreement([a, b, c])
    ab, ac = stats.spearmanr(a, b).statistic, stats.spearmanr(a, c).statistic
    assert found[0] == pytest.approx((ab + ac) / 2)
    assert np.isnan(mean_agreement([a])).all()


def test_comparison_with_the_probe_and_between_methods() -> None:
    data = make_data("ordinal")
    y = data.splits["test"].y
    features = {"supcon": graded_features(data, 0.1), "random": graded_features(data, 2, seed=1)}
    good, bad = order_by_severity(features, data, 12, bootstrap=50)
    perfect = expected_grade(np.eye(3)[y])
    found = compare_with_probe(bad, perfect, 200)["spearman"]
    assert found.value == pytest.approx(1 - bad.order["spearman"].value) and found.low > 0
    assert compare_severity(good, bad, 200, 0)["kendall"].low > 0
    assert compare_severity(good, good, 50, 0)["kendall"][:3] == (0, 0, 0)


@pytest.mark.parametrize("task", ["multi-class", "multi-label"])
def test_classes_without_order_are_refused(task) -> None:
    data = make_data(task)
    for act in (
        lambda h: order_by_severity(h, data, 5),
        lambda h: vary_references(h, data, [5], [0]),
    ):
        with pytest.raises(DataError, match="have no order"):
            act({"random": flatten_pixels(data)})


def test_rows(tmp_path: Path) -> None:
    data = make_data("ordinal", grouped=True)
    h = flatten_pixels(data)
    found = order_by_severity({"simclr": h, "pixels": h}, data, 6, bootstrap=50)
    rows = severity_rows(found, make_run(tmp_path, Origin("simclr", "novel", "x")), "resnet18")
    assert [(r["method"], r["metric"]) for r in rows] == [
        ("simclr", "spearman"), ("simclr", "kendall"), ("pixels", "spearman"), ("pixels", "kendall")
    ]  # fmt: skip
    assert {(r["protocol"], r["labels"], r["split"]) for r in rows} == {("severity", "6", "test")}
    assert [r["encoder"] for r in rows] == ["resnet18", "resnet18", "", ""]
