"""Folds and capped classes: every image tested once, no patient torn, counts exact."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.data.base import SPLITS, DataError, DataSet, Split
from lib.data.folds import cap_classes, choose_fold, fold_counts, pooled
from lib.data.pool import PooledRows
from lib.models.embed import flatten_pixels
from tests.synthetic import make_data, unlabelled

FOLD_OF_F00D = "21a43a790d651eb1b99ce6bea79c56a1"  # fold 1 of 3 of `make_data`, seed 0
TASKS = ["binary", "multi-class", "ordinal", "multi-label"]


def ids_of(data: DataSet, *splits: str) -> list[str]:
    return [str(i) for name in splits or SPLITS for i in data.splits[name].ids]


def grown(**groups: Any) -> DataSet:
    """A data set whose classes have 40, 20 and 9 images, over all splits."""
    y = np.repeat([0, 1, 2], [40, 20, 9])
    order = np.random.default_rng(1).permutation(len(y))
    splits, start = {}, 0
    for name, n in {"train": 45, "val": 8, "test": 16}.items():
        rows = order[start : start + n]
        images = np.zeros((n, 4, 4, 1), np.uint8) + rows[:, None, None, None].astype(np.uint8)
        splits[name] = Split(images, y[rows], np.array([f"{i}.png" for i in rows]))
        start += n
    return make_data("multi-class", splits=splits, channels=1, **groups)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("grouped", [False, True])
def test_each_image_is_tested_in_one_fold(task: Any, grouped: bool) -> None:
    data = make_data(task, grouped=grouped)
    folds = [choose_fold(data, 3, k, seed=5) for k in range(3)]
    everything = sorted(ids_of(data))
    assert sorted(i for fold in folds for i in ids_of(fold, "test")) == everything
    for fold in folds:
        assert sorted(ids_of(fold)) == everything
        assert all(len(fold.splits[s]) > 0 for s in SPLITS)


def test_a_row_keeps_its_image_label_and_group() -> None:
    data = make_data("ordinal", grouped=True)
    known = {
        str(split.ids[i]): (split.images[i].tobytes(), int(split.y[i]), str(split.groups[i]))  # type: ignore[index]
        for split in data.splits.values()
        for i in range(len(split))
    }
    for split in choose_fold(data, 4, 2, seed=0).splits.values():
        assert split.y is not None
        assert split.groups is not None
        for i, name in enumerate(split.ids):
            found = split.images[i].tobytes(), int(split.y[i]), str(split.groups[i])
            assert found == known[str(name)]


@pytest.mark.parametrize("fold", range(5))
def test_no_group_is_in_two_splits(fold: int) -> None:
    data = make_data("binary", grouped=True)
    # Of one patient, images lie in all three original splits: pooling must bring them together.
    assert len({str(s.groups[0]) for s in data.splits.values()}) == 1  # type: ignore[index]
    found = choose_fold(data, 5, fold, seed=0)
    groups = [set(found.splits[s].groups) for s in SPLITS]  # type: ignore[arg-type]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_classes_are_shared_out_evenly() -> None:
    for k in range(3):
        fold = choose_fold(grown(), 3, k, seed=0)
        counts = {s: np.bincount(fold.splits[s].y, minlength=3) for s in SPLITS}  # type: ignore[arg-type]
        assert np.abs(counts["test"] - np.array([40, 20, 9]) / 3).max() < 1
        rest = counts["train"] + counts["val"]
        assert np.abs(counts["val"] - rest / 8).max() <= 1
        assert (counts["val"] > 0).all()


def test_the_seed_decides_the_folds_and_they_are_told_apart() -> None:
    data = make_data()
    first, again = (choose_fold(data, 3, 0, seed=1) for _ in range(2))
    assert ids_of(first) == ids_of(again)
    assert first.fingerprint == again.fingerprint
    others = [choose_fold(data, 3, 0, 2), choose_fold(data, 3, 1, 1), choose_fold(data, 4, 0, 1)]
    assert ids_of(others[0], "test") != ids_of(first, "test")
    marks = {d.fingerprint for d in [data, first, *others]}
    assert len(marks) == 5
    assert "fold 1 of 3 of all 78 images, stratified, seed 1" in first.notes[-1]
    grouped = choose_fold(make_data(grouped=True), 3, 0, 1)
    assert "by group (18)" in grouped.notes[-1]


def test_folds_of_images_without_labels() -> None:
    fold = choose_fold(unlabelled(), 3, 1, seed=0)
    assert [len(fold.splits[s]) for s in SPLITS] == [46, 6, 26]
    assert fold.splits["train"].y is None


@pytest.mark.parametrize(
    ("folds", "fold", "message"),
    [
        (3, 3, "fold: 3 of 3; the first is 0, the last 2"),
        (3, -1, "fold: -1 of 3"),
        (1, 0, "folds: 1 given, at least 2"),
        (100, 0, "78 images cannot be shared out over 100 splits"),
    ],
)
def test_folds_that_cannot_be(folds: int, fold: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_fold(make_data(), folds, fold, seed=0)


def test_more_folds_than_groups() -> None:
    with pytest.raises(DataError, match="18 groups cannot be shared out over 20 splits"):
        choose_fold(make_data(grouped=True), 20, 0, seed=0)


# Copies of one file: `together` says which images are


def with_copies(*, grouped: bool) -> DataSet:
    """Each name in `together` is held by an image of train, of val and of test."""
    data = make_data("binary", grouped=grouped)
    splits = {
        s: dataclasses.replace(
            part, together=np.array([f"file-{i // 3}" for i in range(len(part))])
        )
        for s, part in data.splits.items()
    }
    return dataclasses.replace(data, splits=splits)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("of", ["all", "trainval"])
def test_copies_are_never_torn(grouped: bool, of: Any) -> None:
    data = cap_classes(with_copies(grouped=grouped), 30, seed=0)  # which keeps the column
    for k in range(4):
        fold = choose_fold(data, 4, k, seed=0, of=of)
        assert all(len(part) for part in fold.splits.values())
        held = [set(part.together) for part in fold.splits.values()]  # type: ignore[arg-type]
        assert sum(map(len, held)) == len(set().union(*held))
        unit = "by group (17)" if grouped else "stratified"
        assert f"images, {unit}, copies of a file kept together, seed 0" in fold.notes[-1]


def test_a_fold_that_keeps_copies_together_has_a_hash_of_its_own() -> None:
    assert (
        choose_fold(with_copies(grouped=True), 3, 0, 0).fingerprint
        != choose_fold(make_data("binary", grouped=True), 3, 0, 0).fingerprint
    )
    # Encoders trained on folds without copies stay known.
    assert choose_fold(make_data(), 3, 0, 0).fingerprint == FOLD_OF_F00D


def test_more_folds_than_files() -> None:
    said = r"12 groups cannot be shared out over 13 splits \(copies of a file are kept together\)"
    with pytest.raises(DataError, match=said):
        choose_fold(with_copies(grouped=False), 13, 0, seed=0)


@pytest.mark.parametrize("column", ["groups", "together"])
@pytest.mark.parametrize("split", SPLITS)
def test_what_only_some_splits_know_is_not_dropped(column: str, split: str) -> None:
    data = with_copies(grouped=True)
    lacking = dataclasses.replace(data.splits[split], **{column: None})  # type: ignore[arg-type]
    data = dataclasses.replace(data, splits={**data.splits, split: lacking})
    for act in (lambda: choose_fold(data, 3, 0, seed=0), lambda: cap_classes(data, 5, seed=0)):
        with pytest.raises(DataError, match=f"has {column} but {split} has none"):
            act()
    assert pooled(data, "ids") is not None


def test_images_on_disk_stay_there(tmp_path: Path) -> None:
    data = make_data()
    splits = {}
    for name, split in data.splits.items():
        np.save(tmp_path / f"{name}.npy", split.images)
        images = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        splits[name] = dataclasses.replace(split, images=images)
    on_disk = choose_fold(dataclasses.replace(data, splits=splits), 3, 0, seed=0)
    in_memory = choose_fold(data, 3, 0, seed=0)
    for name in SPLITS:
        assert isinstance(on_disk.splits[name].images, PooledRows)
        np.testing.assert_array_equal(on_disk.splits[name].images, in_memory.splits[name].images)
    capped = cap_classes(on_disk, 5, seed=0)
    assert isinstance(capped.splits["train"].images, PooledRows)
    np.testing.assert_array_equal(
        capped.splits["train"].images, cap_classes(in_memory, 5, seed=0).splits["train"].images
    )
    # Raw pixels are a floor of the probe.
    pixels = [flatten_pixels(d)["test"] for d in (on_disk, in_memory)]
    np.testing.assert_array_equal(*pixels)


# Capped classes


@pytest.mark.parametrize("most", [1, 6, 15, 1000])
def test_no_class_has_more_than_the_cap_and_small_ones_are_whole(most: int) -> None:
    data = grown()
    capped = cap_classes(data, most, seed=0)
    y = np.concatenate([capped.splits[s].y for s in SPLITS])  # type: ignore[misc]
    assert np.bincount(y, minlength=3).tolist() == [min(most, n) for n in (40, 20, 9)]
    # Nobody changes split, and the order of what stays is kept.
    for s in SPLITS:
        kept = set(ids_of(capped, s))
        assert [i for i in ids_of(data, s) if i in kept] == ids_of(capped, s)


def test_splits_keep_their_shares_of_a_class() -> None:
    data = grown()
    capped = cap_classes(data, 15, seed=3)
    for k in (0, 1):
        before = np.array([(data.splits[s].y == k).sum() for s in SPLITS])
        after = np.array([(capped.splits[s].y == k).sum() for s in SPLITS])
        assert np.abs(after - 15 * before / before.sum()).max() <= 1


def test_a_smaller_cap_is_part_of_a_larger_one_and_the_seed_chooses() -> None:
    data = grown()
    few, more = (cap_classes(data, most, seed=1) for most in (4, 12))
    assert set(ids_of(few)) < set(ids_of(more))
    other = cap_classes(data, 4, seed=2)
    assert set(ids_of(other)) != set(ids_of(few))
    assert len({d.fingerprint for d in (data, few, more, other)}) == 4
    assert few.notes[-1] == "At most 4 images of each class are used: 12 of 69."


@pytest.mark.parametrize(
    ("data", "words"),
    [(unlabelled(), "no labels"), (make_data("multi-label"), "several labels an image")],
    ids=["unlabelled", "multi-label"],
)
def test_a_cap_needs_one_label_an_image(data: DataSet, words: str) -> None:
    with pytest.raises(DataError, match=f"cap_per_class: .* has {words}; set it to 0"):
        cap_classes(data, 5, seed=0)


def test_capped_then_folded() -> None:
    capped = cap_classes(grown(), 12, seed=0)
    folds = [choose_fold(capped, 3, k, seed=0) for k in range(3)]
    tested = [i for fold in folds for i in ids_of(fold, "test")]
    assert sorted(tested) == sorted(ids_of(capped))
    assert len(folds[0].notes) == 2


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("grouped", [False, True])
def test_no_fold_of_trainval_holds_a_test_image(task: Any, grouped: bool) -> None:
    data = make_data(task, grouped=grouped)
    folds = [choose_fold(data, 3, k, seed=5, of="trainval") for k in range(3)]
    development = sorted(ids_of(data, "train", "val"))
    assert sorted(i for fold in folds for i in ids_of(fold, "test")) == development
    for fold in folds:
        assert sorted(ids_of(fold)) == development
    everyone = choose_fold(data, 3, 0, seed=5)
    assert len({data.fingerprint, everyone.fingerprint, *(f.fingerprint for f in folds)}) == 5
    assert "The test split was put away." in folds[0].notes[-1]
    assert "put away" not in everyone.notes[-1]


def test_trainval_needs_no_labels_of_the_test_split() -> None:
    data = make_data("multi-class")
    hidden = dataclasses.replace(data.splits["test"], y=None)
    data = dataclasses.replace(data, splits={**data.splits, "test": hidden})
    assert choose_fold(data, 3, 0, seed=0).splits["test"].y is None
    assert choose_fold(data, 3, 0, seed=0, of="trainval").splits["test"].y is not None


def test_trainval_is_counted_without_test() -> None:
    counts = {"train": 70, "val": 10, "test": 20}
    assert sum(fold_counts(counts, 4).values()) == 100
    assert fold_counts(counts, 4, "trainval") == {"train": 53, "val": 7, "test": 20}


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_counts_for_planning_are_about_right(folds: int) -> None:
    data = grown()
    planned = fold_counts({s: len(data.splits[s]) for s in SPLITS}, folds)
    assert sum(planned.values()) == 69
    for k in range(folds):
        fold = choose_fold(data, folds, k, seed=0)
        for s in SPLITS:
            assert abs(len(fold.splits[s]) - planned[s]) <= 3
