"""Metrics of a ranking: against scikit-learn, loops over the ranks, and chance simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lib.evaluation.ranking import (
    average_precision,
    average_precision_at,
    chance_average_precision,
    precision_at,
    recall_at,
    share_label,
)


def rankings(Q: int = 30, M: int = 50, ties: bool = False) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    similarity = rng.uniform(-1, 1, (Q, M)).astype(np.float32)
    if ties:
        similarity = similarity.round(1)
    relevant = rng.random((Q, M)) < rng.uniform(0.05, 0.9, (Q, 1))
    relevant[:, 0] = True
    return similarity, relevant


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learn_s(ties: bool) -> None:
    similarity, relevant = rankings(ties=ties)
    expected = [average_precision_score(r, s) for r, s in zip(relevant, similarity, strict=True)]
    np.testing.assert_allclose(average_precision(similarity, relevant), expected, atol=1e-12)


def test_average_precision_by_hand() -> None:
    found = average_precision([[0.9, 0.8, 0.7, 0.6]], [[True, False, True, False]])
    assert found == pytest.approx([(1 + 2 / 3) / 2])
    # All alike: the share of relevant images, whatever their order.
    for relevant in ([1, 1, 0, 0], [0, 0, 1, 1]):
        assert average_precision([[0.5] * 4], [relevant]) == pytest.approx([0.5])
    assert np.isnan(average_precision([[0.5, 0.4]], [[False, False]])).all()
    with pytest.raises(ValueError, match="found NaN"):
        average_precision([[np.nan]], [[True]])
    with pytest.raises(ValueError, match=r"two \[Q, M\]"):
        average_precision([[1.0]], [[True, False]])


def test_images_that_do_not_take_part_change_nothing() -> None:
    similarity, relevant = rankings()
    out = np.zeros(50, bool)
    out[10:25] = True
    expected = average_precision(similarity[:, ~out], relevant[:, ~out])
    similarity[:, out], relevant[:, out] = -np.inf, False
    np.testing.assert_allclose(average_precision(similarity, relevant), expected)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_precision_and_recall_at_k_are_counted_hit_by_hit(k: int) -> None:
    similarity, relevant = rankings()
    order = np.argsort(-similarity, axis=1)
    hits = np.take_along_axis(relevant, order, 1)[:, :10]
    total = relevant.sum(axis=1)
    precision, recall, average = [], [], []
    for q in range(30):
        found, summed = 0, 0.0
        for rank in range(k):
            if relevant[q, order[q, rank]]:
                found += 1
                summed += found / (rank + 1)
        precision.append(found / k)
        recall.append(found / relevant[q].sum())
        average.append(summed / min(k, relevant[q].sum()))
    np.testing.assert_allclose(precision_at(hits, k), precision)
    np.testing.assert_allclose(recall_at(hits, total, k), recall)
    np.testing.assert_allclose(average_precision_at(hits[:, :k], total), average)


def test_average_precision_at_all_is_that_of_the_full_ranking() -> None:
    similarity, relevant = rankings()
    hits = np.take_along_axis(relevant, np.argsort(-similarity, axis=1), 1)
    at_all = average_precision_at(hits, relevant.sum(axis=1))
    np.testing.assert_allclose(at_all, average_precision(similarity, relevant))


@pytest.mark.parametrize("k", [None, 5, 100])
@pytest.mark.parametrize(("R", "M"), [(1, 1), (1, 8), (3, 8), (8, 8), (10, 20)])
def test_chance_is_the_mean_over_random_rankings(R: int, M: int, k: int | None) -> None:
    rng = np.random.default_rng(0)
    hits = rng.permuted(np.tile(np.arange(M) < R, (20_000, 1)), axis=1)
    values = average_precision_at(hits[:, : k or M], np.full(20_000, R))
    error = values.std() / 20_000**0.5
    (expected,) = chance_average_precision(np.array([R]), np.array([M]), k)
    assert expected == pytest.approx(values.mean(), abs=4 * error + 1e-12)


def test_relevance_is_a_shared_label() -> None:
    assert share_label([0, 2], [0, 1, 2]).tolist() == [[True, False, False], [False, False, True]]
    a, b = np.array([[1, 0, 1], [0, 0, 0]], np.uint8), np.array([[0, 0, 1], [0, 1, 0], [0, 0, 0]])
    assert share_label(a, b).tolist() == [[True, False, False], [False, False, False]]
