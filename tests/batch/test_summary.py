"""summary.csv and what is said of it."""

from __future__ import annotations

import csv
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lib.batch.summary import (
    conclusions,
    findings,
    headline,
    hidden_runs,
    label_order,
    mean_interval,
    measurements,
    over_seeds,
    paired_gains,
    read_summary,
    say_gain,
    write_summary,
)

CONTRACT = (
    "study,run,notebook,dataset,size,method,augment,encoder,protocol,labels,fold,seed,split,"
    "metric,value,low,high,commit"
)
OURS = {"method": "simclr", "protocol": "probe"}
FLOOR = {"method": "random", "protocol": "probe"}


def seeds(lab: Any, values: list[float], **columns: Any) -> list[dict[str, Any]]:
    """A row for each seed."""
    return [
        lab.row(seed=seed, value=value, run=f"run-{columns.get('method', 'simclr')}-{seed}")
        | columns
        for seed, value in enumerate(values)
    ]


def test_the_columns_are_those_of_the_contract(lab: Any) -> None:
    lab.finish("a", [lab.row(value=1 / 3, low=0.25, high=2 / 3)])
    path = write_summary(lab.results / "tiny", ["a"])
    head, line = path.read_bytes().decode().splitlines()
    assert head == CONTRACT
    assert line.endswith(",0,test,auroc,0.3333333,0.25,0.6666667,abc")
    assert path.parent == lab.results / "tiny"
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == ["summary.csv"]


def test_runs_come_in_order_once_and_only_when_done(lab: Any) -> None:
    for name in ("b", "a", "unplanned"):
        lab.finish(name, [lab.row(run=name)])
    path = write_summary(lab.results / "tiny", ["b", "missing", "a", "b"])
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["b", "a"]


def test_no_runs_make_a_table_without_rows(lab: Any) -> None:
    path = write_summary(lab.results / "tiny", ["a"])
    assert path.read_text(encoding="utf-8") == CONTRACT + "\n"
    assert measurements(read_summary(path)).empty


def test_words_are_read_back_as_words(lab: Any) -> None:
    table = lab.summary([lab.row(labels="100", seed=3, augment="", low="", fold="", commit="1e5")])
    [row] = table.to_dict("records")
    assert (row["labels"], row["seed"], row["augment"], row["commit"]) == ("100", "3", "", "1e5")
    assert np.isnan(row["low"])
    assert row["value"] == 0.8


def test_a_floor_measured_beside_each_encoder_counts_once(lab: Any) -> None:
    rows = []
    for augment in ("novel", "natural"):
        common = {"run": f"probe-{augment}"}
        rows.append(lab.row(**common, augment=augment))
        rows.append(lab.row(**common, method="random", augment="", value=0.7))
        rows.append(lab.row(**common, method="random", augment="", value=0.7, metric="accuracy"))
        rows.append(lab.row(**common, method="random", augment="", value=0.6, split="val"))
    table = lab.summary(rows)
    assert list(measurements(table)["method"]) == ["simclr", "random", "simclr"]
    assert list(measurements(table, "accuracy")["method"]) == ["random"]
    assert list(measurements(table, split="val")["value"]) == [0.6]
    assert hidden_runs(table) == []


def test_runs_that_no_column_tells_apart_are_named(lab: Any) -> None:
    rows = [lab.row(run="warm", value=0.8), lab.row(run="cold", value=0.9)]
    assert hidden_runs(lab.summary(rows)) == ["cold"]


def test_budgets_are_ordered_by_size() -> None:
    words = ["all", "1000", "25 per class", "250", "100", "all"]
    assert label_order(words) == ["25 per class", "100", "250", "1000", "all"]


def test_mean_and_spread_are_over_seeds(lab: Any) -> None:
    values = [0.7, 0.75, 0.9]
    [row] = over_seeds(lab.summary(seeds(lab, values))).to_dict("records")
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["std"] == pytest.approx(np.std(values, ddof=1))
    assert row["count"] == 3


def test_the_headline_has_features_by_budgets(lab: Any) -> None:
    rows = [
        *seeds(lab, [0.91, 0.93], dataset="zebra", labels="all"),
        *seeds(lab, [0.8, 0.9]),
        *seeds(lab, [0.1], protocol="knn"),  # only the probe counts
        *seeds(lab, [0.6], method="random", augment="", labels="all"),
        *seeds(lab, [0.5], method="pixels", augment="", encoder="", protocol="knn"),
    ]
    table = headline(lab.summary(rows))
    assert list(table.columns) == ["100 labels", "all labels"]
    assert table.index.names == ["data set", "features"]
    assert {
        index: tuple(row) for index, row in zip(table.index, table.to_numpy(), strict=True)
    } == {
        ("cells, 28 px", "SimCLR, novel"): ("0.850 ± 0.071", "–"),
        ("cells, 28 px", "random encoder"): ("–", "0.600"),
        ("cells, 28 px", "raw pixels (kNN)"): ("0.500", "–"),
        ("zebra, 28 px", "SimCLR, novel"): ("–", "0.920 ± 0.014"),
    }
    # In the order of the study, with the floors last.
    assert [name for name, _ in table.index] == ["zebra, 28 px"] + ["cells, 28 px"] * 3
    assert [name for _, name in table.index][1:] == [
        "SimCLR, novel",
        "random encoder",
        "raw pixels (kNN)",
    ]


