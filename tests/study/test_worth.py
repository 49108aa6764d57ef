"""Whether pretraining is worth it follows the effects put in, and the sentence follows that."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lib.findings.worth import NOTHING, answer, answers, numbers, say_worth
from lib.study.measurements import read_summary
from lib.study.worth import weigh
from tests.conftest import ROOT
from tests.summaries import PROBE, SCRATCH, Row, as_table, make_row, over

TUNED = {**PROBE, "protocol": "finetune"}
UNTRAINED = {**SCRATCH, "protocol": "probe"}


def table(folder: Path, *rows: list[Row]) -> pd.DataFrame:
    return as_table([row for part in rows for row in part], folder)


def test_each_budget_by_its_own_difference(tmp_path: Path) -> None:
    [found] = weigh(
        table(
            tmp_path,
            over(TUNED, 0.85, labels=("50", "100")),
            over(SCRATCH, 0.75, labels=("50", "100")),
            over(TUNED, 0.80, labels=("all",), spread=0.02),
            over(SCRATCH, 0.80, labels=("all",), spread=0.02),
            over(TUNED, 0.70, labels=("1000",)),
            over(SCRATCH, 0.75, labels=("1000",)),
        )
    )
    assert found.at("worth it") == ["50", "100"]
    assert found.at("not worth it") == ["1000"]
    assert found.at("no clear difference") == ["all"]
    assert answer(found) == (
        "On cells (28 px), pretraining (SimCLR, novel), finetuned against training from scratch, "
        "is worth it with 50 and 100 labels, and is not worth it with 1000 labels, where it costs, "
        "and makes no clear difference with all labels (Holm over 4 label budgets)."
    )
    said = numbers(found)
    assert said.startswith(
        "Test AUROC of the whole resnet18 finetuned from SimCLR, novel, less that of training "
        "from scratch: 50 labels +0.1"
    )
    assert said.endswith(
        "Intervals of 95% over 5 seeds; clear is what stays so when corrected by Holm for 4 "
        "comparisons."
    )


def test_an_encoder_from_elsewhere_is_weighed_where_there_is_none_at_home(tmp_path: Path) -> None:
    foreign = {**TUNED, "method": "simclr from others"}
    rows = [over(foreign, 0.85, labels=("50",)), over(SCRATCH, 0.75, labels=("50",))]
    [found] = weigh(table(tmp_path, *rows))
    assert found.at("worth it") == ["50"]
    assert answer(found).startswith(
        "On cells (28 px), pretraining (SimCLR, novel, from others), finetuned against"
    )
    [found] = weigh(table(tmp_path, *rows, over(TUNED, 0.75, labels=("50",), spread=0.02)))
    assert (found.method, found.at("no clear difference")) == ("simclr", ["50"])


def test_p_is_corrected_over_the_budgets_of_a_pretraining_alone(tmp_path: Path) -> None:
    rows = [
        over(TUNED, 0.8, labels=("50", "100", "all")),
        over(SCRATCH, 0.79, labels=("50", "100")),
    ]
    [alone] = weigh(table(tmp_path, *rows))
    another = {**TUNED, "augment": "natural"}
    both = weigh(table(tmp_path, *rows, over(another, 0.9, labels=("50", "100"))))
    assert list(alone.cells["labels"]) == ["50", "100"]  # scratch has no `all`
    assert list(both[0].cells["corrected"]) == list(alone.cells["corrected"])
    smallest = alone.cells["p"].min()
    assert alone.cells["corrected"].min() == pytest.approx(2 * smallest)


def test_frozen_features_speak_only_where_nothing_was_finetuned(tmp_path: Path) -> None:
    frozen = [over(PROBE, 0.9), over(UNTRAINED, 0.8)]
    [found] = weigh(table(tmp_path, *frozen))
    assert not found.whole and found.at("worth it") == ["100"]
    assert "frozen features of SimCLR, novel, less that of an untrained resnet18" in numbers(found)
    [found] = weigh(table(tmp_path, *frozen, over(TUNED, 0.7), over(SCRATCH, 0.8)))
    assert found.whole and found.at("not worth it") == ["100"]


def test_one_seed_and_equal_values_cannot_be_judged(tmp_path: Path) -> None:
    [found] = weigh(table(tmp_path, over(TUNED, 0.9, seeds=[0]), over(SCRATCH, 0.7, seeds=[0])))
    assert answer(found).endswith("cannot be judged with 100 labels (there is one seed only).")
    assert "Intervals" not in numbers(found)
    same = [over(TUNED, 0.9, spread=0), over(SCRATCH, 0.7, spread=0)]
    [found] = weigh(table(tmp_path, *same))
    assert answer(found).endswith("(nothing differs between seeds).")


def test_what_is_another_question_is_left_out(tmp_path: Path) -> None:
    tails = {"labels": ("tail 100",)}
    rows = [over(TUNED, 0.9, **tails), over(SCRATCH, 0.7, **tails)]
    assert weigh(table(tmp_path, *rows)) == []
    assert say_worth([]) == NOTHING and answers([]) == [NOTHING]


def test_folds_and_synthetic_data_are_called_that(tmp_path: Path) -> None:
    rows = []
    for fold in range(5):
        noise = 0.001 * (-1) ** fold
        for side, value in ((TUNED, 0.9 + noise), (SCRATCH, 0.7)):
            rows.append(make_row(**side, dataset="phantom", fold=fold, value=value))
    [found] = weigh(as_table(rows, tmp_path))
    assert answer(found).startswith("Synthetic data: on phantom")
    assert "over 5 folds" in numbers(found)


def test_a_published_study_has_its_answer() -> None:
    found = weigh(read_summary(ROOT / "results" / "evening" / "summary.csv"))
    said = answers(found)
    assert all(w.whole for w in found if w.augment == "novel")
    assert len(said) == len(found) >= 2
    assert all(s.startswith("On ") and "pretraining (SimCLR, " in s for s in said)
    for worth, sentence in zip(found, said, strict=True):
        assert ("frozen against an untrained encoder" in sentence) != worth.whole
        assert ("finetuned against training from scratch" in sentence) == worth.whole
        assert "(Holm over " in sentence
