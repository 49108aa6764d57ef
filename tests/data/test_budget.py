"""Label budgets: exact, stratified, seeded, nested."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data.base import DataError
from lib.data.split import choose_labels

Y = np.random.default_rng(0).choice(7, 2000, p=[0.6, 0.15, 0.1, 0.06, 0.05, 0.03, 0.01])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n", [1, 3, 7, 8, 50, 100, 250, 1999, 2000])
def test_budgets_are_exact_and_stratified(n: int, seed: int) -> None:
    chosen = choose_labels(Y, n, seed=seed).indices
    assert chosen.dtype == np.int64
    assert len(np.unique(chosen)) == n
    assert np.array_equal(chosen, np.sort(chosen))
    counts = np.bincount(Y[chosen], minlength=7)
    if n >= 7:
        assert counts.min() >= 1
    if n >= 100:  # so many that the promise of one each does not bind
        assert np.abs(counts - n * np.bincount(Y) / len(Y)).max() < 1


def test_equal_shares_are_met_exactly() -> None:
    y = np.repeat(np.arange(4), [400, 300, 200, 100])
    for seed in range(5):
        assert np.bincount(y[choose_labels(y, 100, seed=seed).indices]).tolist() == [40, 30, 20, 10]


def test_budgets_are_nested_for_one_seed() -> None:
    for seed in range(3):
        before: set[int] = set()
        for n in range(1, 400):
            now = set(choose_labels(Y, n, seed=seed).indices.tolist())
            assert before < now
            before = now


def test_seeds_draw_other_images() -> None:
    a, b, again = (set(choose_labels(Y, 100, seed=s).indices.tolist()) for s in (0, 1, 0))
    assert a == again
    assert len(a & b) < 30


def test_all_is_all() -> None:
    assert np.array_equal(choose_labels(Y, "all", seed=1).indices, np.arange(2000))


def test_per_class_is_so_many_of_each_or_all_there_are() -> None:
    smallest = int(np.bincount(Y).min())
    exact = choose_labels(Y, per_class=smallest, seed=2)
    assert np.bincount(Y[exact.indices]).tolist() == [smallest] * 7
    assert exact.note == ""
    more = choose_labels(Y, per_class=smallest + 1, seed=2, classes=list("abcdefg"))
    expected = np.minimum(np.bincount(Y), smallest + 1)
    assert np.bincount(Y[more.indices]).tolist() == expected.tolist()
    assert f"g ({smallest})" in more.note
    assert set(exact.indices.tolist()) < set(more.indices.tolist())


def test_a_small_budget_says_which_it_leaves_out() -> None:
    budget = choose_labels(Y, 3)
    assert "4 classes" in budget.note
    assert set(Y[budget.indices]) == set(np.argsort(-np.bincount(Y))[:3])


def test_multi_label_covers_every_label_first() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random((3000, 14)) < np.linspace(0.001, 0.2, 14)).astype(np.uint8)
    y[0, 0] = 1
    before: set[int] = set()
    for n in (14, 15, 100, 1000, 3000):
        chosen = choose_labels(y, n, seed=3).indices
        assert len(np.unique(chosen)) == n
        assert y[chosen].any(0).all()
        assert before < set(chosen.tolist())
        before = set(chosen.tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": 2001}, "2,001 asked for"),
        ({"labels": 0}, "count from 1"),
        ({"labels": -5}, "count from 1"),
        ({"labels": True}, "count from 1"),
        ({"labels": 10, "per_class": 3}, "give one"),
        ({"per_class": 0}, "count from 1"),
    ],
)
def test_impossible_budgets_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_labels(Y, **arguments)


def test_what_needs_single_labels_says_so() -> None:
    with pytest.raises(DataError, match="per_class"):
        choose_labels(np.eye(4, dtype=np.uint8), per_class=1)
    with pytest.raises(DataError, match="has none"):
        choose_labels(None, 10)
