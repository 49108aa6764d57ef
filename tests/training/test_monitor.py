"""The kNN monitor: seeded samples, validation only, and what it does without labels."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lib.data.base import DataSet, Split, Task, labels_of
from lib.models.embed import embed_images
from lib.models.encoder import build_encoder
from lib.models.probe import knn_scores
from lib.training import monitor as monitor_module
from lib.training.monitor import KnnMonitor
from tests.synthetic import NAMES, TASKS, make_data, unlabelled


def monitor_of(data: DataSet, k: int = 5, seed: int = 0) -> KnnMonitor:
    monitor = KnnMonitor.of(data, k, "cpu", "fp32", seed)
    assert monitor is not None
    return monitor


@pytest.mark.parametrize("task", TASKS)
def test_it_is_the_auroc_of_knn_on_validation(task: Task) -> None:
    data = make_data(task)
    encoder = build_encoder("resnet18", "strided", data.channels, seed=0).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = monitor_of(data).auroc(encoder)
    assert encoder.training
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    h = {s: torch.from_numpy(embed_images(encoder, data.splits[s].images, "cpu"))
         for s in ("train", "val")}  # fmt: skip
    y, y_val = torch.from_numpy(labels_of(data, "train")), labels_of(data, "val")
    K = len(NAMES[task])
    scores = knn_scores(h["train"], y, h["val"], task=task, n_classes=K, k=5).numpy()
    member = y_val if task == "multi-label" else np.eye(K)[y_val]
    expected = np.mean([roc_auc_score(member[:, k], scores[:, k]) for k in range(K)])
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_test_split_is_never_looked_at() -> None:
    data = make_data()
    encoder = build_encoder("resnet18", "strided", 3, seed=0)
    none = {name: split for name, split in data.splits.items() if name != "test"}
    without = dataclasses.replace(data, splits=none)
    assert monitor_of(without).auroc(encoder) == monitor_of(data).auroc(encoder)


def test_no_labels_no_monitor() -> None:
    assert KnnMonitor.of(unlabelled(), 5, "cpu", "fp32", 0) is None
    data = make_data()
    for name in ("train", "val"):
        bare = dataclasses.replace(data.splits[name], y=None)
        partly = dataclasses.replace(data, splits={**data.splits, name: bare})
        assert KnnMonitor.of(partly, 5, "cpu", "fp32", 0) is None
    empty = Split(data.splits["val"].images[:0], np.zeros(0, np.int64), np.array([], str))
    splits = {**data.splits, "val": empty}
    assert KnnMonitor.of(dataclasses.replace(data, splits=splits), 5, "cpu", "fp32", 0) is None


def test_large_splits_are_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "BANK", 20)
    monkeypatch.setattr(monitor_module, "QUERIES", 10)
    data = make_data()
    a, same, other = monitor_of(data), monitor_of(data), monitor_of(data, seed=1)
    assert (len(a.bank), len(a.y_bank), len(a.queries), len(a.y_queries)) == (20, 20, 10, 10)
    assert np.array_equal(a.bank.images, same.bank.images)
    assert not np.array_equal(a.bank.images, other.bank.images)
    # Labels go with their images.
    for store, y, split in ((a.bank, a.y_bank, "train"), (a.queries, a.y_queries, "val")):
        images = data.splits[split].images
        for image, label in zip(store.images, y, strict=True):
            (row,) = np.flatnonzero((images == image).all((1, 2, 3)))
            assert labels_of(data, split)[row] == label


def test_more_neighbours_than_images() -> None:
    assert monitor_of(make_data(), k=1000).k == 36


@pytest.mark.parametrize(("positives", "auroc"), [(9, 0.8), (30, 0.65), (12, 0.9)])
def test_standard_error_is_the_spread_over_other_validation_images(
    positives: int, auroc: float
) -> None:
    n = 60
    monitor = monitor_of(make_data("binary"))
    y = np.arange(n) < positives
    monitor = dataclasses.replace(monitor, y_queries=y.astype(np.int64))
    # Two normal distributions, as far apart as the AUROC says, drawn again and again.
    apart = np.sqrt(2) * NormalDist().inv_cdf(auroc)
    scores = np.random.default_rng(0).normal(size=(4000, n)) + apart * y
    aurocs = (scores[:, y][:, :, None] > scores[:, ~y][:, None]).mean((1, 2))
    assert aurocs.mean() == pytest.approx(auroc, abs=0.005)
    assert monitor.standard_error(auroc) == pytest.approx(aurocs.std(), rel=0.15)


def test_more_classes_and_more_images_are_more_certain() -> None:
    three, two = monitor_of(make_data()), monitor_of(make_data("binary"))
    assert three.standard_error(0.8) < two.standard_error(0.8)
    tenfold = dataclasses.replace(two, y_queries=np.tile(two.y_queries, 10))
    ratio = two.standard_error(0.8) / tenfold.standard_error(0.8)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.05)
    assert [m.positives() for m in (two, three)] == [[9, 9], [6, 6, 6]]
    assert monitor_of(make_data("multi-label")).positives() == [9, 8]


def test_validation_images_of_one_label_are_no_monitor() -> None:
    data = make_data()
    val = data.splits["val"]
    assert val.y is not None
    alike = dataclasses.replace(val, y=np.zeros_like(val.y))
    one = dataclasses.replace(data, splits={**data.splits, "val": alike})
    assert KnnMonitor.of(one, 5, "cpu", "fp32", 0) is None
