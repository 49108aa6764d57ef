"""The tables of docs/findings.md: made from the published summaries, and from nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lib.batch.findings import (
    BLOCKS,
    CLAIMS,
    PAGE,
    RESULTS,
    rewrite,
    transfer_matrix,
)
from lib.batch.findings_again import again_table, settings_table
from lib.batch.markdown import way, with_interval
from lib.batch.readme import STUDIES
from lib.study.claims import COMPARISONS
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over


def test_the_tables_are_what_the_summaries_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rewrite(page) == page
    assert all(page.count(f"<!-- table: {name} -->") == 1 for name in BLOCKS)
    assert all((RESULTS / study / "index.html").exists() for study in STUDIES)


def test_every_claim_has_words() -> None:
    assert set(CLAIMS) == {*COMPARISONS, "downsampling"}


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="put '<!-- table: claims -->'"):
        rewrite("# Findings\n")


def test_differences_have_their_interval_where_there_is_one() -> None:
    assert with_interval(-0.041, -0.08, 0.001) == "-0.041 [-0.080, +0.001]"
    assert with_interval(0.041, math.nan, math.nan) == "+0.041 (no interval)"
    assert with_interval(0.9, 0.8, 1.0, sign=False) == "0.900 [0.800, 1.000]"


def test_a_random_encoder_finetuned_is_training_from_scratch() -> None:
    assert way("random", "finetune") == "from scratch"
    assert way("random", "probe") == "random encoder, probe"
    assert way("simclr", "finetune") == "SimCLR, finetune"


def test_transfer_has_a_row_a_target_and_a_column_a_source(tmp_path: Path) -> None:
    """Bold is above the untrained encoder, italic below; what was not run stays empty."""
    gains = {("a", "simclr"): 0.1, ("a", "simclr from b"): 0.0, ("b", "simclr"): -0.1}
    rows = []
    for seed in range(4):
        noise = 0.01 * (-1) ** seed
        for dataset in ("a", "b"):
            floor = {"dataset": dataset, "method": "random", "augment": "", "seed": seed}
            for _ in range(2):  # in two reports
                rows.append(make_row(**floor, labels="all", value=0.7 + noise))
        for (dataset, method), gain in gains.items():
            value = 0.7 + gain + noise / (2 if gain else -1)
            at = {"dataset": dataset, "method": method, "seed": seed, "labels": "all"}
            rows.append(make_row(**at, value=value))
    rows.append(make_row(dataset="c", method="simclr", labels="100", value=0.9))
    lines = transfer_matrix(as_table(rows, tmp_path)).split("\n")
    assert lines[0] == "| probed on | untrained | from a | from b |"
    assert lines[2:] == ["| a | 0.700 | **0.800** | 0.700 |", "| b | 0.700 |  | *0.600* |"]


def test_other_settings_stand_beside_the_recipe_s(tmp_path: Path) -> None:
    tuned = {**PROBE, "protocol": "finetune"}
    rows = [*over(SCRATCH, 0.60, spread=0), *over(tuned, 0.75), *over(PROBE, 0.9)]
    rows += over({**SCRATCH, "method": "random (long)"}, 0.74)
    rows += over({**tuned, "method": "simclr (long)"}, 0.80)
    rows += over({**PROBE, "method": "simclr from b"}, 0.5)
    lines = [line.split(" | ") for line in settings_table(as_table(rows, tmp_path)).split("\n")]
    assert [line[:2] for line in lines[2:]] == [["| 100", "by the recipe"], ["| 100", "long"]]
    recipe, long = lines[2:]
    assert recipe[2] == "0.600 [0.600, 0.600]"
    assert [float(cell.split(" ")[0]) for cell in recipe[3:]] == pytest.approx(
        [0.75, 0.15, 0.3], abs=0.005
    )
    assert [float(cell.split(" ")[0]) for cell in long[2:]] == pytest.approx(
        [0.74, 0.80, 0.06, 0.16], abs=0.005
    )


def test_a_study_run_twice_stands_beside_itself(tmp_path: Path) -> None:
    whole = {**PROBE, "protocol": "finetune"}
    runs = []
    for mean in (0.8, 0.9):
        rows = [*over(PROBE, mean), *over(PROBE, mean, labels=("all",)), *over(SCRATCH, 0.7)]
        rows += [*over({**SCRATCH, "protocol": "probe"}, 0.6), *over(whole, mean, labels=("250",))]
        runs.append(as_table(rows[: None if mean == 0.9 else -5], tmp_path))
    lines = [line.split(" | ") for line in again_table(*runs).split("\n")[2:]]
    # Finetuning was in the second run alone, and an untrained encoder is the same in both.
    assert [line[:2] for line in lines] == [
        ["| 100", "SimCLR, probe"], ["| 100", "from scratch"], ["| all", "SimCLR, probe"]
    ]  # fmt: skip
    means = [[float(cell.split(" ")[0]) for cell in line[2:]] for line in lines]
    assert means[0] == pytest.approx([0.8, 0.9, 0.85], abs=0.005)
    assert means[1] == pytest.approx([0.7, 0.7, 0.7], abs=0.005)
