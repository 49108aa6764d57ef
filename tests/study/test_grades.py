"""A study of grades from its summary: what is averaged, what is compared, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.findings.report_grades import differences_table, grades_table, say_grading
from lib.statistics.paired import fold_ratio, paired_test
from lib.study.grades import GRADING, compare_grading, grading_stats
from tests.summaries import Row, as_table, make_row

EYES: Row = {"dataset": "csv:eyes/labels.csv", "size": 64, "notebook": "10_retinopathy"}
GAINS = (0.03, 0.04, 0.035, 0.045, 0.03)


def fold_rows(method: str, shift: float = 0.0, **columns: Any) -> list[Row]:
    """Every metric of one method in five folds; SupCon's are better by about `shift`."""
    rows = []
    for fold, gain in enumerate(GAINS):
        for metric, protocol in GRADING.items():
            sign = -1 if metric == "grade_mae" else 1
            labels = {"retrieval": "all", "severity": "100"}.get(protocol, "all")
            place = {**EYES, "fold": fold, "metric": metric, "protocol": protocol}
            value = 0.6 + 0.01 * fold + sign * shift * gain
            known = {"method": method, "augment": "fundus", "labels": labels, "value": value}
            rows.append(make_row(**{**place, **known, "run": f"{method}-{fold}", **columns}))
    return rows


def study() -> list[Row]:
    whole = [
        {**row, "method": "random", "augment": "", "protocol": "finetune"}
        for row in fold_rows("x", notebook="03_finetune")
        if row["protocol"] == "probe"
    ]
    elsewhere = make_row(notebook="03_finetune", method="random", augment="", protocol="finetune")
    pixels = make_row(**EYES, method="pixels", augment="", encoder="", protocol="knn", fold=0)
    rivals = fold_rows("supervised") + fold_rows("simclr", shift=1.0)
    return [*fold_rows("supcon", shift=1.0), *rivals, *whole, elsewhere, pixels]


def test_means_and_spread_over_folds(tmp_path: Path) -> None:
    stats = grading_stats(as_table(study(), tmp_path))
    assert set(stats["dataset"]) == {EYES["dataset"]}  # a finetuning elsewhere is no grading
    mine = stats[(stats["method"] == "supervised")].set_index("metric")
    assert list(mine.index) == list(GRADING)
    assert mine.loc["auroc", "mean"] == pytest.approx(0.62)
    assert mine.loc["auroc", "std"] == pytest.approx(pd.Series([0, 1, 2, 3, 4]).std() / 100)
    assert set(mine["count"]) == {5}
    table = grades_table(stats)
    two = grades_table(pd.concat([stats, stats.assign(dataset="retinamnist")]))
    assert list(dict.fromkeys(two.index.get_level_values("data set"))) == [
        f"{EYES['dataset']}, 64 px",
        "retinamnist, 64 px",
    ]
    assert list(table.columns) == [
        "SupCon, fundus",
        "cross-entropy, fundus",
        "SimCLR, fundus",
        "cross-entropy network",
        "raw pixels (kNN), 100 labels",
    ]
    assert table.index.names == ["metric"]
    assert table.loc["AUROC", "cross-entropy, fundus"] == "0.620 ± 0.016"
    network = table["cross-entropy network"]
    assert network["error in grades"] == network["severity, Spearman"] == "–"
    assert not table["SupCon, fundus"].isin(["–"]).any()


def test_supcon_is_compared_with_each_rival_by_fold(tmp_path: Path) -> None:
    cells = compare_grading(as_table(study(), tmp_path), 0.95)
    against = {
        (rival, protocol): len(here)
        for (rival, protocol), here in cells.groupby(["method_other", "protocol_other"])
    }
    assert against == {
        ("random", "finetune"): 6,
        **{(rival, "probe"): 6 for rival in ("supervised", "simclr")},
        **{(rival, "retrieval"): 1 for rival in ("supervised", "simclr")},
        **{(rival, "severity"): 1 for rival in ("supervised", "simclr")},
    }
    assert set(cells["unit"]) == {"fold"}
    one = cells[(cells["metric"] == "auroc") & (cells["method_other"] == "supervised")].iloc[0]
    expected = paired_test(GAINS, 0.95, ratio=fold_ratio(["0", "1", "2", "3", "4"]))
    assert (one["mean"], one["low"]) == pytest.approx((expected.mean, expected.low))
    assert (cells["corrected"].dropna() >= cells["p"].dropna()).all()


def test_supcon_with_few_labels_is_not_set_against_all_of_them(tmp_path: Path) -> None:
    few = fold_rows("supcon (100 labels)", shift=1.0)
    noted = [
        make_row(**{**EYES, "notebook": "01_pretrain", "protocol": "pretrain", "metric": "loss",
                    "fold": fold, "method": "supcon (100 labels)", "augment": "fundus",
                    "labels": "100", "split": "train", "run": "p"})
        for fold in range(5)
    ]  # fmt: skip
    rivals = fold_rows("supervised")
    assert not compare_grading(as_table([*few, *rivals], tmp_path), 0.95).empty
    assert compare_grading(as_table([*few, *noted, *rivals], tmp_path), 0.95).empty


def test_sentences_know_which_way_is_better(tmp_path: Path) -> None:
    cells = compare_grading(as_table(study(), tmp_path), 0.95)
    lines = say_grading(cells).splitlines()
    assert len(lines) == 3
    over_features = next(line for line in lines if "cross-entropy, fundus" in line)
    assert "clearly better in AUROC +0.036" in over_features
    assert "error in grades -0.036" in over_features.split("no clear difference")[0]
    assert "worse" not in over_features
    same = next(line for line in lines if "SimCLR" in line)
    assert "no clear difference in AUROC +0.000" in same
    assert "clearly" not in same
    table = differences_table(cells)
    assert table.shape == (len(GRADING), 3)
    assert list(table.columns) == [
        "over cross-entropy, fundus",
        "over SimCLR, fundus",
        "over cross-entropy network",
    ]
    turned = cells.assign(mean=-cells["mean"], low=-cells["high"], high=-cells["low"])
    assert "clearly **worse** in AUROC" in say_grading(turned)


def test_a_study_without_grades_says_so(tmp_path: Path) -> None:
    table = as_table([make_row(), make_row(method="supcon")], tmp_path)
    stats, cells = grading_stats(table), compare_grading(table, 0.95)
    assert stats.empty and cells.empty
    for shown in (grades_table(stats), differences_table(cells)):
        assert shown.iloc[0, 0] == "not tested in this study"
    assert "no counterpart" in say_grading(cells)
