"""Tables and sentences on the claims follow the comparisons, whatever they say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib.findings.claims import (
    CLAIMED_GAIN,
    CLAIMS,
    NOT_TESTED,
    about,
    cells_table,
    headline,
    name_cell,
    say_largest_gain,
    say_synthetic,
    say_untested,
    say_verdict,
    verdict_rows,
    verdict_table,
)
from lib.identity import RANDOM
from lib.params import ROOT
from lib.run import COLUMNS, Run
from lib.statistics.paired import Paired
from lib.study.claims import judge
from lib.study.verdicts import NOT_TESTED as NOT_TESTED_HERE
from lib.study.verdicts import Verdict
from tests.summaries import PROBE, SCRATCH, as_table, over, whole_study


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    return judge(as_table(whole_study(), tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    return judge(as_table([], tmp_path_factory.mktemp("nothing")))


def test_a_line_for_each_claim(verdicts: dict[str, Verdict]) -> None:
    table = verdict_table(verdicts)
    assert list(table.index) == [claim.text for claim in CLAIMS.values()]
    line = table.loc[CLAIMS["pretraining"].text]
    v = verdicts["pretraining"]
    assert line["answer"] == "supported"
    assert line["difference (interval)"] == (
        f"{v.effect.mean:+.3f} ({v.effect.low:+.3f} to {v.effect.high:+.3f})"
    )
    assert (line["data sets"], line["comparisons"]) == (3, 24)
    assert line["above / below"] == "24 / 0"


def test_what_was_not_tested_is_one_sentence(verdicts: dict[str, Verdict]) -> None:
    some = {"pretraining": verdicts["pretraining"], "novel": Verdict("novel", "auroc", "consistent",
            NOT_TESTED_HERE, Paired(0, float("nan")))}  # fmt: skip
    assert list(verdict_table(some).index) == [CLAIMS["pretraining"].text]
    assert say_untested(["novel"]) == f"Not tested here: {CLAIMS['novel'].text}."
    assert say_untested(["supcon", "novel"]).index("novel") < say_untested(CLAIMS).index("SupCon")
    assert say_untested([]) == ""
    assert about(verdicts["novel"].cells, "*x*").metadata == {"untested": False}
    assert about(verdicts["novel"].cells, "*x*").data == "*x*"


def test_a_study_of_nothing_says_so_everywhere(nothing: dict[str, Verdict]) -> None:
    assert set(verdict_table(nothing)["answer"]) == {"not tested here"}
    for verdict in nothing.values():
        assert cells_table(verdict).iloc[0, 0] == NOT_TESTED
        assert "**not tested here**. The study has no runs" in say_verdict(verdict)
    assert about(nothing["novel"].cells, "x").metadata == {"untested": True}
    assert headline(nothing) == "9 not tested here (claims)"
    assert "has no training from scratch" in say_largest_gain(nothing["pretraining_accuracy"])


def test_the_sentence_holds_the_numbers(verdicts: dict[str, Verdict]) -> None:
    v = verdicts["transfer"]
    text = say_verdict(v, 0.95)
    assert text.startswith("**An encoder from another data set beats")
    assert CLAIMS["transfer"].source in text
    assert "**contradicted**" in text
    assert f"{v.effect.mean:+.3f} on average over 3 data set(s) (95% interval over 5 seeds" in text
    assert "Of 6 comparisons 0 are clearly above, 6 clearly below, 0 show no clear" in text
    assert "above zero in 0 of 3 data set(s); a test over data sets needs at least 6" in text


def test_the_sentence_names_the_test_over_data_sets(tmp_path: Path) -> None:
    place: dict[str, Any] = {"datasets": tuple("abcdef")}
    rows = [*over(PROBE, 0.9, **place), *over(SCRATCH, 0.8, **place)]
    text = say_verdict(judge(as_table(rows, tmp_path))["pretraining"])
    assert "above zero in 6 of 6 data set(s); Wilcoxon's signed-rank test" in text
    assert "p\xa0=\xa00.031" in text  # 2 / 2⁶


def test_one_seed_is_called_that(tmp_path: Path) -> None:
    verdicts = judge(as_table(whole_study(seeds=1), tmp_path))
    text = say_verdict(verdicts["pretraining"])
    assert "**not tested here**" in text
    assert "No test is possible: there is one seed or fold of each." in text
    assert "interval" not in text
    assert "p\xa0" not in cells_table(verdicts["pretraining"]).to_string()


def test_equal_seeds_are_no_test(tmp_path: Path) -> None:
    rows = [*over(PROBE, 0.9, spread=0), *over(SCRATCH, 0.8, spread=0)]
    text = say_verdict(judge(as_table(rows, tmp_path))["pretraining"])
    assert "No test is possible: nothing random tells pairs apart." in text


def test_sizes_are_held_against_the_tolerance(verdicts: dict[str, Verdict]) -> None:
    text = say_verdict(verdicts["downsampling"])
    assert (
        "Of 12 comparisons 6 are clearly within a loss of 1 point(s), 6 clearly beyond it" in text
    )
    assert "Wilcoxon" not in text


def test_cells_say_what_is_compared(verdicts: dict[str, Verdict]) -> None:
    table = cells_table(verdicts["pretraining"])
    assert list(table.columns) == ["100 labels", "all labels"]
    assert table.index[0] == (
        "bloodmnist, 28 px",
        "SimCLR, novel, probe over training from scratch",
    )
    first = verdicts["pretraining"].cells.iloc[0]
    assert table.iloc[0, 0].startswith(f"{first['mean']:+.3f} ({first['low']:+.3f} to ")
    assert table.iloc[0, 0].endswith("p\xa0<\xa00.001")
    assert [name for name, _ in table.index] == sorted(name for name, _ in table.index)


@pytest.mark.parametrize(
    ("claim", "name"),
    [
        ("pretraining_frozen", "SimCLR, novel, probe over random encoder"),
        ("novel", "SimCLR, novel, probe over SimCLR, natural"),
        ("transfer", "SimCLR, novel, from pathmnist, probe over SimCLR, novel"),
        ("undersampling", "SimCLR, novel, probe, undersample over SimCLR, novel, probe"),
        ("supcon", "SupCon, novel, probe over training from scratch"),
        ("downsampling", "SimCLR, novel, probe over the same at 28 px"),
    ],
)
def test_comparisons_are_named(claim: str, name: str, verdicts: dict[str, Verdict]) -> None:
    assert name_cell(next(verdicts[claim].cells.itertuples())) == name


def test_the_largest_gain_stands_beside_the_claimed_one(verdicts: dict[str, Verdict]) -> None:
    text = say_largest_gain(verdicts["pretraining_accuracy"])
    best = verdicts["pretraining_accuracy"].cells.sort_values("mean").iloc[-1]
    assert f"up to {CLAIMED_GAIN:g} points" in text
    assert f"The largest here is {100 * best['mean']:+.1f} points" in text
    assert "SimCLR, novel, finetuned over training from scratch" in text


def test_synthetic_data_are_called_that(tmp_path: Path, nothing: dict[str, Verdict]) -> None:
    rows = [{**row, "dataset": "phantom"} for row in whole_study(("a",))]
    table = as_table(rows, tmp_path)
    parts = say_synthetic(judge(table), table, 0.95).split("\n\n")
    assert len(parts) == len(CLAIMS)
    assert all(part.startswith("Synthetic data. **") for part in parts)
    assert say_synthetic(nothing, table.head(0), 0.95) == "The study has no synthetic data."
    assert say_synthetic(nothing, table, 0.95) == f"Synthetic data: {NOT_TESTED}."


def test_rows_for_the_summary(verdicts: dict[str, Verdict], nothing: dict[str, Verdict]) -> None:
    run = Run("report", "09_report", SimpleNamespace(study="s"), ROOT, RANDOM, "cpu", "fp32", False)
    rows = verdict_rows(run, verdicts)
    assert [row["metric"] for row in rows] == [f"claim_{claim}" for claim in CLAIMS]
    v = verdicts["novel"].effect
    [row] = [row for row in rows if row["metric"] == "claim_novel"]
    assert tuple(row) == COLUMNS
    assert (row["protocol"], row["split"], row["dataset"]) == ("verdict", "test", "")
    assert (row["value"], row["low"], row["high"]) == (v.mean, v.low, v.high)
    assert verdict_rows(run, nothing) == []
    assert verdict_rows(run, verdicts, dataset="phantom")[0]["dataset"] == "phantom"


def test_rows_without_an_interval_leave_it_blank(tmp_path: Path) -> None:
    verdicts = judge(as_table(whole_study(seeds=1), tmp_path))
    run = Run("report", "09_report", SimpleNamespace(study="s"), ROOT, RANDOM, "cpu", "fp32", False)
    assert {(r["low"], r["high"]) for r in verdict_rows(run, verdicts)} == {("", "")}
