"""The linear head: scikit-learn's logistic regression where both exist; what a remedy changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lib.data.base import DataError
from lib.evaluation.linear_head import fit_head
from lib.evaluation.remedies import make_objective
from lib.models.probe import LogisticProbe, fit_logistic
from lib.params import REMEDIES

D = 6


def blobs(counts: tuple[int, ...], seed: int = 0, spread: float = 1.5) -> tuple[Any, Any]:
    """Overlapping classes: features float32 [N, D], shuffled, and labels [N]."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(counts), D))
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    scales = np.linspace(0.5, 20, D)  # features of unequal size, as an encoder gives them
    h = (centres[y] + spread * rng.normal(size=(len(y), D))) * scales + 3
    return h.astype(np.float32), y


def fit(name: str, counts: tuple[int, ...] = (60, 25, 10), **options: Any) -> LogisticProbe:
    h, y = options.pop("train", None) or blobs(counts)
    K = options.pop("n_classes", len(counts))
    gamma, tau = options.pop("focal_gamma", 2.0), options.pop("adjustment", 1.0)
    objective = make_objective(name, y, K, focal_gamma=gamma, adjustment=tau)
    return fit_head(h, y, *blobs(counts, seed=1), objective, n_classes=K, **options)


def standard(h: Any) -> Any:
    return (h - h.mean(axis=0, dtype=float)) / h.std(axis=0, dtype=float)


@pytest.mark.parametrize("counts", [(60, 25, 10), (70, 20)])
@pytest.mark.parametrize("strength", [1e-3, 1e-1, 10.0])
def test_without_a_remedy_it_is_logistic_regression(
    counts: tuple[int, ...], strength: float
) -> None:
    h, y = blobs(counts)
    exact = LogisticRegression(C=strength, tol=1e-9, max_iter=5000).fit(standard(h), y)
    mine = fit("none", counts, strengths=[strength])
    assert mine.converged
    expected = exact.predict_proba(standard(h))
    np.testing.assert_allclose(mine.predict_proba(h), expected, atol=2e-4)
    probe = fit_logistic(
        h, y, *blobs(counts, seed=1), "multi-class", n_classes=len(counts), strengths=[strength]
    )
    np.testing.assert_allclose(mine.predict_proba(h), probe.predict_proba(h), atol=1e-3)
    assert mine.curve[strength] == pytest.approx(probe.curve[strength], abs=1e-3)


def test_it_chooses_as_the_probe_does_and_stops_when_it_gets_worse() -> None:
    h, y = blobs((60, 25, 10))
    probe = fit_logistic(h, y, *blobs((60, 25, 10), seed=1), "multi-class", n_classes=3)
    mine = fit("none")
    assert mine.strength == probe.strength
    assert mine.strength == min(mine.curve, key=lambda s: mine.curve[s])
    tried = list(mine.curve)
    assert tried == sorted(probe.curve)[: len(tried)]
    assert len(tried) in (tried.index(mine.strength) + 3, len(probe.curve))


def test_oversampling_and_class_weights_are_scikit_learn_s_balanced_fit() -> None:
    h, y = blobs((60, 25, 10))
    exact = LogisticRegression(C=0.1, tol=1e-9, max_iter=5000, class_weight="balanced")
    expected = exact.fit(standard(h), y).predict_proba(standard(h))
    for name in ("oversample", "class_weights"):
        found = fit(name, strengths=[0.1]).predict_proba(h)
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_oversampling_is_repeating_rare_images() -> None:
    h, y = blobs((60, 20, 10))
    repeated = np.repeat(np.arange(len(y)), np.array([1, 3, 6])[y])
    x = standard(h)
    # C counts images: with as many as there are now, the regularisation stays the same
    exact = LogisticRegression(C=0.1 * len(y) / len(repeated), tol=1e-9, max_iter=5000)
    expected = exact.fit(x[repeated], y[repeated]).predict_proba(x)
    found = fit("oversample", (60, 20, 10), strengths=[0.1]).predict_proba(h)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_fitted_to_the_end_balanced_softmax_is_logit_adjustment() -> None:
    h, _ = blobs((60, 25, 10))
    a = fit("balanced_softmax", strengths=[0.1]).predict_proba(h)
    b = fit("logit_adjustment", strengths=[0.1]).predict_proba(h)
    np.testing.assert_allclose(a, b, atol=5e-4)
    assert np.abs(a - fit("none", strengths=[0.1]).predict_proba(h)).max() > 0.1


def test_logit_adjustment_changes_the_biases_alone() -> None:
    plain = fit("none", strengths=[0.1])
    adjusted = fit("logit_adjustment", strengths=[0.1], adjustment=0.5)
    assert np.array_equal(plain.weight, adjusted.weight)
    prior = np.array([60, 25, 10]) / 95
    assert plain.bias - adjusted.bias == pytest.approx(0.5 * np.log(prior), abs=1e-6)


