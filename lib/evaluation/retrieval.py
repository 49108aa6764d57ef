"""The retrieval protocol: each test image asks for the nearest training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from lib.data.base import DataError, DataSet, labels_of
from lib.evaluation.evaluate import PIXELS, made_by
from lib.evaluation.queries import Queries, row_batches
from lib.evaluation.ranking import (
    Counts,
    Flags,
    average_precision,
    average_precision_at,
    precision_at,
    recall_at,
    share_label,
)
from lib.evaluation.search import Method, choose_method, nearest
from lib.models.embed import Features
from lib.run import Run
from lib.statistics.bootstrap import Difference, Interval
from lib.statistics.means import mean_intervals, mean_values, paired_means

Array = npt.NDArray[np.float64]
# Sorting that many pairs of query and library image takes minutes; beyond, the first DEPTH count.
FULL_RANKING, DEPTH = 10**10, 1000


@dataclass(frozen=True)
class Retrieval:
    """What one method's features found.

    hits: int64 [Q, k], rows of the library, nearest first, −1 where there are no more; similarity:
    float32 [Q, k], their cosine; found: bool [Q, k], whether they are relevant. measures: metric →
    float64 [Q]; values, intervals: their means. searched: exact or faiss.
    """

    source: str
    augment: str
    queries: Queries
    hits: Counts
    similarity: Features
    found: Flags
    measures: dict[str, Array]
    values: dict[str, float]
    intervals: dict[str, Interval]
    searched: str


def retrieve(
    features: Mapping[str, Mapping[str, Features]],
    data: DataSet,
    queries: Queries,
    top_k: Sequence[int],
    *,
    augment: str = "",
    search: Method = "auto",
    bootstrap: int = 1000,
    seed: int = 0,
    device: str = "cpu",
) -> list[Retrieval]:
    """Retrieval by cosine on the features of each method: method → split → float32 [N, D].

    Metrics: `precision@k`, `recall@k` for each of top_k, and `map`, the mean average precision over
    the whole library; above FULL_RANKING pairs of images `map@1000`, over the first 1000 hits.
    Ranking is exact in any case but for `map@1000` and the hits of a FAISS search.
    augment: of the pretrained sources. Intervals: 95%, over queries or their groups; none with
    fewer than two of these.
    """
    results = []
    for source, h in features.items():
        q, x = h[queries.split][queries.rows], h[queries.library]
        method = choose_method(len(q), len(x), search)
        full = len(q) * len(x) <= FULL_RANKING
        depth = max(*top_k, 0 if full else DEPTH)
        similarity, hits = nearest(q, x, depth, method=method, skip=queries.skip, device=device)
        found = _are_relevant(queries.y, labels_of(data, queries.library), hits)
        measures = {}
        if full:
            measures["map"] = _rank_fully(q, x, data, queries, device)
        else:
            measures[f"map@{DEPTH}"] = average_precision_at(found[:, :DEPTH], queries.relevant)
        measures |= {f"precision@{k}": precision_at(found, k) for k in top_k}
        measures |= {f"recall@{k}": recall_at(found, queries.relevant, k) for k in top_k}
        intervals = intervals_of(measures, queries.groups, bootstrap, seed)
        made = made_by(source, augment)
        values, k = mean_values(measures), max(top_k)
        shown = hits[:, :k], similarity[:, :k], found[:, :k]
        results.append(
            Retrieval(source, made, queries, *shown, measures, values, intervals, method)
        )
    return results


def fitting_top_k(top_k: Sequence[float], library: int) -> tuple[list[int], list[str]]:
    """The numbers of hits that a library of so many images has, and a line for each left out."""
    asked = sorted(int(k) for k in top_k)
    fitting = [k for k in asked if k <= library]
    if not fitting:
        raise DataError(f"top_k: {asked[0]} is more than the {library:,} images of the library")
    notes = [
        f"k = {k}: left out, the library has {library:,} images." for k in asked[len(fitting) :]
    ]
    return fitting, notes


def compare_retrieval(
    a: Retrieval, b: Retrieval, bootstrap: int, seed: int
) -> dict[str, Difference]:
    """Paired differences a − b over the same queries; ValueError with fewer than two of them."""
    return paired_means(a.measures, b.measures, a.queries.groups, n=bootstrap, seed=seed)


def intervals_of(
    measures: Mapping[str, Array], groups: npt.ArrayLike | None, bootstrap: int, seed: int
) -> dict[str, Interval]:
    """Bootstrap intervals of means; none where there are fewer than two queries or groups."""
    n = len(next(iter(measures.values())))
    if (n if groups is None else len(np.unique(np.asarray(groups)))) < 2:
        return {}
    return mean_intervals(measures, groups, n=bootstrap, seed=seed)


def retrieval_rows(results: Sequence[Retrieval], run: Run, encoder: str) -> list[dict[str, Any]]:
    """Rows of summary.csv; encoder: the architecture embedded with."""
    return [
        run.row(
            metric,
            value,
            method=r.source,
            augment=r.augment,
            encoder="" if r.source == PIXELS else encoder,
            protocol="retrieval",
            labels="all",
            split=r.queries.split,
            low=r.intervals[metric].low if metric in r.intervals else "",
            high=r.intervals[metric].high if metric in r.intervals else "",
        )
        for r in results
        for metric, value in r.values.items()
    ]


def _are_relevant(y: Counts, z: Counts, hits: Counts) -> Flags:
    """Whether each hit shares a label with its query, bool [Q, k]; −1 is no hit."""
    theirs = z[np.maximum(hits, 0)]
    own = y[:, None]
    shared = theirs == own if y.ndim == 1 else (theirs & own).any(axis=2)
    return np.asarray(shared & (hits >= 0))


def _rank_fully(q: Features, x: Features, data: DataSet, queries: Queries, device: str) -> Array:
    """Average precision over the whole library, float64 [Q]."""
    z = labels_of(data, queries.library)
    library = F.normalize(torch.from_numpy(np.ascontiguousarray(x)).to(device), dim=1)
    parts = []
    for rows in row_batches(len(q), len(x)):
        unit = F.normalize(torch.from_numpy(q[rows]).to(device), dim=1)
        similarity = (unit @ library.T).cpu().numpy()
        relevant = share_label(queries.y[rows], z)
        if queries.skip is not None:
            own = queries.skip[0][rows, None] == queries.skip[1][None]
            similarity[own], relevant[own] = -np.inf, False
        parts.append(average_precision(similarity, relevant))
    return np.concatenate(parts)
