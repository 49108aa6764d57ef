"""summary.csv read back: what counts as one measurement, and what it comes to over seeds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lib.checks import ParameterError
from lib.study.measurements import (
    IN_FOLDS,
    hidden_runs,
    label_order,
    mean_interval,
    measurements,
    over_seeds,
    paired_gains,
    read_study,
)
from tests.summaries import as_table, make_row, write

OURS = {"method": "simclr", "protocol": "probe"}
FLOOR = {"method": "random", "protocol": "probe"}


def seeds(values: list[float], **columns: Any) -> list[dict[str, Any]]:
    """A row for each seed."""
    return [make_row(seed=seed, value=value) | columns for seed, value in enumerate(values)]


def test_budgets_are_ordered_by_size() -> None:
    words = ["all", "1000", "25 per class", "250", "100", "all"]
    assert label_order(words) == ["25 per class", "100", "250", "1000", "all"]


def test_mean_and_spread_are_over_seeds(tmp_path: Path) -> None:
    values = [0.7, 0.75, 0.9]
    [row] = over_seeds(as_table(seeds(values), tmp_path)).to_dict("records")
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["std"] == pytest.approx(np.std(values, ddof=1))
    assert row["count"] == 3


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_intervals_are_students(level: float) -> None:
    values = [0.01, 0.03, 0.035, -0.01]
    mean, low, high = mean_interval(values, level)
    expected = stats.t.interval(level, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (mean, low, high) == pytest.approx((np.mean(values), *expected))


def test_one_value_has_no_interval() -> None:
    mean, low, high = mean_interval([0.2])
    assert mean == 0.2
    assert np.isnan(low)
    assert np.isnan(high)


def test_gains_are_paired_by_seed(tmp_path: Path) -> None:
    ours, other = [0.9, 0.7, 0.8], [0.6, 0.5, 0.55]
    rows = [
        *seeds(ours),
        *seeds(other, method="random", augment="")[::-1],  # the order does not matter
        make_row(seed=9, value=0.1),  # a seed without a partner is left out
    ]
    [gain] = paired_gains(as_table(rows, tmp_path), "auroc", OURS, FLOOR).to_dict("records")
    expected = stats.ttest_rel(ours, other).confidence_interval(0.95)
    assert gain == {
        "dataset": "cells",
        "size": 28,
        "encoder": "resnet18",
        "labels": "100",
        "unit": "seed",
        "pairs": 3,
        "mean": pytest.approx(0.25),
        "low": pytest.approx(expected.low),
        "high": pytest.approx(expected.high),
    }


def test_gains_pair_like_with_like(tmp_path: Path) -> None:
    rows = []
    for dataset in ("b", "a"):
        for encoder in ("resnet18", "resnet50"):
            for labels in ("all", "100"):
                where = {"dataset": dataset, "encoder": encoder, "labels": labels}
                value = len(rows) / 100
                rows.append(make_row(**where, value=0.5 + value))
                rows.append(make_row(**where, method="random", augment="", value=0.5))
    table = paired_gains(as_table(rows, tmp_path), "auroc", OURS, FLOOR)
    assert list(zip(table["dataset"], table["encoder"], table["labels"], strict=True)) == [
        (d, e, n) for d in "ba" for e in ("resnet18", "resnet50") for n in ("100", "all")
    ]
    assert list(table["pairs"]) == [1] * 8
    assert list(table["mean"]) == pytest.approx([0.02, 0, 0.06, 0.04, 0.1, 0.08, 0.14, 0.12])


def test_no_pairs_make_no_gains(tmp_path: Path) -> None:
    assert paired_gains(as_table([make_row()], tmp_path), "auroc", OURS, FLOOR).empty


def test_words_are_read_back_as_words(tmp_path: Path) -> None:
    table = as_table([make_row(labels="100", seed=3, low="", commit="1e5", augment="")], tmp_path)
    [row] = table.to_dict("records")
    assert (row["labels"], row["seed"], row["augment"], row["commit"]) == ("100", "3", "", "1e5")
    assert np.isnan(row["low"])
    assert row["value"] == 0.8


def test_a_floor_measured_beside_each_encoder_counts_once(tmp_path: Path) -> None:
    rows = []
    for augment in ("novel", "natural"):
        common = {"run": f"probe-{augment}"}
        rows.append(make_row(**common, augment=augment))
        rows.append(make_row(**common, method="random", augment="", value=0.7))
        rows.append(make_row(**common, method="random", augment="", value=0.7, metric="accuracy"))
        rows.append(make_row(**common, method="random", augment="", value=0.6, split="val"))
    table = as_table(rows, tmp_path)
    assert list(measurements(table)["method"]) == ["simclr", "random", "simclr"]
    assert list(measurements(table, "accuracy")["method"]) == ["random"]
    assert list(measurements(table, split="val")["value"]) == [0.6]
    assert hidden_runs(table) == []


def test_runs_that_no_column_tells_apart_are_named(tmp_path: Path) -> None:
    rows = [make_row(run="warm", value=0.8), make_row(run="cold", value=0.9)]
    assert hidden_runs(as_table(rows, tmp_path)) == ["cold"]


def test_tails_and_unknown_budgets_have_a_place_too() -> None:
    words = ["other", "tail 100", "all", "25 per class, tail 100", "tail 12.5", "", "100", "100"]
    words.append("10 per class, tail 100")
    assert label_order(words) == [
        "",
        "100",
        "all",
        "tail 12.5",
        "10 per class, tail 100",
        "25 per class, tail 100",
        "tail 100",
        "other",
    ]


def test_rows_about_no_size_are_read_too(tmp_path: Path) -> None:
    table = as_table([make_row(), make_row(protocol="verdict", size="")], tmp_path)
    assert list(table["size"]) == [28, 0]


def ask(summary: Path | str, results: Path | str = "", study: str = "made") -> SimpleNamespace:
    """A report's parameters."""
    return SimpleNamespace(summary=str(summary), results=str(results), study=study)


