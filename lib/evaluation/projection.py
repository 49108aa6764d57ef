"""Two-dimensional maps of features: principal components, t-SNE, UMAP."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.checks import ParameterError
from lib.evaluation.representation import unit_rows

Array = npt.NDArray[np.float64]
SHARE = 0.9  # of the variance, for the number of components that is reported
DENOISED = 50  # components that t-SNE starts from, as van der Maaten & Hinton 2008 do
NEIGHBOURS = 10  # of an image, for how far a map can be trusted


@dataclass(frozen=True)
class Components:
    """Principal components. coordinates: float64 [N, 2]; explained: [R], share of the variance of
    each component, the largest first; needed: how many hold SHARE of it.
    """

    coordinates: Array
    explained: Array
    needed: int


@dataclass(frozen=True)
class Map:
    """A map of features. name: as printed; coordinates: float64 [N, 2]; trust: `trust_in`."""

    name: str
    coordinates: Array
    trust: float


def fit_components(h: npt.ArrayLike) -> Components:
    """Principal component analysis of features [N, D], each scaled to length 1 before.

    Signs are fixed: the largest entry of a component is positive. Features that are all alike
    explain nothing: shares of 0, and none needed. Raises ValueError for fewer than three images.
    """
    unit = unit_rows(h).astype(np.float64)
    if len(unit) < 3:
        raise ValueError(f"h: expected at least three images; found {len(unit)}")
    left, values, components = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    if values[0] <= 1e-6 * len(unit) ** 0.5:
        return Components(np.zeros((len(unit), 2)), np.zeros(len(values)), 0)
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    coordinates = (left * values * signs)[:, :2]
    if coordinates.shape[1] < 2:
        coordinates = np.pad(coordinates, ((0, 0), (0, 1)))
    explained = values**2 / np.square(values).sum()
    needed = int(np.searchsorted(explained.cumsum(), SHARE - 1e-12) + 1)
    return Components(np.asarray(coordinates), np.asarray(explained), needed)


def usable_perplexities(perplexities: Sequence[float], n: int) -> tuple[list[float], list[str]]:
    """Perplexities below n / 3, and a line for each left out: a perplexity is about the number of
    neighbours that an image attends to, and with more than a third all are. Raises ParameterError
    where none is usable.
    """
    usable = [p for p in sorted(perplexities) if p < n / 3]
    left = [p for p in sorted(perplexities) if p >= n / 3]
    if not usable:
        raise ParameterError(
            f"perplexities: {n:,} images allow values below {n / 3:.0f}; give one, or show more"
        )
    notes = [f"Perplexity {p:g}: left out, too large for {n:,} images." for p in left]
    return usable, notes


def fitting_perplexity(perplexities: Sequence[float], n: int) -> float:
    """The perplexity for one map of n images: nearest to 30 of the usable ones, else n / 4."""
    usable = [p for p in perplexities if p < n / 3]
    return middle_of(usable) if usable else n / 4


def map_tsne(h: npt.ArrayLike, perplexity: float, seed: int) -> Map:
    """t-SNE (van der Maaten & Hinton 2008; Barnes-Hut) of features [N, D] scaled to length 1.

    Distances are those of the first DENOISED components, and the map starts from the first two.
    Raises ValueError for a perplexity that is not below N.
    """
    from sklearn.manifold import TSNE

    unit = unit_rows(h)
    if not perplexity < len(unit):
        raise ValueError(f"perplexity: expected below {len(unit)} images; found {perplexity:g}")
    start = _denoise(unit)
    model = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    coordinates = np.asarray(model.fit_transform(start), np.float64)
    return Map(f"t-SNE, perplexity {perplexity:g}", coordinates, trust_in(coordinates, unit))


def map_umap(h: npt.ArrayLike, seed: int, neighbours: int = 15) -> Map:
    """UMAP (McInnes, Healy & Melville 2018) of features [N, D] scaled to length 1.

    Distances between unit vectors order neighbours as cosine does, and are defined for a row of
    zeros too. With a seed it runs on one thread, and gives the same map again. Raises ValueError
    for fewer than five images.
    """
    unit = unit_rows(h)
    if len(unit) < 5:
        raise ValueError(f"h: expected at least five images; found {len(unit)}")
    with warnings.catch_warnings():
        # Told of its own choice of one thread, and of small graphs in several parts.
        warnings.simplefilter("ignore")
        from umap import UMAP

        k = min(neighbours, len(unit) - 2)
        model = UMAP(n_neighbors=k, init="pca", random_state=seed, n_jobs=1)
        coordinates = np.asarray(model.fit_transform(unit), np.float64)
    return Map(f"UMAP, {k} neighbours", coordinates, trust_in(coordinates, unit))


def trust_in(coordinates: npt.ArrayLike, h: npt.ArrayLike, k: int = NEIGHBOURS) -> float:
    """Trustworthiness of a map in [0, 1] (Venna & Kaski 2001): 1 where every image's k nearest on
    the map are also its nearest by features; neighbours that the map made up cost by their rank.

    coordinates: float [N, 2]; h: float [N, D]. k is at most what N allows, (N − 1) / 2.
    """
    from sklearn.manifold import trustworthiness

    k = max(1, min(k, (len(np.asarray(h)) - 1) // 2))
    unit = unit_rows(h)
    return float(trustworthiness(unit, np.asarray(coordinates), n_neighbors=k))


def components_of(features: Mapping[str, npt.ArrayLike]) -> dict[str, Components]:
    """Principal components of each of several features [N, D], by name."""
    return {name: fit_components(h) for name, h in features.items()}


def sweep_tsne(h: npt.ArrayLike, perplexities: Sequence[float], seed: int) -> list[Map]:
    """t-SNE maps of the same features at several perplexities."""
    return [map_tsne(h, perplexity, seed) for perplexity in perplexities]


def map_each(features: Mapping[str, npt.ArrayLike], perplexity: float, seed: int) -> dict[str, Map]:
    """t-SNE maps of several features of the same images at one perplexity, by name."""
    return {name: map_tsne(h, perplexity, seed) for name, h in features.items()}


def middle_of(perplexities: Sequence[float]) -> float:
    """The perplexity at which several features are compared: the one nearest to scikit-learn's 30.

    Raises ValueError where there is none.
    """
    return min(perplexities, key=lambda p: abs(np.log(p / 30)))


def _denoise(unit: npt.NDArray[np.float32]) -> Array:
    """The first principal components [N, ≤ DENOISED]."""
    centred = unit.astype(np.float64) - unit.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray((left * values)[:, :DENOISED])
