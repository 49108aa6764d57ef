"""Remedies: each against its paper's formula in slow loops, a closed form, and torch or sklearn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from lib.data.base import DataError
from lib.evaluation.remedies import class_weights, focal_loss, learnt_prior, make_objective
from lib.params import REMEDIES
from lib.training.objective import Objective, probabilities

COUNTS = (30, 12, 6, 2)
Y = np.repeat(np.arange(4), COUNTS)


def objective(name: str, y: Any = Y, K: int = 4, gamma: float = 2.0, tau: float = 1.0) -> Objective:
    return make_objective(name, y, K, focal_gamma=gamma, adjustment=tau)


def batch(n: int = 24, K: int = 4, seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, K, dtype=torch.float64, generator=generator)
    return logits, torch.randint(K, (n,), generator=generator)


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in row)
    return [math.exp(v) / total for v in row]


# Losses


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_the_paper_s_sum(gamma: float) -> None:
    logits, y = batch()
    expected = 0.0
    for row, k in zip(logits.tolist(), y.tolist(), strict=True):
        p = softmax(row)[k]
        expected += -((1 - p) ** gamma) * math.log(p) / len(y)
    assert objective("focal", gamma=gamma).loss(logits, y).item() == pytest.approx(expected)


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    logits, y = batch()
    expected = F.cross_entropy(logits, y)
    torch.testing.assert_close(objective("focal", gamma=0).loss(logits, y), expected)
    assert objective("focal", gamma=2).loss(logits, y) < expected


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_has_a_gradient_where_the_class_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = focal_loss(gamma)(logits, torch.tensor([0, 0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] == pytest.approx(-0.5, abs=1e-4)  # hopelessly wrong: as cross-entropy


def test_balanced_softmax_is_its_formula() -> None:
    logits, y = batch()
    expected = 0.0
    for row, k in zip(logits.tolist(), y.tolist(), strict=True):
        weighted = [n * math.exp(v) for n, v in zip(COUNTS, row, strict=True)]
        expected += -math.log(weighted[k] / sum(weighted)) / len(y)
    assert objective("balanced_softmax").loss(logits, y).item() == pytest.approx(expected)
    assert objective("balanced_softmax").offset is None


def test_weighted_cross_entropy_is_torch_s() -> None:
    logits, y = batch()
    found = objective("class_weights").loss(logits, y)
    weight = torch.from_numpy(class_weights(COUNTS))
    summed = F.cross_entropy(logits, y, weight, reduction="sum")
    torch.testing.assert_close(found, summed / len(y))
    # Over all images the weights average to 1, and torch's own mean is the same.
    logits, y = batch(len(Y))[0], torch.from_numpy(Y)
    mean = F.cross_entropy(logits, y, weight)
    torch.testing.assert_close(objective("class_weights").loss(logits, y), mean)


def test_class_weights_are_scikit_learn_s_balanced_ones() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(4), y=Y)
    assert class_weights(COUNTS) == pytest.approx(expected)
    assert class_weights(COUNTS)[Y].mean() == pytest.approx(1)
    assert class_weights((5, 5, 5)) == pytest.approx([1, 1, 1])
    assert class_weights((6, 0, 2)) == pytest.approx([8 / 12, 0, 8 / 4])


@pytest.mark.parametrize("name", REMEDIES)
def test_gradients(name: str) -> None:
    logits, y = batch(6)
    loss = objective(name).loss
    assert torch.autograd.gradcheck(lambda z: loss(z, y), logits.requires_grad_())


@pytest.mark.parametrize("name", REMEDIES)
def test_low_precision_logits_are_not_summed_in_low_precision(name: str) -> None:
    logits, y = batch(512)
    half = logits.bfloat16()
    found = objective(name).loss(half, y)
    assert found.dtype == torch.float32
    expected = objective(name).loss(half.double(), y)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["class_weights", "balanced_softmax", "focal"])
def test_equal_classes_need_no_remedy(name: str) -> None:
    logits, y = batch()
    even = objective(name, np.arange(40) % 4, gamma=0).loss(logits, y)
    torch.testing.assert_close(even, F.cross_entropy(logits, y), check_dtype=False)


# Sampling


def test_oversampling_makes_expected_class_counts_equal() -> None:
    weights = objective("oversample").sample_weights
    assert weights is not None
    assert weights.shape == Y.shape
    expected = [len(Y) * float(weights[k == Y].sum() / weights.sum()) for k in range(4)]
    assert expected == pytest.approx([len(Y) / 4] * 4)
    generator = torch.Generator().manual_seed(0)
    drawn = Y[torch.multinomial(weights, 40_000, True, generator=generator).numpy()]
    # 10,000 of each expected; the standard deviation of a count is 87
    assert np.bincount(drawn) == pytest.approx([10_000] * 4, abs=400)


def test_the_others_draw_each_image_once() -> None:
    for name in set(REMEDIES) - {"oversample"}:
        assert objective(name).sample_weights is None


# Offsets


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjustment_divides_probabilities_by_the_prior(tau: float) -> None:
    logits, y = batch()
    adjusted = objective("logit_adjustment", tau=tau)
    torch.testing.assert_close(adjusted.loss(logits, y), F.cross_entropy(logits, y))
    prior = np.array(COUNTS) / len(Y)
    p = logits.softmax(dim=1).numpy() / prior**tau
    expected = p / p.sum(axis=1, keepdims=True)
    found = probabilities(logits, "multi-class", adjusted.offset)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_a_class_that_was_not_trained_is_not_predicted() -> None:
    logits = torch.zeros(1, 4)
    y = np.array([0, 0, 0, 2, 3])  # of four classes, the second has no image
    for name in ("balanced_softmax", "logit_adjustment"):
        found = objective(name, y)
        p = probabilities(logits, "multi-class", found.offset)[0]
        assert p[1] == 0
        assert p.sum() == pytest.approx(1)
        assert torch.isfinite(found.loss(batch()[0], torch.from_numpy(np.array([0, 2, 3] * 8))))


def test_the_prior_that_a_remedy_learns() -> None:
    even = ("oversample", "class_weights", "balanced_softmax")
    for name in REMEDIES:
        expected = [0.25] * 4 if name in even else np.array(COUNTS) / 50
        assert learnt_prior(name, Y, 4) == pytest.approx(expected)
    assert learnt_prior("oversample", [0, 0, 2], 3) == pytest.approx([0.5, 0, 0.5])
    assert learnt_prior("none", [0, 0, 2], 3) == pytest.approx([2 / 3, 0, 1 / 3])


# What cannot be


def test_several_labels_an_image_are_refused() -> None:
    with pytest.raises(DataError, match="one label an image"):
        objective("oversample", np.zeros((4, 3), int))


def test_unknown_remedies_and_labels_are_named() -> None:
    with pytest.raises(ValueError, match=r"'smote' is not one of none, undersample"):
        objective("smote")
    with pytest.raises(ValueError, match="expected labels 0 to 2"):
        objective("focal", [0, 1, 3], K=3)