def test_a_report_reads_real_and_synthetic_rows_apart(tmp_path: Path) -> None:
    rows = [make_row(), make_row(dataset="phantom"), make_row(protocol="verdict", size="")]
    rows.append(make_row(dataset="phantom-fundus"))
    path = write(rows, tmp_path / "summary.csv")
    real, synthetic = read_study(ask(path))
    assert list(real["dataset"]) == ["cells"]
    assert list(synthetic["dataset"]) == ["phantom", "phantom-fundus"]
    assert "verdict" not in {*real["protocol"], *synthetic["protocol"]}


def test_sizes_with_their_own_recipe_count_last(tmp_path: Path) -> None:
    rows = [make_row(notebook="06_downsampling", value=0.1), make_row(value=0.9)]
    real, _ = read_study(ask(write(rows, tmp_path / "summary.csv")))
    assert list(measurements(real)["value"]) == [0.9]


def test_without_a_path_the_studys_own_summary_is_read(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write([make_row()], tmp_path / "made" / "summary.csv")
    assert len(read_study(ask("", tmp_path))[0]) == 1
    with pytest.raises(ParameterError, match=r"name its summary\.csv"):
        read_study(ask("", tmp_path, "other"))


def test_folds_stand_apart_from_a_split_of_the_data_sets_own(tmp_path: Path) -> None:
    folds = [
        make_row(fold=fold, value=0.6 + fold / 100 + gain, **side)
        for fold in range(3)
        for gain, side in ((0.05, OURS), (0.0, FLOOR))
    ]
    own = [*seeds([0.8, 0.9], **OURS), *seeds([0.7, 0.7], **FLOOR)]
    table = as_table([*folds, *own], tmp_path)
    [name] = set(as_table(own, tmp_path)["dataset"])
    gains = paired_gains(table, "auroc", OURS, FLOOR).set_index("dataset")
    assert dict(gains["unit"]) == {name + IN_FOLDS: "fold", name: "seed"}
    assert dict(gains["pairs"]) == {name + IN_FOLDS: 3, name: 2}
    assert list(gains["mean"]) == pytest.approx([0.05, 0.15])
    # With nothing to tell it from, a cross-validation keeps the data set's name.
    assert set(measurements(as_table(folds, tmp_path))["dataset"]) == {name}
