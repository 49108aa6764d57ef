"""Predictions written to CSV give back every number exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lib.data.base import Task
from lib.statistics.bootstrap import bootstrap_intervals
from lib.statistics.metrics import compute_metrics, compute_recalls
from lib.statistics.predictions import Predictions, read_predictions, write_predictions

TASKS: list[Task] = ["binary", "multi-class", "ordinal", "multi-label"]


def sample(task: Task, seed: int = 0, N: int = 90) -> Predictions:
    rng = np.random.default_rng(seed)
    K = 2 if task == "binary" else 4
    if task == "multi-label":
        y, scores = rng.integers(0, 2, (N, K)), rng.random((N, K))
    else:
        y, scores = rng.integers(0, K, N), rng.dirichlet(np.ones(K), N)
    return Predictions(
        ids=np.array([f'image {n}, "left" é.png' for n in range(N)]),
        y=y,
        scores=scores.astype(np.float32),
        task=task,
        classes=("plain", "with, comma", "score_like", "ü")[:K],
        split="test",
        key={"protocol": "linear", "labels": "100", "seed": str(seed)},
    )


@pytest.mark.parametrize("task", TASKS)
def test_every_number_can_be_recomputed(task: Task, tmp_path: Path) -> None:
    written = sample(task)
    exact = np.random.default_rng(1).random(written.scores.shape)  # float64, as models may give
    exact = dataclasses.replace(written, scores=exact)
    write_predictions(tmp_path / "predictions.csv", [exact])
    (found,) = read_predictions(tmp_path / "predictions.csv")
    arguments = (exact.y, exact.scores, task)
    again = (found.y, found.scores, found.task)
    assert compute_metrics(*again) == compute_metrics(*arguments)
    assert compute_recalls(*again, found.classes) == compute_recalls(*arguments, exact.classes)
    assert bootstrap_intervals(*again, n=20) == bootstrap_intervals(*arguments, n=20)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_is_read(task: Task, tmp_path: Path) -> None:
    patients = np.array([f"patient {n // 2}" for n in range(90)])
    parts = [
        sample(task),
        dataclasses.replace(sample(task, seed=1), groups=patients),
        dataclasses.replace(sample(task, seed=1), split="val"),
    ]
    write_predictions(tmp_path / "p.csv", parts)
    found = read_predictions(tmp_path / "p.csv")
    assert len(found) == 3
    for a, b in zip(found, parts, strict=True):
        assert (a.task, a.classes, a.split, a.key) == (b.task, b.classes, b.split, b.key)
        assert a.scores.dtype == np.float32 and a.y.dtype == np.int64
        for name in ("ids", "y", "scores"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.groups is None) == (b.groups is None)
    np.testing.assert_array_equal(found[1].groups, patients)  # type: ignore[arg-type]


def test_every_float32_comes_back(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 0x3F800000, 200_000, dtype=np.uint32)
    scores = np.append(bits.view(np.float32), np.float32([0, 1, 1e-45, 0.1])).reshape(-1, 4)
    N = len(scores)
    part = dataclasses.replace(
        sample("ordinal"), ids=np.arange(N).astype(str), y=np.zeros(N, int), scores=scores
    )
    write_predictions(tmp_path / "p.csv", [part])
    assert (read_predictions(tmp_path / "p.csv")[0].scores == scores).all()


def test_columns(tmp_path: Path) -> None:
    for task, y in (("binary", ["y"]), ("multi-label", ["y_plain", '"y_with, comma"'])):
        part = dataclasses.replace(
            sample(task),  # type: ignore[arg-type]
            y=np.array([1, 0]) if task == "binary" else np.array([[1, 0], [0, 1]]),
            ids=np.array(["a", "b"]),
            scores=np.float32([[0.25, 0.75], [1, 1e-9]]),
            classes=("plain", "with, comma"),
        )
        write_predictions(tmp_path / "p.csv", [part])
        header, row, last = (tmp_path / "p.csv").read_text().splitlines()
        fixed = ["protocol", "labels", "seed", "split", "task", "id", "group"]
        assert header == ",".join([*fixed, *y, "score_plain", '"score_with, comma"'])
        assert row.startswith(f"linear,100,0,test,{task},a,,1")
        assert row.endswith(",0.25,0.75") and last.endswith(",1,9.99999972e-10")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    write_predictions(path, [sample("binary")])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="could not convert"):
        write_predictions(
            path, [dataclasses.replace(sample("binary"), scores=np.full((90, 2), "broken"))]
        )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    path, one = tmp_path / "p.csv", sample("binary")
    for parts, message in (
        ([], "no predictions"),
        ([one, sample("ordinal")], "one form of rows"),
        ([one, dataclasses.replace(one, key={"seed": "1"})], "one form of rows"),
        ([one, one], "both called"),
        ([dataclasses.replace(one, y=one.y[:5])], "90 ids"),
        ([dataclasses.replace(one, groups=one.ids[:5])], "90 ids"),
        ([dataclasses.replace(one, classes=("a", "b", "c"))], "3 classes"),
        ([dataclasses.replace(one, key={"id": "1"})], "key fields named id"),
    ):
        with pytest.raises(ValueError, match=message):
            write_predictions(path, parts)
    assert not path.exists()


def test_tables_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    head = "seed,split,task,id,group,y,score_a,score_b\n"
    for text, message in (
        ("", "p.csv: expected columns"),
        ("id,y\n1,2\n", "p.csv: expected columns"),
        ("split,task,id,group,y,a\n", "no labels before the scores"),
        (head + "0,test,binary,x,,1,0.5\n", "line 2: expected 8 fields, found 7"),
        (head + "0,test,sorting,x,,1,0.5,0.5\n", "unknown task 'sorting'"),
        (head + "0,test,multi-label,x,,1,0.5,0.5\n", "do not fit task 'multi-label'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_predictions(path)
