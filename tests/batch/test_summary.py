"""summary.csv and what is said of it."""

from __future__ import annotations

import csv
from types import SimpleNamespace
from typing import Any

import pytest

from lib.batch.summary import (
    collect_rows,
    conclusions,
    findings,
    headline,
    say_gain,
    write_summary,
)
from lib.study.measurements import measurements, read_summary

CONTRACT = (
    "study,run,notebook,dataset,size,method,augment,encoder,protocol,labels,fold,seed,split,"
    "metric,value,low,high,commit"
)


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


def test_a_run_whose_numbers_are_damaged_is_not_done(lab: Any, damaged: str) -> None:
    lab.finish("a", [lab.row(run="a")])
    (lab.finish("b") / "metrics.json").write_text(damaged, encoding="utf-8")
    assert [row["run"] for row in collect_rows(lab.results / "tiny", ["b", "a"])] == ["a"]


def test_no_runs_make_a_table_without_rows(lab: Any) -> None:
    path = write_summary(lab.results / "tiny", ["a"])
    assert path.read_text(encoding="utf-8") == CONTRACT + "\n"
    assert measurements(read_summary(path)).empty


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


def test_conclusions_count_intervals_beside_zero(lab: Any) -> None:
    rows = [
        *seeds(lab, [0.80, 0.81, 0.82]),  # 0.30 above, about always
        *seeds(lab, [0.50, 0.51, 0.521], method="random", augment=""),
        *seeds(lab, [0.95, 0.70, 0.80], labels="all"),  # up and down
        *seeds(lab, [0.80, 0.80, 0.80], labels="all", method="random", augment=""),
        *seeds(lab, [0.9, 0.91, 0.921], method="pixels", augment="", encoder="", protocol="knn"),
    ]
    assert conclusions(lab.summary(rows)) == [
        "SimCLR, novel, against the untrained encoder: +0.158 AUROC on average over 2 comparisons; "
        "interval above zero in 1, below in 0, across it in 1.",
        "SimCLR, novel, against kNN on raw pixels: -0.100 AUROC; interval below zero.",
    ]


def test_networks_trained_whole_stand_beside_the_frozen_ones(lab: Any) -> None:
    rows = [
        *seeds(lab, [0.50, 0.51, 0.52], method="random", augment="", protocol="finetune"),
        *seeds(lab, [0.40, 0.41, 0.42], method="random", augment=""),
        *seeds(lab, [0.80, 0.82, 0.81]),
        *seeds(lab, [0.85, 0.83, 0.84], protocol="finetune"),
    ]
    table = lab.summary(rows)
    assert dict(
        zip([f for _, f in headline(table).index], headline(table).iloc[:, 0], strict=True)
    ) == {
        "SimCLR, novel": "0.810 ± 0.010",
        "random encoder": "0.410 ± 0.010",
    }
    whole = headline(table, whole=True)
    assert list(whole["100 labels"]) == [
        f"{v} ± 0.010" for v in ("0.810", "0.840", "0.510", "0.410")
    ]
    assert [features for _, features in whole.index] == [
        "SimCLR, novel: frozen",
        "SimCLR, novel: finetuned",
        "from scratch",
        "random encoder: frozen",
    ]
    assert [line.partition(" AUROC")[0] for line in conclusions(table)] == [
        "SimCLR, novel: frozen, against the untrained encoder: +0.400",
        "SimCLR, novel: frozen, against training from scratch: +0.300",
        "SimCLR, novel: finetuned, against training from scratch: +0.330",
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


@pytest.mark.parametrize(
    ("low", "high", "clear"), [(0.01, 0.09, True), (-0.09, -0.01, True), (-0.01, 0.11, False)]
)
def test_a_difference_is_clear_when_its_interval_leaves_out_zero(
    low: float, high: float, clear: bool
) -> None:
    gain = SimpleNamespace(mean=(low + high) / 2, low=low, high=high, pairs=3, unit="seed")
    line = say_gain(gain, "ours over theirs")
    assert ("no clear difference" not in line) == clear
    assert f"{low:+.3f} to {high:+.3f}" in line
    assert line.startswith("ours over theirs: ")


def test_one_seed_says_nothing_of_the_spread() -> None:
    gain = SimpleNamespace(mean=0.1, low=float("nan"), high=float("nan"), pairs=1, unit="seed")
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
