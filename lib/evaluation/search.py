"""The library images nearest to each query by cosine similarity, exactly or by an index."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.models.embed import Features

Codes = npt.NDArray[np.int64]
Method = Literal["auto", "exact", "faiss"]
BLOCK = 2**15  # library rows compared at a time: with BATCH queries 128 MiB of similarities
BATCH = 1024
# `auto` takes FAISS from here on. At a million vectors of 512 numbers on two cores
# (`python -m bench.retrieval`) exact search answers some hundred queries a second, and building the
# index takes as long as about 2,500 of them. No data set of MedMNIST is as large: their numbers are
# exact.
FAISS_LIBRARY, FAISS_QUERIES = 500_000, 3_000
# Of 2·√M cells the PROBES nearest to the query are searched. At a million vectors that found 0.999
# of the ten nearest at 25 times the speed of exact search; 8 probes found nine of ten.
PROBES = 32
POINTS_PER_CELL = 40


def nearest(
    queries: npt.ArrayLike,
    library: npt.ArrayLike,
    k: int,
    *,
    method: Method = "auto",
    skip: tuple[Codes, Codes] | None = None,
    batch: int = BATCH,
    block: int = BLOCK,
    device: str = "cpu",
) -> tuple[Features, Codes]:
    """The k most similar rows of a library for each query, the most similar first.

    queries: float [Q, D]; library: float [M, D]; neither need be normalised, and a row of zeros
    has similarity 0 to everything. skip: codes int64 [Q] and [M]; a library row with the query's
    own code is never among its hits (the same patient, the image itself).
    Returns cosine similarity float32 and row of the library int64, both [Q, min(k, M)]; where
    fewer rows are left, −inf and −1. Equal similarities come in no particular order.

    exact: similarities of `batch` × `block` at a time in float32 on `device`, so that memory does
    not grow with Q or M. faiss: an inverted file on the CPU (Jégou et al. 2011, without product
    quantisation; inner product of unit vectors in half precision), approximate in which rows it
    finds, exact in their similarities: see `choose_method` and `python -m bench.retrieval`. Its
    cells come from a fixed seed.
    Raises ValueError for shapes that do not fit or numbers that are not finite.
    """
    q, x = (np.ascontiguousarray(a, dtype=np.float32) for a in (queries, library))
    if q.ndim != 2 or x.ndim != 2 or q.shape[1] != x.shape[1] or len(x) == 0:
        found = f"{[*q.shape]} and {[*x.shape]}"
        raise ValueError(f"queries, library: expected [Q, D] and [M ≥ 1, D]; found {found}")
    if k < 1 or batch < 1 or block < 1:
        raise ValueError(f"k, batch, block: expected at least 1; found {k}, {batch}, {block}")
    if skip is not None and (len(skip[0]), len(skip[1])) != (len(q), len(x)):
        raise ValueError("skip: expected one code for each query and each library row")
    for name, rows in (("queries", q), ("library", x)):
        if not all(np.isfinite(rows[i : i + block]).all() for i in range(0, len(rows), block)):
            raise ValueError(f"{name}: found numbers that are not finite")
    if choose_method(len(q), len(x), method) == "faiss":
        return _search_index(q, x, min(k, len(x)), skip, batch, block)
    parts = [
        _search_exactly(
            torch.from_numpy(q[i : i + batch]).to(device),
            x,
            min(k, len(x)),
            None if skip is None else (skip[0][i : i + batch], skip[1]),
            block,
        )
        for i in range(0, len(q), batch)
    ]
    if not parts:
        return np.zeros((0, min(k, len(x))), np.float32), np.zeros((0, min(k, len(x))), np.int64)
    return np.concatenate([s for s, _ in parts]), np.concatenate([i for _, i in parts])


def choose_method(queries: int, library: int, method: Method = "auto") -> Literal["exact", "faiss"]:
    """How `nearest` searches: FAISS where the library is large and the queries repay its index."""
    if method != "auto":
        return method
    return "faiss" if library >= FAISS_LIBRARY and queries >= FAISS_QUERIES else "exact"


def _search_exactly(
    q: Tensor, x: Features, k: int, skip: tuple[Codes, Codes] | None, block: int
) -> tuple[Features, Codes]:
    """The best k over all blocks of the library, merged block by block."""
    unit = F.normalize(q, dim=1)
    best = torch.full((len(q), k), -torch.inf, device=q.device)
    rows = torch.full((len(q), k), -1, dtype=torch.int64, device=q.device)
    for start in range(0, len(x), block):
        part = F.normalize(torch.from_numpy(x[start : start + block]).to(q.device), dim=1)
        similarity = unit @ part.T
        if skip is not None:
            own, theirs = (torch.from_numpy(np.asarray(c)).to(q.device) for c in skip)
            similarity.masked_fill_(own[:, None] == theirs[None, start : start + block], -torch.inf)
        found, place = similarity.topk(min(k, len(part)), dim=1)
        place = torch.where(found.isneginf(), -1, place + start)
        best, order = torch.cat([best, found], dim=1).topk(k, dim=1)
        rows = torch.cat([rows, place], dim=1).gather(1, order)
    return best.cpu().numpy(), rows.cpu().numpy()


def build_index(library: Features, block: int = BLOCK, seed: int = 0) -> Any:
    """A FAISS inverted file of a library float32 [M, D], normalised row by row, in half precision.

    A million rows of 512 numbers take 1 GiB that way, half of what the library itself does.
    It shares torch's number of threads: both follow OMP_NUM_THREADS and torch.set_num_threads.
    """
    import faiss  # here only: it loads a linear algebra library of its own

    M, D = library.shape
    cells = max(1, min(round(2 * M**0.5), M))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(D), D, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.by_residual = False  # halves of the vectors themselves
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = seed + 1, 10, 1
    index.cp.spherical = True  # centres of unit vectors, compared by angle
    chosen = np.random.default_rng(seed).permutation(M)[: cells * POINTS_PER_CELL]
    index.train(_unit_rows(library[np.sort(chosen)]))
    for start in range(0, M, block):
        index.add(_unit_rows(library[start : start + block]))
    index.nprobe = min(PROBES, cells)
    return index


def _unit_rows(rows: Features) -> Features:
    return np.asarray(F.normalize(torch.from_numpy(rows), dim=1).numpy(), np.float32)


def _rescored(q: Features, x: Features, rows: Codes) -> Features:
    """Cosine similarity [Q, k] of queries to the library rows found for each, in float32.

    −inf where a row is −1. Two columns at a time: no more than twice the queries' memory.
    """
    unit = _unit_rows(q)
    found = [
        np.einsum(
            "qkd,qd->qk", _unit_rows(x[part].reshape(-1, q.shape[1])).reshape(*part.shape, -1), unit
        )
        for part in np.split(rows, range(2, rows.shape[1], 2), axis=1)
    ]
    return np.where(rows < 0, -np.inf, np.concatenate(found, axis=1)).astype(np.float32)


def _search_index(
    q: Features, x: Features, k: int, skip: tuple[Codes, Codes] | None, batch: int, block: int
) -> tuple[Features, Codes]:
    index = build_index(x, block)
    spare = 0
    if skip is not None:
        # As many more as one query can have to leave out.
        codes, counts = np.unique(skip[1], return_counts=True)
        spare = int(counts[np.isin(codes, skip[0])].max(initial=0))
    parts = []
    for start in range(0, len(q), batch):
        _, rows = index.search(_unit_rows(q[start : start + batch]), min(k + spare, len(x)))
        found = _rescored(q[start : start + batch], x, rows)
        if skip is not None:
            own = skip[0][start : start + batch, None]
            found[(rows >= 0) & (np.asarray(skip[1])[rows] == own)] = -np.inf
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        found, rows = np.take_along_axis(found, order, 1), np.take_along_axis(rows, order, 1)
        parts.append((found, np.where(np.isneginf(found), -1, rows)))
    if not parts:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    return np.concatenate([s for s, _ in parts]), np.concatenate([i for _, i in parts])