def test_focal_loss_is_at_a_minimum() -> None:
    h, y = blobs((60, 25, 10))
    mine = fit("focal", strengths=[0.1])
    assert mine.converged
    loss = make_objective("focal", y, 3, focal_gamma=2, adjustment=1).loss
    x, labels = torch.from_numpy(standard(h)), torch.from_numpy(y)

    def total(weight: Any, bias: Any) -> float:
        logits = x @ torch.from_numpy(weight).T + torch.from_numpy(bias)
        return float(loss(logits, labels)) + float((weight**2).sum()) / (2 * 0.1 * len(y))

    best, rng = total(mine.weight, mine.bias), np.random.default_rng(0)
    for _ in range(20):
        step = rng.normal(size=(3, D + 1)) * 0.05
        assert total(mine.weight + step[:, :D], mine.bias + step[:, D]) > best
    plain = fit("focal", strengths=[0.1], focal_gamma=0.0)
    np.testing.assert_allclose(
        plain.predict_proba(h), fit("none", strengths=[0.1]).predict_proba(h), atol=1e-6
    )


@pytest.mark.parametrize("name", ["oversample", "class_weights", "balanced_softmax"])
def test_remedies_raise_the_recall_of_the_rare_class(name: str) -> None:
    h, y = blobs((200, 40, 15), seed=3)

    def recall(remedy: str) -> float:
        p = fit(remedy, (200, 40, 15)).predict_proba(h)
        return float((p.argmax(axis=1) == y)[y == 2].mean())

    assert recall(name) > recall("none") + 0.2


def test_the_shift_of_the_prior_changes_the_choice_and_not_the_fits() -> None:
    shift = np.array([2.0, 0.0, -3.0])
    plain, shifted = fit("none"), fit("none", prior_shift=shift)
    common = set(plain.curve) & set(shifted.curve)
    assert all(plain.curve[s] != shifted.curve[s] for s in common)
    a, b = fit("none", strengths=[0.1]), fit("none", strengths=[0.1], prior_shift=shift)
    assert np.array_equal(a.bias, b.bias)
    h, y = blobs((60, 25, 10), seed=1)
    logits = (h - a.mean) / a.scale @ a.weight.T + a.bias - shift
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert b.curve[0.1] == pytest.approx(-log_p[np.arange(len(y)), y].mean())


@pytest.mark.parametrize("name", REMEDIES)
def test_a_class_without_training_images_gets_score_0(name: str) -> None:
    h, y = blobs((40, 20, 10, 10))
    keep = y != 2
    options = {"n_classes": 4, "strengths": [0.1, 1.0], "train": (h[keep], y[keep])}
    mine = fit(name, (40, 20, 10, 10), **options)
    p = mine.predict_proba(h)
    assert (p[:, 2] == 0).all()
    assert p.sum(axis=1) == pytest.approx(np.ones(len(h)), abs=1e-6)
    assert np.isfinite(list(mine.curve.values())).all()
    # Two of three classes left, of which the first is the reference.
    two = fit(name, (40, 20, 10, 10), **{**options, "train": (h[y % 2 == 1], y[y % 2 == 1])})
    assert (two.predict_proba(h)[:, [0, 2]] == 0).all()


def test_constant_features_are_ignored() -> None:
    h, y = blobs((60, 25, 10))
    wide = np.column_stack([h, np.full(len(h), 0.1, np.float32)])
    a = fit("none", strengths=[0.1]).predict_proba(h)
    v, y_v = blobs((60, 25, 10), seed=1)
    objective = make_objective("none", y, 3, focal_gamma=2, adjustment=1)
    odd = np.column_stack([v, np.full(len(v), 7.0, np.float32)])
    mine = fit_head(wide, y, odd, y_v, objective, n_classes=3, strengths=[0.1])
    np.testing.assert_allclose(mine.predict_proba(wide), a, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    h, y = blobs((60, 25, 10))
    objective = make_objective("none", y, 3, focal_gamma=2, adjustment=1)
    with pytest.raises(DataError, match="one label an image"):
        fit_head(h, y, h, y, objective, n_classes=3, task="multi-label")
    with pytest.raises(DataError, match="one label an image"):
        fit_head(h, np.eye(3, dtype=int)[y], h, y, objective, n_classes=3)
    with pytest.raises(ValueError, match="all images have the same label"):
        fit_head(h, np.zeros_like(y), h, y, objective, n_classes=3)
    with pytest.raises(ValueError, match="94 and 95 for 95 and 95 features"):
        fit_head(h, y[1:], h, y, objective, n_classes=3)
    with pytest.raises(ValueError, match="finite numbers"):
        fit_head(h * np.nan, y, h, y, objective, n_classes=3)
    with pytest.raises(ValueError, match="nothing to choose by"):
        fit_head(h[y < 2], y[y < 2], h[y == 2], y[y == 2], objective, n_classes=3)
