"""Maps of features: components against scikit-learn, and what t-SNE and UMAP must keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lib.checks import ParameterError
from lib.evaluation.projection import (
    components_of,
    fit_components,
    fitting_perplexity,
    map_each,
    map_tsne,
    map_umap,
    middle_of,
    sweep_tsne,
    trust_in,
    usable_perplexities,
)


def groups(n: int = 60, D: int = 12, seed: int = 0) -> tuple[Any, Any]:
    """Three groups far apart in angle."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (0.3 * rng.normal(size=(n, D)) + 3 * np.eye(3, D)[y]).astype(np.float32), y


@pytest.mark.parametrize("shape", [(60, 12), (20, 50)])
def test_components_are_scikit_learn_s(shape: Any) -> None:
    h = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 0.1, shape[1])
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    model = PCA(svd_solver="full").fit(unit)
    found = fit_components(h)
    np.testing.assert_allclose(
        found.explained[: min(shape) - 1], model.explained_variance_ratio_[: min(shape) - 1],
        atol=1e-6,
    )  # fmt: skip
    theirs = model.transform(unit)[:, :2]
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(theirs), atol=1e-5)
    assert found.explained.sum() == pytest.approx(1)
    share = found.explained.cumsum()
    assert share[found.needed - 1] >= 0.9 > (share[found.needed - 2] if found.needed > 1 else 0)
    # The same sign whatever the order of the images.
    turned = fit_components(h[::-1])
    np.testing.assert_allclose(turned.coordinates[::-1], found.coordinates, atol=1e-5)


def test_components_of_next_to_nothing() -> None:
    same = fit_components(np.ones((10, 4)))
    assert same.needed == 0
    assert (same.coordinates == 0).all()
    line = fit_components(np.array([[1.0, 0], [0, 1], [1, 1], [2, 1]]))
    assert line.coordinates.shape == (4, 2)
    assert fit_components(np.array([[1.0], [-1], [1]])).coordinates.shape == (3, 2)
    with pytest.raises(ValueError, match="at least three"):
        fit_components(np.ones((2, 4)))
    assert list(components_of({"a": np.eye(4), "b": np.eye(5)})) == ["a", "b"]


def separation(points: Any, y: Any) -> float:
    """Distance between the nearest two centres over the widest group."""
    centres = np.stack([points[y == k].mean(axis=0) for k in range(3)])
    apart = min(np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    wide = max(np.linalg.norm(points[y == k] - centres[k], axis=1).mean() for k in range(3))
    return float(apart / wide)


def test_tsne_keeps_groups_and_repeats_itself() -> None:
    h, y = groups()
    first, wider = sweep_tsne(h, [5, 15], seed=0)
    assert (first.name, wider.name) == ("t-SNE, perplexity 5", "t-SNE, perplexity 15")
    assert separation(first.coordinates, y) > 2
    assert first.trust > 0.85
    again = map_tsne(h, 5, seed=0)
    np.testing.assert_array_equal(first.coordinates, again.coordinates)
    # Only angles count.
    scaled = map_tsne(h * np.linspace(1, 9, len(h))[:, None], 5, seed=0)
    np.testing.assert_allclose(scaled.trust, first.trust, atol=0.05)
    assert list(map_each({"a": h, "b": -h}, 5, 0)) == ["a", "b"]
    with pytest.raises(ValueError, match="below 60 images"):
        map_tsne(h, 60, 0)


def test_umap_keeps_groups_and_repeats_itself() -> None:
    h, y = groups()
    h[7] = 0  # a flat image among raw pixels
    found = map_umap(h, seed=0)
    assert found.name == "UMAP, 15 neighbours"
    assert np.isfinite(found.coordinates).all()
    keep = np.arange(60) != 7
    assert separation(found.coordinates[keep], y[keep]) > 2
    np.testing.assert_array_equal(found.coordinates, map_umap(h, seed=0).coordinates)
    assert map_umap(h[:8], seed=0).coordinates.shape == (8, 2)
    with pytest.raises(ValueError, match="at least five"):
        map_umap(h[:4], seed=0)


def test_trust_is_one_for_a_map_that_loses_nothing() -> None:
    angle = np.sort(np.random.default_rng(0).uniform(0, 2 * np.pi, 50))
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert trust_in(circle, circle) == pytest.approx(1)
    shuffled = np.random.default_rng(1).permutation(circle)
    assert trust_in(shuffled, circle) < 0.7
    assert 0 <= trust_in(circle[:5], circle[:5]) <= 1  # fewer images than neighbours


def test_perplexities_that_fit() -> None:
    usable, notes = usable_perplexities([100, 5, 30], 91)
    assert usable == [5, 30]
    assert notes == ["Perplexity 100: left out, too large for 91 images."]
    assert usable_perplexities([30], 90.0 + 1)[0] == [30]  # type: ignore[arg-type]
    assert usable_perplexities([5, 30], 90)[0] == [5]
    with pytest.raises(ParameterError, match="perplexities: 12 images allow values below 4"):
        usable_perplexities([5, 30], 12)
    assert middle_of([5, 30, 50, 100]) == 30
    assert middle_of([5, 100]) == 100
    assert middle_of([5]) == 5


def test_a_perplexity_that_fits() -> None:
    assert fitting_perplexity([5, 30, 100], 1000) == 30
    assert fitting_perplexity([5, 30, 100], 60) == 5
    assert fitting_perplexity([30], 48) == 12
    map_tsne(np.random.default_rng(0).normal(size=(12, 4)), fitting_perplexity([30], 12), seed=0)
