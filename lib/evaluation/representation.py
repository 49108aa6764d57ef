"""What features look like as a cloud of points, in numbers: groups, alignment, uniformity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.augment import Pipeline
from lib.data.base import Task
from lib.data.store import ImageStore
from lib.evaluation.ranking import share_label
from lib.evaluation.search import nearest
from lib.models.embed import Features, chunks, forward
from lib.models.encoder import Encoder

Array = npt.NDArray[np.float64]


def silhouettes(h: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Silhouette of each image under cosine distance, float64 [N] in [−1, 1] (Rousseeuw 1987).

    (b − a) / max(a, b), with a the mean distance 1 − cos to the other images of the class and b to
    those of the nearest other class; 0 for the only image of a class. h: float [N, D]; y: int [N].
    Not defined for several labels an image. Raises ValueError for fewer than two classes, or where
    every image is a class of its own.
    """
    from sklearn.metrics import silhouette_samples

    unit, labels = unit_rows(h), np.asarray(y)
    if labels.ndim != 1 or not 2 <= len(np.unique(labels)) < len(labels):
        raise ValueError("y: expected int [N] with at least two classes, and fewer than images")
    # The distances by hand: a row of zeros has cosine 0 to all, and none to itself.
    distance = np.clip(1 - unit @ unit.T, 0, 2).astype(np.float64)
    np.fill_diagonal(distance, 0)
    return np.asarray(silhouette_samples(distance, labels, metric="precomputed"), np.float64)


def knn_purity(h: npt.ArrayLike, y: npt.ArrayLike, k: int) -> Array:
    """Share of each image's k nearest others that have its label, float64 [N] in [0, 1].

    By cosine; the image itself is left out. y: int [N], or 0/1 [N, K], where a neighbour counts
    that shares a label, and an image without any has no purity (NaN). With k above N − 1, all.
    """
    x, labels = np.asarray(h, np.float32), np.asarray(y)
    own = np.arange(len(x))
    _, rows = nearest(x, x, min(k, len(x) - 1), method="exact", skip=(own, own))
    shared = [share_label(labels[i : i + 1], labels[r])[0].mean() for i, r in enumerate(rows)]
    purity = np.asarray(shared, np.float64)
    if labels.ndim == 2:
        purity[labels.sum(axis=1) == 0] = np.nan
    return purity


def alignment(h1: npt.ArrayLike, h2: npt.ArrayLike, alpha: float = 2.0) -> Array:
    """‖f(x) − f(x⁺)‖^α of each positive pair on the unit sphere, float64 [N]; 0 is best.

    Wang & Isola 2020, Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere, section 4.1: their ℓ_align is its mean. h1, h2: float [N, D],
    features of two views of the same images, normalised here. With α = 2 it is 2 − 2 cos.
    """
    a, b = unit_rows(h1), unit_rows(h2)
    if a.shape != b.shape:
        raise ValueError(f"h1, h2: expected the same shape; found {[*a.shape]} and {[*b.shape]}")
    return np.asarray(np.linalg.norm((a - b).astype(np.float64), axis=1) ** alpha)


def uniformity(h: npt.ArrayLike, t: float = 2.0) -> float:
    """log E exp(−t ‖f(x) − f(y)‖²) over all pairs of different images; smaller is more uniform.

    Wang & Isola 2020, section 4.1, ℓ_uniform. h: float [N, D], normalised here. 0 when all
    features are alike, at least −4t. Raises ValueError for fewer than two images.
    """
    unit = torch.from_numpy(unit_rows(h)).double()
    if len(unit) < 2:
        raise ValueError(f"h: expected at least two images; found {len(unit)}")
    exponents = -t * torch.pdist(unit).square()
    return float(torch.logsumexp(exponents, 0) - np.log(len(exponents)))


def unit_rows(h: npt.ArrayLike) -> Features:
    """Rows float32 [N, D] of length 1; a row of zeros stays what it is."""
    rows = torch.from_numpy(np.ascontiguousarray(h, dtype=np.float32))
    return np.asarray(F.normalize(rows, dim=1).numpy(), np.float32)


def embed_plain(
    encoder: Encoder | None, images: npt.NDArray[np.uint8], device: str, precision: str
) -> Features:
    """Features float32 [N, D] of images uint8 [N, H, W, C]; without an encoder, centred pixels."""
    return _embed(encoder, images, None, torch.Generator(), device, precision)


def embed_two_views(
    encoder: Encoder | None,
    images: npt.NDArray[np.uint8],
    augment: Pipeline,
    seed: int,
    device: str,
    precision: str,
) -> tuple[Features, Features]:
    """Features of two augmented views of each image, float32 [N, D] each: positive pairs.

    The same seed gives every encoder the same views.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        _embed(encoder, images, augment, generator, device, precision) for _ in range(2)
    )
    return first, second


@torch.inference_mode()
def _embed(
    encoder: Encoder | None,
    images: npt.NDArray[np.uint8],
    augment: Pipeline | None,
    generator: torch.Generator,
    device: str,
    precision: str,
) -> Features:
    if encoder is not None:
        encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    parts: list[Tensor] = []
    store = ImageStore(images, device)
    for batch in store.batches(chunks(len(store), 512)):
        x = batch if augment is None else augment(batch, generator)
        if encoder is None:
            # As `lib.models.embed.centred`: without its mean, cosine compares patterns, not
            # brightness.
            rows = x.permute(0, 2, 3, 1).flatten(1)
            parts.append((rows - rows.mean(dim=1, keepdim=True)).float().cpu())
        else:
            parts.append(forward(encoder, x, precision).float().cpu())
    return torch.cat(parts).numpy()


def silhouette_is_defined(y: npt.NDArray[np.integer], task: Task) -> bool:
    """Whether images with these labels have silhouettes: one label each, two classes or more."""
    return task != "multi-label" and 2 <= len(np.unique(y)) < len(y)
