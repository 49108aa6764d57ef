"""The linear probe against scikit-learn, the kNN probe against brute force, and what they see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from lib.models.probe import STRENGTHS, fit_logistic, knn_scores


def features(
    N: int = 200, D: int = 6, K: int = 4, noise: float = 1.0, seed: int = 0
) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(100).normal(size=(K, D))
    y = rng.integers(0, K, N)
    h = (centres[y] + noise * rng.normal(size=(N, D))) * np.logspace(-2, 2, D) + 5
    return h.astype(np.float32), y


@pytest.mark.parametrize("K", [2, 4])
def test_equals_scikit_learn_on_standardised_features(K: int) -> None:
    h, y = features(K=K)
    v, y_v = features(K=K, seed=1)
    q, _ = features(K=K, seed=2)
    probe = fit_logistic(h, y, v, y_v, "multi-class", n_classes=K)
    scaler = StandardScaler().fit(h.astype(np.float64))
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
        model.fit(scaler.transform(h), y)
        expected = log_loss(y_v, model.predict_proba(scaler.transform(v)))
        assert probe.curve[strength] == pytest.approx(expected, rel=2e-3)
        if strength == probe.strength:
            found = probe.predict_proba(q)
            np.testing.assert_allclose(found, model.predict_proba(scaler.transform(q)), atol=3e-3)
            assert found.dtype == np.float32
    assert probe.converged


def test_the_strength_is_chosen_on_validation_only() -> None:
    # few images, many features of noise: training and a test set that repeats it want no
    # regularisation, validation wants much
    h, y = features(N=60, D=40, K=2, noise=4)
    v, y_v = features(N=2000, D=40, K=2, noise=4, seed=1)
    probe = fit_logistic(h, y, v, y_v, "binary", n_classes=2)

    def loss(strength: float, x: Any, t: Any) -> float:
        fixed = fit_logistic(h, y, v, y_v, "binary", n_classes=2, strengths=[strength])
        return float(log_loss(t, fixed.predict_proba(x)))

    on_train = min(STRENGTHS, key=lambda c: loss(c, h, y))
    on_validation = min(STRENGTHS, key=lambda c: loss(c, v, y_v))
    assert probe.strength == on_validation < on_train
    assert probe.strength == min(probe.curve, key=lambda c: probe.curve[c])
    # other validation labels make no difference to the weights of a given strength
    a = fit_logistic(h, y, v, y_v, "binary", n_classes=2, strengths=[1.0])
    b = fit_logistic(h, y, v[:9], 1 - y_v[:9], "binary", n_classes=2, strengths=[1.0])
    assert (a.weight == b.weight).all() and (a.mean == b.mean).all()


def test_ties_go_to_stronger_regularisation() -> None:
    h, y = features(K=2)
    v = np.repeat(h.mean(axis=0, keepdims=True), 4, axis=0)
    constant = np.ones_like(h)  # no strength can matter
    y = np.arange(len(y)) % 2
    probe = fit_logistic(constant, y, v, [0, 1, 0, 1], "binary", n_classes=2, strengths=[10, 0.1])
    assert probe.strength == 0.1 and list(probe.curve) == [0.1, 10]
    np.testing.assert_allclose(probe.predict_proba(v), 0.5, atol=1e-6)


def test_constant_features_are_ignored() -> None:
    h, y = features()
    v, y_v = features(seed=1)
    more = [np.concatenate([x, np.full((len(x), 1), c)], axis=1) for x, c in ((h, 0.1), (v, 7.0))]
    plain = fit_logistic(h, y, v, y_v, "ordinal", n_classes=4)
    padded = fit_logistic(more[0], y, more[1], y_v, "ordinal", n_classes=4)
    np.testing.assert_allclose(padded.predict_proba(more[1]), plain.predict_proba(v), atol=1e-5)


@pytest.mark.parametrize("present", [[0, 2, 5], [1, 4]])
def test_classes_that_training_lacks_get_score_zero(present: list[int]) -> None:
    h, y = features(K=6, N=400)
    v, y_v = features(K=6, seed=1)
    rows = np.isin(y, present)
    probe = fit_logistic(h[rows], y[rows], v, y_v, "multi-class", n_classes=6)
    scores = probe.predict_proba(v)
    absent = [k for k in range(6) if k not in present]
    assert scores.shape == (len(v), 6) and (scores[:, absent] == 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    # validation images of absent classes do not vote: leaving them out changes nothing
    seen = np.isin(y_v, present)
    assert (
        fit_logistic(h[rows], y[rows], v[seen], y_v[seen], "multi-class", n_classes=6).curve
        == probe.curve
    )
    right = scores.argmax(axis=1) == y_v
    assert right[seen].mean() > 0.7


def test_multi_label_is_one_problem_per_label() -> None:
    h, kind = features(K=4)
    v, kind_v = features(K=4, seed=1)
    table = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 0, 1]])
    y, y_v = table[kind].astype(np.uint8), table[kind_v].astype(np.uint8)
    probe = fit_logistic(h, y, v, y_v, "multi-label", n_classes=5)
    scores = probe.predict_proba(v)
    assert (scores[:, 3] == 0).all() and (scores[:, 4] == 1).all()  # one value in training
    curves = []
    for k in range(3):
        alone = fit_logistic(h, y[:, k], v, y_v[:, k], "binary", n_classes=2)
        curves.append([alone.curve[c] for c in STRENGTHS])
        same = fit_logistic(
            h, y[:, k], v, y_v[:, k], "binary", n_classes=2,
            strengths=[c for c in STRENGTHS if c <= probe.strength][-1:],
        )  # fmt: skip
        np.testing.assert_allclose(scores[:, k], same.predict_proba(v)[:, 1], atol=5e-3)
    np.testing.assert_allclose(list(probe.curve.values()), np.mean(curves, axis=0), rtol=1e-6)


def test_inputs_are_left_as_they_were() -> None:
    h, y = features()
    v, y_v = features(seed=1)
    before = [x.copy() for x in (h, y, v, y_v)]
    fit_logistic(h, y, v, y_v, "multi-class", n_classes=4).predict_proba(v)
    tensors = [torch.from_numpy(x) for x in (h, y, v)]
    knn_scores(*tensors, task="multi-class", n_classes=4)
    for x, copy in zip((h, y, v, y_v), before, strict=True):
        assert (x == copy).all()


def test_a_stopped_optimiser_is_reported() -> None:
    h, y = features(noise=3, D=30)
    stopped = fit_logistic(h, y, h, y, "multi-class", n_classes=4, strengths=[100], max_iter=2)
    assert not stopped.converged


def test_refusals() -> None:
    h, y = features()
    with pytest.raises(ValueError, match="same label"):
        fit_logistic(h, np.zeros_like(y), h, y, "multi-class", n_classes=4)
    with pytest.raises(ValueError, match="y_val: expected 0 to 2; found 0 to 3"):
        fit_logistic(h, np.minimum(y, 2), h, y, "multi-class", n_classes=3)
    with pytest.raises(ValueError, match=r"y_train: expected \[200, 4\]"):
        fit_logistic(h, y, h, y, "multi-label", n_classes=4)
    with pytest.raises(ValueError, match="h_val: expected finite"):
        fit_logistic(h, y, np.full_like(h, np.nan), y, "multi-class", n_classes=4)
    with pytest.raises(ValueError, match="y_val: no label"):
        fit_logistic(h[y < 2], y[y < 2], h[y == 3], y[y == 3], "multi-class", n_classes=4)
    with pytest.raises(ValueError, match="strengths"):
        fit_logistic(h, y, h, y, "multi-class", n_classes=4, strengths=[0.0])


@pytest.mark.parametrize("k", [1, 5, 500])
def test_knn_equals_scikit_learn(k: int) -> None:
    h, y = features(N=150)
    q, _ = features(N=60, seed=1)
    found = knn_scores(
        *map(torch.from_numpy, (h, y, q)), task="multi-class", n_classes=4, k=k, batch=17
    )
    model = KNeighborsClassifier(
        min(k, 150), metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.1)
    )
    np.testing.assert_allclose(found, model.fit(h, y).predict_proba(q), atol=2e-5)
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-6)


def test_knn_equals_brute_force_with_several_labels() -> None:
    h, _ = features(N=40)
    q, _ = features(N=9, seed=1)
    y = (np.random.default_rng(0).random((40, 3)) < 0.4).astype(np.uint8)
    bank, queries = (torch.from_numpy(x).double() for x in (h, q))
    found = knn_scores(
        bank, torch.from_numpy(y), queries, task="multi-label", n_classes=3, k=7, temperature=0.3
    )
    for n in range(9):
        s = [float(bank[m] @ queries[n] / bank[m].norm() / queries[n].norm()) for m in range(40)]
        nearest = sorted(range(40), key=lambda m: -s[m])[:7]
        w = [np.exp(s[m] / 0.3) for m in nearest]
        expected = sum(wi * y[m] for wi, m in zip(w, nearest, strict=True)) / sum(w)
        np.testing.assert_allclose(found[n], expected, rtol=1e-9)


def test_knn_survives_small_temperatures_and_autocast() -> None:
    bank = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    sharp = knn_scores(bank, labels, bank, task="multi-class", n_classes=4, temperature=1e-3)
    assert (sharp.argmax(dim=1) == labels).all()  # each image finds itself
    plain = knn_scores(bank, labels, bank, task="multi-class", n_classes=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = knn_scores(bank, labels, bank, task="multi-class", n_classes=4)
    assert inside.dtype == torch.float32 and torch.equal(inside, plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_knn_on_the_device_of_its_inputs() -> None:
    inputs = [torch.from_numpy(x) for x in (*features(N=150), features(N=60, seed=1)[0])]
    there = knn_scores(*(x.cuda() for x in inputs), task="multi-class", n_classes=4)
    here = knn_scores(*inputs, task="multi-class", n_classes=4)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)


def test_knn_refusals() -> None:
    h, y = torch.ones(5, 3), torch.zeros(5, dtype=torch.long)
    with pytest.raises(ValueError, match="h_bank, h_query"):
        knn_scores(h, y, h[:, :2], task="multi-class", n_classes=4)
    with pytest.raises(ValueError, match="y_bank"):
        knn_scores(h, y[:4], h, task="multi-class", n_classes=4)
    with pytest.raises(ValueError, match="k, temperature"):
        knn_scores(h, y, h, task="multi-class", n_classes=4, k=0)


def test_knn_in_blocks_is_knn_over_the_whole_bank() -> None:
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(n, 6, generator=generator) for n in (101, 13))
    y = torch.randint(4, (101,), generator=generator)
    several = torch.randint(2, (101, 4), generator=generator)
    for task, labels in (("multi-class", y), ("multi-label", several)):
        for k in (5, 40, 200):
            whole, blocks = (
                knn_scores(bank, labels, queries, task=task, n_classes=4, k=k, batch=4, block=block)
                for block in (101, 16)
            )
            assert torch.allclose(whole, blocks, atol=1e-6)
