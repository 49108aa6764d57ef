"""What is said of a data set, against counts made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.data.base import DataSet
from lib.findings.data import count_rows, describe_data, say_data, say_imbalance, say_notes
from lib.run import COLUMNS
from tests.synthetic import NAMES, TASKS, make_data, make_run, unlabelled, with_unlabelled


def with_train(data: DataSet, y: Any) -> DataSet:
    train = dataclasses.replace(data.splits["train"], y=np.asarray(y))
    return dataclasses.replace(data, splits={**data.splits, "train": train})


@pytest.mark.parametrize("task", TASKS)
def test_describe_data(task: Any) -> None:
    table = describe_data(make_data(task))
    assert list(table.index) == list(NAMES[task])
    assert list(table.columns) == ["train", "val", "test", "share"]
    # Multi-label: of every four images, one carries the first, one the second, one both.
    expected = {
        "binary": ([18, 18], [9, 9], [12, 12], ["50.0%", "50.0%"]),
        "multi-class": ([12] * 3, [6] * 3, [8] * 3, ["33.3%"] * 3),
        "ordinal": ([12] * 3, [6] * 3, [8] * 3, ["33.3%"] * 3),
        "multi-label": ([18, 18], [9, 8], [12, 12], ["50.0%", "48.7%"]),
    }
    assert tuple(table[c].tolist() for c in table.columns) == expected[task]


def test_describe_data_with_absent_classes_in_the_order_of_the_classes() -> None:
    data = with_train(make_data(), [2] * 35 + [0])
    table = describe_data(data)
    assert table["train"].to_dict() == {"disc": 1, "ring": 0, "bar": 35}
    assert table["share"].to_dict() == {"disc": "19.2%", "ring": "17.9%", "bar": "62.8%"}


def test_describe_data_without_labels() -> None:
    table = describe_data(unlabelled())
    assert table.to_dict("index") == {
        "without labels": {"train": 36, "val": 18, "test": 24, "share": "100.0%"}
    }


def test_unlabelled_images_stand_apart() -> None:
    plain, data = make_data(), with_unlabelled(7)
    table = describe_data(data)
    assert list(table.columns) == ["train", "val", "test", "unlabelled", "share"]
    assert list(table.index) == [*NAMES["multi-class"], "without labels"]
    assert table.loc["without labels"].to_dict() == {
        "train": 0, "val": 0, "test": 0, "unlabelled": 7, "share": "",
    }  # fmt: skip
    classes = table.drop(index="without labels", columns="unlabelled")
    assert classes.to_dict() == describe_data(plain).to_dict()
    text = say_data(data)
    assert "36 train, 18 val, 24 test, 7 unlabelled images" in text
    assert "- 7 images without a label: only pretraining sees them." in text
    grouped = say_data(with_unlabelled(7, ["patient-0", *"abcdef"]))
    assert "- 1 of them show groups of the val or test split" in grouped
    nothing = dataclasses.replace(unlabelled(), unlabelled=data.unlabelled)
    assert describe_data(nothing).loc["without labels"].to_dict() == {
        "train": 36, "val": 18, "test": 24, "unlabelled": 7, "share": "100.0%",
    }  # fmt: skip


def test_unlabelled_images_have_a_row_of_their_own(tmp_path: Path) -> None:
    rows = count_rows(with_unlabelled(7), make_run(tmp_path))
    assert {r["split"]: r["value"] for r in rows} == {
        "train": 36, "val": 18, "test": 24, "unlabelled": 7,
    }  # fmt: skip


def test_say_data() -> None:
    data = make_data("binary", source="A clinic", licence="CC BY 4.0", notes=("One leak.", "Two."))
    assert say_data(data) == (
        "**Tiny binary**: 36 train, 18 val, 24 test images of 12 × 12 pixels, grey; binary, "
        "2 classes. Source: A clinic (CC BY 4.0).\n\n- One leak.\n\n- Two."
    )
    assert say_data(make_data("ordinal")).endswith("RGB; ordinal, 3 classes.")
    assert say_data(make_data(source="A clinic")).endswith("Source: A clinic.")
    assert say_data(unlabelled()).endswith("grey; no labels.")


@pytest.mark.parametrize("task", ["binary", "multi-class", "ordinal"])
def test_say_imbalance(task: Any) -> None:
    K, names = len(NAMES[task]), NAMES[task]
    data = make_data(task)
    assert say_imbalance(data) == (
        f"All {K} classes are equally large: guessing reaches an accuracy of {1 / K:.1%}."
    )
    unequal = np.array([1] * 27 + [0] * 3 + [K - 1] * 6)
    text = say_imbalance(with_train(data, unequal))
    share = np.mean(unequal == 1)
    assert f"The largest class, {names[1]}, has {share:.1%} of the training images" in text
    counts = np.bincount(unequal)
    ratio = counts[1] / counts[0]
    assert f"The smallest, {names[0]}, is {ratio:.1f} times rarer." in text
    absent = say_imbalance(with_train(data, [1] * 36))
    assert "**" + names[0] + " has no training image at all.**" in absent


def test_say_imbalance_of_several_labels_and_of_none() -> None:
    y = np.zeros((36, 2), np.uint8)
    y[:9, 0] = 1
    y[0, 1] = 1
    assert say_imbalance(with_train(make_data("multi-label"), y)) == (
        "An image carries 0.28 labels on average; effusion has 25.0%, mass 2.78%. "
        "Answering *no* throughout is right 86.1%."
    )
    assert say_imbalance(unlabelled()).startswith("There are no labels")


def test_count_rows(tmp_path: Path) -> None:
    rows = count_rows(make_data(), make_run(tmp_path))
    assert [(r["split"], r["value"]) for r in rows] == [("train", 36), ("val", 18), ("test", 24)]
    for row in rows:
        assert tuple(row) == COLUMNS
        assert (row["metric"], row["protocol"]) == ("images", "data")
        assert (row["method"], row["augment"]) == ("", "")


def test_say_notes() -> None:
    features = {
        "simclr": {"train": np.zeros((1200, 512)), "test": np.zeros((3, 512))},
        "pixels": {"train": np.zeros((1200, 2352)), "test": np.zeros((3, 2352))},
    }
    assert say_notes(features, ["1000 labels: left out."]) == (
        "- SimCLR: 512 features of 1,200 train, 3 test images\n"
        "- raw pixels: 2,352 features of 1,200 train, 3 test images\n"
        "- 1000 labels: left out."
    )
