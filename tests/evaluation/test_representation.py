"""Numbers on a cloud of features: against scikit-learn, loops, and the paper's closed forms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_samples

from lib.augment import make_augment
from lib.evaluation.representation import (
    alignment,
    embed_plain,
    embed_two_views,
    knn_purity,
    silhouette_is_defined,
    silhouettes,
    uniformity,
)
from lib.models.embed import embed_images, flatten_pixels
from lib.models.encoder import build_encoder, freeze
from tests.synthetic import make_data


def groups(n: int = 40, D: int = 6, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 4
    return (rng.normal(size=(n, D)) + 2 * np.eye(4, D)[y]).astype(np.float32), y


def test_silhouettes_are_scikit_learn_s_by_cosine() -> None:
    h, y = groups()
    expected = silhouette_samples(h, y, metric="cosine")
    np.testing.assert_allclose(silhouettes(h, y), expected, atol=1e-5)
    np.testing.assert_allclose(silhouettes(7 * h, y), expected, atol=1e-5)
    # By the definition, for one image.
    u = h / np.linalg.norm(h, axis=1, keepdims=True)
    d = 1 - u @ u[0]
    a = d[(y == 0) & (np.arange(40) > 0)].mean()
    b = min(d[y == k].mean() for k in (1, 2, 3))
    assert silhouettes(h, y)[0] == pytest.approx((b - a) / max(a, b), abs=1e-5)


def test_silhouettes_need_two_classes() -> None:
    h, y = groups()
    for bad in (np.zeros(40, int), np.arange(40), np.eye(40, 3, dtype=int)):
        with pytest.raises(ValueError, match="at least two classes"):
            silhouettes(h, bad)
    assert silhouette_is_defined(y, "ordinal")
    assert not silhouette_is_defined(np.eye(40, 3, dtype=int), "multi-label")
    assert not silhouette_is_defined(np.zeros(40, int), "binary")
    h[3] = 0  # a flat image
    assert np.isfinite(silhouettes(h, y)).all()


@pytest.mark.parametrize("k", [1, 5, 39, 100])
def test_purity_is_counted_neighbour_by_neighbour(k: int) -> None:
    h, y = groups()
    u = h / np.linalg.norm(h, axis=1, keepdims=True)
    expected = []
    for i in range(40):
        order = [j for j in np.argsort(-(u @ u[i])) if j != i][:k]
        expected.append(np.mean([y[j] == y[i] for j in order]))
    np.testing.assert_allclose(knn_purity(h, y, k), expected)


def test_purity_of_several_labels_counts_shared_ones() -> None:
    h = np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1]])
    y = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [0, 1]])
    # Nearest other of each: 1, 0 (or 2), 1, 4, 3.
    found = knn_purity(h, y, 1)
    assert found[[0, 1, 2]].tolist() == [1, 1, 1]
    assert np.isnan(found[3])  # no label: no purity
    assert found[4] == 0  # its neighbour has no label


def test_alignment_is_the_paper_s() -> None:
    """The paper's appendix: `(x - y).norm(p=2, dim=1).pow(alpha).mean()`, x and y normalised."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30, 8))
    x, y = (torch.nn.functional.normalize(torch.from_numpy(v), dim=1) for v in (a, b))
    for alpha in (1.0, 2.0):
        expected = (x - y).norm(p=2, dim=1).pow(alpha)
        np.testing.assert_allclose(alignment(a, b, alpha), expected.numpy(), rtol=1e-5)
    np.testing.assert_allclose(alignment(a, b), 2 - 2 * (x * y).sum(dim=1).numpy(), rtol=1e-5)
    assert alignment(a, 3 * a) == pytest.approx(np.zeros(30), abs=1e-10)
    assert alignment(a, -a) == pytest.approx(np.full(30, 4.0), abs=1e-5)
    with pytest.raises(ValueError, match="same shape"):
        alignment(a, b[:2])


def test_uniformity_is_the_paper_s() -> None:
    """The paper's appendix: `torch.pdist(x, p=2).pow(2).mul(-t).exp().mean().log()`."""
    h = np.random.default_rng(0).normal(size=(30, 8))
    x = torch.nn.functional.normalize(torch.from_numpy(h), dim=1)
    for t in (1.0, 2.0):
        expected = torch.pdist(x).pow(2).mul(-t).exp().mean().log()
        assert uniformity(h, t) == pytest.approx(float(expected), abs=1e-5)
    values = [np.exp(-2 * np.square(p - q).sum()) for p, q in itertools.combinations(x.numpy(), 2)]
    assert uniformity(h) == pytest.approx(np.log(np.mean(values)), abs=1e-5)


def test_uniformity_in_closed_form() -> None:
    assert uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-6)
    assert uniformity([[1.0, 0], [-1, 0]]) == pytest.approx(-8)  # opposite: ‖x − y‖² = 4
    # Uniform on the circle: E exp(−2 (2 − 2 cos θ)) = exp(−4) I₀(4).
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert uniformity(circle) == pytest.approx(np.log(np.exp(-4) * np.i0(4.0)), abs=0.005)
    with pytest.raises(ValueError, match="at least two"):
        uniformity(np.ones((1, 3)))


def test_features_of_a_sample_are_those_of_the_split() -> None:
    data = make_data()
    images = data.splits["test"].images
    pixels = embed_plain(None, images, "cpu", "fp32")
    np.testing.assert_allclose(pixels, flatten_pixels(data)["test"], atol=1e-6)
    encoder = freeze(build_encoder("resnet18", "strided", 3, seed=0))
    h = embed_plain(encoder, images[:6], "cpu", "fp32")
    np.testing.assert_allclose(h, embed_images(encoder, images[:6], "cpu"), atol=1e-5)


def test_positive_pairs_are_two_views_the_same_for_every_encoder() -> None:
    images = make_data().splits["test"].images
    augment = make_augment("simple", 12, 3, blur_kernel=3)
    first, second = embed_two_views(None, images, augment, 0, "cpu", "fp32")
    again, _ = embed_two_views(None, images, augment, 0, "cpu", "fp32")
    other, _ = embed_two_views(None, images, augment, 1, "cpu", "fp32")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    view = augment(x, generator).permute(0, 2, 3, 1).flatten(1).numpy()
    np.testing.assert_allclose(first, view - view.mean(axis=1, keepdims=True), atol=1e-6)
    # A view of the same image is nearer than one of another.
    assert alignment(first, second).mean() < alignment(first, second[::-1].copy()).mean()
