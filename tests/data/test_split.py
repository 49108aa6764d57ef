"""Splits and folds: disjoint, grouped, stratified."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data.base import DataError
from lib.data.split import carve_val, cross_validation_folds, grouped_stratified_split

SHARES = np.array([0.7, 0.1, 0.2])


def random_groups(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Unequal classes, groups of 1 to 5 images which mostly share their class."""
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, n // 3, n))
    of_group = rng.choice(5, n, p=[0.6, 0.2, 0.1, 0.07, 0.03])
    y = np.where(rng.random(n) < 0.9, of_group[groups], rng.integers(0, 5, n))
    return y.astype(np.int64), groups.astype(np.str_)


def check_partition(parts: list[np.ndarray], n: int) -> None:
    joined = np.concatenate(parts)
    assert np.array_equal(np.sort(joined), np.arange(n))
    assert all(np.array_equal(p, np.sort(p)) for p in parts)


@pytest.mark.parametrize("seed", range(10))
def test_without_groups_each_class_is_shared_out_by_largest_remainder(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.choice(6, 500, p=[0.5, 0.3, 0.1, 0.06, 0.03, 0.01])
    parts = grouped_stratified_split(y, None, seed=seed)
    check_partition(list(parts), len(y))
    for k in np.unique(y):
        exact = SHARES * (y == k).sum()
        got = np.array([(y[p] == k).sum() for p in parts])
        if (y == k).sum() >= 10:  # fewer: the promise of one in each split comes first
            assert (np.abs(got - exact) < 1).all()
            up = got > exact + 1e-9
            if up.any() and (~up).any():  # who was rounded up had no smaller remainder
                fraction = exact - np.floor(exact)
                assert fraction[up].min() >= fraction[~up].max() - 1e-9
        if (y == k).sum() >= 3:
            assert got.min() >= 1


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_whole_and_classes_balanced(seed: int) -> None:
    y, groups = random_groups(seed)
    parts = grouped_stratified_split(y, groups, seed=seed)
    check_partition(list(parts), len(y))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not set(groups[parts[a]]) & set(groups[parts[b]])
    for k in range(5):
        got = np.array([(y[p] == k).sum() for p in parts])
        assert np.abs(got - SHARES * (y == k).sum()).max() <= 6
        if len(np.unique(groups[y == k])) >= 3:
            assert got.min() >= 1
    sizes = np.array([len(p) for p in parts]) / len(y)
    assert np.abs(sizes - SHARES).max() < 0.02


def test_a_rare_class_of_three_groups_is_everywhere() -> None:
    y = np.array([0] * 200 + [1] * 3)
    groups = np.array([f"g{i // 2}" for i in range(200)] + ["a", "b", "c"])
    for seed in range(20):
        for part in grouped_stratified_split(y, groups, seed=seed):
            assert 1 in y[part]


def test_seeds_differ_and_repeat() -> None:
    y, groups = random_groups(0)
    first, again, other = (grouped_stratified_split(y, groups, seed=s)[2] for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_multi_label_shares_out_each_label() -> None:
    rng = np.random.default_rng(3)
    y = (rng.random((1000, 4)) < [0.4, 0.2, 0.1, 0.02]).astype(np.uint8)
    parts = grouped_stratified_split(y, None, seed=1)
    check_partition(list(parts), 1000)
    for k in range(4):
        got = np.array([y[p, k].sum() for p in parts])
        assert np.abs(got - SHARES * y[:, k].sum()).max() <= 3
    assert np.abs(np.array([len(p) for p in parts]) - SHARES * 1000).max() <= 5


def test_without_labels_the_sizes_are_right() -> None:
    parts = grouped_stratified_split(None, None, n=103, seed=5)
    check_partition(list(parts), 103)
    assert [len(p) for p in parts] == [72, 10, 21]
    groups = np.repeat(np.arange(40), 3).astype(np.str_)
    parts = grouped_stratified_split(None, groups, seed=5)
    assert [len(p) for p in parts] == [84, 12, 24]


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match="2 groups"):
        grouped_stratified_split(np.array([0, 1, 0]), np.array(["a", "b", "a"]))


def test_carving_takes_an_eighth() -> None:
    y = np.repeat([0, 1], [400, 80])
    train, val = carve_val(y, None, seed=0)
    assert (len(train), len(val)) == (420, 60)
    assert (y[val] == 1).sum() == 10


@pytest.mark.parametrize("seed", range(5))
def test_folds_test_every_image_once(seed: int) -> None:
    y, groups = random_groups(seed)
    folds = cross_validation_folds(y, groups, 5, seed)
    check_partition([test for _, test in folds], len(y))
    for train, test in folds:
        check_partition([train, test], len(y))
        assert not set(groups[train]) & set(groups[test])
        for k in range(5):
            assert abs((y[test] == k).sum() - (y == k).sum() / 5) <= 5


def test_folds_agree_with_scikit_learn_on_sizes() -> None:
    from sklearn.model_selection import StratifiedKFold

    y = np.random.default_rng(0).choice(4, 403, p=[0.6, 0.25, 0.1, 0.05])
    ours = [np.bincount(y[test]) for _, test in cross_validation_folds(y, None, 5)]
    theirs = [np.bincount(y[test]) for _, test in StratifiedKFold(5).split(y, y)]
    for k in range(4):  # every fold gets floor or ceil, equally often
        assert sorted(c[k] for c in ours) == sorted(c[k] for c in theirs)


@pytest.mark.parametrize("folds", [1, 4])
def test_impossible_folds_are_refused(folds: int) -> None:
    with pytest.raises(DataError):
        cross_validation_folds(np.array([0, 1, 1]), None, folds)
