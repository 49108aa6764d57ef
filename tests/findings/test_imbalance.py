"""What is said and drawn of rare classes: numbers of the study, and words that follow intervals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lib.evaluation.evaluate import evaluate
from lib.evaluation.imbalance import RemedyStudy
from lib.evaluation.remedy_gains import Gain, remedy_gains
from lib.figures.imbalance import VERDICT_COLOURS, plot_gains, plot_recalls
from lib.findings.imbalance import (
    gains_table,
    headline,
    name_remedy,
    recalls_table,
    remedies_table,
    say_remedies,
    say_undersampling,
)
from lib.names import name_labels
from lib.statistics.bootstrap import paired_bootstrap
from lib.statistics.paired import holm
from lib.statistics.predictions import Predictions
from tests.figures.test_figures import png

CLASSES = ("actinic keratoses", "nevi", "df")  # the rarest last but one by name
COUNTS = np.array([300, 6000, 80])
N = 240


def predictions(skill: dict[int, float], protocol: str, labels: str, split: str, seed: int) -> Any:
    """Scores right for a share `skill` of each class, else for the class after it."""
    rng = np.random.default_rng(0 if split == "test" else 1)
    y = rng.permutation(np.repeat(np.arange(3), [60, 150, 30]))
    right = np.random.default_rng(seed).random(N) < np.array([skill[k] for k in y])
    decision = np.where(right, y, (y + 1) % 3)
    scores = 0.1 + 0.7 * np.eye(3)[decision]
    key = {"method": "simclr", "protocol": protocol, "labels": labels}
    ids = np.array([f"{split}-{i}" for i in range(N)])
    groups = np.array([f"patient-{i // 2}" for i in range(N)])
    return Predictions(
        ids, y, scores.astype(np.float32), "multi-class", CLASSES, split, groups, key
    )


def result(
    protocol: str, skill: tuple[float, float, float], labels: str = "all", split: str = "test"
) -> Any:
    # Without a remedy and with one that changes nothing, the same images are right.
    p = predictions(dict(enumerate(skill)), protocol, labels, split, seed=7)
    return evaluate(p, "novel", 100 if split == "test" else 0, 0)


def make_study(**skills: tuple[float, float, float]) -> RemedyStudy:
    """A study of no remedy and others: recall asked for by class, on both splits."""
    results, counts, chosen = [], {}, {}
    for name, skill in {"none": (0.5, 0.95, 0.3), **skills}.items():
        remedy, _, m = name.partition("_to_")
        protocol = "probe" if remedy == "none" else f"probe+{remedy}"
        labels = f"{m} per class" if m else "all"
        results += [result(protocol, skill, labels, split) for split in ("val", "test")]
        counts[protocol, labels] = np.minimum(COUNTS, int(m)) if m else COUNTS
        chosen["simclr", protocol, labels] = 0.1
    return RemedyStudy("probe", "simclr", results, counts, chosen)


@pytest.fixture(scope="module")
def study() -> RemedyStudy:
    return make_study(
        undersample_to_10=(0.65, 0.5, 0.6),
        class_weights=(0.8, 0.9, 0.8),
        focal=(0.5, 0.95, 0.3),
        logit_adjustment=(0.85, 0.9, 0.85),
    )


def test_names(study: RemedyStudy) -> None:
    assert [name_remedy(r) for r in study.on("test")] == [
        "no remedy", "undersampling to 10", "class weights", "focal loss", "logit adjustment",
    ]  # fmt: skip
    cut = dataclasses.replace(study.on("test")[1], labels="10 per class, tail 100")
    assert name_remedy(cut) == "undersampling to 10"


def test_labels_of_long_tails() -> None:
    assert name_labels("tail 100") == "long tail, 100:1"
    assert name_labels("25 per class, tail 100") == "25 labels per class of a long tail, 100:1"
    assert name_labels("25 per class") == "25 labels per class"
    assert name_labels("all") == "all labels"


# Tables


def test_remedies_table(study: RemedyStudy) -> None:
    table = remedies_table(study)
    assert list(table.columns) == [
        "images", "balanced accuracy", "macro AUROC", "macro F1", "accuracy"
    ]  # fmt: skip
    assert list(table["images"]) == ["6,380", "30", "6,380", "6,380", "6,380"]
    r = study.on("test")[2]
    interval = r.intervals["macro_f1"]
    expected = f"{r.metrics['macro_f1']:.3f} ({interval.low:.3f}–{interval.high:.3f})"
    assert table.loc["class weights", "macro F1"] == expected
    assert table.loc["class weights", "accuracy"] == f"{r.metrics['accuracy']:.3f}"


def test_the_floor_stands_last() -> None:
    study = make_study(focal=(0.5, 0.9, 0.4))
    floor = dataclasses.replace(study.on("test")[0], source="random", augment="")
    with_floor = dataclasses.replace(study, results=[*study.results, floor])
    assert list(remedies_table(with_floor).index) == [
        "no remedy", "focal loss", "no remedy, random encoder"
    ]  # fmt: skip
    assert list(recalls_table(with_floor).index) == ["no remedy", "focal loss"]


def test_recalls_stand_from_common_to_rare(study: RemedyStudy) -> None:
    table = recalls_table(study)
    assert list(table.columns) == ["nevi (6,000)", "actinic keratoses (300)", "df (80)"]
    r = study.on("test")[1]
    assert table.loc["undersampling to 10", "df (80)"].startswith(f"{r.metrics['recall_df']:.2f} (")


# Differences


def test_gains_are_the_paired_bootstrap_corrected_by_holm(study: RemedyStudy) -> None:
    none, *others = study.on("test")
    gains = remedy_gains(study, 300, 3)
    for g, r in zip(gains, others, strict=True):
        a, b = r.predictions, none.predictions
        d = paired_bootstrap(a.y, a.scores, b.scores, "multi-class", a.groups, n=300, seed=3)[
            "balanced_accuracy"
        ]
        assert (g.value, g.low, g.high) == pytest.approx((d.value, d.low, d.high))
        assert 2 / 301 <= g.p <= 1
    assert [g.corrected for g in gains] == pytest.approx(holm([g.p for g in gains]))
    assert [g.verdict for g in gains] == [
        "no clear difference", "better", "no clear difference", "better"
    ]  # fmt: skip
    same = gains[2]
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert gains[1].p == pytest.approx(2 / 301)


def test_correction_can_take_a_single_difference_back() -> None:
    assert Gain("probe+focal", "all", 0.1, 0.01, 0.2, 0.02, 0.02).verdict == "better"
    assert Gain("probe+focal", "all", -0.1, -0.2, -0.01, 0.02, 0.02).verdict == "worse"
    assert Gain("probe+focal", "all", 0.1, 0.01, 0.2, 0.02, 0.16).verdict == "no clear difference"
    assert Gain("probe+focal", "all", 0.1, 0.01, 0.2, 0.02, 0.05).verdict == "no clear difference"


def test_gains_table() -> None:
    table = gains_table([Gain("probe+focal", "all", 0.1, -0.05, 0.2, 0.2, 0.4)])
    assert table.loc["focal loss"].to_dict() == {
        "balanced accuracy": "+0.100 (-0.050 to +0.200)",
        "p": "0.200",
        "p by Holm": "0.400",
        "against no remedy": "no clear difference",
    }


# Sentences


def test_say_remedies_counts_what_is_clear(study: RemedyStudy) -> None:
    text = say_remedies(study, remedy_gains(study, 1000, 0), 1000)
    assert "Of 4 remedies **2 clearly better** (class weights, logit adjustment), 0 clearly" in text
    assert "2 without a clear difference" in text
    assert "Validation chooses **logit adjustment**" in text
    assert text.endswith("clearly better.")
    assert "resamples" not in text


def test_say_remedies_can_say_that_nothing_helps() -> None:
    study = make_study(focal=(0.5, 0.95, 0.3), oversample=(0.52, 0.94, 0.3))
    text = say_remedies(study, remedy_gains(study, 1000, 0), 1000)
    assert "**No clear difference**: none of 2 remedies is clearly better or worse" in text
    worse = make_study(undersample_to_10=(0.2, 0.3, 0.2), focal=(0.2, 0.5, 0.1))
    text = say_remedies(worse, remedy_gains(worse, 1000, 0), 1000)
    assert "**0 clearly better**, 2 clearly worse (undersampling to 10, focal loss)" in text
    assert "Validation chooses **no remedy**" in text


def test_say_remedies_says_when_there_are_too_few_resamples(study: RemedyStudy) -> None:
    text = say_remedies(study, remedy_gains(study, 100, 0), 100)
    assert "With 100 resamples the correction lets no single difference be clear" in text


def test_nothing_to_compare_or_to_choose_by() -> None:
    alone = make_study()
    assert say_remedies(alone, remedy_gains(alone, 100, 0)).startswith("No remedy was tried")
    study = make_study(focal=(0.9, 0.9, 0.9))
    blind = dataclasses.replace(study, results=study.on("test"))
    assert "cannot choose" in say_remedies(blind, remedy_gains(blind, 100, 0), 100)
    assert "chosen on validation" not in headline(blind)


def test_say_undersampling(study: RemedyStudy) -> None:
    noted = dataclasses.replace(study, notes=["Undersampling to 9,000: left out."])
    note, line = say_undersampling(noted, 200, 0).splitlines()
    assert note == "- Undersampling to 9,000: left out."
    assert line.startswith("- **Undersampling to 10 a class** keeps 30 of 6,380 images; balanced")
    assert "balanced accuracy no clear difference (" in line
    assert "accuracy down (-0." in line
    none, cut = study.on("test")[:2]
    for where, name in (("rarest", "df"), ("largest", "nevi")):
        before, after = none.metrics[f"recall_{name}"], cut.metrics[f"recall_{name}"]
        assert f"of the {where} class, {name}, {before:.2f} → {after:.2f}" in line
    up = make_study(undersample_to_25=(0.9, 0.9, 0.9))
    assert "; AUROC up (+" in say_undersampling(up, 200, 0)
    assert say_undersampling(make_study(focal=(0.5, 0.5, 0.5))) == "Undersampling was not tried."


def test_headline(study: RemedyStudy) -> None:
    none, best = study.on("test")[0], study.on("test")[-1]
    assert headline(study) == (
        f"SimCLR, novel: test balanced accuracy {none.metrics['balanced_accuracy']:.3f} without "
        f"remedy, {best.metrics['balanced_accuracy']:.3f} with logit adjustment "
        "(chosen on validation)"
    )
    assert headline(make_study(focal=(0.1, 0.1, 0.1))).endswith("without remedy")


# Figures


def test_the_heat_map_shows_every_recall(study: RemedyStudy) -> None:
    figure = plot_recalls(study)
    (axes,) = figure.axes
    order = ("nevi", "actinic keratoses", "df")
    expected = [f"{r.metrics[f'recall_{name}']:.2f}" for r in study.on("test") for name in order]
    assert [t.get_text() for t in axes.texts] == expected
    assert axes.images[0].get_clim() == (0, 1)
    names = [t.get_text() for t in axes.get_xticklabels()]
    assert names == ["nevi (6,000)", "actinic keratoses (300)", "df (80)"]
    assert next(t.get_text() for t in axes.get_yticklabels()) == "no remedy"
    png(figure)


def test_gains_are_drawn_with_their_intervals(study: RemedyStudy) -> None:
    gains = remedy_gains(study, 300, 0)
    figure = plot_gains(gains)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [name_remedy(g) for g in gains]
    for i, g in enumerate(gains):
        bar, dot = axes.lines[2 * i : 2 * i + 2]
        assert list(bar.get_xdata()) == [g.low, g.high]
        assert dot.get_xdata()[0] == g.value
        assert bar.get_color() == VERDICT_COLOURS[g.verdict]
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["better", "no clear difference"]
    png(figure)
    png(plot_gains([]))