def test_conclusions_count_clear_differences(lab: Any) -> None:
    rows = [
        *seeds(lab, [0.80, 0.81, 0.82]),  # 0.30 above, always: clear
        *seeds(lab, [0.50, 0.51, 0.52], method="random", augment=""),
        *seeds(lab, [0.95, 0.70, 0.80], labels="all"),  # up and down: not clear
        *seeds(lab, [0.80, 0.80, 0.80], labels="all", method="random", augment=""),
        *seeds(lab, [0.9, 0.91, 0.92], method="pixels", augment="", encoder="", protocol="knn"),
    ]
    assert conclusions(lab.summary(rows)) == [
        "SimCLR, novel against the untrained encoder: +0.158 on average over 2 comparisons; "
        "clearly above in 1, clearly below in 0, no clear difference in 1",
        "SimCLR, novel against kNN on raw pixels: -0.100 on average over 1 comparisons; "
        "clearly above in 0, clearly below in 1, no clear difference in 0",
    ]


def test_two_encoders_are_two_lines(lab: Any) -> None:
    rows = [
        *seeds(lab, [0.8]),
        *seeds(lab, [0.9], encoder="resnet50"),
        *seeds(lab, [0.5], method="pixels", augment="", encoder="", protocol="knn"),
    ]
    table = headline(lab.summary(rows))
    assert dict(zip([f for _, f in table.index], table["100 labels"], strict=True)) == {
        "SimCLR, novel, resnet18": "0.800",
        "SimCLR, novel, resnet50": "0.900",
        "raw pixels (kNN)": "0.500",
    }


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


def test_gains_are_paired_by_seed(lab: Any) -> None:
    ours, other = [0.9, 0.7, 0.8], [0.6, 0.5, 0.55]
    rows = [
        *seeds(lab, ours),
        *seeds(lab, other, method="random", augment="")[::-1],  # the order does not matter
        lab.row(seed=9, value=0.1),  # a seed without a partner is left out
    ]
    [gain] = paired_gains(lab.summary(rows), "auroc", OURS, FLOOR).to_dict("records")
    expected = stats.ttest_rel(ours, other).confidence_interval(0.95)
    assert gain == {
        "dataset": "cells",
        "size": 28,
        "encoder": "resnet18",
        "labels": "100",
        "seeds": 3,
        "mean": pytest.approx(0.25),
        "low": pytest.approx(expected.low),
        "high": pytest.approx(expected.high),
    }


def test_gains_pair_like_with_like(lab: Any) -> None:
    rows = []
    for dataset in ("b", "a"):
        for encoder in ("resnet18", "resnet50"):
            for labels in ("all", "100"):
                where = {"dataset": dataset, "encoder": encoder, "labels": labels}
                value = len(rows) / 100
                rows.append(lab.row(**where, value=0.5 + value))
                rows.append(lab.row(**where, method="random", augment="", value=0.5))
    table = paired_gains(lab.summary(rows), "auroc", OURS, FLOOR)
    assert list(zip(table["dataset"], table["encoder"], table["labels"], strict=True)) == [
        (d, e, n) for d in "ba" for e in ("resnet18", "resnet50") for n in ("100", "all")
    ]
    assert list(table["seeds"]) == [1] * 8
    assert list(table["mean"]) == pytest.approx([0.02, 0, 0.06, 0.04, 0.1, 0.08, 0.14, 0.12])


def test_no_pairs_make_no_gains(lab: Any) -> None:
    assert paired_gains(lab.summary([lab.row()]), "auroc", OURS, FLOOR).empty


@pytest.mark.parametrize(
    ("low", "high", "clear"), [(0.01, 0.09, True), (-0.09, -0.01, True), (-0.01, 0.11, False)]
)
def test_a_difference_is_clear_when_its_interval_leaves_out_zero(
    low: float, high: float, clear: bool
) -> None:
    gain = SimpleNamespace(mean=(low + high) / 2, low=low, high=high, seeds=3)
    line = say_gain(gain, "ours over theirs")
    assert ("no clear difference" not in line) == clear
    assert f"{low:+.3f} to {high:+.3f}" in line
    assert line.startswith("ours over theirs: ")


def test_one_seed_says_nothing_of_the_spread() -> None:
    gain = SimpleNamespace(mean=0.1, low=float("nan"), high=float("nan"), seeds=1)
    line = say_gain(gain, "x")
    assert line == "x: +0.100 from one seed, so nothing is known of its spread"


def test_findings_compare_with_the_floor_and_the_two_augmentations(lab: Any) -> None:
    rows = [
        *seeds(lab, [0.9, 0.91, 0.92]),
        *seeds(lab, [0.85, 0.95, 0.9], augment="natural"),
        *seeds(lab, [0.6, 0.61, 0.625], method="random", augment=""),
    ]
    said = findings(lab.summary(rows))
    assert list(said) == ["cells, 28 px"]
    first, second, third = said["cells, 28 px"]
    assert first.startswith("SimCLR, novel over a random encoder, 100 labels: +0.298 (95% interval")
    assert second.startswith("SimCLR, natural over a random encoder, 100 labels: +0.288 (95%")
    assert third.startswith("novel over natural, 100 labels: no clear difference, +0.010 (95%")
