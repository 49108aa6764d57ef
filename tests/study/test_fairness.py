"""SupCon is compared where its rivals had the labels it saw, however its runs are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.study.fairness import fair_classifiers, fairly
from lib.study.measurements import IN_FOLDS, measurements
from lib.study.worth import weigh
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over

SUPCON = {**PROBE, "method": "supcon"}
BUDGETS = ("20", "100", "all")


def noted(labels: str, **columns: Any) -> list[dict[str, Any]]:
    """What pretrainings note of their labels."""
    about = {"protocol": "pretrain", "metric": "loss", "split": "train", "labels": labels}
    return [make_row(**{**SUPCON, **about, "seed": seed, **columns}) for seed in range(5)]


def left(rows: list[dict[str, Any]], folder: Path, method: str) -> list[str]:
    table = as_table(rows, folder)
    kept = fairly(table, measurements(table))
    return list(dict.fromkeys(kept.loc[kept["method"] == method, "labels"]))


@pytest.mark.parametrize(
    ("seen", "method", "pretrained", "expected"),
    [
        ([], "supcon", "supcon", ["all"]),
        (["100"], "supcon", "supcon", ["100"]),
        (["100"], "supcon (few)", "supcon (few)", ["100"]),
        (["100"], "supcon (strong decay)", "supcon", ["100"]),
        (["100"], "supcon (few, strong decay)", "supcon (few)", ["100"]),
        (["100"], "supcon from imagenet>cells", "supcon from imagenet>cells", ["100"]),
        ([], "supcon from imagenet>cells", "supcon", ["all"]),
        ([], "supcon from elsewhere", "supcon", list(BUDGETS)),
        ([], "simclr", "simclr", list(BUDGETS)),
    ],
)
def test_the_labels_seen_are_those_of_the_encoder_s_own_pretraining(
    seen: list[str], method: str, pretrained: str, expected: list[str], tmp_path: Path
) -> None:
    rows = over({**SUPCON, "method": method}, 0.9, labels=BUDGETS)
    for labels in seen:
        rows += noted(labels, method=pretrained)
    # Another pretraining of the kind, with all labels, says nothing about this one.
    rows += noted("all", method="supcon (another)")
    assert left(rows, tmp_path, method) == expected


def test_a_data_set_that_has_both_kinds_of_split_is_still_found(tmp_path: Path) -> None:
    rows = over(SUPCON, 0.9, labels=("100", "all"), fold="0") + noted("100", fold="0")
    rows += over(SUPCON, 0.9, labels=("100", "all")) + noted("all")
    table = as_table(rows, tmp_path)
    kept = fairly(table, measurements(table))
    pairs = set(zip(kept["dataset"], kept["labels"], strict=True))
    assert pairs == {("cells", "all"), (f"cells{IN_FOLDS}", "100")}


def test_a_table_keeps_everything_else_in_its_order(tmp_path: Path) -> None:
    rows = [*over(SUPCON, 0.9, labels=("100", "all")), *noted("all")]
    rows += [*over(SCRATCH, 0.7, labels=("100",)), *over({**SUPCON, "protocol": "knn"}, 0.8)]
    table = as_table(rows, tmp_path)
    kept = fair_classifiers(table)
    gone = table.drop(kept.index)
    assert set(zip(gone["method"], gone["protocol"], gone["labels"], strict=True)) == {
        ("supcon", "probe", "100")
    }
    assert kept.index.is_monotonic_increasing


def test_pretraining_is_not_worth_it_by_labels_that_only_one_side_had(tmp_path: Path) -> None:
    rows = over(SUPCON, 0.9, labels=("20", "all")) + noted("all")
    rows += over({**SCRATCH, "protocol": "probe"}, 0.7, labels=("20", "all"))
    [found] = weigh(as_table(rows, tmp_path))
    assert list(found.cells["labels"]) == ["all"]
    assert found.at("worth it") == ["all"]
