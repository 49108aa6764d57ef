"""What a study answers, from summaries whose effects are known because they are put in."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.findings.answer import answer, called, split_answer
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over, whole_study

FLOOR = {**SCRATCH, "protocol": "probe"}


def test_a_whole_study_answers_each_part_of_its_question(tmp_path: Path) -> None:
    said = answer(as_table(whole_study(("bloodmnist",), seeds=3), tmp_path))
    finetuned = next(s for s in said if s.startswith("SimCLR (novel), finetuned, against"))
    assert (
        "+0.120 AUROC on average over 2 comparisons; interval above zero in 2, below" in finetuned
    )
    frozen = next(s for s in said if s.startswith("Frozen features of SimCLR (novel) against an"))
    assert "below in 0, across it in 0." in frozen
    novel = next(s for s in said if s.startswith("SimCLR: novel against natural"))
    assert "against natural augmentation: +0.02" in novel
    assert "above zero in 2, below in 0, across it in 0." in novel
    first, rest = split_answer(said)
    assert all(", from " not in s.partition(":")[0] for s in first)
    assert any(", from pathmnist" in s for s in rest)
    assert sorted([*first, *rest]) == sorted(said)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.1, 0.1), "above zero in 2, below in 0, across it in 0."),
        ((0.1, -0.1), "above zero in 1, below in 1, across it in 0."),
        ((0.1, 0.0), "above zero in 1, below in 0, across it in 1."),
        ((0.0, 0.0), "above zero in 0, below in 0, across it in 2."),
    ],
)
def test_the_sentence_counts_intervals_beside_zero(
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
        "Frozen features of SimCLR (novel) against an untrained encoder: +0.100 AUROC, from one "
        "seed each, so nothing is known of its spread."
    ]
    assert answer(as_table([make_row()], tmp_path)) == []


def test_remedies_are_judged_by_balanced_accuracy(tmp_path: Path) -> None:
    about = {"metric": "balanced_accuracy", "notebook": "04_imbalance"}
    rows = over(PROBE, 0.5, **about)
    rows += over({**PROBE, "protocol": "probe+focal"}, 0.6, **about)
    [said] = answer(as_table(rows, tmp_path))
    assert said.startswith("Focal against nothing done for rare classes: +0.1")
    assert said.endswith(" balanced accuracy; interval above zero.")


def test_the_same_difference_with_every_seed_is_no_evidence(tmp_path: Path) -> None:
    rows = [*over(PROBE, 0.8, spread=0), *over(FLOOR, 0.7999, spread=0)]
    [said] = answer(as_table(rows, tmp_path))
    assert said.endswith("alike with every seed, so nothing is known of its spread.")


def test_supcon_is_not_credited_with_labels_its_rival_had_not(tmp_path: Path) -> None:
    supcon = {**PROBE, "method": "supcon"}
    budgets = {"labels": ("100", "all")}
    rows = [*over(supcon, 0.9, **budgets), *over(PROBE, 0.8, **budgets)]
    rows += over(FLOOR, 0.7, **budgets)
    said = answer(as_table(rows, tmp_path))
    beside = next(s for s in said if s.startswith("SupCon's features against"))
    assert beside.endswith("AUROC; interval above zero.")
    assert any("untrained" in s and "over 2 comparisons" in s for s in said if "SimCLR" in s)


def test_a_method_in_a_sentence_keeps_its_commas_in_brackets() -> None:
    assert called("simclr", "") == "SimCLR"
    assert (
        called("simclr from a", "natural jitter=0.4 blur_p=0")
        == "SimCLR, from a (natural, adapted)"
    )
    assert called("simclr (warm)", "novel") == "SimCLR (warm, novel)"
