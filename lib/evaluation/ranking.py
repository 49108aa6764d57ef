"""How good a ranking of library images is: average precision, precision and recall at k."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


def share_label(a: npt.ArrayLike, b: npt.ArrayLike) -> Flags:
    """Which images are relevant to which: bool [Q, M].

    a, b: int [Q] and [M], relevant where equal (an ordinal task's grades too); or 0/1 [Q, K] and
    [M, K] for multi-label tasks, relevant where at least one label is shared.
    """
    y, z = np.asarray(a), np.asarray(b)
    if y.ndim == 1:
        return np.asarray(y[:, None] == z[None, :])
    # float32 products are exact up to millions of labels, and fast.
    return np.asarray((y.astype(np.float32) @ z.astype(np.float32).T) > 0)


def average_precision(similarity: npt.ArrayLike, relevant: npt.ArrayLike) -> Array:
    """Average precision of each row's full ranking, float64 [Q].

    AP = mean over the relevant images of the precision among all images that are at least as
    similar (Buckley & Voorhees 2000; with ties as scikit-learn's `average_precision_score`: equal
    similarities are one step, so that features which are all alike get the share of relevant
    images, whatever the library's order).
    similarity: float [Q, M], −inf for images that do not take part; relevant: bool [Q, M].
    NaN for a row without a relevant image.
    """
    s, r = np.asarray(similarity), np.asarray(relevant, dtype=bool)
    if s.ndim != 2 or s.shape != r.shape:
        raise ValueError(f"expected two [Q, M]; found {[*s.shape]} and {[*r.shape]}")
    if np.isnan(s).any():
        raise ValueError("similarity: found NaN")
    result = np.full(len(s), np.nan)
    ranked = np.sort(s, axis=1)
    for i, everything in enumerate(ranked):
        mine = np.sort(s[i][r[i]])
        if len(mine):
            among = len(everything) - np.searchsorted(everything, mine)
            result[i] = ((len(mine) - np.searchsorted(mine, mine)) / among).mean()
    return result


def average_precision_at(hits: npt.ArrayLike, relevant: npt.ArrayLike) -> Array:
    """Average precision of the first k hits, float64 [Q]: AP@k = Σ P(i)·rel(i) / min(R, k).

    hits: bool [Q, k], whether the i-th nearest image is relevant; relevant: int [Q], R, the
    relevant images in the library. NaN where R is 0.
    """
    h, R = np.asarray(hits, dtype=np.float64), np.asarray(relevant)
    precision = h.cumsum(axis=1) / np.arange(1, h.shape[1] + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((precision * h).sum(axis=1) / np.minimum(R, h.shape[1]))


def precision_at(hits: npt.ArrayLike, k: int) -> Array:
    """Share of relevant images among the first k hits, float64 [Q]; hits: bool [Q, ≥ k]."""
    return np.asarray(np.asarray(hits)[:, :k].mean(axis=1, dtype=np.float64))


def recall_at(hits: npt.ArrayLike, relevant: npt.ArrayLike, k: int) -> Array:
    """Share of the library's relevant images that are among the first k hits, float64 [Q].

    hits: bool [Q, ≥ k]; relevant: int [Q], above 0. At most k / R: small for large classes.
    """
    return np.asarray(np.asarray(hits)[:, :k].sum(axis=1) / np.asarray(relevant, np.float64))


def chance_average_precision(relevant: Counts, library: Counts, k: int | None = None) -> Array:
    """Expected average precision of a random ranking, float64 [Q].

    The relevant image at rank i has precision 1/i for itself and (i − 1)/i times the share of the
    others that is relevant: E[AP@k] = Σ_{i ≤ k} (R/M) (1 + (i − 1)(R − 1)/(M − 1)) / i / min(R, k),
    with k = M for the full ranking. relevant, library: int [Q], R and M; M above 0.
    """
    R, M = np.asarray(relevant, np.float64), np.asarray(library, np.float64)
    depth = M if k is None else np.minimum(M, k)
    terms = np.cumsum(1 / np.arange(1, int(depth.max(initial=1)) + 1))
    harmonic = terms[depth.astype(np.int64) - 1]
    others = (R - 1) / np.maximum(M - 1, 1)
    total = (R / M) * (harmonic + others * (depth - harmonic))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / np.minimum(R, depth))
