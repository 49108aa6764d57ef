"""The report's other tables: what was run, published figures, sizes, cost."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lib.findings.report_published import beside_table, say_beside, say_notes
from lib.findings.report_sizes import judge_sizes, say_sizes, sizes_table
from lib.findings.report_study import cost_table, runs_table, say_cost, say_runs
from lib.study.claims import judge
from lib.study.published import with_counterparts
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over, whole_study

EMPTY = pd.DataFrame()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return as_table(whole_study(), tmp_path_factory.mktemp("study"))


def test_what_was_run(study: pd.DataFrame) -> None:
    table = runs_table(study)
    row = table.loc[("bloodmnist", "SimCLR, novel")]
    assert row["pixels"] == "28, 14, 7"
    assert row["protocols"] == "probe, finetune (+1)"
    assert row["labels"] == "25 per class, 100, all"
    assert (row["seeds"], row["folds"]) == ("0, 1, 2, 3, 4", "–")
    assert [name for name, _ in table.index] == sorted(name for name, _ in table.index)


def test_runs_are_counted_real_and_synthetic_apart(study: pd.DataFrame, tmp_path: Path) -> None:
    synthetic = as_table([make_row(dataset="phantom", run="p", commit="abc+")], tmp_path)
    text = say_runs(study, synthetic)
    n = study["run"].nunique() + 1
    assert text.startswith(
        f"Study made: {n} runs of 01_pretrain, 02_probe on 3 real and 1 synthetic data set"
    )
    assert "commit abc, abc+." in text
    assert "More than one commit" in text
    assert "A plus marks" in text
    assert "one seed" not in text


def test_one_seed_and_hidden_runs_are_said(tmp_path: Path) -> None:
    table = as_table([make_row(run="warm"), make_row(run="cold", value=0.9)], tmp_path)
    text = say_runs(table, table.head(0))
    assert "There is one seed only" in text
    assert "1 run(s) measured what another had measured before them" in text
    assert "those numbers are left out (cold)" in text
    assert "(cold)" in text
    assert "nothing has been run" in say_runs(table.head(0), table.head(0))


def test_empty_parts_say_so(study: pd.DataFrame) -> None:
    none = study.head(0)
    verdict = judge(none)["downsampling"]
    tables = [runs_table(none), beside_table(with_counterparts(none)), sizes_table(verdict)]
    assert [t.iloc[0, 0] for t in tables] == ["not tested in this study"] * 3
    assert cost_table(none).iloc[0, 0] == "no run has noted its time"
    assert say_cost(none) == "No run has noted its time."
    assert "none has a counterpart" in say_beside(with_counterparts(none))
    assert "No published number" in say_notes(with_counterparts(none))
    assert "not tested" in say_sizes(verdict)


def test_published_numbers_stand_beside_ours(study: pd.DataFrame) -> None:
    beside = with_counterparts(study)
    table = beside_table(beside)
    assert list(table.columns) == [
        (metric, whose) for metric in ("accuracy", "AUROC") for whose in ("published", "ours")
    ]
    row = table.loc[("bloodmnist, 28 px", "100", "SimCLR, novel, probe", "[1]")]
    assert (row["accuracy", "published"], row["AUROC", "published"]) == ("0.771", "0.958")
    ours = beside[(beside["value"] == 0.771) & (beside["metric"] == "accuracy")].iloc[0]
    expected = f"{ours['mean']:.3f} ({ours['low']:.3f}–{ours['high']:.3f})"
    assert row["accuracy", "ours"] == expected
    notes = say_notes(beside).splitlines()
    assert notes[0].startswith("- [1] [simclr-medical-imaging, test-logs.md](https://")
    assert notes[0].endswith("resnet18 7x7 stem; checkpoint selected on the test split.")
    assert len({note for _, _, _, note in table.index}) == len(notes)


def test_differences_from_published_numbers_are_counted(tmp_path: Path) -> None:
    where = {"datasets": ("pathmnist",), "labels": ("100",), "metric": "accuracy"}
    rows = [*over(PROBE, 0.9, **where), *over(SCRATCH, 0.1, **where)]
    rows += over({**PROBE, "protocol": "finetune"}, 0.637, spread=0.01, **where)
    text = say_beside(with_counterparts(as_table(rows, tmp_path)))
    assert text.startswith("Only numbers of the same kind of training are compared. Of ")
    assert "3 have a counterpart here (3 comparisons)" in text
    assert "In 1 ours is above the published number, in 1 below, and in 1 there is no" in text
    assert "In 3 of these comparisons the published model was selected on the test" in text
    one = as_table(over(PROBE, 0.9, seeds=[0], **where), tmp_path)
    assert "nothing is known of their spread" in say_beside(with_counterparts(one))
    assert "(one seed)" in beside_table(with_counterparts(one)).to_string()


def test_sizes_survive_or_are_lost(study: pd.DataFrame) -> None:
    verdict = judge(study)["downsampling"]
    words = judge_sizes(verdict).groupby("size")["word"].unique()
    assert list(words[14]) == ["survives"]
    assert list(words[7]) == ["lost"]
    table = sizes_table(verdict)
    assert list(table.columns) == ["14 px", "7 px"]
    assert table.index[0][0] == "bloodmnist (blood cell microscopy), from 28 px"
    assert table.iloc[0, 1].endswith(": lost")
    line = say_sizes(verdict).splitlines()[0]
    assert line.startswith("- bloodmnist (blood cell microscopy): at 14 px ")
    assert "survives in 2 of 2 comparison(s); at 7 px -0.0" in line


def test_sizes_of_one_seed_are_not_tested(tmp_path: Path) -> None:
    verdict = judge(as_table(whole_study(seeds=1), tmp_path))["downsampling"]
    assert set(judge_sizes(verdict)["word"]) == {"not tested"}


def test_cost_is_added_up(study: pd.DataFrame) -> None:
    table = cost_table(study)
    row = table.loc[("01_pretrain", "bloodmnist", "28 px")]
    assert tuple(row) == ("5", "0.50", "6.0")
    assert table.iloc[-1]["hours"] == "1.50"
    text = say_cost(study)
    assert text.startswith("Training took 1.50 hours in 15 runs")
    assert "02_probe note no training time" in text
    assert "machine" in text
