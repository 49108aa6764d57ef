"""Sentences on finetuning follow the intervals, whatever they say."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from lib.data.budget import LabelBudget
from lib.evaluation.evaluate import Budget
from lib.evaluation.label_efficiency import BudgetStudy, Saving
from lib.figures.finetuning import plot_label_efficiency, plot_trainings
from lib.findings import finetuning
from lib.findings.finetuning import (
    budgets_table,
    headline,
    name_classifier,
    savings_table,
    say_budgets,
    say_choices,
    say_count,
    say_finetuning,
    say_savings,
    trainings_table,
)
from lib.statistics.bootstrap import Difference
from lib.training.finetune import Finetuned, make_head
from tests.evaluation.test_label_efficiency import scored
from tests.synthetic import make_data
from tests.thin import thin_encoder

HISTORY = [
    {"epoch": 1.0, "loss": 1.0, "steps": 3.0, "lr": 1e-3, "val_auroc": 0.6, "seconds": 2.0},
    {"epoch": 2.0, "loss": 0.5, "steps": 6.0, "lr": 0.0, "val_auroc": 0.7, "seconds": 2.0},
]
COUNTS = {"100": 100, "all": 2000}


def training(val_auroc: float | None = 0.7) -> Finetuned:
    history = [dict(row) for row in HISTORY]
    if val_auroc is None:
        history = [{k: v for k, v in row.items() if k != "val_auroc"} for row in history]
    tried = {1e-3: history, 3e-4: history}
    about = (history, 2, val_auroc, 6, 8.0, tried)
    return Finetuned(thin_encoder(), make_head(16, 3, 0), "multi-class", None, 1e-3, *about)


def make_study(method: str = "simclr", floors: bool = True, **changes: Any) -> BudgetStudy:
    data, results = make_data(), []
    kinds = [(method, "finetune"), (method, "probe")] if method != "random" else []
    kinds += [("random", "finetune")] if floors else []
    for name, protocol in kinds:
        for labels in COUNTS:
            r = scored(data, name, protocol, labels, 1.0)
            results.append(dataclasses.replace(r, augment="" if name == "random" else "novel"))
    trained = [name for name, protocol in kinds if protocol == "finetune"]
    trainings = {(name, labels): training() for name in trained for labels in COUNTS}
    return dataclasses.replace(BudgetStudy(method, results, trainings, COUNTS), **changes)


def test_names() -> None:
    assert name_classifier("simclr", "novel", "finetune") == "SimCLR, novel, finetuned"
    assert name_classifier("random", "", "finetune") == "from scratch"
    frozen = name_classifier("simclr", "novel", "probe")
    assert frozen == "SimCLR, novel, frozen: logistic regression"


def test_budgets_table() -> None:
    study = make_study()
    table = budgets_table(study)
    assert list(table.columns) == ["100 labels", "all labels"]
    assert list(table.index) == [
        "SimCLR, novel, finetuned",
        "SimCLR, novel, frozen: logistic regression",
        "from scratch",
    ]
    r = study.test("random", "finetune")["all"]
    low, high, _ = r.intervals["auroc"]
    cell = f"{r.metrics['auroc']:.3f} ({low:.3f}–{high:.3f})"
    assert table.loc["from scratch", "all labels"] == cell


def test_trainings_table() -> None:
    table = trainings_table(make_study())
    assert len(table) == 4
    row = table.loc[("from scratch", "100")]
    assert list(row) == ["0.001", "2", "6", "2 of 2", "0.700", "8 s"]
    blind = {("random", "100"): training(None), ("random", "all"): training(None)}
    study = make_study("random", trainings=blind)
    assert trainings_table(study).loc[("from scratch", "all"), "validation AUROC"] == "–"
    assert "last epoch were kept" in say_choices(study)
    assert "one standard error" in say_choices(make_study())


def test_which_budgets() -> None:
    budgets = [Budget("12", LabelBudget(torch.arange(12).numpy()))]
    said = say_budgets(budgets, ["5000 labels: left out."])
    assert said == "Trained on 12 labelled images.\n\n- 5000 labels: left out."


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "above training from scratch by +0.020, 95% interval +0.010 to +0.030"),
        (-0.03, -0.01, "**below** training from scratch"),
        (-0.01, 0.03, "no clear difference from training from scratch"),
    ],
)
def test_differences_in_words(
    low: float, high: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"auroc": Difference((low + high) / 2, low, high)}
    monkeypatch.setattr(finetuning, "compare", lambda *_: found)
    text = say_finetuning(make_study())
    assert len(text.splitlines()) == 2
    for line in text.splitlines():
        assert words in line
        assert "logistic regression on the frozen encoder" in line
    assert "scratch" not in say_finetuning(make_study(floors=False))
    assert "nothing to compare" in say_finetuning(make_study("random"))


def saving(count: int, equal: float, low: float, high: float) -> str:
    labels = "100" if count == 100 else "all"
    return say_savings(make_study(), [Saving(labels, count, 0.8, equal, low, high)])


def test_savings_in_words() -> None:
    assert saving(100, 640.4, 410.2, 903.1) == (
        "- **100 labels** with pretraining equal about 640 without "
        "(95% interval about 410 to about 900)."
    )
    assert saving(100, math.inf, math.inf, math.inf) == (
        "- **100 labels** with pretraining equal more than all 2,000 without "
        "(so is its 95% interval: more than all 2,000)."
    )
    assert "no clear saving; they equal about 130 without" in saving(100, 130, 0, 260)
    assert "fewer than 100 to about 260" in saving(100, 130, 0, 260)
    assert "no clear saving" in saving(2000, 2000, 1500, math.inf)
    assert "worth *fewer*" in saving(2000, 700, 400, 1100)
    assert "was computed" in say_savings(make_study(), [])


def test_counts_in_words() -> None:
    assert say_count(0, 100, 2000) == "fewer than 100"
    assert say_count(math.inf, 100, 2000) == "more than all 2,000"
    found = [say_count(x, 1, 9) for x in (7.4, 12.3, 99.6, 100, 1234, 89_996)]
    assert found == [
        "about 7", "about 12", "about 100", "about 100", "about 1,200", "about 90,000"
    ]  # fmt: skip


def test_savings_table() -> None:
    table = savings_table(make_study(), [Saving("100", 100, 0.8, 640, 410, math.inf)])
    assert list(table.loc["100 labels"]) == [
        "0.800",
        "about 640",
        "about 410",
        "more than all 2,000",
    ]


def test_headline() -> None:
    study = make_study()
    aurocs = [r.metrics["auroc"] for r in study.test("simclr", "finetune").values()]
    expected = f"test AUROC {aurocs[0]:.3f} (100), {aurocs[1]:.3f} (all)"
    assert headline(study) == f"SimCLR, novel, finetuned: {expected}"
    assert headline(make_study("random")).startswith("from scratch: test AUROC")


@pytest.mark.parametrize("method", ["simclr", "random"])
def test_figures(method: str) -> None:
    study = make_study(method)
    axes = plot_label_efficiency(study).axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[-1] == "from scratch"
    assert len(names) == (3 if method == "simclr" else 1)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["100", "2,000"]
    figure = plot_trainings(study)
    assert len(figure.axes) == 4
    blind = {("random", name): training(None) for name in COUNTS}
    plot_trainings(make_study("random", trainings=blind)).draw_without_rendering()
