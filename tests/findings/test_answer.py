"""What a study answers, from summaries whose effects are known because they are put in."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.findings.answer import answer, split_answer
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over, whole_study

FLOOR = {**SCRATCH, "protocol": "probe"}


def test_a_whole_study_answers_each_part_of_its_question(tmp_path: Path) -> None:
    said = answer(as_table(whole_study(("bloodmnist",), seeds=3), tmp_path))
    finetuned = next(s for s in said if s.startswith("SimCLR, novel, finetuned, against"))
    assert "clearly better in all 2 (+0.120 AUROC on average over 2 comparisons)." in finetuned
    frozen = next(s for s in said if s.startswith("Frozen SimCLR, novel features against an"))
    assert "clearly better in all" in frozen
    novel = next(s for s in said if s.startswith("SimCLR: novel against natural"))
    assert "clearly better in all 2 (+0.02" in novel
    first, rest = split_answer(said)
    assert all(", from " not in s.partition(":")[0] for s in first)
    assert any(", from pathmnist" in s for s in rest)
    assert sorted([*first, *rest]) == sorted(said)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.1, 0.1), "clearly better in all 2 ("),
        ((0.1, -0.1), "clearly better in 1 of 2, clearly worse in 1 ("),
        ((0.1, 0.0), "clearly better in 1 of 2, clearly worse in 0 ("),
        ((0.0, 0.0), "no clear difference in any of 2 ("),
    ],
)
def test_the_verdict_counts_what_is_clear(
    gains: tuple[float, float], verdict: str, tmp_path: Path
) -> None:
    rows = []
    for labels, gain in zip(("100", "all"), gains, strict=True):
        # A spread of both sides that a gain of 0.1 stands out of, and one of 0 does not.
        rows += over(PROBE, 0.7 + gain, labels=[labels], spread=0.01, seeds=range(4))
        rows += over(FLOOR, 0.7, labels=[labels], spread=0.01, seeds=range(4))
    [said] = answer(as_table(rows, tmp_path))
    assert verdict in said


def test_one_seed_answers_without_a_test_and_one_side_not_at_all(tmp_path: Path) -> None:
    one = [*over(PROBE, 0.8, seeds=[0], spread=0), *over(FLOOR, 0.7, seeds=[0], spread=0)]
    assert answer(as_table(one, tmp_path)) == [
        "Frozen SimCLR, novel features against an untrained encoder: +0.100 AUROC, from one seed "
        "each, so nothing is known of its spread."
    ]
    assert answer(as_table([make_row()], tmp_path)) == []


def test_remedies_are_judged_by_balanced_accuracy(tmp_path: Path) -> None:
    about = {"metric": "balanced_accuracy", "notebook": "04_imbalance"}
    rows = over(PROBE, 0.5, **about)
    rows += over({**PROBE, "protocol": "probe+focal"}, 0.6, **about)
    [said] = answer(as_table(rows, tmp_path))
    assert said.startswith("Focal against nothing done for rare classes: clearly better (+0.1")
    assert "balanced accuracy" in said
