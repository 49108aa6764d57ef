"""Nearest neighbours: against a sort of all similarities, in any batches, with rows to skip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lib.evaluation.search import FAISS_LIBRARY, FAISS_QUERIES, build_index, choose_method, nearest


def vectors(n: int, D: int = 16, seed: int = 0, scale: bool = True) -> Any:
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0.1, 9, (n, 1)) if scale else 1
    return (rng.normal(size=(n, D)) * lengths).astype(np.float32)


def clustered(n: int, seed: int) -> Any:
    """Points around 40 centres, the same for every seed."""
    centres = np.random.default_rng(99).normal(size=(40, 24))
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(40, size=n)] + 0.3 * rng.normal(size=(n, 24))).astype(np.float32)


def oracle(q: Any, x: Any, k: int, skip: Any = None) -> tuple[Any, Any]:
    """One query at a time, all similarities sorted."""
    similarity, index = [], []
    for i, query in enumerate(q.astype(np.float64)):
        cosine = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in x]
        allowed = [j for j in range(len(x)) if skip is None or skip[0][i] != skip[1][j]]
        best = sorted(allowed, key=lambda j: -cosine[j])[:k]
        missing = min(k, len(x)) - len(best)
        similarity.append([cosine[j] for j in best] + [-np.inf] * missing)
        index.append(best + [-1] * missing)
    return np.array(similarity), np.array(index)


@pytest.mark.parametrize(("batch", "block"), [(1024, 2**15), (7, 2**15), (64, 10), (1, 1), (5, 3)])
@pytest.mark.parametrize("k", [1, 4, 61, 100])
def test_exact_search_is_a_sort_in_any_batches(batch: int, block: int, k: int) -> None:
    q, x = vectors(20), vectors(61, seed=1)
    similarity, index = nearest(q, x, k, batch=batch, block=block)
    expected = oracle(q, x, k)
    assert similarity.dtype == np.float32
    assert index.dtype == np.int64
    assert index.shape == (20, min(k, 61))
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_allclose(similarity, expected[0], atol=1e-5)


@pytest.mark.parametrize("method", ["exact", "faiss"])
def test_rows_with_the_query_s_code_are_never_found(method: Any) -> None:
    q, x = vectors(12), vectors(30, seed=1)
    rng = np.random.default_rng(0)
    # Query 0 may find nothing at all; query 1 has a code that no row has.
    skip = rng.integers(1, 4, 12), rng.integers(1, 4, 30)
    skip[0][0], skip[0][1] = 7, 9
    skip[1][:] = np.where(np.arange(30) < 3, 7, skip[1])
    everything = skip[0], np.where(np.arange(30) < 30, skip[1], 0)
    similarity, index = nearest(q, x, 25, method=method, skip=everything, batch=5, block=8)
    expected = oracle(q, x, 25, everything)
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_allclose(similarity, expected[0], atol=1e-5)
    alone = np.full(12, 7), np.full(30, 7)
    similarity, index = nearest(q, x, 3, method=method, skip=alone)
    assert (index == -1).all()
    assert np.isneginf(similarity).all()


def test_an_image_finds_itself_unless_it_is_skipped() -> None:
    x, own = vectors(40), np.arange(40)
    similarity, index = nearest(x, x, 1)
    np.testing.assert_array_equal(index[:, 0], own)
    np.testing.assert_allclose(similarity, 1, atol=1e-6)
    assert (nearest(x, x, 5, skip=(own, own))[1] != own[:, None]).all()


def test_rows_of_zeros_are_similar_to_nothing() -> None:
    x = vectors(6)
    x[2] = 0
    similarity, index = nearest(x[2:3], x, 6)
    assert (similarity == 0).all()
    similarity, index = nearest(x[:1], x, 6)
    assert similarity[index == 2] == 0


def test_faiss_finds_nearly_what_exact_search_finds() -> None:
    q, x = clustered(300, 0), clustered(6000, 1)
    exact = nearest(q, x, 10, method="exact")
    similarity, index = nearest(q, x, 10, method="faiss", block=1000, batch=128)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(index, exact[1], strict=True)])
    assert recall > 0.95
    # What it reports are true similarities, in falling order.
    rows = x[index[0]] / np.linalg.norm(x[index[0]], axis=1, keepdims=True)
    np.testing.assert_allclose(similarity[0], rows @ q[0] / np.linalg.norm(q[0]), atol=1e-5)
    assert (np.diff(similarity, axis=1) <= 0).all()
    again = nearest(q, x, 10, method="faiss", block=1000, batch=77)
    np.testing.assert_array_equal(index, again[1])


def test_faiss_leaves_the_number_of_threads_alone() -> None:
    before = torch.get_num_threads()
    build_index(clustered(500, 0))
    assert torch.get_num_threads() == before


def test_auto_is_exact_for_all_of_medmnist() -> None:
    assert choose_method(50_000, 170_000) == "exact"  # TissueMNIST
    assert choose_method(FAISS_QUERIES, FAISS_LIBRARY) == "faiss"
    assert choose_method(FAISS_QUERIES - 1, 10**6) == "exact"
    assert choose_method(10**6, 10**6, "exact") == "exact"
    assert choose_method(1, 10, "faiss") == "faiss"


def test_no_query_no_hit() -> None:
    for method in ("exact", "faiss"):
        similarity, index = nearest(np.zeros((0, 16)), vectors(9), 4, method=method)  # type: ignore[arg-type]
        assert similarity.shape == index.shape == (0, 4)


def test_what_does_not_fit_is_refused() -> None:
    q, x = vectors(3), vectors(5)
    with pytest.raises(ValueError, match=r"expected \[Q, D\]"):
        nearest(q, x[:, :4], 1)
    with pytest.raises(ValueError, match=r"expected \[Q, D\]"):
        nearest(q, x[:0], 1)
    with pytest.raises(ValueError, match="at least 1"):
        nearest(q, x, 0)
    with pytest.raises(ValueError, match="skip"):
        nearest(q, x, 1, skip=(np.arange(3), np.arange(4)))
    x[1, 1] = np.nan
    with pytest.raises(ValueError, match="library: found numbers that are not finite"):
        nearest(q, x, 1)
