"""The retrieval protocol: what is relevant, who is no candidate, and every number by a loop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lib.data.base import DataError, DataSet, Split, Task, labels_of
from lib.evaluation import retrieval
from lib.evaluation.queries import chance, choose_queries
from lib.evaluation.retrieval import compare_retrieval, fitting_top_k, retrieval_rows, retrieve
from lib.identity import Origin
from lib.models.embed import flatten_pixels
from lib.run import COLUMNS
from lib.statistics.means import mean_intervals, paired_means
from tests.synthetic import TASKS, make_data, make_run, unlabelled


def features_of(data: DataSet) -> dict[str, dict[str, Any]]:
    h = flatten_pixels(data)
    rng = np.random.default_rng(0)
    noise = {k: rng.normal(size=(len(v), 32)).astype(np.float32) for k, v in h.items()}
    return {"simclr": h, "random": noise, "pixels": h}


def found_in(data: DataSet, **options: Any) -> Any:
    settings = {"bootstrap": 100, "seed": 0, "augment": "novel", **options}
    return retrieve(features_of(data), data, choose_queries(data), [1, 5], **settings)


def same(a: Any, b: Any) -> bool:
    """Whether two images share a label, one by one."""
    if np.ndim(a) == 0:
        return bool(a == b)
    return any(x == 1 and y == 1 for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_every_number_is_that_of_a_loop(task: Task) -> None:
    data = make_data(task)
    y, z = labels_of(data, "test"), labels_of(data, "train")
    for r in found_in(data):
        h = features_of(data)[r.source]
        q, x = (h[s] / np.linalg.norm(h[s], axis=1, keepdims=True) for s in ("test", "train"))
        for i, row in enumerate(r.queries.rows):
            cosine = x @ q[row]
            order = np.argsort(-cosine)
            relevant = np.array([same(y[row], z[j]) for j in range(len(z))])
            np.testing.assert_allclose(r.similarity[i], cosine[order[:5]], atol=1e-5)
            np.testing.assert_array_equal(r.hits[i], order[:5])
            assert r.found[i].tolist() == relevant[order[:5]].tolist()
            assert r.queries.relevant[i] == relevant.sum()
            expected = average_precision_score(relevant, cosine)
            assert r.measures["map"][i] == pytest.approx(expected, abs=1e-6)
            assert r.measures["precision@1"][i] == relevant[order[0]]
            assert r.measures["precision@5"][i] == pytest.approx(relevant[order[:5]].mean())
            recall = relevant[order[:5]].sum() / relevant.sum()
            assert r.measures["recall@5"][i] == pytest.approx(recall)
        for metric, values in r.measures.items():
            assert r.values[metric] == pytest.approx(values.mean())
        assert r.intervals == mean_intervals(r.measures, None, n=100, seed=0)
        assert r.searched == "exact"
        assert r.augment == ("novel" if r.source == "simclr" else "")


def test_queries_without_a_label_or_a_relevant_image_are_left_out_and_counted() -> None:
    data = make_data("multi-label")
    queries = choose_queries(data)
    y = labels_of(data, "test")
    assert queries.rows.tolist() == np.flatnonzero(y.any(axis=1)).tolist()
    assert queries.notes == ("6 queries without any label were left out.",)
    data = make_data()
    train = data.splits["train"]
    keep = labels_of(data, "train") != 2
    fewer = Split(train.images[keep], labels_of(data, "train")[keep], train.ids[keep])
    data = dataclasses.replace(data, splits={**data.splits, "train": fewer})
    queries = choose_queries(data)
    assert set(queries.y.tolist()) == {0, 1}
    assert queries.notes == ("8 queries without a relevant train image were left out.",)
    with pytest.raises(DataError, match="has no labels"):
        choose_queries(unlabelled())


def test_nothing_to_be_found_is_an_error() -> None:
    data = make_data("binary")
    split = dict(data.splits)
    for name, label in (("train", 0), ("test", 1)):
        s = split[name]
        split[name] = Split(s.images, np.full(len(s), label, np.int64), s.ids)
    with pytest.raises(DataError, match="no test image shares a label with a train image"):
        choose_queries(dataclasses.replace(data, splits=split))


@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_images_of_the_query_s_patient_are_no_candidates(search: Any) -> None:
    data = make_data(grouped=True)  # patient-0 … in both splits
    (r, *_) = found_in(data, search=search)
    queries, train = r.queries, data.splits["train"]
    assert train.groups is not None
    assert queries.groups is not None
    for i, group in enumerate(queries.groups):
        hits = r.hits[i][r.hits[i] >= 0]
        assert group not in train.groups[hits]
        others = train.groups != group
        assert queries.candidates[i] == others.sum() == 34
        relevant = (labels_of(data, "train") == queries.y[i]) & others
        assert queries.relevant[i] == relevant.sum()
        h = features_of(data)["simclr"]
        q = h["test"][queries.rows[i]]
        cosine = h["train"] @ q / np.linalg.norm(q) / np.linalg.norm(h["train"], axis=1)
        expected = average_precision_score(relevant[others], cosine[others])
        assert r.measures["map"][i] == pytest.approx(expected, abs=1e-6)
    assert r.intervals == mean_intervals(r.measures, queries.groups, n=100, seed=0)
    assert r.searched == search


def test_a_query_does_not_find_itself_where_it_is_in_the_library() -> None:
    data = make_data()
    queries = choose_queries(data, "train", "train")
    (r, *_) = retrieve(features_of(data), data, queries, [35], bootstrap=100)
    own = np.arange(36)
    assert (r.hits != own[:, None]).all()
    assert (queries.candidates == 35).all()
    # Ids of different splits are row numbers in some data sets: they mean nothing to each other.
    same_ids = dataclasses.replace(data.splits["test"], ids=data.splits["train"].ids[:24])
    data = dataclasses.replace(data, splits={**data.splits, "test": same_ids})
    assert choose_queries(data).skip is None


def test_faiss_finds_what_exact_search_finds_here() -> None:
    data = make_data()
    for a, b in zip(found_in(data), found_in(data, search="faiss"), strict=True):
        assert (a.searched, b.searched) == ("exact", "faiss")
        np.testing.assert_array_equal(a.hits, b.hits)
        assert a.values["map"] == b.values["map"]  # ranked exactly in both


def test_a_ranking_too_large_to_sort_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    whole = found_in(data)
    monkeypatch.setattr(retrieval, "FULL_RANKING", 10)
    monkeypatch.setattr(retrieval, "DEPTH", 36)  # all of the library: the same number
    for a, b in zip(whole, found_in(data), strict=True):
        assert b.values["map@36"] == pytest.approx(a.values["map"], abs=1e-9)
        assert b.hits.shape == (24, 5)
    monkeypatch.setattr(retrieval, "DEPTH", 5)
    for r in found_in(data):
        hits, R = r.found.astype(float), r.queries.relevant
        precision = hits.cumsum(axis=1) / [1, 2, 3, 4, 5]
        expected = ((precision * hits).sum(axis=1) / np.minimum(R, 5)).mean()
        assert r.values["map@5"] == pytest.approx(expected)


def test_chance_is_what_noise_finds() -> None:
    data = make_data()
    rng = np.random.default_rng(0)
    queries = choose_queries(data)
    runs = []
    for _ in range(60):
        h = {
            s: rng.normal(size=(n, 64)).astype(np.float32) for s, n in (("test", 24), ("train", 36))
        }
        (r,) = retrieve({"random": h}, data, queries, [1, 5], bootstrap=100)
        runs.append(r.values)
    for metric, expected in chance(queries, list(runs[0])).items():
        values = np.array([r[metric] for r in runs])
        assert expected == pytest.approx(values.mean(), abs=4 * values.std() / 60**0.5)
    assert chance(queries, ["precision@5"])["precision@5"] == pytest.approx(1 / 3)


def test_comparisons_are_paired_over_queries_or_groups() -> None:
    for grouped in (False, True):
        a, b, c = found_in(make_data(grouped=grouped))
        expected = paired_means(a.measures, b.measures, a.queries.groups, n=200, seed=4)
        assert compare_retrieval(a, b, 200, 4) == expected
        assert compare_retrieval(a, c, 100, 0)["map"][:3] == (0, 0, 0)
        assert expected["map"].low > 0  # a stripe against noise


def test_numbers_of_hits_that_the_library_has() -> None:
    assert fitting_top_k([10.0, 1.0], 36) == ([1, 10], [])
    assert fitting_top_k([1, 36, 37, 500], 36) == (
        [1, 36],
        [
            "k = 37: left out, the library has 36 images.",
            "k = 500: left out, the library has 36 images.",
        ],
    )
    with pytest.raises(DataError, match="top_k: 50 is more than the 36 images"):
        fitting_top_k([50], 36)


def test_rows_have_every_column(tmp_path: Path) -> None:
    results = found_in(make_data("ordinal"))
    rows = retrieval_rows(results, make_run(tmp_path, Origin("simclr", "novel", "x")), "resnet50")
    assert len(rows) == 3 * 5
    for row in rows:
        assert tuple(row) == COLUMNS
        assert (row["protocol"], row["labels"], row["split"]) == ("retrieval", "all", "test")
        assert (row["encoder"] == "") == (row["method"] == "pixels")
        assert row["augment"] == ("novel" if row["method"] == "simclr" else "")
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert [r["metric"] for r in rows[:5]] == [
        "map", "precision@1", "precision@5", "recall@1", "recall@5",
    ]  # fmt: skip


def test_a_single_query_has_no_interval(tmp_path: Path) -> None:
    data = make_data()
    s = data.splits["test"]
    one = Split(s.images[:1], labels_of(data, "test")[:1], s.ids[:1])
    (r, *_) = found_in(dataclasses.replace(data, splits={**data.splits, "test": one}))
    assert r.intervals == {}
    rows = retrieval_rows([r], make_run(tmp_path), "resnet18")
    assert {(row["low"], row["high"]) for row in rows} == {("", "")}
