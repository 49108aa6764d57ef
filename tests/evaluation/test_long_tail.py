"""The long tail: exact counts of a known profile, nested, and nothing but training images cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lib.data.base import DataError, DataSet, Split, labels_of
from lib.evaluation.long_tail import cut_long_tail, tail_counts
from tests.synthetic import make_data, unlabelled


def made(counts: tuple[int, ...], grouped: bool = False) -> DataSet:
    """A data set whose training split has so many images of each class, shuffled."""
    data = make_data(grouped=grouped)
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(y), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 2, 3), np.uint8
    )
    ids = np.array([f"train-{i}" for i in range(len(y))])
    groups = np.array([f"patient-{i // 2}" for i in range(len(y))]) if grouped else None
    splits = {**data.splits, "train": Split(images, y, ids, groups)}
    return dataclasses.replace(data, splits=splits, classes=("disc", "ring", "bar"))


def counts_of(data: DataSet) -> list[int]:
    return np.bincount(labels_of(data, "train"), minlength=len(data.classes)).tolist()


@pytest.mark.parametrize(
    ("available", "ratio", "expected"),
    [
        # Cui et al.'s CIFAR-10: 5,000 images a class, ratio 100
        ([5000] * 10, 100, [5000, 2997, 1797, 1077, 646, 387, 232, 139, 83, 50]),
        ([1000, 1000, 1000], 100, [1000, 100, 10]),
        ([1000, 1000, 1000], 1, [1000, 1000, 1000]),
        # the rarest class limits the largest when the data are steeper than asked
        ([1000, 500, 10], 10, [100, 32, 10]),
        ([100, 20, 40], 1, [20, 20, 20]),
        # a class in the middle limits both ends
        ([1000, 50, 40], 100, [500, 50, 5]),
        # never fewer than one; the order is that of the data
        ([4, 50, 9], 1000, [1, 50, 2]),
        ([50, 0, 50], 10, [50, 0, 5]),
        ([30, 30], 3, [30, 10]),
    ],
)
def test_counts_are_exact(available: list[int], ratio: float, expected: list[int]) -> None:
    assert tail_counts(available, ratio).tolist() == expected


def test_counts_stay_within_what_there_is_and_follow_the_profile() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        K, ratio = int(rng.integers(2, 12)), float(rng.uniform(1, 300))
        available = rng.integers(1, 2000, K)
        kept = tail_counts(available, ratio)
        assert (kept >= 1).all()
        assert (kept <= available).all()
        order = np.argsort(-available, kind="stable")
        assert (np.diff(kept[order]) <= 0).all()
        # Some class gives all it has: no larger tail would fit.
        assert (kept == available).any()
        profile = ratio ** (-np.arange(K) / (K - 1))
        n_max = (available[order] / profile).min()
        assert np.abs(np.maximum(n_max * profile, 1) - kept[order]).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("ratio", [0.5, 0.0, -3.0, float("nan")])
def test_ratios_below_one_are_refused(ratio: float) -> None:
    with pytest.raises(DataError, match="imbalance_ratio"):
        tail_counts([10, 10], ratio)


def test_a_tail_needs_two_classes() -> None:
    with pytest.raises(DataError, match="fewer than two classes"):
        tail_counts([10, 0], 5)


def test_off_is_the_data_set_itself() -> None:
    data = made((60, 50, 40))
    assert cut_long_tail(data, 0, seed=0) is data


@pytest.mark.parametrize("grouped", [False, True])
def test_only_training_images_are_cut_and_rows_stay_together(grouped: bool) -> None:
    data = made((80, 70, 60), grouped)
    cut = cut_long_tail(data, 10, seed=0)
    assert counts_of(cut) == [80, 25, 8]
    for name in ("val", "test"):
        assert cut.splits[name] is data.splits[name]
    whole, train = data.splits["train"], cut.splits["train"]
    rows = [int(name.split("-")[1]) for name in train.ids]
    assert rows == sorted(set(rows))
    assert np.array_equal(train.images, whole.images[rows])
    assert np.array_equal(labels_of(cut, "train"), labels_of(data, "train")[rows])
    if grouped:
        assert whole.groups is not None
        assert train.groups is not None
        assert np.array_equal(train.groups, whole.groups[rows])
    assert cut.fingerprint != data.fingerprint
    assert (
        "of 210 training images 113 are used, 80 of disc down to 8 of bar (10 to 1, asked for 10)"
        in cut.notes[-1]
    )


def test_a_seed_gives_one_tail_and_tails_of_a_class_are_nested() -> None:
    data = made((80, 80, 80))

    def kept(ratio: float, seed: int = 0) -> list[set[str]]:
        cut = cut_long_tail(data, ratio, seed)
        y = labels_of(cut, "train")
        return [set(cut.splits["train"].ids[y == k].tolist()) for k in range(3)]

    assert kept(10) == kept(10)
    assert kept(10) != kept(10, seed=1)
    for steep, mild in zip(kept(40), kept(4), strict=True):
        assert steep <= mild
    a, b = (cut_long_tail(data, r, 0).fingerprint for r in (4, 40))
    assert a != b
    assert a != cut_long_tail(data, 4, 1).fingerprint


@pytest.mark.parametrize(
    ("data", "what"),
    [(make_data("multi-label"), "several labels an image"), (unlabelled(), "no labels")],
)
def test_what_cannot_be_cut(data: Any, what: str) -> None:
    with pytest.raises(DataError, match=what):
        cut_long_tail(data, 10, 0)


def test_memory_maps_are_not_read(tmp_path: Any) -> None:
    data = made((80, 70, 60))
    train = data.splits["train"]
    np.save(tmp_path / "images.npy", train.images)
    mapped = dataclasses.replace(train, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    cut = cut_long_tail(dataclasses.replace(data, splits={**data.splits, "train": mapped}), 10, 0)
    assert not isinstance(cut.splits["train"].images, np.ndarray)
    assert np.array_equal(
        cut.splits["train"].images[:], cut_long_tail(data, 10, 0).splits["train"].images
    )
