"""Choosing on the test split: every rule takes its own check, and luck is told from merit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib.data.base import DataError, labels_of
from lib.evaluation.selection import RULES, Course, course_of, halving_weights
from lib.findings.selection import price_table, say_order, say_selection, selection_table
from lib.models.encoder import build_encoder
from lib.statistics.metrics import compute_metrics
from lib.training.finetune import Finetuned, FinetuneRecipe, finetune
from lib.training.witness import Witness
from tests.synthetic import make_data

RECIPE = FinetuneRecipe(
    epochs=3, min_steps=1, warmup_epochs=0.0, batch_size=16, optimizer="adamw", lrs=(0.003, 0.001),
    weight_decay=0.0, gradient_clip=0.0, layer_decay=1.0, freeze_stages=0, train_augment="none",
    val_every=1, seed=0,
)  # fmt: skip
ABOUT = ("simclr", "novel", "finetune", "all")


def scratch() -> Any:
    return build_encoder("resnet18", "strided", 3, seed=0)


def noise(n: int, seed: int, task: str = "multi-class") -> tuple[Any, Finetuned]:
    """Data and trainings whose scores at n checks are noise, with validation as blind as test."""
    data = make_data(task)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    shape = len(data.classes)

    def scores(split: str) -> torch.Tensor:
        p = rng.random((len(data.splits[split]), shape)).astype(np.float32)
        return torch.from_numpy(p / p.sum(axis=1, keepdims=True))

    seen = {0.1: {e: {s: scores(s) for s in ("val", "test")} for e in range(1, n + 1)}}
    tuned = Finetuned(scratch(), torch.nn.Linear(2, 2), data.task, None, 0.1, [], n, None, 1, 0.0)
    tuned.seen = seen
    return data, tuned


def test_a_witness_sees_every_check_and_changes_nothing(tmp_path: Path) -> None:
    data = make_data("multi-class")
    rows = np.arange(len(data.splits["train"]))
    witness = Witness(data, ("val", "test"), "cpu", "fp32")
    watched = finetune(scratch, data, rows, RECIPE, tmp_path / "a", witness=witness)
    alone = finetune(scratch, data, rows, RECIPE, tmp_path / "b")
    for name, tensor in alone.encoder.state_dict().items():
        assert torch.equal(tensor, watched.encoder.state_dict()[name]), name
    assert (alone.lr, alone.selected) == (watched.lr, watched.selected)
    assert alone.seen == {0.003: {}, 0.001: {}}
    assert {lr: list(seen) for lr, seen in watched.seen.items()} == {
        0.003: [1, 2, 3],
        0.001: [1, 2, 3],
    }
    kept = watched.seen[watched.lr][watched.selected]["test"].numpy()
    assert np.allclose(kept, watched.scores(data.splits["test"].images), atol=1e-6)
    again = finetune(scratch, data, rows, RECIPE, tmp_path / "a", witness=witness)
    assert torch.equal(again.seen[0.001][2]["val"], watched.seen[0.001][2]["val"])


def test_each_rule_takes_its_check() -> None:
    data, tuned = noise(8, seed=0)
    course = course_of(tuned, data, ABOUT, halvings=4, seed=0)
    for metric in ("auroc", "accuracy"):
        by: dict[str, list[float]] = {"val": [], "test": []}
        for seen in tuned.seen[0.1].values():
            for split, found in by.items():
                y = labels_of(data, split)
                found.append(compute_metrics(y, seen[split], data.task)[metric])
        assert course.scores["test", metric] == pytest.approx(by["test"])
        assert course.chosen[metric, "validation"] == int(np.argmax(by["val"]))
        assert course.chosen[metric, "test"] == int(np.argmax(by["test"]))
        assert course.chosen[metric, "last"] == course.chosen[metric, "kept"] == 7
        assert course.test(metric, "test") == pytest.approx(max(by["test"]))
        assert course.overstated(metric) >= 0


def test_what_was_luck_is_found_to_be_luck() -> None:
    gains, optimism = [], []
    for seed in range(20):
        data, tuned = noise(30, seed)
        course = course_of(tuned, data, ABOUT, halvings=40, seed=seed)
        gains.append(course.on_other_half("accuracy"))
        optimism.append(course.optimism("accuracy"))
    # Scores are noise: the best of 30 looks good on its half, and is worth nothing on the other.
    assert np.mean(optimism) > 0.15
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(len(gains))


def test_a_single_check_has_no_optimism_to_speak_of() -> None:
    data, tuned = noise(1, seed=3)
    course = course_of(tuned, data, ABOUT, halvings=200, seed=0)
    assert course.overstated("auroc") == 0
    assert course.on_other_half("auroc") == 0
    assert abs(course.optimism("auroc")) < 0.03


@pytest.mark.parametrize("n", [20, 21])
def test_halves_are_stratified_and_complete(n: int) -> None:
    y = np.array([0] * n + [1] * 7 + [2] * 2)
    weights = halving_weights(y, 6, seed=0)
    assert set(np.unique(weights)) == {0.0, 1.0}
    for k in (0, 1, 2):
        assert {abs(2 * row[y == k].sum() - (y == k).sum()) for row in weights} <= {0.0, 1.0}
    assert len({row.tobytes() for row in weights}) == 6
    several = halving_weights(np.ones((11, 3), np.int64), 2, seed=0)
    assert [row.sum() for row in several] == [5, 5]


def test_a_patient_lies_in_one_half() -> None:
    groups = np.repeat([f"p{i}" for i in range(20)], 2)
    y = np.repeat([0, 1], 20)
    y[1] = 1  # a patient of two classes
    weights = halving_weights(y, 8, seed=0, groups=groups)
    np.testing.assert_array_equal(weights[:, ::2], weights[:, 1::2])
    for row in weights:
        assert row.sum() == 20
        assert row[20:].sum() == 10
    assert len({row.tobytes() for row in weights}) == 8
    names = np.array([f"{i:02}" for i in range(40)])
    # Groups of one image each are no groups.
    np.testing.assert_array_equal(halving_weights(y, 3, 0, names), halving_weights(y, 3, 0))


def test_a_class_of_one_test_image_cannot_be_halved() -> None:
    course = Course(*ABOUT, ((0.1, 1),), {}, {"auroc": np.full((2, 3, 1), np.nan)}, {})
    with pytest.raises(DataError, match="too few images of a class"):
        course.optimism("auroc")


def made(name: str, validation: float, test: float, labels: str = "all") -> Course:
    """A course of two checks: validation takes the first, test the second."""
    scores = {("val", "auroc"): np.array([0.9, 0.8])}
    scores["test", "auroc"] = np.array([validation, test])
    halves = {"auroc": np.array([[[validation, test]], [[validation, test - 0.02]]])}
    chosen = {("auroc", rule): int(rule == "test") for rule in RULES}
    return Course(name, "", "finetune", labels, ((0.1, 1), (0.1, 2)), scores, halves, chosen)  # type: ignore[arg-type]


def test_words_and_tables() -> None:
    courses = [made("random", 0.70, 0.74), made("simclr", 0.72, 0.73)]
    text = say_selection(courses, "auroc")
    assert "0.700 chosen on validation, 0.740 chosen on test: +4.0 points" in text
    assert "scores -2.0 points on the other half, where it is better" in text
    assert "best training is SimCLR, finetuned by validation, from scratch by test" in text
    table = selection_table(courses, "auroc")
    assert len(table) == 8
    assert list(table["AUROC"])[:4] == ["0.700", "0.700", "0.700", "0.740"]
    assert table.index[3][2] == "TEST, its maximum (the wrong protocol)"
    assert list(price_table(courses, "auroc")["test instead of validation's best"]) == [
        "+4.0",
        "+1.0",
    ]
    same = [made("random", 0.70, 0.71), made("simclr", 0.72, 0.73)]
    assert say_order(same, "auroc") == "Which training is best does not change, at any budget."
    assert say_order(same[:1], "auroc") == ""
