"""Several sizes: the same images at each, what is measured, and nothing trained twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.data.base import DataError, DataSet
from lib.data.load import shrink
from lib.evaluation import downsampling
from lib.evaluation.downsampling import (
    AtSize,
    check_same_images,
    measured_pretraining,
    pareto_front,
    save_histories,
    size_rows,
    study_sizes,
)
from lib.evaluation.evaluate import label_budgets
from lib.identity import RANDOM, Origin
from lib.run import COLUMNS, Run
from lib.statistics.predictions import write_predictions
from tests.synthetic import make_data, make_run, with_unlabelled

PARAMS: dict[str, Any] = {
    "dataset": "tiny",
    "sizes": "12,8",
    "method": "simclr",
    "seen_labels": "all",
    "balanced_batches": False,
    "augment": "novel",
    "crop_scale": 0.3,
    "freeze_stages": 0,
    "variant": "",
    "epochs": 1,
    "warmup_epochs": 0.0,
    "batch_size": 18,
    "temperature": 0.2,
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "gradient_clip": 1.0,
    "projection_dim": 16,
    "projection_layers": 2,
    "projection_norm": "none",
    "knn_every": 1,
    "knn_k": 5,
    "bootstrap": 100,
}


class TinyRun(Run):
    """A run whose data set is in memory, shrunk to the size asked for."""

    data: DataSet

    def load_at(self, size: int) -> DataSet:
        return self.data if size == self.data.size else shrink(self.data, size)


def start(folder: Path, data: DataSet, origin: Origin = RANDOM, **changes: Any) -> TinyRun:
    plain = make_run(folder, origin, **{**PARAMS, **changes})
    run = TinyRun(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)})
    run.data = data
    return run


@pytest.fixture(scope="module")
def data() -> DataSet:
    return make_data("multi-label")


@pytest.fixture(scope="module")
def studied(
    data: DataSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TinyRun, list[AtSize]]:
    run = start(tmp_path_factory.mktemp("run"), data)
    return run, study_sizes(run, label_budgets(data, "all", 0, 0)[0])


def test_every_size_smallest_first_with_the_same_test_images(
    studied: tuple[TinyRun, list[AtSize]],
) -> None:
    _, found = studied
    assert [at.size for at in found] == [8, 12]
    kinds = {
        (r.source, r.protocol, r.labels, r.predictions.split) for at in found for r in at.results
    }
    assert len(kinds) == 2 * 2 * 2
    a, b = (at.test("all") for at in found)
    assert a is not None
    assert b is not None
    assert a.augment == "novel"
    assert np.array_equal(a.predictions.ids, b.predictions.ids)
    assert not np.allclose(a.predictions.scores, b.predictions.scores)
    floor = found[0].test("all", "random")
    assert floor is not None
    assert floor.augment == ""


def test_rows_of_every_size_and_its_cost(studied: tuple[TinyRun, list[AtSize]]) -> None:
    run, found = studied
    rows = pd.DataFrame(size_rows(found, run))
    assert list(rows.columns) == list(COLUMNS)
    assert set(rows["size"]) == {8, 12}
    cost = rows[rows["protocol"] == "pretrain"].set_index(["size", "metric"])["value"]
    for at in found:
        assert cost[at.size, "seconds"] == at.cost.seconds > 0
        assert cost[at.size, "images_per_second"] == pytest.approx(36 / at.cost.epoch_seconds)
        if at.cost.peak_memory_mb is not None:
            assert cost[at.size, "peak_memory_mb"] == at.cost.peak_memory_mb > 0
    keys = ["size", "method", "protocol", "labels", "split", "metric"]
    assert not rows.duplicated(keys).any()
    assert set(rows["method"]) == {"simclr", "random"}


def test_predictions_of_several_sizes_are_told_apart(
    studied: tuple[TinyRun, list[AtSize]],
) -> None:
    run, found = studied
    path = run.folder / "predictions.csv"
    write_predictions(path, [r.predictions for at in found for r in at.results])
    assert set(pd.read_csv(path)["size"]) == {8, 12}
    save_histories(found, run)
    history = pd.read_csv(run.folder / "history.csv")
    assert list(history["size"]) == [8, 12]


def test_a_second_call_trains_nothing_and_keeps_what_was_measured(
    studied: tuple[TinyRun, list[AtSize]], data: DataSet
) -> None:
    run, found = studied
    again = study_sizes(run, label_budgets(data, "all", 0, 0)[0])
    assert [at.cost for at in again] == [at.cost for at in found]
    for a, b in zip(again, found, strict=True):
        one, other = a.test("all"), b.test("all")
        assert one is not None
        assert other is not None
        assert one.metrics == other.metrics


def test_names_say_where_the_weights_came_from(tmp_path: Path, data: DataSet) -> None:
    run = start(tmp_path, data, Origin("imagenet", "", "imagenet"), method="supcon", variant="w")
    assert downsampling.trained_method(run) == "supcon from imagenet>tiny (w)"


def test_sizes_with_other_images_are_refused(data: DataSet) -> None:
    test = data.splits["test"]
    fewer = dataclasses.replace(
        test, images=test.images[1:], y=None if test.y is None else test.y[1:], ids=test.ids[1:]
    )
    other = dataclasses.replace(data, splits={**data.splits, "test": fewer}, size=8)
    with pytest.raises(DataError, match="test images at 12 px are not those at 8 px: 24 and 23"):
        check_same_images(data, other)
    assert test.y is not None
    relabelled = dataclasses.replace(test, y=test.y[::-1].copy())
    other = dataclasses.replace(data, splits={**data.splits, "test": relabelled}, size=8)
    with pytest.raises(DataError, match="test images"):
        check_same_images(data, other)


def test_unlabelled_images_must_be_the_same_too() -> None:
    data = with_unlabelled(6)
    check_same_images(data, shrink(data, 8))
    with pytest.raises(DataError, match="only one of 12 px and 12 px has unlabelled images"):
        check_same_images(data, dataclasses.replace(data, unlabelled=None))
    with pytest.raises(DataError, match=r"unlabelled images at 12 px are not those .* 6 and 5"):
        check_same_images(data, with_unlabelled(5))


def test_the_cost_is_that_of_all_images_trained_on(tmp_path: Path) -> None:
    data = with_unlabelled(20)
    _, cost = measured_pretraining(start(tmp_path, data), data)
    assert cost.images_per_second == pytest.approx(56 / cost.epoch_seconds)


def test_pareto_front() -> None:
    assert pareto_front([1, 2, 3], [0.5, 0.7, 0.9]) == [True, True, True]
    assert pareto_front([1, 2, 3], [0.8, 0.7, 0.9]) == [True, False, True]
    assert pareto_front([1, 1, 2], [0.5, 0.6, 0.6]) == [False, True, False]
    assert pareto_front([1, 1], [0.5, 0.5]) == [True, True]
    # From cheap to dear, the front is where the best so far rises.
    rng = np.random.default_rng(0)
    costs, values = rng.permutation(50).astype(float), rng.permutation(50).astype(float)
    order = np.argsort(costs)
    best = np.maximum.accumulate(values[order])
    expected = np.zeros(50, bool)
    expected[order] = values[order] == best
    assert pareto_front(list(costs), list(values)) == expected.tolist()
