"""Images without a label beside labelled ones: who holds them, and who never sees them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib.data import DataError, DataSet, describe_dataset, load_dataset
from lib.data.base import SPLITS, UNLABELLED, Split
from lib.data.cache import combined_hash, file_hashes
from lib.data.decoded import decoder_version
from lib.data.folders import read_folder
from lib.data.folds import cap_classes, choose_fold, fold_counts
from lib.data.load import shrink
from lib.data.pool import PooledRows
from lib.data.tables import read_csv
from lib.data.unlabelled import (
    beside_train,
    count_pretraining,
    pretraining_images,
    say_unlabelled,
)
from tests.synthetic import make_data, with_unlabelled

Rows = list[list[str]]


def draw(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
    Image.fromarray(pixels).save(file)


def make_csv(folder: Path, rows: Rows, header: str = "image,label") -> str:
    for i, row in enumerate(rows):
        draw(folder / row[0], i)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return f"csv:{folder / 'labels.csv'}"


def load(name: str, **options: Any) -> DataSet:
    return load_dataset(name, 16, progress=False, **options)


def mixed(n: int = 60, labelled: int = 20) -> Rows:
    """A table of which the first rows have labels."""
    return [[f"im{i}.png", "ab"[i % 2] if i < labelled else ""] for i in range(n)]


def ids(part: Split | None) -> set[str]:
    return set() if part is None else set(part.ids.tolist())


# Tables


def test_a_blank_label_beside_others_is_an_unlabelled_image(tmp_path: Path) -> None:
    data = load(make_csv(tmp_path, mixed()))
    assert (data.task, data.classes) == ("binary", ("a", "b"))
    assert [len(data.splits[s]) for s in SPLITS] == [14, 2, 4]
    assert data.unlabelled is not None and data.unlabelled.y is None
    assert ids(data.unlabelled) == {f"im{i}.png" for i in range(20, 60)}
    for part in data.splits.values():
        assert part.y is not None and set(part.y.tolist()) <= {0, 1}
    file = Image.open(tmp_path / data.unlabelled.ids[7])
    assert np.array_equal(data.unlabelled.images[7, ..., 0], np.asarray(file))


def test_the_split_of_labelled_images_is_the_one_they_have_alone(tmp_path: Path) -> None:
    alone = load(make_csv(tmp_path / "a", mixed(20)))
    beside = load(make_csv(tmp_path / "b", mixed(60)))
    for name in SPLITS:
        assert alone.splits[name].ids.tolist() == beside.splits[name].ids.tolist()
        assert np.array_equal(alone.splits[name].images, beside.splits[name].images)


@pytest.mark.parametrize("word", ["", "unlabelled", "Unlabeled", "train"])
def test_a_split_may_call_them_so(tmp_path: Path, word: str) -> None:
    rows = [[f"im{i}.png", "ab"[i % 2], "train" if i < 16 else "test"] for i in range(24)]
    rows += [[f"im{i}.png", "", word] for i in range(24, 40)]
    data = load(make_csv(tmp_path, rows, "image,label,split"))
    assert [len(data.splits[s]) for s in SPLITS] == [14, 2, 8]
    assert ids(data.unlabelled) == {f"im{i}.png" for i in range(24, 40)}


def test_several_labels_an_image_need_the_word(tmp_path: Path) -> None:
    rows = [[f"im{i}.png", ("a", "b", "a|b", "")[i % 4], ""] for i in range(40)]
    rows += [[f"im{i}.png", "", "unlabelled"] for i in range(40, 50)]
    data = load(make_csv(tmp_path, rows, "image,label,split"))
    assert data.task == "multi-label"
    # A blank label is "none of these"; and a column that says no split gives none.
    assert sum(len(part) for part in data.splits.values()) == 40
    assert ids(data.unlabelled) == {f"im{i}.png" for i in range(40, 50)}
    assert any("No split given: 70/10/20" in note for note in data.notes)


def test_grades_may_be_missing_too(tmp_path: Path) -> None:
    rows = [
        [f"{i // 2}_{'left' if i % 2 else 'right'}.png", str(i // 2 % 3) if i < 36 else ""]
        for i in range(48)
    ]
    data = load(make_csv(tmp_path, rows, "image,level"))
    assert (data.task, data.classes) == ("ordinal", ("0", "1", "2"))
    assert data.unlabelled is not None and data.unlabelled.groups is not None
    assert set(data.unlabelled.groups.tolist()) == {str(i) for i in range(18, 24)}


def test_where_nothing_has_a_label_nothing_is_set_apart(tmp_path: Path) -> None:
    rows = [[f"im{i}.png", "", ("unlabelled", "train", "test")[i % 3]] for i in range(30)]
    data = load(make_csv(tmp_path / "c", rows, "image,label,split"))
    assert data.unlabelled is None and data.classes == ()
    assert sum(len(part) for part in data.splits.values()) == 30 and len(data.splits["test"]) == 10
    for i in range(20):
        draw(tmp_path / "f" / UNLABELLED / f"{i}.png", i)
    data = load(f"folder:{tmp_path / 'f'}")
    assert data.unlabelled is None and [len(data.splits[s]) for s in SPLITS] == [14, 2, 4]


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled"])
def test_a_folder_beside_the_classes(tmp_path: Path, name: str) -> None:
    for i in range(60):
        part = "ab"[i % 2] if i < 20 else f"{name}/deeper"
        draw(tmp_path / part / f"{i}.png", i)
    (tmp_path / name / "notes.txt").write_text("x")
    data = load(f"folder:{tmp_path}")
    assert data.classes == ("a", "b") and [len(data.splits[s]) for s in SPLITS] == [14, 2, 4]
    assert ids(data.unlabelled) == {f"{name}/deeper/{i}.png" for i in range(20, 60)}
    assert any("1 files without an image's extension" in note for note in data.notes)


def test_a_folder_beside_train_and_test(tmp_path: Path) -> None:
    for i in range(48):
        draw(tmp_path / ("train", "train", "test")[i % 3] / "ab"[i % 2] / f"{i}.png", i)
    for i in range(48, 60):
        draw(tmp_path / UNLABELLED / f"{i}.png", i)
    draw(tmp_path / "train" / UNLABELLED / "60.png", 60)
    table = read_folder(tmp_path)
    assert table.splits is not None and table.splits.count(UNLABELLED) == 13
    data = load(f"folder:{tmp_path}")
    assert [len(data.splits[s]) for s in SPLITS] == [28, 4, 16]
    assert data.unlabelled is not None and len(data.unlabelled) == 13


# What takes part


def test_copies_of_a_labelled_image_are_left_out_and_said(tmp_path: Path) -> None:
    name = make_csv(tmp_path, mixed())
    for i in range(3):
        (tmp_path / f"im{30 + i}.png").write_bytes((tmp_path / f"im{i}.png").read_bytes())
    data = load(name)
    left = {f"im{i}.png" for i in range(20, 60)} - {"im30.png", "im31.png", "im32.png"}
    assert ids(data.unlabelled) == left
    assert any("3 images without a label are byte-for-byte copies" in n for n in data.notes)
    assert describe_dataset(name, 16).counts[UNLABELLED] == 37


def grouped(tmp_path: Path) -> str:
    """Patients p0 to p9 with labels; each has two unlabelled images, and p10 to p14 too."""
    rows = [[f"im{i}.png", "ab"[i % 2], f"p{i % 10}"] for i in range(40)]
    rows += [[f"im{40 + i}.png", "", f"p{i % 15}"] for i in range(30)]
    return make_csv(tmp_path, rows, "image,label,group")


def patients(part: Split | None) -> set[str]:
    return set() if part is None or part.groups is None else set(part.groups.tolist())


def test_pretraining_never_sees_a_patient_of_val_or_test(tmp_path: Path) -> None:
    name = grouped(tmp_path)
    data = load(name)
    held = patients(data.splits["val"]) | patients(data.splits["test"])
    assert held and patients(data.unlabelled) & held
    seen = beside_train(data)
    assert seen is not None and not patients(seen) & held
    assert len(seen) == 30 - 2 * len(held)
    assert dict(describe_dataset(name, 16).counts) == {
        **{s: len(data.splits[s]) for s in SPLITS},
        UNLABELLED: len(seen),
    }
    pixels = {image.tobytes() for image in pretraining_images(data)}
    for i, name in enumerate(data.unlabelled.ids):  # type: ignore[union-attr]
        assert (data.unlabelled.images[i].tobytes() in pixels) == (name in ids(seen))  # type: ignore[union-attr]
    said = " ".join(say_unlabelled(data))
    assert "30 images without a label: only pretraining sees them." in said
    assert f"{2 * len(held)} of them show groups of the val or test split" in said
    assert "nothing is known" not in said


def test_every_fold_decides_anew_whom_it_may_see(tmp_path: Path) -> None:
    data = load(grouped(tmp_path))
    for k in range(5):
        fold = choose_fold(data, 5, k, seed=0)
        assert ids(fold.unlabelled) == ids(data.unlabelled)
        held = patients(fold.splits["val"]) | patients(fold.splits["test"])
        assert patients(beside_train(fold)) == {f"p{i}" for i in range(15)} - held


def test_patients_of_the_test_split_that_was_put_away_stay_away(tmp_path: Path) -> None:
    data = load(grouped(tmp_path))
    away = patients(data.splits["test"])
    assert away
    for k in range(3):
        fold = choose_fold(data, 3, k, seed=0, of="trainval")
        assert patients(fold.unlabelled) == {f"p{i}" for i in range(15)} - away
        assert f"With it {2 * len(away)} unlabelled images of its groups." in fold.notes[-1]


def test_an_unlabelled_image_of_a_test_patient_is_no_mistake(tmp_path: Path) -> None:
    rows = [[f"im{i}.png", "ab"[i % 2], f"p{i // 4}", "train" if i < 24 else "test"]
            for i in range(40)]  # fmt: skip
    rows += [["x.png", "", "p9", "train"], ["y.png", "", "p0", ""]]
    data = load(make_csv(tmp_path, rows, "image,label,group,split"))
    assert ids(data.unlabelled) == {"x.png", "y.png"}
    assert "x.png" not in ids(beside_train(data))


def test_without_groups_nothing_is_known_of_them(tmp_path: Path) -> None:
    said = say_unlabelled(load(make_csv(tmp_path, mixed())))
    assert said[0].startswith("40 images without a label")
    assert "nothing is known" in said[-1] and len(said) == 2
    assert say_unlabelled(make_data()) == []


def test_unreadable_ones_count_as_unreadable(tmp_path: Path) -> None:
    name = make_csv(tmp_path, mixed())
    (tmp_path / "im50.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 60 images unreadable"):
        load(name, max_unreadable=0.01)
    data = load(name, max_unreadable=0.1)
    assert data.unlabelled is not None and len(data.unlabelled) == 39


# Images where they are


def test_images_of_train_come_first_and_the_unlabelled_follow() -> None:
    data = with_unlabelled(10)
    images = pretraining_images(data)
    assert len(images) == count_pretraining(data) == 46
    np.testing.assert_array_equal(images[:36], data.splits["train"].images)
    np.testing.assert_array_equal(images[36:], data.unlabelled.images)  # type: ignore[union-attr]


def test_without_any_the_images_are_those_of_train_themselves() -> None:
    data = make_data()
    assert pretraining_images(data) is data.splits["train"].images
    assert count_pretraining(data) == 36
    held = with_unlabelled(10, groups=["patient-0"] * 10)
    assert beside_train(held) is None
    assert pretraining_images(held) is held.splits["train"].images


def test_what_is_mapped_is_not_copied(tmp_path: Path) -> None:
    name = make_csv(tmp_path, mixed())
    whole, mapped = load(name), load(name, in_memory_limit=1000)
    assert mapped.unlabelled is not None and whole.unlabelled is not None
    assert isinstance(mapped.unlabelled.images, PooledRows)
    images = pretraining_images(mapped)
    assert isinstance(images, PooledRows)
    np.testing.assert_array_equal(images, pretraining_images(whole))
    assert isinstance(pretraining_images(whole), np.ndarray)


def test_smaller_images_and_capped_classes_keep_them() -> None:
    data = with_unlabelled(10)
    small = shrink(data, 8)
    assert small.unlabelled is not None and small.unlabelled.images.shape == (10, 8, 8, 3)
    capped = cap_classes(data, 2, seed=0)
    assert capped.unlabelled is data.unlabelled


def test_folds_are_counted_without_them() -> None:
    counts = {"train": 70, "val": 10, "test": 20}
    for of in ("all", "trainval"):
        plain = fold_counts(counts, 4, of)  # type: ignore[arg-type]
        assert fold_counts({**counts, UNLABELLED: 500}, 4, of) == {**plain, UNLABELLED: 500}  # type: ignore[arg-type]


# Fingerprints


def test_the_fingerprint_changes_with_the_unlabelled_images(tmp_path: Path) -> None:
    name = make_csv(tmp_path, mixed())
    marks = [describe_dataset(name, 16).fingerprint]
    assert load(name).fingerprint == marks[0]
    draw(tmp_path / "im55.png", 999)
    marks.append(describe_dataset(name, 16).fingerprint)
    make_csv(tmp_path, mixed(59))
    marks.append(describe_dataset(name, 16).fingerprint)
    make_csv(tmp_path, mixed(59, 20)[:20])
    marks.append(describe_dataset(name, 16).fingerprint)
    assert len(set(marks)) == 4


@pytest.mark.parametrize("split", [False, True])
def test_without_any_the_fingerprint_is_what_it_was(tmp_path: Path, split: bool) -> None:
    """The formula as it was before there were unlabelled images: studies stay recognised."""
    rows = [[f"im{i}.png", "ab"[i % 2]] for i in range(30)]
    parts = [("train", "val", "test")[i % 3] for i in range(30)] if split else None
    if parts is not None:
        rows = [[*row, part] for row, part in zip(rows, parts, strict=True)]
    name = make_csv(tmp_path, rows, "image,label,split" if split else "image,label")
    digests = file_hashes([tmp_path / row[0] for row in rows], tmp_path / "other")
    labels = [row[1] for row in rows]
    expected = combined_hash(
        [*decoder_version("none"), 16, digests, labels, None, parts, False, None if split else 7]
    )
    found = describe_dataset(name, 16, split_seed=7)
    assert found.fingerprint == expected
    assert UNLABELLED not in found.counts
    assert load(name).unlabelled is None
    table = read_csv(tmp_path / "labels.csv")
    assert table.unlabelled is None and table.splits == parts


# npz


def arrays(unlabelled: int = 12) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, n in (("train", 24), ("val", 6), ("test", 9), (UNLABELLED, unlabelled)):
        content[f"{split}_images"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        content[f"{split}_labels"] = (np.arange(n) % 3).astype(np.uint8)
    del content[f"{UNLABELLED}_labels"]
    return content


def save(path: Path, content: dict[str, Any]) -> str:
    np.savez(path, **content)
    return f"npz:{path}"


def test_an_npz_may_hold_them(tmp_path: Path) -> None:
    content = arrays()
    name = save(tmp_path / "a.npz", content)
    data, info = load_dataset(name), describe_dataset(name)
    assert data.unlabelled is not None and data.unlabelled.y is None
    np.testing.assert_array_equal(data.unlabelled.images[..., 0], content["unlabelled_images"])
    assert data.unlabelled.ids.tolist()[:2] == ["unlabelled-0", "unlabelled-1"]
    assert dict(info.counts) == {"train": 24, "val": 6, "test": 9, UNLABELLED: 12}
    assert info.fingerprint == data.fingerprint
    assert load_dataset(name, 14).unlabelled.images.shape == (12, 14, 14, 1)  # type: ignore[union-attr]
    mapped = load_dataset(name, in_memory_limit=2000)
    assert isinstance(pretraining_images(mapped), PooledRows)
    np.testing.assert_array_equal(pretraining_images(mapped), pretraining_images(data))


@pytest.mark.parametrize("carved", [False, True])
def test_an_npz_may_name_and_group_them(tmp_path: Path, carved: bool) -> None:
    content = arrays()
    for split, start in (("train", 0), ("val", 24), ("test", 30)):
        n = len(content[f"{split}_images"])
        content[f"{split}_groups"] = np.asarray([f"p{start + i}" for i in range(n)])
    if carved:
        content = {key: value for key, value in content.items() if not key.startswith("val")}
    content["unlabelled_groups"] = np.asarray([f"p{3 * i}" for i in range(12)])
    content["unlabelled_ids"] = np.asarray([f"x{i}" for i in range(12)])
    name = save(tmp_path / "a.npz", content)
    data = load_dataset(name)
    held = patients(data.splits["val"]) | patients(data.splits["test"])
    seen = beside_train(data)
    assert patients(seen) == {f"p{3 * i}" for i in range(12)} - held
    assert ids(data.unlabelled) == {f"x{i}" for i in range(12)}
    assert describe_dataset(name).counts[UNLABELLED] == len(seen or ())


@pytest.mark.parametrize("known", ["labelled", UNLABELLED])
def test_groups_of_the_unlabelled_are_of_their_own(tmp_path: Path, known: str) -> None:
    content = arrays()
    for i, split in enumerate((UNLABELLED,) if known == UNLABELLED else SPLITS):
        content[f"{split}_groups"] = np.arange(len(content[f"{split}_images"])) + 100 * i
    data = load_dataset(save(tmp_path / "a.npz", content))
    assert (data.splits["val"].groups is None) == (known == UNLABELLED)
    assert len(choose_fold(data, 3, 0, 0).unlabelled or ()) == 12


def test_an_npz_without_any_is_counted_as_before(tmp_path: Path) -> None:
    content = {k: v for k, v in arrays().items() if not k.startswith(UNLABELLED)}
    name = save(tmp_path / "a.npz", content)
    assert load_dataset(name).unlabelled is None
    assert dict(describe_dataset(name).counts) == {"train": 24, "val": 6, "test": 9}


def test_a_data_set_without_labels_at_all_may_have_more(tmp_path: Path) -> None:
    content = {k: v for k, v in arrays().items() if not k.endswith("labels")}
    data = load_dataset(save(tmp_path / "a.npz", content))
    assert data.classes == () and count_pretraining(data) == 36


def test_dropping_a_split_drops_what_it_held() -> None:
    """Of a data set without its test split, nobody can know whom it held."""
    data = with_unlabelled(4, groups=["patient-0", "x", "y", "z"])
    alone = dataclasses.replace(data, splits={"train": data.splits["train"]})
    assert len(beside_train(data) or ()) == 3 and len(beside_train(alone) or ()) == 4
