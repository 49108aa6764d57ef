"""Which images are copies of one another, and which are nearly so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.describe.pictures import Picture

KEPT = 12  # frequencies a side: 143 numbers, the mean left out
# Cosine from which two images count as near-duplicates. Of 200 dermatoscopic photographs among
# 1,500, all were found again at JPEG quality 50, at half the size and with another gamma (0.7), 30
# with 3% cut off at each side, none with 10% cut off or mirrored. Of 97 pairs in 10,015
# photographs, 96 show one lesion.
ALIKE = 0.95
PARTNERS = 10  # nearest images looked at for each
EXACT_UP_TO = 20_000  # images compared with each other one by one; more are sought by an index
FEW = 50  # images that the expected spectrum weighs as much as
FLAT = 2.0  # an image whose values differ by no more, of 255, shows nothing

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Alike:
    """Copies and near-duplicates among N images.

    copies: sets of rows whose files (or arrays) are identical, byte for byte. near: sets of rows
    that are near-duplicates of one another, directly or in a chain; copies count once there, by
    their first row. pairs: (row, other, cosine), the most alike first.
    """

    copies: tuple[tuple[int, ...], ...]
    near: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[int, int, float], ...]


def find_alike(pictures: Sequence[Picture | None]) -> Alike:
    """Copies by their digest, near-duplicates by `descriptors`; flat images are left out of those.

    Every image is compared with its nearest ones alone, which up to EXACT_UP_TO images come from
    all comparisons and above from an inverted file (`lib.evaluation.search`), so that time grows as
    N^1.5.
    """
    by_digest: dict[str, list[int]] = {}
    for row, picture in enumerate(pictures):
        if picture is not None:
            by_digest.setdefault(picture.digest, []).append(row)
    copies = tuple(tuple(rows) for rows in by_digest.values() if len(rows) > 1)
    shown = {row: p for row, p in enumerate(pictures) if p is not None and p.spread > FLAT}
    rows = np.asarray([r[0] for r in by_digest.values() if r[0] in shown], np.int64)
    if len(rows) < 2:
        return Alike(copies, (), ())
    x = descriptors(np.stack([shown[row].small for row in rows.tolist()]))
    first, second, cosine = near_pairs(x)
    order = np.argsort(-cosine, kind="stable")
    pairs = zip(rows[first[order]], rows[second[order]], cosine[order], strict=True)
    near = _sets(first, second, rows)
    return Alike(copies, near, tuple((int(a), int(b), float(c)) for a, b, c in pairs))


def descriptors(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit vectors float32 [N, 143] of small grey images [N, S, S], alike where the images are.

    The low frequencies of the discrete cosine transform, as in perceptual hashes of 64 bits, but
    kept as numbers, less their mean and divided by their spread over the data set: what all images
    of a set have in common (a chest, a lit disc) does not make two of them duplicates. Brightness
    is left out, contrast cancels. With few images, mean and spread are drawn towards those of
    natural images, a spectrum that falls as one over the frequency (Field 1987).
    """
    from scipy.fft import dctn

    N = len(small)
    c = dctn(small, axes=(1, 2), norm="ortho")[:, :KEPT, :KEPT].reshape(N, -1)[:, 1:]
    u, v = np.mgrid[:KEPT, :KEPT]
    expected = 1 / np.hypot(u, v).reshape(-1)[1:] ** 2
    expected *= (c**2).mean() / expected.mean()
    mean = c.mean(axis=0) * (N / (N + FEW))
    variance = (N * c.var(axis=0) + FEW * expected) / (N + FEW)
    x = (c - mean) / np.sqrt(np.maximum(variance, 1e-12))
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.maximum(length, 1e-12), np.float32)


def near_pairs(
    x: npt.NDArray[np.float32], alike: float = ALIKE, exact_up_to: int = EXACT_UP_TO
) -> tuple[Rows, Rows, npt.NDArray[np.float32]]:
    """Pairs of rows of x with a cosine of at least `alike`: first < second, and the cosine."""
    from lib.evaluation.search import Method, nearest

    N = len(x)
    itself = np.arange(N, dtype=np.int64)
    method: Method = "exact" if exact_up_to >= N else "faiss"
    found, other = nearest(x, x, min(PARTNERS, N - 1), method=method, skip=(itself, itself))
    row, place = np.nonzero(found >= alike)
    a, b = itself[row], other[row, place]
    both = np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)
    pairs, index = np.unique(both, axis=0, return_index=True)
    return pairs[:, 0], pairs[:, 1], found[row, place][index]


def _sets(first: Rows, second: Rows, rows: Rows) -> tuple[tuple[int, ...], ...]:
    """Connected pairs as sets of rows, in the order of their first row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    N = len(rows)
    ones = np.ones(len(first), np.int8)
    _, part = connected_components(coo_array((ones, (first, second)), shape=(N, N)), directed=False)
    members: dict[int, list[int]] = {}
    for i, p in enumerate(part.tolist()):
        members.setdefault(p, []).append(int(rows[i]))
    return tuple(tuple(m) for m in members.values() if len(m) > 1)
