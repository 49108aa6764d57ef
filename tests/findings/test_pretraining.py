"""What is said of a pretraining, good or bad."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lib.batch.index_runs import LONGEST
from lib.findings.pretraining import headline, pretraining_table, say_pretraining
from lib.models.encoder import build_encoder
from lib.training.monitor import QUERIES
from lib.training.pretrain import Pretraining

HISTORY = [
    {"epoch": 1.0, "loss": 5.1234, "top1": 0.1, "top5": 0.2},
    {"epoch": 2.0, "loss": 4.0, "top1": 0.25, "top5": 0.5},
    {"epoch": 3.0, "loss": 3.5, "top1": 0.5, "top5": 0.75},
]


def result(before: float | None, after: float | None) -> Pretraining:
    encoder = build_encoder("resnet18", "strided", 1, seed=0)
    values: list[Any] = [encoder, HISTORY, 2, before, after, 12.5, 3000]
    return Pretraining(*values)


def test_table() -> None:
    table = pretraining_table(result(0.6, 0.81249))
    assert table[""].to_dict() == {
        "epochs": "3",
        "epoch kept": "2",
        "loss, first and last epoch": "5.123, 3.500",
        "other view ranked first, last epoch": "50.0%",
        "images per second (two views each)": "240",
        "time": "12 s",
        "validation kNN AUROC, untrained": "0.600",
        "validation kNN AUROC, epoch kept": "0.812",
    }
    assert len(pretraining_table(result(None, None))) == 6
    named = pretraining_table(result(None, None), "bf16, channels_last: 412 against 203 images/s")
    assert list(named[""])[-1] == "bf16, channels_last: 412 against 203 images/s"


@pytest.mark.parametrize(
    ("before", "after", "n_val", "verdict"),
    [
        (0.6, 0.8, 100, "a gain of 0.200, more than validation noise explains"),
        (0.6, 0.65, 100, "no clear difference"),
        (0.6, 0.65, 2000, "a gain of 0.050"),
        (0.65, 0.6, 100, "no clear difference"),
        (0.8, 0.6, 100, "0.200 lower than before training. Pretraining did harm here."),
        (0.6, 0.6, 10**6, "no clear difference"),
    ],
)
def test_sentences(before: float, after: float, n_val: int, verdict: str) -> None:
    text = say_pretraining(result(before, after), n_val)
    assert verdict in text
    assert f"went from {before:.3f} (untrained) to {after:.3f} (epoch 2 of 3)" in text
    words = ("a gain of", "no clear difference", "lower than")
    assert sum(word in text for word in words) == 1


def test_the_monitors_own_standard_error_decides() -> None:
    for error, verdict in ((0.04, "no clear difference"), (0.02, "a gain of 0.050")):
        of_many = dataclasses.replace(result(0.6, 0.65), auroc_error=error)
        text = say_pretraining(of_many, 500)
        assert verdict in text
        assert f"standard error of about {error:.3f}" in text


def test_no_more_images_are_claimed_than_the_monitor_looked_at() -> None:
    text = say_pretraining(result(0.6, 0.61), 11_219)
    assert text.startswith(f"On {QUERIES:,} validation images")
    assert "no clear difference" in text  # 0.01 is clear on 11,219 images, not on 2,000


def test_without_labels() -> None:
    assert "the encoder of the last epoch was kept" in say_pretraining(result(None, None), 50)


@pytest.mark.parametrize(("chance", "stuck"), [(None, False), (3.51, True), (4.8, False)])
def test_a_loss_that_stayed_at_chance_is_named(chance: float | None, stuck: bool) -> None:
    text = say_pretraining(dataclasses.replace(result(0.6, 0.8), chance=chance), 100)
    assert ("The loss ended at 3.500, and chance, all views alike, is 3.510" in text) == stuck
    assert ("a lower learning rate" in text) == stuck


@pytest.mark.parametrize(
    ("before", "after", "n_val", "line"),
    [
        (0.6, 0.8, 100, "Gained: validation kNN AUROC 0.600 → 0.800 (±0.100), epoch 2 of 3"),
        (0.6, 0.65, 100, "No clear difference: validation kNN AUROC 0.600 → 0.650 (±0.100), epoch"),
        (0.8, 0.6, 100, "Lost: validation kNN AUROC 0.800 → 0.600 (±0.100), epoch 2 of 3"),
        (None, None, 100, "Epoch 2 of 3, without a monitor, which needs labels"),
    ],
)
def test_the_index_is_told_the_verdict_first(
    before: float | None, after: float | None, n_val: int, line: str
) -> None:
    found = headline(result(before, after), n_val)
    assert found.startswith(line)
    assert len(found) <= LONGEST
    stuck = headline(dataclasses.replace(result(before, after), chance=3.51), n_val)
    assert stuck == f"Hardly learnt: the loss ended near chance. {found}"
